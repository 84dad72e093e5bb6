"""Time: integer microseconds since the epoch, UTC. A stage that needs the time is given it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

type Clock = Callable[[], int]
"""Returns the present as UTC microseconds since the epoch."""

US_PER_SECOND = 1_000_000


def system_clock() -> int:
    """The wall clock of this machine, UTC microseconds."""
    return time.time_ns() // 1_000


MOST_BACK_US = 3_600 * US_PER_SECOND
"""How far a clock may go back and still be believed: time servers correct by less, summer time does not touch UTC."""


def steady(clock: Clock, latest: int = 0) -> Clock:
    """``clock``, but when it is set back by more than an hour it stands still at the latest moment seen, ``latest`` at first.

    A window that is over would else give its room a second time.
    """
    seen = latest

    def read() -> int:
        nonlocal seen
        now = clock()
        seen = max(seen, now)
        return now if seen - now <= MOST_BACK_US else seen

    return read


def to_datetime(at: int) -> datetime:
    """UTC microseconds as an aware datetime."""
    return datetime.fromtimestamp(at // US_PER_SECOND, UTC).replace(microsecond=at % US_PER_SECOND)


def from_datetime(moment: datetime) -> int:
    """An aware datetime as UTC microseconds."""
    return int(moment.timestamp()) * US_PER_SECOND + moment.microsecond
