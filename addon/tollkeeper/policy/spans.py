"""The words for a window: ``day``, ``month``, ``rolling 24h``, ``session``, ``lifetime``."""

import re
from typing import Final

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.core.toml_lines import nearest

from .windows import WindowKind

MIN_ROLLING_US = 60 * US_PER_SECOND
MAX_ROLLING_US = 400 * 86_400 * US_PER_SECOND

ROLLING_PATTERN: Final = r"rolling +([1-9][0-9]{0,5}) *(min|h|d|w)"
"""As in the JSON schema."""

_ROLLING = re.compile(ROLLING_PATTERN)
_LENGTH = re.compile(r"(?:(?:rolling|last|past) *)?([1-9][0-9]{0,5}) *([a-z]+)")
_UNITS = {"min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_CALENDAR = tuple(kind.value for kind in WindowKind if kind is not WindowKind.ROLLING)
_OTHER_WORDS = {
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
    "annual": "year",
    "annually": "year",
    "prepaid": "lifetime",
    "forever": "lifetime",
    "total": "lifetime",
    "ever": "lifetime",
    "job": "run",
    "pipeline": "run",
    "ci": "run",
    "ci run": "run",
    "conversation": "session",
}


class SpanError(ValueError):
    """Not a window; the message says how to write one."""


def parse_window(value: object) -> tuple[WindowKind, int | None]:
    """The kind of window, and for a rolling one its length in microseconds. Raises ``SpanError``."""
    if not isinstance(value, str):
        raise SpanError(f"is not text; {_forms()}")
    if value in _CALENDAR:
        return WindowKind(value), None
    if (match := _ROLLING.fullmatch(value)) is None:
        raise SpanError(f"is not a window; {_hint(value[:100].lower())}")
    length_us = int(match[1]) * _UNITS[match[2]] * US_PER_SECOND
    if not MIN_ROLLING_US <= length_us <= MAX_ROLLING_US:
        raise SpanError("is too long; a rolling window may have 400 d at most")
    return WindowKind.ROLLING, length_us


def _hint(value: str) -> str:
    if (match := _LENGTH.fullmatch(value)) is not None and (
        unit := match[2][:3] if match[2][:1] == "m" else match[2][:1]
    ) in _UNITS:
        return f'did you mean "rolling {match[1]}{unit}"?'
    found = _OTHER_WORDS.get(value) or nearest(value, _CALENDAR)
    return f'did you mean "{found}"?' if found else _forms()


def _forms() -> str:
    return f'write one of {", ".join(_CALENDAR)}, or a length like "rolling 24h" or "rolling 7d"'
