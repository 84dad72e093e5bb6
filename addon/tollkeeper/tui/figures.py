"""Figures as cells: through the same functions as every report, so that one call costs the same everywhere."""

from datetime import datetime, tzinfo

from rich.text import Text

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.clock import to_datetime
from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import CallRow
from tollkeeper.report.cells import UNKNOWN
from tollkeeper.report.outlook import BudgetLine

_SCALES = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def clock_time(at: int, zone: tzinfo, now: int) -> str:
    """``09:30:12`` of today, ``22 Nov`` of another day."""
    moment, today = to_datetime(at).astimezone(zone), to_datetime(now).astimezone(zone)
    return f"{moment:%H:%M:%S}" if moment.date() == today.date() else f"{moment:%d %b}".lstrip("0")


def until(at: int | None, zone: tzinfo, now: int) -> str:
    """``18:00`` today, ``Mon 00:00`` within a week, ``1 Dec`` later; ``–`` for never."""
    if at is None:
        return UNKNOWN
    moment, today = to_datetime(at).astimezone(zone), to_datetime(now).astimezone(zone)
    if moment.date() == today.date():
        return f"{moment:%H:%M}"
    return f"{moment:%a %H:%M}" if (moment.date() - today.date()).days < 7 else _day(moment)


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b}"


def lasting(us: int) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``3 d``."""
    seconds = max(0, us) / 1_000_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours = int(seconds // 3600)
    if hours < 2:
        return f"{int(seconds // 60)} min"
    return f"{hours} h" if hours < 48 else f"{hours // 24} d"


def short_count(number: int) -> str:
    """``950``, ``48.2k``, ``1.9M``: where the exact count has no room."""
    for scale, letter in _SCALES:
        if number >= scale:
            tenths = number * 10 // scale
            return f"{tenths / 10:.1f}{letter}" if tenths < 1000 else f"{tenths // 10}{letter}"
    return f"{number:,}"


def call_tokens(number: int, row: CallRow) -> str:
    """A token count of one call, shortened; ``–`` unknown, ``~`` estimated."""
    if row.usage_source == "unmetered" or row.kind == "refuse":
        return UNKNOWN
    return f"{'~' if row.usage_source in {'counted', 'partial'} else ''}{short_count(number)}"


def amount(unit: Unit, number: int | None) -> str:
    """An amount of a budget, in few letters."""
    if number is None:
        return UNKNOWN
    return format_usd(number) if unit is Unit.USD else short_count(number)


def amount_in_words(unit: Unit, number: int | None) -> str:
    """The same in full: ``2,500,000 tokens``."""
    return UNKNOWN if number is None else format_amount(unit, number)


def unit_of(line: BudgetLine) -> Unit:
    """What a budget is counted in."""
    return line.standing.unit if line.standing else line.limit.unit


def fit(text: str, width: int) -> str:
    """Cut to ``width`` with ``…`` at the end."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def cell(text: str, style: str = "") -> Text:
    """A cell: never markup, since names come from clients."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis", end="")
