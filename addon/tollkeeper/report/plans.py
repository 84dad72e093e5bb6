"""Plan windows for people: how much of each subscription is used, and when it starts anew."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.ledger.plan_windows import PlanStanding

from .period import format_moment

OLD_US = 30 * 24 * 3600 * US_PER_SECOND
"""A figure older than a month says nothing of the window that runs now."""


def plan_lines(windows: Iterable[PlanStanding], now: int, zone: ZoneInfo) -> list[str]:
    """``plan claude (ada): 5h 23 % used, resets 14:00 · 7d 61 % used``: one line per plan; past windows and old figures are left out."""
    plans: dict[tuple[str, str], list[str]] = {}
    for window in windows:
        if window.at < now - OLD_US or (window.resets_at is not None and window.resets_at <= now):
            continue
        plans.setdefault((window.plan, window.subject), []).append(_shown(window, zone))
    return [f"plan {plan} ({subject}): {' · '.join(shown)}" for (plan, subject), shown in plans.items()]


def percent(used_ppm: int | None) -> str:
    """Millionths as ``23 %``; ``–`` when not known."""
    return "–" if used_ppm is None else f"{used_ppm / 10_000:.0f} %"


def _shown(window: PlanStanding, zone: ZoneInfo) -> str:
    parts = [window.name]
    if window.used_ppm is not None:
        parts.append(f"{percent(window.used_ppm)} used")
    if window.status and window.status != "allowed":
        parts.append(window.status)
    shown = " ".join(parts)
    return shown if window.resets_at is None else f"{shown}, resets {format_moment(window.resets_at, zone)}"
