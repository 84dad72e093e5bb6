"""Opening the file: modes, pragmas, the version gate. Everything that must hold for every connection stands here."""

import errno
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tollkeeper.core.errors import LedgerDamaged, LedgerError

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
QUICK_CHECK_MAX_BYTES = 256 * 1024 * 1024
"""Larger ledgers are checked by ``tollkeeper ledger verify`` only: 256 MB take about a second."""

# The log is synced by ``log.Log`` before anything is acknowledged, and moved into the database where nobody waits for it.
_WRITER = f"""
PRAGMA page_size=8192;
PRAGMA busy_timeout={BUSY_TIMEOUT_MS};
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
PRAGMA wal_autocheckpoint=0;
PRAGMA journal_size_limit=16777216;
PRAGMA fullfsync=1;
PRAGMA foreign_keys=ON;
PRAGMA recursive_triggers=ON;
PRAGMA trusted_schema=OFF;
PRAGMA cell_size_check=ON;
PRAGMA temp_store=MEMORY;
"""


_BEGUN = frozenset({"_sqlite_migrations", "sqlite_sequence"})
"""What a ledger has that was being made when its process died."""
_OURS = frozenset({"seq", "call_id", "prev", "hash"})
"""Columns of ``entry`` since the first schema."""


def is_safe_for_many(version: tuple[int, ...]) -> bool:
    """Whether this SQLite may have several writing processes on one WAL file.

    Older ones can lose a WAL reset race (https://sqlite.org/wal.html#walresetbug); fixed in 3.51.3, 3.50.7 and 3.44.6.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that may write, made for one thread at a time. The file and its folder are made, private to the user.

    Raises ``LedgerError`` when it cannot be opened, ``LedgerDamaged`` when it is not a database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives the WAL the mode of the file, so the file must be private before the first connection.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
        connection.executescript(_WRITER)
    except (OSError, sqlite3.Error) as error:
        raise translate(error, path) from error
    return connection


def check_is_ours(path: Path) -> None:
    """Before a file is changed in any way: is it a ledger, or nothing yet? Raises ``LedgerError``; ``LedgerDamaged`` for no database.

    What cannot be looked at now (locked, not readable) is left to whoever opens it next: no other table comes into a ledger meanwhile.
    """
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)
        ) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('entry')")}
    except sqlite3.Error as error:
        if isinstance(problem := translate(error, path), LedgerDamaged):
            raise problem from error
        return
    if not tables <= _BEGUN and not columns >= _OURS:
        named = ", ".join(sorted(tables)[:3])
        raise LedgerError(
            f"{path} is another program's database (it has the tables {named[:120]}) and stays as it is; name a ledger, or a file that is"
            " not there yet"
        )


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises ``LedgerError`` when there is no ledger or it cannot be read."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.executescript(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}; PRAGMA trusted_schema=OFF; PRAGMA query_only=ON;")
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'entry'").fetchone()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    if known is None:
        connection.close()
        raise LedgerError(f"{path} is not a ledger: it has no entries table; name the right file (--ledger FILE)")
    return connection


def check_quickly(connection: sqlite3.Connection, path: Path) -> None:
    """After a crash: look for damage, within a second. Raises ``LedgerDamaged``."""
    if path.stat().st_size > QUICK_CHECK_MAX_BYTES:
        return
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise LedgerDamaged(f"{path} is damaged: {answer}; keep a copy, then start with another TOLLKEEPER_HOME")


def warn_of_version(path: Path) -> None:
    """Note that this SQLite is too old for several processes: nothing a user must act on, since ours take turns."""
    if not is_safe_for_many(sqlite3.sqlite_version_info):
        logger.debug(
            "SQLite %s can lose a race when several processes write %s; Tollkeeper lets them take turns. Fixed in SQLite 3.51.3.",
            sqlite3.sqlite_version,
            path.name,
        )


def translate(error: Exception, path: Path | str) -> LedgerError:
    """Our error for one of SQLite's or the system's: what happened, the file, what to do."""
    if isinstance(error, LedgerError):
        return error
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return LedgerDamaged(f"{path} is damaged ({error}); keep a copy, then start with another TOLLKEEPER_HOME")
    if code.startswith("SQLITE_FULL"):
        return LedgerError(f"no room to write {path} (disk full); free some space: nothing recorded so far is lost")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerError(f"{path} is locked by another program; close it and try again")
    if code.startswith("SQLITE_CANTOPEN"):
        return LedgerError(f"there is no ledger at {path}, or it cannot be opened")
    if code.startswith("SQLITE_READONLY") or isinstance(error, PermissionError) or getattr(error, "errno", 0) == errno.EROFS:
        return LedgerError(
            f"the ledger {path} cannot be written ({error}); give this user the file, its folder and a disk to write to"
        )
    return LedgerError(f"ledger {path}: {type(error).__name__}: {error}")
