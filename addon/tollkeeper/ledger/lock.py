"""One writer at a time among several processes, and every process gets its turn.

SQLite's own busy handler starves: of 8 processes one wrote 1 row in 4 s (docs/ledger.md). Two file locks make a turnstile: who
waits holds ``next``, so who has just written cannot pass in again before the one who waits.
"""

import fcntl
import os
import time
from pathlib import Path

from tollkeeper.core.errors import LedgerError

WAIT_S = 10.0
_POLL_S = 0.0002


class FileLock:
    """The lock beside a ledger. Not reentrant; one thread uses it."""

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(ledger.name + ".lock")
        self._next = _open_private(self.path)
        self._main = _open_private(ledger.with_name(ledger.name + ".turn"))

    def acquire(self) -> None:
        """Wait for the turn. Raises ``LedgerError`` after 10 s."""
        deadline = 0.0
        for descriptor in (self._next, self._main):
            while not _try(descriptor):
                now = time.monotonic()
                deadline = deadline or now + WAIT_S
                if now > deadline:
                    _release(self._next)
                    raise LedgerError(f"another process has held {self.path} for {WAIT_S:.0f} s; stop it, or try again")
                time.sleep(_POLL_S)
        _release(self._next)

    def acquire_now(self) -> bool:
        """Take the turn if nobody has it and nobody waits for it; False otherwise."""
        if not _try(self._next):
            return False
        free = _try(self._main)
        _release(self._next)
        return free

    def release(self) -> None:
        """Give the turn away."""
        _release(self._main)

    def close(self) -> None:
        """Close the lock files; they stay, since removing a lock file splits it in two."""
        os.close(self._next)
        os.close(self._main)


def _open_private(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)
