"""The first screen's own parts: budgets as bars, what is spent now, the warnings, and the line at the top."""

from collections.abc import Callable, Sequence
from datetime import tzinfo

from rich.text import Text

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.money import format_usd
from tollkeeper.gate.remedies import remedy_for
from tollkeeper.ledger.rows import Gap
from tollkeeper.report import cells
from tollkeeper.report.outlook import most_pressing

from .columns import BUDGETS, Context, fitting, row_of
from .figures import fit, short_count
from .look import Look, curve
from .snapshot import SPEND_SLOT_US, SPEND_SLOTS, Snapshot

PERIOD_WORDS = {"today": "today", "7d": "7 days", "month": "this month", "all": "all time", "since": "since start"}


def header(shown: Snapshot, look: Look, width: int) -> Text:
    """``tollkeeper · enforce · team.toml · 127.0.0.1:8877 · Sun 22 Nov 14:30 Europe/Rome``."""
    policy = shown.policy
    proxies = shown.proxies or ()
    if len(proxies) == 1:
        running = f"{proxies[0].get('host', '?')}:{proxies[0].get('port', '?')}"
    else:
        running = f"{len(proxies)} proxies" if proxies else "no proxy running"
    mode = "observe: nothing is blocked" if not policy.enforces else "enforce"
    at = to_datetime(shown.at).astimezone(_zone(shown))
    parts = [mode, policy.name] if shown.proxies is None else [mode, policy.name, running]
    if any(not proxy.get("answers", True) for proxy in proxies):
        parts.append("! not answering")
    parts.append(f"{at:%a} {at.day} {at:%b %H:%M} {shown.zone}")
    text = Text(" tollkeeper ", style="bold", no_wrap=True, end="")
    dot = f" {look.sign('·')} "
    text.append(fit(dot.join(parts), max(0, width - 13)), style="not bold")
    return text


def _zone(shown: Snapshot) -> tzinfo:
    from tollkeeper.report.period import zone_of

    return zone_of(shown.zone)


def warnings(shown: Snapshot) -> list[str]:
    """What must not be missed, most serious first."""
    found = []
    if shown.fault:
        found.append(shown.fault)
    for proxy in shown.proxies or ():
        if not proxy.get("answers", True):
            found.append(f"the proxy on port {proxy.get('port', '?')} does not answer: `tollkeeper doctor`")
        if proxy.get("faults") or proxy.get("ledger_errors"):
            found.append(
                f"{proxy.get('faults', 0)} faults, {proxy.get('ledger_errors', 0)} ledger errors: {proxy.get('last_fault', '')}"
            )
        clients = sorted((proxy.get("untrusting_clients") or {}).values(), key=lambda one: -one["count"])
        for one in clients[:2]:
            who, does = one["client"], "refuses" if one["said"] else "seems to refuse"
            found.append(
                f"{who} {does} our certificate for {one['host']}: set {remedy_for(one['command']).told}; `tollkeeper doctor`"
            )
        untrusting = proxy.get("untrusting_hosts") or {}
        if untrusting and not clients:
            hosts = ", ".join(sorted(untrusting, key=lambda host: -untrusting[host])[:3])
            found.append(f"{sum(untrusting.values())} TLS handshakes broke off ({hosts}): unmetered; `tollkeeper doctor`")
    total = shown.total
    if total is not None and total.unmetered:
        found.append(f"{_calls(total.unmetered)} not metered{_named(shown.unmetered, lambda gap: f'{gap.host} {gap.operation}')}")
    if shown.unpriced:
        calls, exposure = sum(gap.calls for gap in shown.unpriced), sum(gap.exposure_nanousd for gap in shown.unpriced)
        names = _named(shown.unpriced, lambda gap: f"{gap.provider}/{gap.model or '?'}")
        found.append(f"{_calls(calls)} without a known price, counted as {format_usd(exposure)}{names}")
    elif total is not None and total.unpriced_calls - total.unmetered - total.crashed > 0:
        found.append(f"{_calls(total.unpriced_calls - total.unmetered - total.crashed)} without a known price")
    if total is not None and total.crashed:
        found.append(f"{_calls(total.crashed)} cut off by a crash: cost unknown, counted at the amount held")
    if shown.expired_calls:
        found.append(f"{_calls(shown.expired_calls)} never came back: cost unknown, not counted")
    return found


