"""Windows of time: where the present day, week or month of a named zone starts and ends, to the microsecond.

A window is a pair of instants, found by asking the zone when a local date begins. Wall times are never subtracted: a day may
have 23, 23.5, 24.5 or 25 hours, begin at 01:00 (Santiago, Beirut, Cairo) or not exist (Apia, 30 December 2011). Since each
window ends where the next begins, windows tile time by construction. Rolling windows end now; a session, a CI run and a lifetime
have no end.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

from tollkeeper.core.clock import US_PER_SECOND, from_datetime, to_datetime

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_MONTHS_IN_QUARTER = 3


_MONTHS = {"month": 1, "quarter": _MONTHS_IN_QUARTER, "year": 12}


class WindowKind(StrEnum):
    """The calendar windows, the rolling one, and those without an end."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    ROLLING = "rolling"
    SESSION = "session"
    RUN = "run"
    LIFETIME = "lifetime"

    @property
    def is_calendar(self) -> bool:
        """Whether such windows follow each other by the clock of a zone."""
        return self is not WindowKind.ROLLING and self not in ENDLESS


ENDLESS = frozenset({WindowKind.SESSION, WindowKind.RUN, WindowKind.LIFETIME})
"""Never reset: one window for each session or run, one for all time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """A kind of window. ``week_starts`` counts from Monday = 0 and speaks for weeks only; ``length_us`` for rolling only."""

    kind: WindowKind
    zone: str = "UTC"
    week_starts: int = 0
    length_us: int | None = None

    @property
    def label(self) -> str:
        """For people: ``day``, ``rolling 24 h``."""
        if self.length_us is not None:
            return f"rolling {length_in_words(self.length_us)}"
        return "CI run" if self.kind is WindowKind.RUN else self.kind.value

    @property
    def key(self) -> str:
        """What tells windows apart inside a bucket key; stored, so never reworded."""
        if self.length_us is not None:
            return f"rolling-{self.length_us // US_PER_SECOND}s"
        if self.kind in ENDLESS:
            return self.kind.value
        starts = f"-{WEEKDAYS[self.week_starts]}" if self.kind is WindowKind.WEEK else ""
        return f"{self.kind.value}{starts}@{self.zone}"


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start_at`` up to, not including, ``end_at`` (UTC microseconds); rolling and endless windows have no end."""

    start_at: int
    end_at: int | None
    label: str


def window_at(spec: WindowSpec, at: int) -> Window:
    """The window of ``spec`` that holds the instant ``at`` (UTC microseconds)."""
    if spec.length_us is not None:
        return Window(at - spec.length_us, None, spec.label)
    if spec.kind in ENDLESS:
        return Window(0, None, spec.label)
    zone = zone_of(spec.zone)
    if spec.kind is WindowKind.HOUR:
        start, end = _hour(zone, at)
        return Window(start, end, spec.label)
    first = _first_date(spec, to_datetime(at).astimezone(zone).date())
    start = start_of_day(zone, first)
    # Where clocks went back over midnight, the old date comes again after the new one has begun: that time is the new one's.
    while at >= (end := start_of_day(zone, following := _next_date(spec, first))):
        first, start = following, end
    return Window(start, end, spec.label)


def window_before(spec: WindowSpec, window: Window) -> Window | None:
    """The calendar window that ends where ``window`` starts; None for other kinds."""
    return window_at(spec, window.start_at - 1) if spec.kind.is_calendar else None


class WindowClock:
    """Answers ``window_at`` for one spec, remembering the window it was in: under a microsecond while inside it."""

    __slots__ = ("_current", "spec")

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._current = Window(0, 0, spec.label)

    def at(self, at: int) -> Window:
        """The window that holds ``at``; also right when the clock jumps, forward or back."""
        current = self._current
        if current.end_at is not None and current.start_at <= at < current.end_at:
            return current
        self._current = current = window_at(self.spec, at)
        return current


@cache
def zone_of(name: str) -> tzinfo:
    """The IANA zone; raises ``ZoneInfoNotFoundError`` or ``ValueError`` when there is none. UTC needs no database."""
    return UTC if name == "UTC" else ZoneInfo(name)


def length_in_words(length_us: int) -> str:
    """``30 s``, ``90 min``, ``24 h``, ``7 d``: whole days from two days on, whole hours below, else minutes."""
    minutes, rest = divmod(length_us, 60 * US_PER_SECOND)
    if rest:
        return f"{length_us // US_PER_SECOND} s"
    if minutes % 1440 == 0 and minutes >= 2880:
        return f"{minutes // 1440} d"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _first_date(spec: WindowSpec, day: date) -> date:
    match spec.kind:
        case WindowKind.WEEK:
            return day - timedelta(days=(day.weekday() - spec.week_starts) % 7)
        case WindowKind.MONTH:
            return day.replace(day=1)
        case WindowKind.QUARTER:
            return day.replace(month=day.month - (day.month - 1) % _MONTHS_IN_QUARTER, day=1)
        case WindowKind.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def _next_date(spec: WindowSpec, first: date) -> date:
    match spec.kind:
        case WindowKind.WEEK:
            return first + timedelta(days=7)
        case WindowKind.MONTH | WindowKind.QUARTER | WindowKind.YEAR:
            return _add_months(first, _MONTHS[spec.kind.value])
        case _:
            return first + timedelta(days=1)


def _add_months(first: date, months: int) -> date:
    years, month = divmod(first.month - 1 + months, 12)
    return date(first.year + years, month + 1, 1)


def start_of_day(zone: tzinfo, day: date) -> int:
    """The first instant of a local date: its midnight, or where the clocks jumped over midnight, the jump."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    late, early = midnight.utcoffset(), midnight.replace(fold=1).utcoffset()
    if late is None or early is None or late >= early:  # midnight exists; where it exists twice, the first one (PEP 495)
        return from_datetime(midnight)
    # In a gap, the two folds read midnight with the offsets before and after it: the jump lies between those instants.
    wall = midnight.replace(tzinfo=None)
    low = from_datetime((wall - early).replace(tzinfo=UTC)) // US_PER_SECOND
    high = from_datetime((wall - late).replace(tzinfo=UTC)) // US_PER_SECOND
    before = _offset(zone, low)
    return _first_change(zone, before, low, high) * US_PER_SECOND


def _hour(zone: tzinfo, at: int) -> tuple[int, int]:
    """The local clock hour around ``at``, cut short where the zone's offset changes inside it (Lord Howe shifts by 30 min)."""
    second = at // US_PER_SECOND
    offset = _offset(zone, second)
    start = second - (second + offset) % 3600
    end = start + 3600
    if (before := _offset(zone, start)) != offset:
        start = _first_change(zone, before, start, second)
    if _offset(zone, end - 1) != offset:
        end = _first_change(zone, offset, second, end - 1)
    return start * US_PER_SECOND, end * US_PER_SECOND


def _offset(zone: tzinfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _first_change(zone: tzinfo, before: int, low: int, high: int) -> int:
    """The first second in (low, high] whose offset is not ``before``, which is the offset at ``low``; they differ at ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high
