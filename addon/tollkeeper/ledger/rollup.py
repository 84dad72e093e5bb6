"""Sums of a large ledger kept beside it, so that a report over a million calls reads thousands of rows.

The file ``ledger.db.rollup`` is a cache that readers make, bring up to date and may remove: every row of it is derived from entries up
to a known place in the chain. What it cannot answer (sessions, tags, the ragged ends of a range) is read from the entries.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import grouping
from .columns import TOKENS
from .glance import SESSION_SUMS
from .grouping import FIGURES, GROUPINGS, MODEL, SUMS, Sums
from .store import BUSY_TIMEOUT_MS, open_reader

logger = logging.getLogger(__name__)

WORTH_IT_ENTRIES = 20_000
"""Below this the entries are summed in a tenth of a second."""
BATCH_ENTRIES = 50_000
LOCK_WAIT_MS = 2_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
VERSION = 1

DIMENSIONS = {
    "principal": "subject",
    "team": GROUPINGS["team"],
    "model": MODEL,
    "provider": "provider",
    "project": "project",
    "client": "client",
    "operation": "operation",
    "plan": "plan",
    "account": "account",
    "initiator": "initiator",
    "agent-class": "agent_class",
    "refusal": "refusal",
}
"""What the cache tells apart: names of which there are few. Sessions and the like are as many as calls."""

_NAMES = [name.replace("-", "_") for name in DIMENSIONS]
_WHERE = "seq > :after AND seq <= :through"
_CALLED = (
    "call_id IN (SELECT call_id FROM ledger.entry WHERE kind = 'adjust' AND seq > :after AND seq <= :through) AND seq <= :after"
)

type Progress = Callable[[int, int], None]
"""Told how many entries have been read, and of how many."""

_FIGURE_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in FIGURES)
_NAME_COLUMNS = ", ".join(f"{name} TEXT NOT NULL" for name in _NAMES)
_SUMMED = (
    f"(at INTEGER NOT NULL, dimension INTEGER NOT NULL, {_FIGURE_COLUMNS}, PRIMARY KEY (at, dimension)) STRICT, WITHOUT ROWID"
)
_SCHEMA = f"""
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE dimension (id INTEGER PRIMARY KEY, {_NAME_COLUMNS}, UNIQUE ({", ".join(_NAMES)})) STRICT;
CREATE TABLE by_hour {_SUMMED};
CREATE TABLE by_day {_SUMMED};
CREATE TABLE price_used (at INTEGER NOT NULL, price_id TEXT NOT NULL, PRIMARY KEY (at, price_id)) STRICT, WITHOUT ROWID;
CREATE TABLE odd (seq INTEGER PRIMARY KEY, counted_at INTEGER NOT NULL) STRICT;
CREATE INDEX odd_at ON odd (counted_at);
CREATE TABLE session (
    id TEXT PRIMARY KEY, cost_nanousd INTEGER NOT NULL, calls INTEGER NOT NULL, unknown INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
"""``odd`` names the entries that gaps are looked for among: closed at an unknown cost, not metered, or expired."""


def rollup_path(path: Path) -> Path:
    """Where the cache of a ledger is."""
    return path.with_name(f"{path.name}.rollup")


@contextmanager
def rolled_up(path: Path, progress: Progress | None = None) -> Iterator[sqlite3.Connection | None]:
    """A connection with the ledger attached as ``ledger`` and its sums up to date, in one snapshot; None where that is not worth it.

    None also when the cache cannot be written: everything can be read from the entries.
    """
    connection = None
    try:
        if _is_worth_it(path):
            connection = _open(path, progress)
    except (sqlite3.Error, OSError) as error:
        logger.debug("the sums beside %s cannot be used: %s", path.name, error)
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def bring_up_to_date(connection: sqlite3.Connection, progress: Progress | None = None, most: int | None = None) -> None:
    """Add what the ledger has since; at most about ``most`` entries. Raises ``sqlite3.Error``."""
    head = connection.execute("SELECT max(seq) FROM ledger.entry").fetchone()[0] or 0
    seq = _checked_state(connection)
    start, end = seq, head if most is None else min(head, seq + most)
    while seq < end:
        through = min(seq + BATCH_ENTRIES, end)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _checked_state(connection) == seq:
                _add(connection, seq, through)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        seq = _checked_state(connection)
        if progress is not None and end - start > BATCH_ENTRIES:
            progress(min(seq, end) - start, end - start)


def known_until(connection: sqlite3.Connection) -> int:
    """The last entry that is in the sums."""
    return _checked_state(connection)


def sums_by_hours(connection: sqlite3.Connection, by: Sequence[str], start: int, end: int) -> Sums:
    """The sums of whole hours since the epoch, from ``start`` to before ``end``; keys may be days and hours."""
    whole = [name for name in by if name not in grouping.TIMES]
    if len(whole) < len(by):
        return _sums(connection, "by_hour", by, start, end)
    first_day, last_day = -(-start // 24), end // 24
    if first_day >= last_day:
        return _sums(connection, "by_hour", by, start, end)
    return grouping.added(
        (
            _sums(connection, "by_hour", by, start, first_day * 24),
            _sums(connection, "by_day", by, first_day, last_day),
            _sums(connection, "by_hour", by, last_day * 24, end),
        )
    )


def _is_worth_it(path: Path) -> bool:
    reader = open_reader(path)
    try:
        entries = reader.execute("SELECT max(seq) FROM entry").fetchone()[0] or 0
        if entries < WORTH_IT_ENTRIES:
            return False
        # A ledger of an older form lacks columns until something writes to it; readers of entries make up for them, sums do not.
        return reader.execute("SELECT 1 FROM pragma_table_info('entry') WHERE name = 'refusal'").fetchone() is not None
    finally:
        reader.close()


def _open(path: Path, progress: Progress | None) -> sqlite3.Connection:
    """The cache, made anew when it is damaged, of another version or of another ledger."""
    cache = rollup_path(path)
    for attempt in (1, 2):
        connection = None
        try:
            connection = _attached(cache, path)
            if not _is_ours(connection):
                raise sqlite3.DatabaseError("not of this ledger")
            bring_up_to_date(connection, progress)
            connection.execute("BEGIN")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            # "Operational" is a lock, a full disk, no permission: another cache would not help.
            if attempt == 2 or isinstance(error, sqlite3.OperationalError):
                raise
            for name in (cache.name, f"{cache.name}-wal", f"{cache.name}-shm"):
                cache.with_name(name).unlink(missing_ok=True)
        else:
            return connection
    raise AssertionError("unreachable")


def _attached(cache: Path, path: Path) -> sqlite3.Connection:
    os.close(os.open(cache, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # private before SQLite makes its log like it
    connection = sqlite3.connect(f"{cache.absolute().as_uri()}", uri=True, timeout=LOCK_WAIT_MS / 1000, isolation_level=None)
    try:
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;"
        )
        connection.execute("ATTACH ? AS ledger", (f"{path.absolute().as_uri()}?mode=ro",))
        connection.execute(f"PRAGMA busy_timeout={min(LOCK_WAIT_MS, BUSY_TIMEOUT_MS)}")
        if not connection.execute("SELECT 1 FROM main.sqlite_schema WHERE name = 'state'").fetchone():
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM main.sqlite_schema WHERE name = 'state'").fetchone():
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute("INSERT INTO state VALUES (1, ?, 0, x'')", (VERSION,))
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the cache was made by this code, and its last entry is still in the ledger's chain."""
    version, seq, digest = connection.execute("SELECT version, seq, hash FROM state").fetchone()
    if version != VERSION:
        return False
    if seq == 0:
        return True
    found = connection.execute("SELECT hash FROM ledger.entry WHERE seq = ?", (seq,)).fetchone()
    return found is not None and found[0] == digest


def _checked_state(connection: sqlite3.Connection) -> int:
    seq: int = connection.execute("SELECT seq FROM state").fetchone()[0]
    return seq


def _add(connection: sqlite3.Connection, after: int, through: int) -> None:
    """The entries of a stretch of the chain, in one transaction."""
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
    dimensions = ", ".join(f"{sql} AS {name}" for sql, name in zip(DIMENSIONS.values(), _NAMES, strict=True))
    names = ", ".join(_NAMES)
    places = ", ".join(str(place + 1) for place in range(len(_NAMES) + 1))
    tokens = ", ".join(f"(SELECT coalesce(sum({name}), 0) FROM ledger.line WHERE entry_seq = seq) AS t_{name}" for name in TOKENS)  # noqa: S608
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SUMS.items())
    sums += "".join(f", sum(t_{name}) AS {name}" for name in TOKENS)
    connection.execute("DROP TABLE IF EXISTS temp.delta")
    connection.execute(
        f"CREATE TEMP TABLE delta AS SELECT counted_at / {HOUR_US} AS hour, {dimensions}, {sums}"  # noqa: S608 — fixed text
        f" FROM (SELECT *, {tokens} FROM ({calls})) GROUP BY {places}",
        values,
    )
    connection.execute(f"INSERT OR IGNORE INTO dimension ({names}) SELECT DISTINCT {names} FROM delta")  # noqa: S608
    signed = ", ".join(f"{sign} * sum(delta.{name})" for name in FIGURES)
    grown = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES)
    for table, at in (("by_hour", "hour"), ("by_day", "hour / 24")):
        connection.execute(
            f"INSERT INTO {table} SELECT {at}, dimension.id, {signed} FROM delta"  # noqa: S608
            f" JOIN dimension USING ({names}) GROUP BY 1, 2 ON CONFLICT (at, dimension) DO UPDATE SET {grown}"
        )
    connection.execute("DROP TABLE temp.delta")


def _sums(connection: sqlite3.Connection, table: str, by: Sequence[str], start: int, end: int) -> Sums:
    if start >= end:
        return {}
    keys = [f"local_{name}(at * 4)" if name in grouping.TIMES else name.replace("-", "_") for name in by]
    width = len(by)
    sums = ", ".join(f"sum({name})" for name in FIGURES)
    inner_keys = [key for name, key in zip(by, keys, strict=True) if name in grouping.TIMES]
    inner = "".join(f"{key} AS t{place}, " for place, key in enumerate(inner_keys))
    grouped = ", ".join(str(place + 1) for place in range(len(inner_keys) + 1))
    named = ", ".join(f"sum({name}) AS {name}" for name in FIGURES)
    # Summed by the number of the dimension first: names are looked up once for each, not once for each hour.
    narrow = f"SELECT {inner}dimension, {named} FROM {table} WHERE at >= :start AND at < :end GROUP BY {grouped}"  # noqa: S608
    times = iter(range(len(inner_keys)))
    outer = [f"t{next(times)}" if name in grouping.TIMES else key for name, key in zip(by, keys, strict=True)]
    group_by = f" GROUP BY {', '.join(str(place + 1) for place in range(width))}" if width else ""
    rows = connection.execute(
        f"SELECT {''.join(f'{key}, ' for key in outer)}{sums} FROM ({narrow}) JOIN dimension ON id = dimension{group_by}",  # noqa: S608
        {"start": start, "end": end},
    )
    return {row[:width]: list(row[width:]) for row in rows if row[width]}