def _calls(number: int) -> str:
    return f"{number:,} call{'' if number == 1 else 's'}"


def _named(gaps: Sequence[Gap], name: Callable[[Gap], str]) -> str:
    names = list(dict.fromkeys(name(gap).strip() for gap in gaps))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f": {', '.join(names[:2])}{more}" if names else ""


def banner(shown: Snapshot, width: int, lines: int) -> Text:
    """The warnings as one block in reverse video, each with its ``!``; the last line counts those without room."""
    found = warnings(shown)
    text = Text(no_wrap=True, end="")
    for index, line in enumerate(found[:lines]):
        left = len(found) - lines
        more = f"  (+{left} more: 6)" if left > 0 and index == lines - 1 else ""
        shown_line = fit(f" ! {line}", width - len(more)) + more
        text.append(shown_line.ljust(width) + ("\n" if index < min(lines, len(found)) - 1 else ""), style="bold reverse")
    return text


def budget_lines(shown: Snapshot, look: Look, width: int, lines: int) -> Text:
    """The most pressing budgets, one line each with its bar."""
    text = Text(no_wrap=True, end="")
    if not shown.policy.budgets:
        text.append("no budgets: everything is metered and nothing can be blocked", style="dim")
        text.append("\nwrite a policy: tollkeeper init", style="dim")
        return text
    chosen = most_pressing(shown.budgets)
    kept = chosen[: lines if len(chosen) <= lines else lines - 1]
    context = Context(shown, look, _zone(shown))
    fitted = fitting(BUDGETS, width, kept, context)
    text.append_text(Text("\n").join(row_of(line, fitted, context) for line in kept))
    if len(chosen) > len(kept):
        text.append(f"\n{len(chosen) - len(kept)} more with more room: press 4", style="dim")
    return text


def now_lines(shown: Snapshot, look: Look, width: int) -> Text:
    """Two lines: what the period came to, and what is being spent."""
    total, dot = shown.total, f" {look.sign('·')} "
    text = Text(no_wrap=True, end="")
    text.append(f"{PERIOD_WORDS[shown.period]} ", style="bold")
    if total is None:
        text.append("… reading the ledger", style="dim")
    else:
        tokens = total.tokens
        cached = cells.share(tokens.cache_read_tokens, tokens.total_input_tokens) if tokens.total_input_tokens else cells.UNKNOWN
        text.append(cells.cost(total) if total.calls else format_usd(0), style="bold")
        parts = [
            _calls(total.calls),
            f"in {short_count(tokens.total_input_tokens)} ({cached} cached)",
            f"out {short_count(tokens.output_tokens)}",
        ]
        if total.refused:
            parts.append(f"{look.sign('✗')} {total.refused} refused")
        if total.rewritten:
            parts.append(f"{look.sign('»')} {total.rewritten} rewritten")
        if total.would_refuse or total.would_rewrite:
            parts.append(f"would refuse {total.would_refuse}, rewrite {total.would_rewrite}")
        text.append(fit(dot + dot.join(parts), max(0, width - text.cell_len)))
    held = sum(call.hold_nanousd for call in shown.open_calls)
    flight = f"{len(shown.open_calls)} in flight, {format_usd(held)} held" if shown.open_calls else "nothing in flight"
    text.append("\n")
    burn = f"last hour {format_usd(shown.burn_nanousd_h)}{dot}{flight}{dot}24 h "
    text.append(burn)
    text.append_text(curve(_points(shown, max(8, min(72, width - len(burn)))), look))
    return text


def _points(shown: Snapshot, width: int) -> list[int]:
    """The last day in ``width`` steps of equal length, oldest first."""
    spend = shown.spend or {}
    last = shown.at // SPEND_SLOT_US
    points = [0] * width
    for slot, amount in spend.items():
        age = last - slot
        if 0 <= age < SPEND_SLOTS:
            points[width - 1 - age * width // SPEND_SLOTS] += amount
    return points
