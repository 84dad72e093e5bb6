"""What readers ask of a ledger: read-only, over one snapshot, never in the road of a call.

A call is its closing entry (settle, void or refuse) plus its corrections (adjust). It belongs to the moment its budgets count it at.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tollkeeper.core.errors import LedgerError

from .columns import ENTRY, LINE, TOKENS
from .rows import CallDetail, CallRow, Gap, Group, Report, Tokens
from .store import open_reader, translate

type Range = tuple[int | None, int | None]

MODEL = "coalesce(nullif(model_billed, ''), nullif(model, ''), model_requested)"

GROUPINGS = {
    "day": "local_day(counted_at / 900000000)",
    "hour": "local_hour(counted_at / 900000000)",
    "model": MODEL,
    "provider": "provider",
    "principal": "subject",
    "project": "project",
    "session": "session",
    "client": "client",
    "operation": "operation",
    "agent": "agent",
}
"""What calls can be grouped by. Quarters of an hour are told apart, because every zone's offset and change falls on one."""


def _later(column: str) -> str:
    """The sum of a call's corrections. The index is named because the planner prefers one that holds every entry."""
    return (
        f"(SELECT sum({column}) FROM entry AS a INDEXED BY entry_adjust"  # noqa: S608 — fixed names
        f" WHERE a.call_id = e.call_id AND a.kind = 'adjust') AS later_{column}"
    )


_CALLS = (
    f"SELECT *, {_later('cost_nanousd')}, {_later('list_cost_nanousd')}, {_later('exposure_nanousd')} FROM entry AS e"  # noqa: S608 — fixed text
    " WHERE kind IN ('settle', 'void', 'refuse') AND counted_at >= :since AND counted_at < :until{where}"
)
_COST = "coalesce(cost_nanousd + coalesce(later_cost_nanousd, 0), later_cost_nanousd)"
_LIST = "coalesce(list_cost_nanousd + coalesce(later_list_cost_nanousd, 0), later_list_cost_nanousd)"
_EXPOSURE = "(exposure_nanousd + coalesce(later_exposure_nanousd, 0))"
_BILLED = "(kind = 'settle')"
_SUMS = f"""
    count(*), sum({_BILLED}), sum(kind = 'refuse'), sum(verdict = 'rewrite'),
    sum(would = 'refuse' AND verdict <> 'refuse'), sum(would = 'rewrite' AND verdict = 'allow'), sum(outcome IN ('error', 'cut')),
    sum({_BILLED} AND usage_source = 'reported'), sum({_BILLED} AND usage_source = 'partial'),
    sum({_BILLED} AND usage_source = 'counted'), sum({_BILLED} AND usage_source = 'unmetered' AND outcome <> 'crashed'),
    sum(outcome = 'crashed'), sum({_BILLED} AND usage_source IN ('counted', 'partial')),
    sum({_BILLED} AND {_COST} IS NULL), coalesce(sum({_EXPOSURE}) FILTER (WHERE {_BILLED} AND {_COST} IS NULL), 0),
    sum({_LIST}), sum({_COST}), coalesce(sum({_EXPOSURE}), 0)"""


_SUM_NAMES = tuple(column.name for column in fields(Group))[1:-1]
"""The names of ``_SUMS``, in its order."""

_WORKED_OUT = {"model", "streamed", "list_cost_nanousd", "cost_nanousd", "exposure_nanousd"}
_PLAIN = tuple(column.name for column in fields(CallRow) if column.name in ENTRY and column.name not in _WORKED_OUT)
"""What a call row takes from the entry as it stands."""


