"""Spans of time as people write them: ``7d``, ``36h``, ``today``, ``2026-11-01``, ``2026-11-01T09:30``."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tollkeeper.core.clock import from_datetime, to_datetime
from tollkeeper.core.errors import ConfigError
from tollkeeper.policy.windows import WindowKind, WindowSpec, start_of_day, window_at

_SPAN = re.compile(r"(\d{1,5})\s*(min|h|d|w)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NAMES = {"today": WindowKind.DAY, "yesterday": WindowKind.DAY, "week": WindowKind.WEEK, "month": WindowKind.MONTH}
_WEEK = re.compile(r"\d{4}-?w\d{2}")
_FORMS = 'write it like "7d", "36h", "today", "month", "2026-11-01" or "2026-11-01T09:30"'
FIRST_DAY, LAST_DAY = date(1, 1, 3), date(9999, 12, 20)
"""What lies beyond is taken as these, which have a day after them and can be told in every zone."""
FIRST, LAST = (from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in (FIRST_DAY, LAST_DAY))


def zone_of(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises ``ConfigError``."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f'"{name}" is not a time zone; write it like "Europe/Rome" or "UTC"') from None


def parse_moment(text: str, now: int, zone: ZoneInfo, *, is_end: bool = False) -> int:
    """A moment as UTC microseconds. Spans count back from ``now``; names and dates are whole days of ``zone``.

    Those are their first moment, or with ``is_end`` the first after them. Raises ``ConfigError``.
    """
    said = text.strip().lower()
    if said == "now":
        return now
    if (kind := _NAMES.get(said)) is not None:
        window = window_at(WindowSpec(kind=kind, zone=zone.key), now)
        if said == "yesterday":
            window = window_at(WindowSpec(kind=kind, zone=zone.key), window.start_at - 1)
        return window.end_at if is_end and window.end_at is not None else window.start_at
    if (span := _SPAN.fullmatch(said)) is not None:
        return max(FIRST, now - int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds()) * 1_000_000)
    try:
        return _moment_of(text.strip(), zone, is_end=is_end)
    except ValueError:
        raise ConfigError(f'"{text[:60]}" is not a time; {_FORMS}') from None


def days_before(days: int, now: int, zone: ZoneInfo) -> int:
    """Where the local day began that many days before today, UTC microseconds."""
    today = to_datetime(window_at(WindowSpec(kind=WindowKind.DAY, zone=zone.key), now).start_at).astimezone(zone).date()
    return start_of_day(zone, today - timedelta(days=days))


def format_moment(at: int, zone: ZoneInfo) -> str:
    """``2026-11-22 09:30``, in ``zone``."""
    return f"{to_datetime(at).astimezone(zone):%Y-%m-%d %H:%M}"


def _moment_of(text: str, zone: ZoneInfo, *, is_end: bool) -> int:
    """Of a date or a time as in ISO 8601. Raises ``ValueError``."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    else:
        length = timedelta(days=(7 if _WEEK.fullmatch(text.lower()) else 1) if is_end else 0)
        return start_of_day(zone, min(max(day, FIRST_DAY), LAST_DAY) + length)
    try:
        return min(max(from_datetime(moment), FIRST), LAST)
    except OverflowError:
        return FIRST if moment.year == 1 else LAST
