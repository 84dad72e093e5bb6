"""Which conversations a policy has moved, kept beside the ledger: a restart, or another process, goes on with them.

A small file of its own (``ledger.db.pins``): it is no record of money, is never merged or exported, and its rows go after hours. When it
cannot be used nothing fails: the conversations are then known to one process, for as long as it runs.
"""

import contextlib
import logging
import os
import sqlite3
import weakref
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

MAX_ROWS: Final = 10_000
BUSY_MS: Final = 50
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS pin (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, model TEXT NOT NULL,"
    " at INTEGER NOT NULL) STRICT"
)

type Row = tuple[bytes, str, int]
"""Key, model and moment (UTC microseconds)."""


class PinFile:
    """The file of one ledger. For one thread; nothing is raised, and nothing is made before something is kept."""

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.name}.pins")
        self._connection: sqlite3.Connection | None = None
        self._is_given_up = False
        self._version = -1
        self._seen = 0

    def news(self) -> list[Row]:
        """What was kept since the last look, by whichever process, oldest first."""
        if self._is_given_up or (self._connection is None and not self.path.exists()):
            return []
        try:
            connection = self._opened()
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return []
            rows = connection.execute("SELECT id, key, model, at FROM pin WHERE id > ? ORDER BY id", (self._seen,)).fetchall()
        except (OSError, sqlite3.Error) as error:
            return self._give_up(error)
        self._version = version
        self._seen = rows[-1][0] if rows else self._seen
        return [(key, model, at) for _, key, model, at in rows]

    def keep(self, row: Row, since: int) -> None:
        """Keep a row in place of the one with its key; rows from before ``since`` go."""
        if self._is_given_up:
            return
        try:
            connection = self._opened()
            with contextlib.closing(
                connection.execute("INSERT OR REPLACE INTO pin (key, model, at) VALUES (?, ?, ?)", row)
            ) as done:
                last = done.lastrowid or 0
            if last % 64 == 0:
                connection.execute("DELETE FROM pin WHERE at < ? OR id <= ?", (since, last - MAX_ROWS))
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            found = sqlite3.connect(self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
            found.execute("PRAGMA synchronous=OFF")  # what a power cut takes is asked for again, as a fresh conversation
            found.execute(_SCHEMA)
            weakref.finalize(self, found.close)
            self._connection = found
        return self._connection

    def _give_up(self, error: Exception) -> list[Row]:
        if (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_BUSY"):
            return []
        logger.warning(
            "%s cannot be used (%s): moved conversations are remembered by this process only; remove it", self.path, error
        )
        self._is_given_up = True
        self.close()
        return []