def report(
    path: Path,
    *,
    by: Sequence[str] = ("model",),
    since: int | None = None,
    until: int | None = None,
    zone: str = "UTC",
    session: str | None = None,
) -> Report:
    """Calls, tokens and costs by one or more of ``GROUPINGS``, from ``since`` to before ``until`` (UTC microseconds).

    Days and hours are those of ``zone`` (IANA). Raises ``LedgerError`` for a missing ledger or an unknown grouping.
    """
    if unknown := [name for name in by if name not in GROUPINGS]:
        raise LedgerError(f'cannot group by "{unknown[0]}"; known: {", ".join(GROUPINGS)}')
    with _reading(path, zone) as connection:
        where = " AND session = :session" if session is not None else ""
        values = {"since": since or 0, "until": 2**63 - 1 if until is None else until, "session": session}
        groups = _groups(connection, by, where, values)
        total = _groups(connection, (), where, values)
        first_at, last_at = connection.execute(
            f"SELECT min(counted_at), max(counted_at) FROM ({_CALLS.format(where=where)})",  # noqa: S608 — fixed text
            values,
        ).fetchone()
        open_calls, open_nanousd = connection.execute("SELECT count(*), coalesce(sum(amount), 0) FROM hold").fetchone()
        return Report(
            by=tuple(by),
            since=since,
            until=until,
            zone=zone,
            groups=tuple(groups),
            total=total[0] if total else Group(),
            first_at=first_at,
            last_at=last_at,
            price_sources=_price_sources(connection, where, values),
            unpriced=_unpriced(connection, where, values),
            unmetered=_unmetered(connection, where, values),
            open_calls=open_calls,
            open_nanousd=open_nanousd,
            expired_calls=_expired(connection, where, values),
        )


def summary(path: Path, *, since: int | None = None, session: str | None = None) -> Report:
    """The figures of one run, by model."""
    return report(path, by=("model",), since=since, session=session)


def tail(path: Path, *, last: int = 20, after_seq: int | None = None, denied: bool = False) -> list[CallRow]:
    """The last closed calls, oldest first; with ``after_seq``, up to 1,000 that closed after that entry."""
    only = " AND (verdict = 'refuse' OR would = 'refuse' OR kind = 'refuse')" if denied else ""
    calls = _CALLS.format(where=only)
    with _reading(path) as connection:
        every = {"since": -(2**63), "until": 2**63 - 1}
        if after_seq is not None:
            return _call_rows(connection, f"{calls} AND seq > :after ORDER BY seq LIMIT 1000", {**every, "after": after_seq})
        return _call_rows(connection, f"{calls} ORDER BY seq DESC LIMIT :last", {**every, "last": max(0, last)})[::-1]


def show(path: Path, name: str) -> CallDetail:
    """Everything of the call whose id is, begins or ends with ``name`` (4 characters or more).

    Raises ``LedgerError`` when there is none, or more than one: then the message names some.
    """
    wanted = name.strip().upper()
    if not wanted.isalnum() or not wanted.isascii() or not 4 <= len(wanted) <= 64:
        raise LedgerError(f'"{name[:64]}" is not a call: give the id, its beginning or its end, 4 characters or more')
    with _reading(path) as connection:
        found = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT call_id FROM entry WHERE (call_id >= ? AND call_id < ? || 'z') OR call_id GLOB '*' || ? LIMIT 6",
                (wanted, wanted, wanted),
            )
        ]
        if not found:
            raise LedgerError(f"{path} has no call {wanted}; see `tollkeeper tail`")
        if len(found) > 1 and wanted not in found:
            raise LedgerError(f"{wanted} fits several calls: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}")
        return _detail(connection, wanted if wanted in found else found[0])


def unpriced(path: Path) -> list[Gap]:
    """What was used and has no price yet, by provider and model, dearest first."""
    with _reading(path) as connection:
        return list(_unpriced(connection, "", {"since": -(2**63), "until": 2**63 - 1}))


def unmetered(path: Path) -> list[Gap]:
    """What went to AI hosts and could not be metered, by provider, host and operation, with the reason."""
    with _reading(path) as connection:
        return list(_unmetered(connection, "", {"since": -(2**63), "until": 2**63 - 1}))


@contextmanager
def _reading(path: Path, zone: str = "UTC") -> Iterator[sqlite3.Connection]:
    connection = open_reader(path)
    try:
        _add_zone(connection, ZoneInfo(zone))
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()


