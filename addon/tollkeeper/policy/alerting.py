"""Who is told of what, and in which words: channels, and the alert as JSON and as a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.clock import to_datetime

from .globs import Glob
from .message import moment_in_words


class Way(StrEnum):
    """How it is told."""

    WEBHOOK = "webhook"
    """JSON by POST, signed where there is a secret."""
    SLACK = "slack"
    """``{"text": …}`` by POST, as Slack's incoming webhooks and many others take it."""
    DESKTOP = "desktop"
    COMMAND = "command"
    """A program, without a shell; the JSON is on its standard input."""


class Reason(StrEnum):
    """What is told."""

    THRESHOLD = "threshold"
    USED_UP = "used-up"
    PROJECTION = "projection"
    ANOMALY = "anomaly"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One channel. ``url`` may be ``env:NAME`` or ``keyring:…``, since such addresses are secrets; ``secret`` always is one of these."""

    name: str
    way: Way
    url: str = ""
    secret: str = ""
    command: tuple[str, ...] = ()
    on: tuple[Reason, ...] = tuple(Reason)
    budgets: tuple[Glob, ...] = ()

    def wants(self, reason: str, budget: str) -> bool:
        """Whether an alert is for this channel; ``budget`` is empty for one about a session."""
        return reason in self.on and (not self.budgets or not budget or any(glob.matches(budget) for glob in self.budgets))


def alert_in_words(kind: str, percent: int, facts: Mapping[str, Any], now: int) -> str:
    """One sentence: ``Budget day is at 92% of $50.00 ($46.00 spent, $0.10 held); it resets on Mon 23 Nov 00:00 UTC (in 3 h).``."""
    unit = Unit(facts["unit"])
    spent = format_amount(unit, facts["spent"])
    if kind == Reason.ANOMALY:
        usual = format_amount(unit, facts["usual"])
        return f"Session {facts['session'][:80]} of {facts['principal'][:80]} has cost {spent}; 95% of their others stay below {usual}."
    amount, held = facts["amount"], facts["held"]
    said = f"Budget {facts['budget']}"
    figures = f"{spent} spent, {format_amount(unit, held)} held"
    if kind == Reason.USED_UP:
        left = max(0, amount - facts["spent"] - held)
        rest = format_amount(unit, left) if left else "no room"
        said += f" has {rest} left of {format_amount(unit, amount)} ({figures}): calls are refused"
        said += f" that may {'cost' if unit is Unit.USD else 'take'} more" if left else ""
    elif kind == Reason.PROJECTION:
        said += (
            f" heads over {format_amount(unit, amount)}: it crosses on {moment_in_words(facts['crosses_at'], facts['zone'], now)}"
        )
        said += f" at its present pace ({spent} so far)"
    else:
        used = 100 if amount <= 0 else (facts["spent"] + held) * 100 // amount
        said += f" is at {max(used, percent)}% of {format_amount(unit, amount)} ({figures})"
    if facts["resets_at"] is not None:
        said += f"; it resets on {moment_in_words(facts['resets_at'], facts['zone'], now)}"
    return said + "."


def alert_as_json(name: str, kind: str, percent: int, at: int, facts: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The alert for machines: amounts in whole units (nano-dollars for dollars), times in UTC. ``name`` is the same for every try."""
    shown = {key: value for key, value in facts.items() if not key.endswith("_at")}
    for key in ("resets_at", "crosses_at"):
        if facts.get(key) is not None:
            shown[key] = f"{to_datetime(facts[key]):%Y-%m-%dT%H:%M:%SZ}"
    text = alert_in_words(kind, percent, facts, now)
    return {"id": name, "kind": kind, "percent": percent, "at": f"{to_datetime(at):%Y-%m-%dT%H:%M:%SZ}", "text": text, **shown}
