"""Which budgets there are to show and whose shares: those that calls counted in, and those that nothing has counted in yet."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tollkeeper.core.errors import ConfigError

if TYPE_CHECKING:
    from tollkeeper.core.admission import Limit
    from tollkeeper.core.call import Call
    from tollkeeper.core.decision import Standing
    from tollkeeper.policy.model import Policy


class Shown(NamedTuple):
    """One share of a budget. ``is_used``: a call has counted in it, or was refused by it."""

    limit: "Limit"
    standing: "Standing"
    is_used: bool


def shares_of(policy: "Policy", path: Path, at: int, only: str | None, who: str | None) -> list[Shown]:
    """The budgets and every share of them that calls counted in, then those at nothing, the fullest first.

    ``path`` is the ledger; where there is none, nothing is spent. ``only`` is one budget, ``who`` one principal. Raises ``ConfigError``.
    """
    from tollkeeper.policy.matching import matcher_of

    if only is not None and only not in policy.by_rule:
        known = ", ".join(policy.by_rule) or "none"
        raise ConfigError(f'{policy.name} has no budget "{only[:100]}"; known: {known}')
    matcher = matcher_of(policy)
    used: dict[tuple[str, str], Limit] = {}
    for call in calls_in(policy, path, at):
        if who is not None and call.principal.subject != who:
            continue
        for limit in matcher.of(call, call.model).limits(at):
            used.setdefault((limit.budget, limit.bucket.key), limit)
    places = {_place(limit) for limit in used.values()}
    unused = [limit for limit in _best(_at_nothing(policy, at, who)) if _place(limit) not in places]
    limits = [limit for limit in (*used.values(), *unused) if only in {None, limit.budget}]
    shared = [_everybodys(limit, policy) for limit in limits] if who is None else limits
    found = [
        Shown(limit, standing, (limit.budget, limit.bucket.key) in used)
        for limit, standing in zip(shared, standings_at(path, shared, at), strict=True)
    ]
    return sorted(found, key=lambda one: (not one.is_used, -one.standing.used_percent, one.limit.budget, one.limit.bucket.key))


def standings_at(path: Path, limits: "list[Limit]", at: int) -> "list[Standing]":
    """How limits stand in the ledger at ``path``; at nothing where there is no ledger yet. Raises ``LedgerError``."""
    if not limits:
        return []
    if not path.exists():
        from tollkeeper.ledger.windows import standing_of

        return [standing_of(limit, (0, 0), (limit.amount_nanousd, 0, 0)) for limit in limits]
    from tollkeeper.ledger.balances import standings

    return standings(path, limits, at)


def calls_in(policy: "Policy", path: Path, at: int) -> "list[Call]":
    """The kinds of calls that count in a window of the policy, as far as its rules tell them apart. Raises ``LedgerError``."""
    from tollkeeper.ledger.balances import callers
    from tollkeeper.ledger.history import call_of
    from tollkeeper.policy.buckets import COLUMNS
    from tollkeeper.policy.matching import matcher_of

    if not path.exists():
        return []
    matcher = matcher_of(policy)
    used = {COLUMNS[field] for field in matcher.used.fields} | ({"tags"} if matcher.used.labels != frozenset() else set())
    names = {"group": ("groups",), "any_session": ("session", "client_session")}
    columns = [column for name in sorted(used) for column in names.get(name, (name,))]
    return [call_of(entry) for entry in callers(path, _earliest(policy, at), columns)]


def _at_nothing(policy: "Policy", at: int, who: str | None) -> "Iterator[tuple[Limit, bool]]":
    """What stands over everybody (pools) and over whom calls from here are booked to; with each, whether it lifts all amounts beside it."""
    from dataclasses import replace

    from tollkeeper.policy.facts import UNKNOWN, values_of
    from tollkeeper.policy.group_table import in_groups
    from tollkeeper.policy.matching import Slot, covers
    from tollkeeper.policy.mine import budgets_of
    from tollkeeper.policy.model import Share
    from tollkeeper.policy.windows import WindowClock

    from .callers import call_of_nobody

    call = call_of_nobody(at)
    call = replace(call, principal=in_groups(policy, call.principal))
    facts = values_of(call, None)
    if who is None:
        for budget in policy.budgets:
            if budget.share is Share.POOL:
                yield Slot(budget, WindowClock(budget.window), UNKNOWN).limit(at), budget.amount_nanousd is None
    if who in {None, call.principal.subject}:
        for _, limit in budgets_of(policy, call, at):
            yield limit, False
        for budget in policy.budgets:
            if budget.amount_nanousd is None and covers(budget, facts):
                yield Slot(budget, WindowClock(budget.window), facts).limit(at), True


def _best(found: "Iterator[tuple[Limit, bool]]") -> "list[Limit]":
    """Of several amounts for one share the highest, none where one lifts them: as ``policy.matching`` does for calls."""
    best: dict[tuple[str, str], Limit] = {}
    lifted: set[tuple[str, str]] = set()
    for limit, lifts in found:
        place = _place(limit)
        if lifts:
            lifted.add(place)
        elif place not in best or limit.amount_nanousd > best[place].amount_nanousd:
            best[place] = limit
    return [limit for place, limit in best.items() if place not in lifted]


def _place(limit: "Limit") -> tuple[str, str]:
    """The bucket, and whose it is among amounts for one bucket: those that act are alternatives, those that watch stand alone."""
    return limit.bucket.key, "" if limit.enforced else limit.budget


def _everybodys(limit: "Limit", policy: "Policy") -> "Limit":
    """A pool belongs to nobody: what was granted to one principal is no part of how it stands."""
    from dataclasses import replace

    from tollkeeper.policy.model import Field

    budget = policy.by_rule.get(limit.budget)
    return limit if budget is not None and Field.PRINCIPAL in budget.per else replace(limit, whose="")


def _earliest(policy: "Policy", at: int) -> int:
    from tollkeeper.policy.windows import window_at

    rates = [rate for rule in policy.models for rate in rule.rates]
    return min((window_at(budget.window, at).start_at for budget in (*policy.budgets, *rates)), default=at)
