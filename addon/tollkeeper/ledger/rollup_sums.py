"""The rows of ``rollup``: sums by hour and by day, for names of which there are few, and again for those of which there are many.

``by_hour`` and ``by_day`` tell few names apart (person, model, project) and stay small. ``by_hour_fine`` and ``by_day_fine`` tell
everything apart (session, agent, tags, outcome), a row for each ``thing``: at most one for each call, and given up when they are too many.
"""

import sqlite3
from collections.abc import Sequence

from . import grouping
from .columns import TOKENS
from .glance import SESSION_SUMS
from .grouping import FIGURES, GROUPINGS, SUMS, Sums

HOUR_US = 3_600_000_000
MAX_THINGS = 500_000
"""Of more, sums would take as long as entries, and as much room."""

DIMENSIONS = {
    name: GROUPINGS[name]
    for name in (
        "principal", "team", "model", "provider", "project", "client", "operation", "plan", "account", "initiator", "agent-class",
        "refusal",
    )
}  # fmt: skip
"""Names of which there are few."""

FINE = {name: sql for name, sql in GROUPINGS.items() if name not in DIMENSIONS and name not in grouping.TIMES}
"""Names of which there may be as many as calls, and those that would multiply the few."""

_NAMES = [name.replace("-", "_") for name in DIMENSIONS]
_FINE_NAMES = [name.replace("-", "_") for name in FINE]
_WHERE = "seq > :after AND seq <= :through"
_CALLED = (
    "call_id IN (SELECT call_id FROM ledger.entry WHERE kind = 'adjust' AND seq > :after AND seq <= :through) AND seq <= :after"
)
_FIGURE_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in FIGURES)


def _text_columns(names: Sequence[str]) -> str:
    return ", ".join(f"{name} TEXT NOT NULL" for name in names)


def _summed(key: str) -> str:
    return f"(at INTEGER NOT NULL, {key} INTEGER NOT NULL, {_FIGURE_COLUMNS}, PRIMARY KEY (at, {key})) STRICT, WITHOUT ROWID"


