"""When to wait a moment for company: a commit costs the same for one job as for twenty.

PostgreSQL calls it ``commit_delay``. Alone, a hold and its settlement cost 350 to 1,000 µs of CPU; in batches of eight 220 µs, in
batches of thirty 140 µs (docs/benchmarks.md). So a busy ledger waits up to 3 ms before each batch, and an idle one not at all.
"""

import math

WINDOW_S = 0.1
"""The memory of the rate: after a lull this long, two thirds of a burst are forgotten."""
BUSY_JOBS_PER_S = 400.0
LINGER_S = 0.003
LONELY_JOBS_PER_S = 150.0
"""At 0.2 ms a sync the loop stands still for 3 % of the time at most."""
LINGER_S_PER_CALL = 0.000_25
"""A few calls keep the loop busy for a short time only: a longer wait than that would be idle."""
CROWD = 4
"""Calls under way, as PostgreSQL's ``commit_siblings``: fewer would wait for nobody."""


class Pace:
    """The rate of jobs, as an exponential window over the recent past. Times are seconds of any steady clock."""

    __slots__ = ("_jobs_per_s", "_seen_s")

    def __init__(self) -> None:
        self._jobs_per_s = 0.0
        self._seen_s = 0.0

    def note(self, jobs: int, now_s: float) -> None:
        """So many jobs were done by now."""
        self._jobs_per_s = self._rate(now_s) + jobs / WINDOW_S
        self._seen_s = now_s

    def linger_s(self, now_s: float, open_calls: int) -> float:
        """How long to wait for more before the next batch: a rate alone does not tell a crowd from one caller in a hurry."""
        crowded = open_calls >= CROWD and self._rate(now_s) > BUSY_JOBS_PER_S
        return min(LINGER_S, open_calls * LINGER_S_PER_CALL) if crowded else 0.0

    def is_alone(self, now_s: float) -> bool:
        """Whether so little is going on that the event loop may wait for a quick disk itself."""
        return self._rate(now_s) < LONELY_JOBS_PER_S

    def _rate(self, now_s: float) -> float:
        return self._jobs_per_s * math.exp(-max(0.0, now_s - self._seen_s) / WINDOW_S)
