"""What a call is in SQL, and sums of calls by anything: whole numbers that add up, so that parts of a range can be summed apart.

A call is its closing entry (settle, void or refuse) plus its corrections (adjust). It belongs to the moment its budgets count it at.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from .columns import TOKENS
from .repeats import COUNT_SQL
from .rows import Group, Tokens

MODEL = "coalesce(nullif(model_billed, ''), nullif(model, ''), model_requested)"

GROUPINGS = {
    "day": "local_day(counted_at / 900000000)",
    "hour": "local_hour(counted_at / 900000000)",
    "model": MODEL,
    "provider": "provider",
    "principal": "subject",
    "team": "trim(groups, ',')",
    "project": "project",
    "session": "coalesce(nullif(session, ''), client_session)",
    "client": "client",
    "operation": "operation",
    "agent": "agent",
    "conversation": "client_session",
    "parent-agent": "parent_agent",
    "agent-class": "agent_class",
    "initiator": "initiator",
    "interaction": "interaction",
    "client-project": "client_project",
    "account": "account",
    "user": "end_user",
    "tags": "tags",
    "run": "run",
    "os-user": "os_user",
    "process": "process",
    "container": "container",
    "branch": "coalesce(nullif(branch, ''), CASE WHEN tags <> '' THEN json_extract(tags, '$.branch') END, '')",
    "plan": "plan",
    "refusal": "refusal",
    "rule": "rule",
    "budget": "budget",
    "verdict": "verdict",
    "outcome": "outcome",
    "usage": "usage_source",
}
"""What calls can be grouped by. Quarters of an hour are told apart, because every zone's offset and change falls on one."""

TIMES = frozenset({"day", "hour"})


def _later(column: str) -> str:
    """The sum of a call's corrections. The index is named because the planner prefers one that holds every entry."""
    return (
        f"(SELECT sum({column}) FROM main.entry AS a INDEXED BY entry_adjust"  # noqa: S608 — fixed names
        f" WHERE a.call_id = e.call_id AND a.kind = 'adjust') AS later_{column}"
    )


LATER = ", ".join(_later(column) for column in ("cost_nanousd", "list_cost_nanousd", "exposure_nanousd"))
"""What corrections add to a call, as columns beside those of its entry ``e``."""

_CLOSED = " FROM entry AS e WHERE kind IN ('settle', 'void', 'refuse')"
_IN_TIME = " AND counted_at >= :since AND counted_at < :until"
COST = "coalesce(cost_nanousd + coalesce(later_cost_nanousd, 0), later_cost_nanousd)"
LIST = "coalesce(list_cost_nanousd + coalesce(later_list_cost_nanousd, 0), later_list_cost_nanousd)"
EXPOSURE = "(exposure_nanousd + coalesce(later_exposure_nanousd, 0))"
BILLED = "(kind = 'settle' AND usage_source <> 'deferred')"
_DEFERRED = f"(kind = 'settle' AND usage_source = 'deferred' AND {COST} IS NULL)"

SUMS = {
    "calls": f"(count(*) + coalesce(sum({COUNT_SQL}), 0))",
    "billed_calls": f"sum({BILLED})",
    "refused": f"sum((kind = 'refuse') + {COUNT_SQL})",
    "rewritten": "sum(verdict = 'rewrite')",
    "would_refuse": "sum(would = 'refuse' AND verdict <> 'refuse')",
    "would_rewrite": "sum(would = 'rewrite' AND verdict = 'allow')",
    "failed": "sum(outcome IN ('error', 'cut'))",
    "reported": f"sum({BILLED} AND usage_source = 'reported')",
    "partial": f"sum({BILLED} AND usage_source = 'partial')",
    "counted": f"sum({BILLED} AND usage_source = 'counted')",
    "unmetered": f"sum({BILLED} AND usage_source = 'unmetered' AND outcome <> 'crashed')",
    "crashed": "sum(outcome = 'crashed')",
    "estimated_calls": f"sum({BILLED} AND usage_source IN ('counted', 'partial'))",
    "unpriced_calls": f"sum({BILLED} AND {COST} IS NULL)",
    "unpriced_exposure_nanousd": f"coalesce(sum({EXPOSURE}) FILTER (WHERE {BILLED} AND {COST} IS NULL), 0)",
    "list_cost_nanousd": f"coalesce(sum({LIST}), 0)",
    "cost_nanousd": f"coalesce(sum({COST}), 0)",
    "exposure_nanousd": f"coalesce(sum({EXPOSURE}), 0)",
    "deferred_calls": f"sum({_DEFERRED})",
    "deferred_exposure_nanousd": f"coalesce(sum({EXPOSURE}) FILTER (WHERE {_DEFERRED}), 0)",
    "plan_calls": f"sum({BILLED} AND plan <> '')",
    "declined": "sum(refusal <> '')",
    "list_known": f"count({LIST})",
    "cost_known": f"count({COST})",
}
"""Every sum is a whole number; how many costs are known is counted besides, so that "nothing known" is not 0 dollars."""

