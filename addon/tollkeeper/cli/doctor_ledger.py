"""The doctor's look at the ledger: can the next call be recorded, and is what is recorded whole. Changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

from tollkeeper.core.paths import Home
from tollkeeper.gate.health import Check, State

WHOLE_ENTRIES = 10_000
"""Up to so many entries the whole ledger is checked: a second on a small machine."""
LAST_ENTRIES = 1_000
MEGABYTE = 1_000_000
FAILED_BELOW_BYTES, WARNED_BELOW_BYTES = 4 * MEGABYTE, 64 * MEGABYTE
"""A new ledger with its log takes one megabyte; a log that is not moved into the ledger for a while takes sixteen."""
ANOTHER = "give this user a folder to write to, or choose another with TOLLKEEPER_HOME"


def ledger_check(own: Home, disk: Callable[[Path], os.statvfs_result] = os.statvfs) -> Check:
    """The ledger in the state folder ``own``, or the place where it will be, on the disk of which ``disk`` tells.

    Raises ``LedgerError``.
    """
    if problem := place_problem(own.root, own.ledger):
        return Check("ledger", State.FAILED, problem, ANOTHER)
    free = _free_bytes(disk(_nearest(own.root)))
    if free < FAILED_BELOW_BYTES:
        return Check("ledger", State.FAILED, f"the disk of {own.root} is full: no call can be recorded", "free some space")
    said = _content(own.ledger) if own.ledger.exists() else "empty: nothing was metered yet"
    if free < WARNED_BELOW_BYTES:
        return Check("ledger", State.WARNING, f"{said}; {free / MEGABYTE:.0f} MB are free on its disk", "free some space")
    return Check("ledger", State.OK, said)


def place_problem(root: Path, ledger: Path) -> str:
    """Why nothing could be recorded there; empty when the folder, or one in which it can be made, may be written."""
    place = _nearest(root)
    if not place.is_dir():
        return f"{place} is no folder, so nothing can be recorded there"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written: no call can be recorded"
    if os.path.lexists(ledger) and not os.access(ledger, os.R_OK | os.W_OK):
        return f"{ledger} cannot be written: no call can be recorded"
    return ""


def _content(ledger: Path) -> str:
    from tollkeeper.core.errors import LedgerDamaged
    from tollkeeper.ledger.store import check_quickly, open_reader
    from tollkeeper.ledger.verify import end_problem, verify

    connection = open_reader(ledger)
    try:
        check_quickly(connection, ledger)
        entries = connection.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0]
    finally:
        connection.close()
    is_small = entries <= WHOLE_ENTRIES
    if problem := verify(ledger).problem if is_small else end_problem(ledger, LAST_ENTRIES):
        raise LedgerDamaged(f"{ledger}: {problem}. Keep this file, and compare it with a backup")
    size = f"{ledger.stat().st_size / MEGABYTE:.1f} MB"
    if is_small:
        return f"{ledger} is sound ({entries:,} entries, {size})"
    return f"{ledger} opens, its last {LAST_ENTRIES:,} of {entries:,} entries are sound ({size}); `tollkeeper ledger verify` checks all"


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: a link that leads nowhere is there."""
    whole = folder.absolute()
    return next(place for place in (whole, *whole.parents) if os.path.lexists(place))


def _free_bytes(found: os.statvfs_result) -> int:
    """What this user may still write; 0 where no further file can be made."""
    if found.f_files and not found.f_ffree:
        return 0
    return found.f_frsize * (found.f_bavail if os.geteuid() else found.f_bfree)
