"""Everything one page shows, read at once: the report as asked, by day, team, model and hour, and the budgets as they stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tollkeeper.ledger.live import Follower
from tollkeeper.ledger.queries import reports
from tollkeeper.ledger.rows import Report
from tollkeeper.policy.model import Policy

from .outlook import BudgetLine, lines_of, most_pressing, with_standing


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnDown:
    """A calendar budget from day to day: what was counted in it on each day of its window so far."""

    line: BudgetLine
    days: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of one page. The reports are of one snapshot and have the same total."""

    report: Report
    days: Report
    hours: Report
    teams: Report
    people: Report
    models: Report
    budgets: tuple[BudgetLine, ...] = ()
    burn_downs: tuple[BurnDown, ...] = ()


MAX_BURN_DOWNS = 4


def read_overview(
    path: Path,
    *,
    by: Sequence[str],
    since: int | None,
    until: int | None,
    zone: str,
    policy: Policy | None,
    at: int,
    progress: Callable[[int, int], None] | None = None,
) -> Overview:
    """Read it; ``at`` is now, UTC microseconds. Raises ``LedgerError``."""
    groupings = (tuple(by), ("day",), ("hour",), ("team",), ("principal",), ("model",))
    report, days, hours, teams, people, models = reports(path, groupings, since=since, until=until, zone=zone, progress=progress)
    budgets = budget_lines(path, policy, at)
    return Overview(
        report=report,
        days=days,
        hours=hours,
        teams=teams,
        people=people,
        models=models,
        budgets=budgets,
        burn_downs=tuple(_burn_downs(path, budgets)),
    )


def budget_lines(path: Path, policy: Policy | None, at: int) -> tuple[BudgetLine, ...]:
    """The budgets of a policy as they stand at ``at``, the most pressing first."""
    if policy is None or not policy.budgets:
        return ()
    follower = Follower(path)
    try:
        lines = lines_of(policy, follower.buckets(), at)
        standings = follower.standings((line.limit for line in lines), derive=True)
    finally:
        follower.close()
    return tuple(most_pressing(with_standing(line, standing, at) for line, standing in zip(lines, standings, strict=True)))


def _burn_downs(path: Path, budgets: Sequence[BudgetLine]) -> list[BurnDown]:
    """For pools over everything with a window of some days: the days of others cannot be told from a report."""
    found: list[BurnDown] = []
    for line in budgets:
        limit = line.limit
        if line.standing is None or limit.resets_at is None or limit.bucket.scope or limit.bucket.start_at == 0:
            continue
        if limit.resets_at - limit.bucket.start_at < 2 * 86_400_000_000 or len(found) == MAX_BURN_DOWNS:
            continue
        (days,) = reports(path, (("day",),), since=limit.bucket.start_at, until=limit.resets_at, zone=limit.zone)
        found.append(BurnDown(line=line, days=days))
    return found
