"""Holds that nobody will settle: their process died, or they were not renewed in time."""

import logging

from tollkeeper.core.charge import CostSource
from tollkeeper.core.entry import Kind, Outcome
from tollkeeper.core.usage import UsageSource

from .journal import Journal
from .process import is_dead

logger = logging.getLogger(__name__)

SWEEP_EVERY_US = 10 * 1_000_000
PRUNE_EVERY_US = 3600 * 1_000_000


def settle_dead(journal: Journal) -> int:
    """Settle the open holds of dead processes at the amount held: the money may be spent. Returns how many.

    A process in another container cannot be looked up; its holds count as dead when they have not been renewed in time.
    """
    found = 0
    states: dict[str, bool | None] = {}
    for call_id, process, amount, expires_at in journal.open_holds():
        if process == journal.process:
            continue
        if process not in states:
            states[process] = is_dead(process)
        if states[process] or (states[process] is None and expires_at <= journal.at):
            journal.close_hold(
                call_id,
                Kind.SETTLE,
                {
                    "outcome": Outcome.CRASHED.value,
                    "usage_source": UsageSource.UNMETERED.value,
                    "cost_source": CostSource.CEILING.value,
                    "exposure_nanousd": amount,
                    "flags": '["crashed"]',
                },
            )
            found += 1
    if found:
        logger.warning("ledger: %d calls were cut off by a crash; each counts at the amount held for it", found)
    return found


def expire(journal: Journal) -> int:
    """Release this process's holds that were not renewed in time. Returns how many. A late settlement still posts in full."""
    found = 0
    for call_id, process, _, expires_at in journal.open_holds():
        if process == journal.process and expires_at <= journal.at:
            journal.close_hold(call_id, Kind.EXPIRE, {"exposure_nanousd": 0, "flags": '["expired"]'})
            found += 1
    return found


class Housekeeping:
    """What is done now and then, inside a transaction that runs anyway or when nothing happens."""

    def __init__(self) -> None:
        self._swept_at = 0
        self._pruned_at = 0

    def __call__(self, journal: Journal) -> None:
        """Expire, recover, prune: each when it is due by the ledger's clock."""
        if journal.at - self._swept_at >= SWEEP_EVERY_US:
            self._swept_at = journal.at
            expire(journal)
            settle_dead(journal)
            journal.write_repeats()
        if journal.at - self._pruned_at >= PRUNE_EVERY_US:
            self._pruned_at = journal.at
            journal.flush()
            journal.windows.prune(journal.at)
            journal.windows.load(journal.at)
