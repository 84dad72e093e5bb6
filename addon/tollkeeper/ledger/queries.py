"""What readers ask of a ledger: read-only, over one snapshot, never in the road of a call (what a call is: ``grouping``)."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tollkeeper.core.errors import LedgerError

from . import rollup
from .columns import ENTRY, LINE, TOKENS
from .gaps import expired, span, unmetered_gaps, unpriced_gaps
from .grouping import COST, EXPOSURE, GROUPINGS, LATER, LIST, MODEL, TIMES, add_zone, calls_sql, groups_of, total_of
from .plan_windows import read_windows
from .reach import ALWAYS, Reach, has_whole_hours, price_sources
from .repeats import COUNT_SQL
from .rows import CallDetail, CallRow, Gap, Group, Report, Tokens
from .schema import read_as_newest
from .store import open_reader, translate

__all__ = (
    "GROUPINGS",
    "LATER",
    "call_rows",
    "reading",
    "report",
    "reports",
    "seq_before",
    "show",
    "summary",
    "tail",
    "unmetered",
    "unpriced",
)

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
    progress: rollup.Progress | None = None,
) -> Report:
    """Calls, tokens and costs by one or more of ``GROUPINGS``, from ``since`` to before ``until`` (UTC microseconds).

    Days and hours are those of ``zone`` (IANA). ``progress`` is told when a large ledger is summed for the first time. Raises
    ``LedgerError`` for a missing ledger or an unknown grouping.
    """
    return reports(path, (tuple(by),), since=since, until=until, zone=zone, session=session, progress=progress)[0]


def reports(
    path: Path,
    groupings: Sequence[Sequence[str]],
    *,
    since: int | None = None,
    until: int | None = None,
    zone: str = "UTC",
    session: str | None = None,
    progress: rollup.Progress | None = None,
) -> tuple[Report, ...]:
    """``report`` for each of ``groupings``, all of one snapshot: their totals are the same."""
    asked = {name: None for by in groupings for name in by}
    if unknown := [name for name in asked if name not in GROUPINGS]:
        raise LedgerError(f'cannot group by "{unknown[0]}"; known: {", ".join(GROUPINGS)}')
    with _reaching(path, tuple(asked), since, until, zone, session, progress) as reach:
        connection = reach.connection
        first_at, last_at = span(reach)
        open_calls, open_nanousd = connection.execute("SELECT count(*), coalesce(sum(amount), 0) FROM hold").fetchone()
        common = Report(
            by=(),
            since=since,
            until=until,
            zone=zone,
            groups=(),
            total=Group(),
            first_at=first_at,
            last_at=last_at,
            price_sources=price_sources(reach),
            unpriced=unpriced_gaps(reach),
            unmetered=unmetered_gaps(reach),
            open_calls=open_calls,
            open_nanousd=open_nanousd,
            expired_calls=expired(reach),
            plan_windows=read_windows(connection),
            head_seq=rollup.known_until(connection) if reach.rolled else head_of(connection),
        )
        found = []
        for by in groupings:
            sums = reach.sums(by)
            found.append(replace(common, by=tuple(by), groups=tuple(groups_of(sums, by)), total=total_of(sums)))
        return tuple(found)


def head_of(connection: sqlite3.Connection) -> int:
    """The number of the last entry."""
    head: int = connection.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0]
    return head


def summary(path: Path, *, since: int | None = None, session: str | None = None) -> Report:
    """The figures of one run, by model."""
    return report(path, by=("model",), since=since, session=session)


def tail(path: Path, *, last: int = 20, after_seq: int | None = None, denied: bool = False) -> list[CallRow]:
    """The last closed calls, oldest first; with ``after_seq``, up to 1,000 that closed after that entry."""
    only = " AND (verdict = 'refuse' OR would = 'refuse' OR kind = 'refuse')" if denied else ""
    calls = calls_sql(only, in_time=False)
    with reading(path) as connection:
        every = {"since": -(2**63), "until": 2**63 - 1}
        if after_seq is not None:
            return call_rows(connection, f"{calls} AND seq > :after ORDER BY seq LIMIT 1000", {**every, "after": after_seq})
        return call_rows(connection, f"{calls} ORDER BY seq DESC LIMIT :last", {**every, "last": max(0, last)})[::-1]


def seq_before(path: Path, at: int) -> int:
    """The last entry written before the moment ``at`` (UTC microseconds); 0 when there is none."""
    with reading(path) as connection:
        found = connection.execute("SELECT seq FROM entry WHERE at < ? ORDER BY seq DESC LIMIT 1", (at,)).fetchone()
        return int(found[0]) if found else 0


def show(path: Path, name: str) -> CallDetail:
    """Everything of the call whose id is, begins or ends with ``name`` (4 characters or more).

    Raises ``LedgerError`` when there is none, or more than one: then the message names some.
    """
    wanted = name.strip().upper()
    if not wanted.isalnum() or not wanted.isascii() or not 4 <= len(wanted) <= 64:
        raise LedgerError(f'"{name[:64]}" is not a call: give the id, its beginning or its end, 4 characters or more')
    with reading(path) as connection:
        if connection.execute("SELECT 1 FROM entry WHERE call_id = ? LIMIT 1", (wanted,)).fetchone():
            return detail_of(connection, wanted)
        found = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT call_id FROM entry WHERE (call_id >= ? AND call_id < ? || 'z') OR call_id GLOB '*' || ? LIMIT 6",
                (wanted, wanted, wanted),
            )
        ]
        if not found:
            raise LedgerError(f"{path} has no call {wanted}; see `tollkeeper tail`")
        if len(found) > 1:
            raise LedgerError(f"{wanted} fits several calls: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}")
        return detail_of(connection, found[0])


def unpriced(path: Path) -> list[Gap]:
    """What was used and has no price yet, by provider and model, dearest first."""
    with reading(path) as connection:
        return list(unpriced_gaps(Reach(connection)))


def unmetered(path: Path) -> list[Gap]:
    """What went to AI hosts and could not be metered, by provider, host and operation, with the reason."""
    with reading(path) as connection:
        return list(unmetered_gaps(Reach(connection)))


@contextmanager
def reading(path: Path, zone: str = "UTC") -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, in one snapshot, with the days and hours of ``zone`` as SQL. Raises ``LedgerError``."""
    connection = open_reader(path)
    try:
        add_zone(connection, ZoneInfo(zone))
        read_as_newest(connection)
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()


