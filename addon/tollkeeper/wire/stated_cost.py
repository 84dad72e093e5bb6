"""What a provider says its answer costs, in USD. Kept beside the computed figure (exact wherever it could be checked: docs/wire.md)."""

from collections.abc import Mapping
from decimal import Decimal

from .counts import Json, member
from .dialect import Notes

_TICK_USD = Decimal("1e-10")
"""xAI: 10¹⁰ ticks are one dollar."""

_NANO_AIU_USD = Decimal("1e-11")
"""GitHub Copilot: 10⁹ nano-AIU are one AI credit, worth $0.01."""


def note_stated_cost(usage: Mapping[str, Json], notes: Notes) -> None:
    """Take the cost out of a usage object, in whichever way its provider states one."""
    cost = usage.get("cost")
    if isinstance(cost, dict):
        notes.cost(cost.get("total_cost"))  # Perplexity
    elif cost is not None and not isinstance(cost, bool):
        notes.cost(cost)  # OpenRouter; Vercel writes it as text
        upstream = member(usage, "cost_details").get("upstream_inference_cost")
        if usage.get("is_byok") is True and upstream is not None:
            _add(upstream, notes)  # own key: OpenRouter's fee and the provider's bill are both owed
    elif (ticks := usage.get("cost_in_usd_ticks")) is not None:
        notes.cost(ticks, _TICK_USD)
    elif (estimate := member(usage, "pydantic_ai_gateway").get("cost_estimate")) is not None:
        notes.cost(estimate)
    elif (estimate := usage.get("estimated_cost")) is not None:
        notes.cost(estimate)  # DeepInfra


def note_copilot_cost(payload: Mapping[str, Json], notes: Notes) -> None:
    """GitHub Copilot states its own beside ``usage``; 0 for the models that a plan includes, which says nothing of their worth."""
    nano = member(payload, "copilot_usage").get("total_nano_aiu")
    if nano:
        notes.cost(nano, _NANO_AIU_USD)


def _add(upstream: Json, notes: Notes) -> None:
    fee = notes.cost_usd
    notes.cost(upstream)
    if fee is not None and notes.cost_usd is not None:
        notes.cost_usd += fee
