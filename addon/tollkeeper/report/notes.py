"""What stands under every report: its period, where the figures come from, and what is missing from them."""

from collections.abc import Callable

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import Gap, Report

from .cells import count, share
from .period import format_moment, zone_of
from .price_words import price_words

NAMED = 5
"""How many gaps are named; the rest are counted."""


def notes(report: Report) -> list[str]:
    """Lines for people, most important last."""
    total = report.total
    lines = [f"{_period(report)} · prices: {price_words(report.price_sources)}"]
    if total.billed_calls:
        known = (
            ("reported by the provider", total.reported),
            ("partly counted", total.partial),
            ("counted by us", total.counted),
            ("not read", total.unmetered + total.crashed),
        )
        lines.append("usage: " + " · ".join(f"{share(number, total.billed_calls)} {what}" for what, number in known if number))
        if lines[-1] == "usage: ":
            lines.pop()
    if total.plan_calls:
        lines.append(
            f"{_calls(total.plan_calls)} paid for by a plan: the list cost is what they would have cost, nothing is owed"
        )
    if total.declined:
        lines.append(f"{_calls(total.declined)} refused or filtered by the provider or the model (`--by refusal`)")
    if total.deferred_calls:
        lines.append(
            f"{_calls(total.deferred_calls)} only submitted (batches, background): counted as"
            f" {format_usd(total.deferred_exposure_nanousd)} until their results are read"
        )
    if report.open_calls:
        lines.append(f"{_calls(report.open_calls)} in flight now, {format_usd(report.open_nanousd)} held")
    if total.refused or total.rewritten:
        lines.append(f"{count(total.refused)} refused · {count(total.rewritten)} sent to a cheaper model")
    if total.would_refuse or total.would_rewrite:
        lines.append(
            f"observing: a policy that enforces would have refused {count(total.would_refuse)}"
            f" and sent {count(total.would_rewrite)} to a cheaper model"
        )
    if total.crashed:
        lines.append(f"! {_calls(total.crashed)} cut off by a crash: cost unknown, counted at the amount held")
    if report.expired_calls:
        lines.append(f"! {_calls(report.expired_calls)} never came back: cost unknown, not counted")
    if report.unmetered:
        calls = sum(gap.calls for gap in report.unmetered)
        lines.append(f"! {_calls(calls)} not metered: {_named(report.unmetered, _unmetered)}")
    if report.unpriced:
        calls = sum(gap.calls for gap in report.unpriced)
        exposure = sum(gap.exposure_nanousd for gap in report.unpriced)
        lines.append(
            f"! {_calls(calls)} without a known price, counted as {format_usd(exposure)}: {_named(report.unpriced, _unpriced)};"
            " see `tollkeeper prices unpriced`"
        )
    return lines


def _calls(number: int) -> str:
    return f"{count(number)} call{'' if number == 1 else 's'}"


def _period(report: Report) -> str:
    zone = zone_of(report.zone)
    start = report.since if report.since is not None else report.first_at
    if start is None:
        return f"no calls ({report.zone})"
    end = report.until if report.until is not None else report.last_at
    until = "" if end is None else f" to {format_moment(end, zone)}"
    return f"from {format_moment(start, zone)}{until} ({report.zone})"


def _named(gaps: tuple[Gap, ...], words: Callable[[Gap], str]) -> str:
    calls: dict[str, int] = {}
    for gap in gaps:
        calls[words(gap)] = calls.get(words(gap), 0) + gap.calls
    shown = [f"{named} × {count(number)}" for named, number in list(calls.items())[:NAMED]]
    more = len(calls) - NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _unpriced(gap: Gap) -> str:
    units = f" ({', '.join(gap.units[:3])})" if gap.units else ""
    return f"{gap.provider}/{gap.model or '?'}{units}"


def _unmetered(gap: Gap) -> str:
    reason = f" ({gap.reason})" if gap.reason else ""
    return f"{gap.host or gap.provider} {gap.operation}{reason}"
