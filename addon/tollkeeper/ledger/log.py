"""The write-ahead log of a ledger: made durable apart from the commit, and moved into the database when it is long.

With ``synchronous=NORMAL`` SQLite does not sync the log at a commit; ``sync`` does, before anyone is told of it. That is what
``synchronous=FULL`` does (https://sqlite.org/pragma.html#pragma_synchronous), except that it need not happen in the same thread.
"""

import contextlib
import fcntl
import os
import sqlite3
import sys
import time
from pathlib import Path

CHECKPOINT_COMMITS = 100
"""About 8 MB of log: SQLite's own threshold is 1,000 pages."""
QUICK_SYNC_S = 0.000_6
"""Two threads that hand a wait to each other and back take 0.5 ms at least; a sync of an NVMe disk 0.2 ms, of a Mac's 5 ms and more."""
SYNCS_REMEMBERED = 8
"""The weight of the past in the mean: one slow sync of 5 ms sends the next dozen to the thread."""
RETRY_COMMITS = 80


class Log:
    """The log beside the ledger at ``path``. ``commits`` counts those since the last checkpoint."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path.with_name(path.name + "-wal")
        self._connection = connection
        self._descriptor: int | None = None
        self.commits = 0
        self._sync_s = 1.0

    def sync(self) -> None:
        """Make durable what is committed. Raises ``OSError``."""
        begun = time.perf_counter()
        self._sync_now()
        self._sync_s += (time.perf_counter() - begun - self._sync_s) / SYNCS_REMEMBERED

    @property
    def is_quick(self) -> bool:
        """Whether the disk has lately been so quick that waiting for it costs less than handing the wait to another thread."""
        return self._sync_s < QUICK_SYNC_S

    def _sync_now(self) -> None:
        if self._descriptor is None:
            # SQLite keeps the file while a connection is open, so this is opened once; its name must be durable too.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            _sync(self._descriptor)
            _sync_folder(self._path.parent)
            return
        _sync(self._descriptor)

    @property
    def is_long(self) -> bool:
        """Whether a checkpoint is due."""
        return self.commits >= CHECKPOINT_COMMITS

    def checkpoint(self) -> None:
        """Move the log into the database, as far as no reader needs it. Raises ``sqlite3.Error``."""
        _, length, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # A reader stands in the way: again soon, or a log that meets one each time would only grow.
        self.commits = 0 if moved >= length else RETRY_COMMITS

    def close(self) -> None:
        """Close the file. Nothing may be committed after that."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync leaves the data in the drive's cache there
    else:
        os.fdatasync(descriptor)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
