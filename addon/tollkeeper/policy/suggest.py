"""A first policy from what really happened: amounts that would have stopped nobody but runaways, each with the figures behind it."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.core.money import NANO_PER_USD, format_usd

from .windows import WindowKind, WindowSpec, window_at

MARGIN = 3, 2
"""Half as much again as what was seen."""
RATE_MARGIN = 3
LEAST_DAYS = 3


@dataclass(frozen=True, slots=True)
class Spent:
    """One call of the past, as far as a suggestion goes by it."""

    at: int
    principal: str
    project: str
    session: str
    model: str
    exposure_nanousd: int


def suggest(past: Iterable[Spent], zone: str, said_since: str) -> str:
    """A commented document that begins by observing. ``said_since`` is the time looked at, for its head."""
    calls = [one for one in past if one.exposure_nanousd >= 0]
    head = [
        "#:schema ./schema.json",
        f"# Suggested from {len(calls):,} calls ({said_since}). Every amount is half as much again as what was seen.",
        '# Try it on the past with `tollkeeper policy test FILE --since 7d`; when it says what you mean, set mode = "enforce".',
        "",
        "schema = 1",
        'mode = "observe"',
        f'zone = "{zone}"',
        "",
    ]
    if not calls:
        return "\n".join([*head, "# Nothing was metered in that time, so there is nothing to go by.", ""])
    day = WindowSpec(kind=WindowKind.DAY, zone=zone)
    days = {window_at(day, one.at).start_at for one in calls}
    few = f"  # only {len(days)} days were seen: look again later" if len(days) < LEAST_DAYS else ""
    lines = head
    lines += _budget("all", "day", _peak(calls, day, lambda _: ""), "The dearest day of everybody together", few)
    people = _peak(calls, day, lambda one: one.principal)
    if len({one.principal for one in calls}) > 1:
        lines += _budget("person", "day", people, "The dearest day of any one person", few, per="principal")
    if len(projects := {one.project for one in calls if one.project}) > 1:
        week = WindowSpec(kind=WindowKind.WEEK, zone=zone)
        dearest = _peak([one for one in calls if one.project], week, lambda one: one.project)
        lines += _budget(
            "project", "week", dearest, f"The dearest week of any one of {len(projects)} projects", few, per="project"
        )
    sessions: dict[str, int] = defaultdict(int)
    for one in calls:
        if one.session:
            sessions[one.session] += one.exposure_nanousd
    if len(sessions) >= LEAST_DAYS:
        lines += _budget("session", "session", max(sessions.values()), f"The dearest of {len(sessions):,} sessions", "")
    busiest = _busiest_minute(calls)
    lines += [
        f"# The busiest minute of any one person had {busiest} requests: a loop has more.",
        "[model.loops]",
        f"max_per_minute = {max(10, busiest * RATE_MARGIN)}",
        "",
    ]
    return "\n".join(lines)


def _budget(name: str, window: str, seen_nanousd: int, what: str, few: str, *, per: str = "") -> list[str]:
    amount = rounded_up(seen_nanousd * MARGIN[0] // MARGIN[1])
    lines = [
        f"# {what} cost {format_usd(seen_nanousd)}.",
        f"[budget.{name}]",
        f'amount = "{amount} USD"{few}',
        f'window = "{window}"',
    ]
    if per:
        lines += ['share = "each"', f'per = "{per}"']
    return [*lines, ""]


def rounded_up(nanousd: int) -> int:
    """Whole dollars that are easy to say: 1, 2, 3, 5, 8 or their tenfold, hundredfold, …, not below ``nanousd``."""
    scale = NANO_PER_USD
    while True:
        for step in (1, 2, 3, 5, 8):
            if step * scale >= nanousd:
                return step * scale // NANO_PER_USD
        scale *= 10


def _peak(calls: Iterable[Spent], window: WindowSpec, by: Callable[[Spent], str]) -> int:
    sums: dict[tuple[int, str], int] = defaultdict(int)
    for one in calls:
        sums[window_at(window, one.at).start_at, by(one)] += one.exposure_nanousd
    return max(sums.values(), default=0)


def _busiest_minute(calls: Iterable[Spent]) -> int:
    counts: dict[tuple[int, str], int] = defaultdict(int)
    for one in calls:
        counts[one.at // (60 * US_PER_SECOND), one.principal] += 1
    return max(counts.values(), default=0)
