"""Ending a proxy process and waiting for its drain."""

import contextlib
import os
import signal
import time

from tollkeeper.core.errors import GateError
from tollkeeper.core.paths import home

from .process import POLL_SECONDS, read_state

SECONDS = 30.0
KILL_AFTER_SECONDS = 15.0


def stop_process(pid: int, seconds: float = SECONDS) -> None:
    """Ask it to drain, and to leave when that takes longer. Raises ``GateError`` when it does not end, ``PermissionError`` as it is."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + seconds
    asked_again = False
    while read_state() is not None:
        now = time.monotonic()
        if now > deadline + KILL_AFTER_SECONDS:
            raise GateError(f"the sidecar (pid {pid}) does not end; its log is {home().log}")
        if now > deadline and not asked_again:
            asked_again = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # after a SIGTERM it ends it at once
        time.sleep(POLL_SECONDS)
