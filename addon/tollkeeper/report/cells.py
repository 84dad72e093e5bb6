"""Figures as people read them: unknown is ``–`` and never 0, estimated carries ``~``."""

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import CallRow, Group

UNKNOWN = "–"


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def tokens(number: int, group: Group | CallRow) -> str:
    """A token count; ``–`` when nothing was read at all, ``~`` when some of it was counted by us."""
    if isinstance(group, CallRow):
        if group.usage_source == "unmetered":
            return UNKNOWN
        return f"~{number:,}" if group.usage_source in {"counted", "partial"} else f"{number:,}"
    if group.billed_calls and group.billed_calls == group.unmetered + group.crashed:
        return UNKNOWN
    return f"~{number:,}" if group.estimated_calls else f"{number:,}"


def cost(group: Group) -> str:
    """What is known to be owed; ``–`` when nothing is, ``+ –`` when some calls have no price."""
    if group.cost_nanousd is None or (group.unpriced_calls and group.unpriced_calls == group.billed_calls):
        return UNKNOWN
    shown = format_usd(group.cost_nanousd)
    return (
        f"{'~' if group.estimated_calls else ''}{shown}{' + ' + UNKNOWN if group.unpriced_calls or group.deferred_calls else ''}"
    )


def call_cost(row: CallRow) -> str:
    """The cost of one call."""
    if row.cost_nanousd is None:
        return UNKNOWN
    return f"{'~' if row.usage_source in {'counted', 'partial'} else ''}{format_usd(row.cost_nanousd)}"


def name(value: str) -> str:
    """A name; ``–`` when it is not known."""
    return value or UNKNOWN


def share(part: int, whole: int) -> str:
    """``12 %``, never rounded to nothing or to all."""
    if whole == 0 or part == 0:
        return "0 %"
    percent = 100 * part / whole
    return "100 %" if part == whole else "<1 %" if percent < 1 else ">99 %" if percent > 99 else f"{percent:.0f} %"