def _add_zone(connection: sqlite3.Connection, zone: ZoneInfo) -> None:
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


def _groups(connection: sqlite3.Connection, by: Sequence[str], where: str, values: dict[str, Any]) -> list[Group]:
    """Groups sorted by their first key when that is a time, else dearest first."""
    keys = "".join(f"{GROUPINGS[name]}, " for name in by)
    numbers = ", ".join(str(position + 1) for position in range(len(by)))
    group_by = f" GROUP BY {numbers}" if by else ""
    calls = _CALLS.format(where=where)
    tokens = {
        row[: len(by)]: Tokens(**dict(zip(TOKENS, row[len(by) :], strict=True)))
        for row in connection.execute(
            f"SELECT {keys}{', '.join(f'coalesce(sum({name}), 0)' for name in TOKENS)}"  # noqa: S608 — fixed text
            f" FROM (SELECT e.*, {', '.join(TOKENS)} FROM ({calls}) AS e JOIN (SELECT entry_seq,"
            f" {', '.join(f'sum({name}) AS {name}' for name in TOKENS)} FROM line GROUP BY entry_seq) ON entry_seq = seq){group_by}",
            values,
        )
    }
    found = [
        _group(row[: len(by)], row[len(by) :], tokens.get(row[: len(by)], Tokens()))
        for row in connection.execute(f"SELECT {keys}{_SUMS} FROM ({calls}){group_by}", values)  # noqa: S608 — fixed text
        if row[len(by)]
    ]
    if by and by[0] in {"day", "hour"}:
        return sorted(found, key=lambda group: (group.keys[0], -group.exposure_nanousd, group.keys))
    return sorted(found, key=lambda group: (-group.exposure_nanousd, -group.calls, group.keys))


def _group(keys: tuple[str, ...], sums: Sequence[Any], tokens: Tokens) -> Group:
    return Group(keys=keys, tokens=tokens, **dict(zip(_SUM_NAMES, sums, strict=True)))


