"""What a client is told: the text of a refusal, and the response headers of any decision that was not a plain yes."""

import re
from datetime import datetime

from tollkeeper.core.amounts import Unit, format_amount, format_amount_exact
from tollkeeper.core.clock import US_PER_SECOND, to_datetime
from tollkeeper.core.decision import Decision, Standing, Verdict, Warned

from .windows import zone_of

MAX_MESSAGE_CHARS = 1_000
MAX_HEADER_CHARS = 200

FORBIDDEN = "credit balance is too low"
"""Claude Code shows its own text instead of any message with these words (tried on the real client)."""

_FORBIDDEN = re.compile(r"credit\s+balance\s+is\s+too\s+low", re.IGNORECASE)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def refusal_message(decision: Decision, at: int) -> str:
    """Why the call was refused, what was spent, when that ends and what helps; ``at`` is now, UTC microseconds."""
    standing = decision.standing
    reason = decision.reason or "the policy does not allow it"
    if standing is None:
        sentences = [f"Blocked by tollkeeper: {reason}."]
    else:
        sentences = [f"Blocked by tollkeeper: {reason}: {spent_in_words(standing)}.", _reset(standing, at)]
    if decision.remedy:
        sentences.append(decision.remedy)
    return _FORBIDDEN.sub("budget is used up", " ".join(sentences))[:MAX_MESSAGE_CHARS]


def steering_text(decision: Decision) -> str:
    """What an agent is told in its conversation while a budget runs low: facts, and what to do."""
    told = "; ".join(map(warning_in_words, decision.warnings))
    return f"[tollkeeper: {told}. Finish the most important part first, and prepare to hand over what is left.]"


def response_headers(decision: Decision) -> dict[str, str]:
    """``x-tollkeeper-*`` headers for the client: none for a plain yes, printable ASCII always.

    ``verdict``; ``would`` where an observing policy would have done otherwise; ``rule``; ``reason``; ``rewrote`` (``model
    asked->served``, ``max_output_tokens 1200``, ``effort low``); ``warning`` for each budget past a threshold; and of the budget that
    decided: ``budget``, ``spent-usd``, ``held-usd``, ``amount-usd``, ``resets-at`` (``-tokens`` or ``-requests`` where it counts those).
    """
    warning = {"x-tollkeeper-warning": _ascii("; ".join(map(warning_in_words, decision.warnings)))} if decision.warnings else {}
    if decision.verdict is Verdict.ALLOW and decision.would is Verdict.ALLOW:
        return warning
    headers = {"x-tollkeeper-verdict": decision.verdict.value}
    if decision.would is not decision.verdict:
        headers["x-tollkeeper-would"] = decision.would.value
    if decision.rule:
        headers["x-tollkeeper-rule"] = _ascii(decision.rule)
    if decision.reason:
        headers["x-tollkeeper-reason"] = _ascii(decision.reason)
    if decision.verdict is Verdict.REWRITE:
        headers["x-tollkeeper-rewrote"] = _ascii(rewrite_in_words(decision))
    if (standing := decision.standing) is not None:
        headers["x-tollkeeper-budget"] = _ascii(standing.budget)
        unit = standing.unit
        headers[f"x-tollkeeper-spent-{unit}"] = format_amount_exact(unit, standing.spent_nanousd)
        headers[f"x-tollkeeper-held-{unit}"] = format_amount_exact(unit, standing.held_nanousd)
        headers[f"x-tollkeeper-amount-{unit}"] = format_amount_exact(unit, standing.amount_nanousd)
        if standing.resets_at is not None:
            headers["x-tollkeeper-resets-at"] = f"{to_datetime(standing.resets_at):%Y-%m-%dT%H:%M:%SZ}"
    return headers | warning


def rewrite_in_words(decision: Decision) -> str:
    """What was changed: ``model a->b, provider openai, max_output_tokens 1200, effort low``."""
    parts = []
    if decision.model_asked is not None or (decision.clamp_output_tokens is None and decision.effort is None):
        parts.append(f"model {decision.model_asked or '?'}->{decision.model or '?'}")
    if decision.provider:
        parts.append(f"provider {decision.provider}")
    if decision.clamp_output_tokens is not None:
        parts.append(f"max_output_tokens {decision.clamp_output_tokens}")
    if decision.effort:
        parts.append(f"effort {decision.effort}")
    return ", ".join(parts)


def warning_in_words(warned: Warned) -> str:
    """``budget day: 92% of $50.00 used``."""
    standing = warned.standing
    kind, _, name = standing.named_rule.partition(".")
    return f"{kind} {name}: {standing.used_percent}% of {format_amount(standing.unit, standing.amount_nanousd)} used"


def spent_in_words(standing: Standing) -> str:
    """``$49.60 of $50.00 spent, $0.30 held for calls under way``; what was granted or carried over is told besides."""
    unit = standing.unit
    if unit is Unit.PARALLEL:
        return f"{standing.held_nanousd:,} of {format_amount(unit, standing.amount_nanousd)} under way"
    word = "spent" if unit is Unit.USD else "used"
    used = format_amount(unit, standing.spent_nanousd) if unit is Unit.USD else f"{standing.spent_nanousd:,}"
    text = f"{used} of {format_amount(unit, standing.amount_nanousd)} {word}"
    extra = [
        f"{format_amount(unit, amount)} of it {why}"
        for amount, why in ((standing.granted, "granted"), (standing.carried, "carried over"))
        if amount > 0
    ]
    if extra:
        text += f" ({', '.join(extra)})"
    if standing.held_nanousd <= 0:
        return text
    return f"{text}, {format_amount(unit, standing.held_nanousd)} held for calls under way"


def moment_in_words(at: int, zone: str, now: int) -> str:
    """``Mon 23 Nov 00:00 Europe/Rome (in 1 h 13 min)``; the year is told when it is another one."""
    local, local_now = _local(at, zone), _local(now, zone)
    year = f" {local.year}" if local.year != local_now.year else ""
    clock = f"{local.hour:02}:{local.minute:02}"
    day = f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}{year}"
    return f"{day} {clock} {zone} ({distance_in_words(at - now)})"


def distance_in_words(distance_us: int) -> str:
    """``in 3 d 4 h``, ``in 1 h 13 min``, ``in less than a minute``, ``now``: two units at most, rounded up to the minute."""
    if distance_us <= 0:
        return "now"
    minutes = -(-distance_us // (60 * US_PER_SECOND))
    if distance_us < 60 * US_PER_SECOND:
        return "in less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h")] if days else [(hours, "h"), (minutes, "min")]
    return "in " + " ".join(f"{count} {unit}" for count, unit in parts if count)


def _reset(standing: Standing, at: int) -> str:
    if standing.unit is Unit.PARALLEL:
        return "Room comes back as calls end."
    if standing.resets_at is None and not standing.window.startswith("rolling"):
        return f"It counts a whole {standing.window} and does not reset."
    if standing.resets_at is None:
        return f"Its window is {standing.window}: room comes back as spending grows older than that."
    return f"It resets on {moment_in_words(standing.resets_at, standing.zone, at)}."


def _local(at: int, zone: str) -> datetime:
    return to_datetime(at).astimezone(zone_of(zone))


def _ascii(value: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in value[:MAX_HEADER_CHARS])