SCHEMA = f"""
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE dimension (id INTEGER PRIMARY KEY, {_text_columns(_NAMES)}, UNIQUE ({", ".join(_NAMES)})) STRICT;
CREATE TABLE by_hour {_summed("dimension")};
CREATE TABLE by_day {_summed("dimension")};
CREATE TABLE thing (
    id INTEGER PRIMARY KEY, dimension INTEGER NOT NULL, {_text_columns(_FINE_NAMES)}, UNIQUE ({", ".join(_FINE_NAMES)}, dimension)
) STRICT;
CREATE TABLE by_hour_fine {_summed("thing")};
CREATE TABLE by_day_fine {_summed("thing")};
CREATE TABLE crowded (things INTEGER NOT NULL) STRICT;
CREATE TABLE price_used (at INTEGER NOT NULL, price_id TEXT NOT NULL, PRIMARY KEY (at, price_id)) STRICT, WITHOUT ROWID;
CREATE TABLE odd (seq INTEGER PRIMARY KEY, counted_at INTEGER NOT NULL) STRICT;
CREATE INDEX odd_at ON odd (counted_at);
CREATE TABLE session (
    id TEXT PRIMARY KEY, cost_nanousd INTEGER NOT NULL, calls INTEGER NOT NULL, unknown INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
"""``odd`` names the entries that gaps are looked for among: closed at an unknown cost, not metered, or expired. ``crowded`` has a row
when there are too many things to sum them."""


def is_crowded(connection: sqlite3.Connection) -> bool:
    """Whether the fine sums were given up."""
    return connection.execute("SELECT 1 FROM crowded").fetchone() is not None


def sums_by_hours(connection: sqlite3.Connection, by: Sequence[str], start: int, end: int) -> Sums:
    """The sums of whole hours since the epoch, from ``start`` to before ``end``; keys may be days and hours."""
    fine = "" if all(name in DIMENSIONS or name in grouping.TIMES for name in by) else "_fine"
    first_day, last_day = -(-start // 24), end // 24
    if grouping.TIMES & set(by) or first_day >= last_day:
        return _sums(connection, f"by_hour{fine}", by, start, end)
    return grouping.added(
        (
            _sums(connection, f"by_hour{fine}", by, start, first_day * 24),
            _sums(connection, f"by_day{fine}", by, first_day, last_day),
            _sums(connection, f"by_hour{fine}", by, last_day * 24, end),
        )
    )


def add_stretch(connection: sqlite3.Connection, after: int, through: int) -> None:
    """Add the entries of a stretch of the chain; call it in a transaction. Raises ``sqlite3.Error``."""
    values = {"after": after, "through": through}
    _count(connection, _WHERE, values, sign=1, corrected="AND a.seq <= :through")
    if connection.execute(
        "SELECT 1 FROM ledger.entry WHERE kind = 'adjust' AND seq > :after AND seq <= :through LIMIT 1", values
    ).fetchone():
        # A correction of a call that is in already: what it counted as comes out, what it counts as now goes in.
        _count(connection, _CALLED, values, sign=-1, corrected="AND a.seq <= :after")
        _count(connection, _CALLED, values, sign=1, corrected="AND a.seq <= :through")
    connection.execute(
        "INSERT OR IGNORE INTO odd SELECT seq, counted_at FROM ledger.entry"  # noqa: S608 — fixed text
        f" WHERE {_WHERE} AND (kind = 'expire' OR (kind = 'settle' AND (cost_nanousd IS NULL OR usage_source = 'unmetered')))",
        values,
    )
    connection.execute(
        "INSERT OR IGNORE INTO price_used SELECT DISTINCT counted_at / 3600000000, price_id FROM ledger.line"
        " JOIN (SELECT seq, counted_at FROM ledger.entry WHERE seq > :after AND seq <= :through AND kind <> 'adjust') ON seq = entry_seq"
        " WHERE entry_seq > :after AND entry_seq <= :through AND price_id IS NOT NULL",
        values,
    )
    connection.execute(
        f"INSERT INTO session SELECT client_session, {SESSION_SUMS} FROM ledger.entry"  # noqa: S608 — fixed text
        f" WHERE {_WHERE} AND client_session <> '' AND kind IN ('settle', 'adjust') GROUP BY 1 ON CONFLICT (id) DO UPDATE SET"
        " cost_nanousd = cost_nanousd + excluded.cost_nanousd, calls = calls + excluded.calls, unknown = unknown + excluded.unknown",
        values,
    )
    digest = connection.execute("SELECT hash FROM ledger.entry WHERE seq = ?", (through,)).fetchone()
    if digest is None:
        raise sqlite3.DatabaseError("the chain has a hole")
    connection.execute("UPDATE state SET seq = ?, hash = ?", (through, digest[0]))


def _count(connection: sqlite3.Connection, which: str, values: dict[str, int], *, sign: int, corrected: str) -> None:
    """Add the sums of some calls to the tables, or take them out again."""
    calls = grouping.calls_sql(f" AND {which}", in_time=False).replace("main.entry", "ledger.entry")
    calls = calls.replace("a.kind = 'adjust'", f"a.kind = 'adjust' {corrected}").replace("FROM entry", "FROM ledger.entry")
    fine = not is_crowded(connection)
    told = {**DIMENSIONS, **(FINE if fine else {})}
    keys = ", ".join(f"{sql} AS {name.replace('-', '_')}" for name, sql in told.items())
    places = ", ".join(str(place + 1) for place in range(len(told) + 1))
    tokens = ", ".join(f"(SELECT coalesce(sum({name}), 0) FROM ledger.line WHERE entry_seq = seq) AS t_{name}" for name in TOKENS)  # noqa: S608
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SUMS.items())
    sums += "".join(f", sum(t_{name}) AS {name}" for name in TOKENS)
    connection.execute("DROP TABLE IF EXISTS temp.delta")
    connection.execute(
        f"CREATE TEMP TABLE delta AS SELECT counted_at / {HOUR_US} AS hour, {keys}, {sums}"  # noqa: S608 — fixed text
        f" FROM (SELECT *, {tokens} FROM ({calls})) GROUP BY {places}",
        values,
    )
    names = ", ".join(_NAMES)
    connection.execute(f"INSERT OR IGNORE INTO dimension ({names}) SELECT DISTINCT {names} FROM delta")  # noqa: S608
    _grow(connection, ("by_hour", "by_day"), "dimension", f"delta JOIN dimension USING ({names})", sign)
    if fine:
        _count_fine(connection, names, sign)
    connection.execute("DROP TABLE temp.delta")


def _count_fine(connection: sqlite3.Connection, names: str, sign: int) -> None:
    fine = ", ".join(_FINE_NAMES)
    connection.execute(
        f"INSERT OR IGNORE INTO thing (dimension, {fine}) SELECT DISTINCT dimension.id, {fine} FROM delta JOIN dimension USING ({names})"  # noqa: S608
    )
    things = connection.execute("SELECT count(*) FROM thing").fetchone()[0]
    if things > MAX_THINGS:
        connection.execute("INSERT INTO crowded VALUES (?)", (things,))
        for table in ("by_hour_fine", "by_day_fine", "thing"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        return
    same = " AND ".join(f"thing.{name} = delta.{name}" for name in _FINE_NAMES)
    source = f"delta JOIN dimension USING ({names}) JOIN thing ON thing.dimension = dimension.id AND {same}"
    _grow(connection, ("by_hour_fine", "by_day_fine"), "thing", source, sign)


def _grow(connection: sqlite3.Connection, tables: tuple[str, str], key: str, source: str, sign: int) -> None:
    signed = ", ".join(f"{sign} * sum(delta.{name})" for name in FIGURES)
    grown = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES)
    for table, at in zip(tables, ("hour", "hour / 24"), strict=True):
        connection.execute(
            f"INSERT INTO {table} SELECT {at}, {key}.id, {signed} FROM {source}"  # noqa: S608
            f" GROUP BY 1, 2 ON CONFLICT (at, {key}) DO UPDATE SET {grown}"
        )


def _sums(connection: sqlite3.Connection, table: str, by: Sequence[str], start: int, end: int) -> Sums:
    if start >= end:
        return {}
    keys = [f"local_{name}(at * 4)" if name in grouping.TIMES else name.replace("-", "_") for name in by]
    width, within = len(by), f"FROM {table} WHERE at >= :start AND at < :end"
    group_by = f" GROUP BY {', '.join(str(place + 1) for place in range(width))}" if width else ""
    if table.endswith("_fine"):
        # Each thing has but a few rows: summing those first would only sort them twice (1.5 s per million calls instead of 0.7).
        source = f"(SELECT * {within}) AS part JOIN thing ON thing.id = thing JOIN dimension ON dimension.id = thing.dimension"
    else:
        # Summed by the number of the dimension first: names are looked up once for each, not once for each hour.
        times = [one for name, one in zip(by, keys, strict=True) if name in grouping.TIMES]
        inner = "".join(f"{one} AS t{place}, " for place, one in enumerate(times))
        grouped = ", ".join(str(place + 1) for place in range(len(times) + 1))
        named = ", ".join(f"sum({name}) AS {name}" for name in FIGURES)
        narrow = f"SELECT {inner}dimension AS of, {named} {within} GROUP BY {grouped}"
        source = f"({narrow}) AS part JOIN dimension ON dimension.id = part.of"
        numbers = iter(range(len(times)))
        keys = [f"t{next(numbers)}" if name in grouping.TIMES else one for name, one in zip(by, keys, strict=True)]
    sums = ", ".join(f"sum(part.{name})" for name in FIGURES)
    rows = connection.execute(
        f"SELECT {''.join(f'{one}, ' for one in keys)}{sums} FROM {source}{group_by}",  # noqa: S608 — fixed text
        {"start": start, "end": end},
    )
    return {row[:width]: list(row[width:]) for row in rows if row[width]}
