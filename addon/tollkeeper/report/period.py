"""Spans of time as people write them: ``7d``, ``36h``, ``today``, ``2026-11-01``, ``2026-11-01T09:30``."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tollkeeper.core.clock import from_datetime, to_datetime
from tollkeeper.core.errors import ConfigError

_SPAN = re.compile(r"(\d{1,5})\s*(min|h|d|w)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMS = 'write it like "7d", "36h", "today", "month", "2026-11-01" or "2026-11-01T09:30"'


def zone_of(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises ``ConfigError``."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f'"{name}" is not a time zone; write it like "Europe/Rome" or "UTC"') from None


def local_zone_name() -> str:
    """The IANA name of this machine's zone where it can be told, else UTC."""
    key = getattr(datetime.now(UTC).astimezone().tzinfo, "key", None)
    if key:
        return str(key)
    from pathlib import Path

    target = Path("/etc/localtime")
    name = str(target.resolve()).partition("zoneinfo/")[2] if target.is_symlink() else ""
    try:
        return ZoneInfo(name).key if name else "UTC"
    except (KeyError, ValueError, OSError):
        return "UTC"


def parse_moment(text: str, now: int, zone: ZoneInfo, *, is_end: bool = False) -> int:
    """A moment as UTC microseconds. Spans count back from ``now``; dates are days of ``zone``, whole ones when ``is_end``.

    Raises ``ConfigError``.
    """
    said = text.strip().lower()
    here = to_datetime(now).astimezone(zone)
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {
        "now": here,
        "today": midnight,
        "yesterday": midnight - timedelta(days=1),
        "week": midnight - timedelta(days=here.weekday()),
        "month": midnight.replace(day=1),
    }
    if said in named:
        return from_datetime(named[said])
    if (span := _SPAN.fullmatch(said)) is not None:
        return now - int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds()) * 1_000_000
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f'"{text[:60]}" is not a time; {_FORMS}') from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    if is_end and re.fullmatch(r"\d{4}-\d{2}-\d{2}", said):
        moment += timedelta(days=1)
    return from_datetime(moment)


def format_moment(at: int, zone: ZoneInfo) -> str:
    """``2026-11-22 09:30``, in ``zone``."""
    return f"{to_datetime(at).astimezone(zone):%Y-%m-%d %H:%M}"