FIGURES = (*SUMS, *TOKENS)
"""The names of a row of sums, in its order."""

type Keys = tuple[str, ...]
type Sums = dict[Keys, list[int]]
"""A row of ``FIGURES`` for each combination of keys."""

_PLACES = {name: place for place, name in enumerate(FIGURES)}
_TAKEN = [
    column.name for column in fields(Group) if column.name in SUMS and column.name not in {"list_cost_nanousd", "cost_nanousd"}
]


def calls_sql(where: str = "", *, in_time: bool = True) -> str:
    """The closed calls of ``:since`` to ``:until``, with the sums of their corrections as ``later_…`` columns."""
    return f"SELECT *, {LATER}{_CLOSED}{_IN_TIME if in_time else ''}{where}"


def sums_of(
    connection: sqlite3.Connection, by: Sequence[str], where: str, values: Mapping[str, object], schema: str = "main"
) -> Sums:
    """The sums of the calls in a range, read from the entries themselves. ``schema`` is where the ledger's tables are."""
    keys = "".join(f"{GROUPINGS[name]}, " for name in by)
    numbers = ", ".join(str(position + 1) for position in range(len(by)))
    group_by = f" GROUP BY {numbers}" if by else ""
    calls = calls_sql(where).replace("main.", f"{schema}.")
    width = len(by)
    found: Sums = {}
    for row in connection.execute(f"SELECT {keys}{', '.join(SUMS.values())} FROM ({calls}){group_by}", values):  # noqa: S608
        if row[width]:
            found[row[:width]] = [*row[width:], *([0] * len(TOKENS))]
    tokens = ", ".join(f"sum({name})" for name in TOKENS)
    # The subquery shows no other column of a line, so that a key never means the line's provider or model.
    lines = f"JOIN (SELECT entry_seq, {', '.join(TOKENS)} FROM line) ON entry_seq = seq"  # noqa: S608 — fixed names
    for row in connection.execute(f"SELECT {keys}{tokens} FROM ({calls}) {lines}{group_by}", values):  # noqa: S608
        if row[width] is not None and row[:width] in found:
            found[row[:width]][len(SUMS) :] = row[width:]
    return found


def added(parts: Iterable[Sums]) -> Sums:
    """Parts of one range, added up."""
    total: Sums = {}
    for part in parts:
        for keys, row in part.items():
            have = total.get(keys)
            total[keys] = row if have is None else [one + other for one, other in zip(have, row, strict=True)]
    return total


def group_of(keys: Keys, row: Sequence[int]) -> Group:
    """A row of sums as readers get it: a cost is None where none is known."""
    return Group(
        keys=keys,
        list_cost_nanousd=row[_PLACES["list_cost_nanousd"]] if row[_PLACES["list_known"]] else None,
        cost_nanousd=row[_PLACES["cost_nanousd"]] if row[_PLACES["cost_known"]] else None,
        tokens=Tokens(**{name: row[_PLACES[name]] for name in TOKENS}),
        **{name: row[_PLACES[name]] for name in _TAKEN},
    )


def groups_of(sums: Sums, by: Sequence[str]) -> list[Group]:
    """Groups sorted by their first key when that is a time, else dearest first."""
    groups = [group_of(keys, row) for keys, row in sums.items()]
    if by and by[0] in TIMES:
        return sorted(groups, key=lambda group: (group.keys[0], -group.exposure_nanousd, group.keys))
    return sorted(groups, key=lambda group: (-group.exposure_nanousd, -group.calls, group.keys))


def total_of(sums: Sums) -> Group:
    """All of it together."""
    rows = list(sums.values())
    return group_of((), [sum(column) for column in zip(*rows, strict=True)]) if rows else Group()


def add_zone(connection: sqlite3.Connection, zone: ZoneInfo) -> None:
    """``local_day`` and ``local_hour`` of a quarter of an hour since the epoch; remembered, since rows come in thousands."""
    days: dict[int, str] = {}
    hours: dict[int, str] = {}

    def local_day(quarter: int) -> str:
        found = days.get(quarter)
        if found is None:
            found = days[quarter] = f"{datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone):%Y-%m-%d}"
        return found

    def local_hour(quarter: int) -> str:
        found = hours.get(quarter)
        if found is None:
            found = hours[quarter] = f"{datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone):%Y-%m-%d %H:00}"
        return found

    connection.create_function("local_day", 1, local_day, deterministic=True)
    connection.create_function("local_hour", 1, local_hour, deterministic=True)