@contextmanager
def _reaching(
    path: Path,
    by: Sequence[str],
    since: int | None,
    until: int | None,
    zone: str,
    session: str | None,
    progress: rollup.Progress | None,
) -> Iterator[Reach]:
    """The entries of a range, with the sums kept beside a large ledger where those can answer."""
    start, end = since or 0, ALWAYS if until is None else until
    with ExitStack() as stack:
        rolled = None
        if session is None and (not TIMES & set(by) or has_whole_hours(zone)):
            rolled = stack.enter_context(rollup.rolled_up(path, progress))
            rolled = rolled if rolled is not None and rollup.can_tell(rolled, by) else None
        if rolled is None:
            where = " AND session = :session" if session is not None else ""
            yield Reach(stack.enter_context(reading(path, zone)), start, end, where, session)
            return
        add_zone(rolled, ZoneInfo(zone))
        try:
            # What was written since the sums were brought up to date is left out everywhere, so that no call is in twice or by half.
            yield Reach(rolled, start, end, f" AND seq <= {rollup.known_until(rolled)}", rolled=True)
        except sqlite3.Error as error:
            raise translate(error, path) from error


def call_rows(connection: sqlite3.Connection, calls: str, values: dict[str, Any]) -> list[CallRow]:
    """Rows for ``calls``, a query over ``entry AS e`` that selects everything and ``LATER``."""
    sums = ", ".join(f"(SELECT coalesce(sum({name}), 0) FROM line WHERE entry_seq = seq)" for name in TOKENS)  # noqa: S608 — fixed names
    rows = connection.execute(
        f"SELECT {', '.join(_PLAIN)}, subject, {MODEL}, streamed, {COUNT_SQL}, {LIST}, {COST}, {EXPOSURE}, {sums} FROM ({calls})",  # noqa: S608
        values,
    )
    found = []
    for row in rows:
        principal, model, streamed, repeats, list_cost, cost, exposure, *tokens = row[len(_PLAIN) :]
        found.append(
            CallRow(
                **dict(zip(_PLAIN, row, strict=False)),
                principal=principal,
                model=model,
                streamed=bool(streamed),
                repeats=repeats,
                list_cost_nanousd=list_cost,
                cost_nanousd=cost,
                exposure_nanousd=exposure,
                tokens=Tokens(**dict(zip(TOKENS, tokens, strict=True))),
            )
        )
    return found


def detail_of(connection: sqlite3.Connection, call_id: str) -> CallDetail:
    """Everything of the call with this id; no entries when there is none."""
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