def _price_sources(connection: sqlite3.Connection, where: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Which catalogues and overlays the prices came from."""
    found = connection.execute(
        f"SELECT DISTINCT document FROM price WHERE id IN (SELECT price_id FROM line JOIN ({_CALLS.format(where=where)})"  # noqa: S608
        " ON entry_seq = seq)",
        values,
    )
    sources = set()
    for (document,) in found:
        try:
            about = json.loads(document)
        except ValueError:
            continue
        if isinstance(about, dict) and isinstance(about.get("source"), str):
            sources.add(about["source"][:100])
    return tuple(sorted(sources))


def _unpriced(connection: sqlite3.Connection, where: str, values: dict[str, Any]) -> tuple[Gap, ...]:
    """Calls of unknown cost by the lines to blame; calls nobody could read have no lines and are named by their model."""
    calls = f"SELECT * FROM ({_CALLS.format(where=where)}) WHERE {_BILLED} AND {_COST} IS NULL AND unmetered = '' AND outcome <> 'crashed'"  # noqa: S608
    rows = connection.execute(
        "SELECT coalesce(line.provider, e.provider), coalesce(line.model, "  # noqa: S608 — fixed text
        "nullif(e.model_billed, ''), nullif(e.model, ''), e.model_requested), coalesce(line.unpriced, ''),"
        " count(DISTINCT seq), sum(coalesce(line.exposure_nanousd, e.exposure_nanousd)), min(counted_at), max(counted_at)"
        f" FROM ({calls}) AS e LEFT JOIN line ON entry_seq = seq AND line.cost_nanousd IS NULL GROUP BY 1, 2, 3",
        values,
    )
    gaps: dict[tuple[str, str], Gap] = {}
    for provider, model, units, count, exposure, first_at, last_at in rows:
        old = gaps.get((provider, model))
        named = tuple(json.loads(units)) if units else ()
        gaps[provider, model] = Gap(
            provider=provider,
            model=model,
            calls=count + (old.calls if old else 0),
            exposure_nanousd=exposure + (old.exposure_nanousd if old else 0),
            first_at=min(first_at, old.first_at) if old else first_at,
            last_at=max(last_at, old.last_at) if old else last_at,
            units=tuple(dict.fromkeys((*(old.units if old else ()), *named))),
        )
    return tuple(sorted(gaps.values(), key=lambda gap: (-gap.exposure_nanousd, -gap.calls, gap.provider, gap.model)))


def _unmetered(connection: sqlite3.Connection, where: str, values: dict[str, Any]) -> tuple[Gap, ...]:
    rows = connection.execute(
        f"SELECT provider, {MODEL}, host, operation, unmetered, count(*), sum({_EXPOSURE}), min(counted_at), max(counted_at)"  # noqa: S608
        f" FROM ({_CALLS.format(where=where)}) WHERE {_BILLED} AND usage_source = 'unmetered' AND outcome <> 'crashed'"
        " GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 3, 4",
        values,
    )
    return tuple(
        Gap(
            provider=provider,
            model=model,
            host=host,
            operation=operation,
            reason=reason,
            calls=count,
            exposure_nanousd=exposure,
            first_at=first_at,
            last_at=last_at,
        )
        for provider, model, host, operation, reason, count, exposure, first_at, last_at in rows
    )


def _expired(connection: sqlite3.Connection, where: str, values: dict[str, Any]) -> int:
    """Holds that ran out and whose call never came back: nothing is known of their cost."""
    count: int = connection.execute(
        "SELECT count(*) FROM entry AS e WHERE kind = 'expire' AND counted_at >= :since AND counted_at < :until"  # noqa: S608
        f"{where} AND NOT EXISTS (SELECT 1 FROM entry AS s WHERE s.call_id = e.call_id AND s.kind IN ('settle', 'void'))",
        values,
    ).fetchone()[0]
    return count


def _call_rows(connection: sqlite3.Connection, calls: str, values: dict[str, Any]) -> list[CallRow]:
    sums = ", ".join(f"(SELECT coalesce(sum({name}), 0) FROM line WHERE entry_seq = seq)" for name in TOKENS)  # noqa: S608 — fixed names
    rows = connection.execute(
        f"SELECT {', '.join(_PLAIN)}, subject, {MODEL}, streamed, {_LIST}, {_COST}, {_EXPOSURE}, {sums} FROM ({calls})",  # noqa: S608
        values,
    )
    found = []
    for row in rows:
        principal, model, streamed, list_cost, cost, exposure, *tokens = row[len(_PLAIN) :]
        found.append(
            CallRow(
                **dict(zip(_PLAIN, row, strict=False)),
                principal=principal,
                model=model,
                streamed=bool(streamed),
                list_cost_nanousd=list_cost,
                cost_nanousd=cost,
                exposure_nanousd=exposure,
                tokens=Tokens(**dict(zip(TOKENS, tokens, strict=True))),
            )
        )
    return found


def _detail(connection: sqlite3.Connection, call_id: str) -> CallDetail:
    columns = (*ENTRY, "prev", "hash")
    entries = [
        dict(zip(columns, row, strict=True))
        for row in connection.execute(
            f"SELECT {', '.join(columns)} FROM entry WHERE call_id = ? ORDER BY seq",  # noqa: S608 — fixed names
            (call_id,),
        )
    ]
    lines = {
        entry["seq"]: tuple(
            dict(zip(LINE, row, strict=True))
            for row in connection.execute(
                f"SELECT {', '.join(LINE)} FROM line WHERE entry_seq = ? ORDER BY position",  # noqa: S608 — fixed names
                (entry["seq"],),
            )
        )
        for entry in entries
    }
    used = {line["price_id"] for group in lines.values() for line in group if line["price_id"]}
    prices = {
        price_id: json.loads(connection.execute("SELECT document FROM price WHERE id = ?", (price_id,)).fetchone()[0])
        for price_id in sorted(used)
    }
    return CallDetail(call_id=call_id, entries=tuple(entries), lines=lines, prices=prices)
