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

from .grouping import TIMES
from .rollup_sums import DIMENSIONS, SCHEMA, add_stretch, is_crowded
from .store import BUSY_TIMEOUT_MS, open_reader

logger = logging.getLogger(__name__)

WORTH_IT_ENTRIES = 20_000
"""Below this the entries are summed in a tenth of a second."""
BATCH_ENTRIES = 50_000
LOCK_WAIT_MS = 2_000
VERSION = 2

type Progress = Callable[[int, int], None]
"""Told how many entries have been read, and of how many."""


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
                add_stretch(connection, seq, through)
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


def can_tell(connection: sqlite3.Connection, by: Sequence[str]) -> bool:
    """Whether the sums tell these groupings apart: those of many names are given up where they became too many."""
    return set(by) <= DIMENSIONS.keys() | TIMES or not is_crowded(connection)


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
                for statement in filter(str.strip, SCHEMA.split(";")):
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
