"""What a provider says its answer costs, in USD. Kept beside the computed figure (exact wherever it could be checked: docs/wire.md)."""

from collections.abc import Mapping
from decimal import Decimal

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import CHARGED_NOTHING

from .counts import Json, decimal, member
from .dialect import Notes
from .traits import COST_IN_HEADER

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
        _gateway_cost(cost, usage, notes)
    elif (ticks := usage.get("cost_in_usd_ticks")) is not None:
        notes.cost(ticks, _TICK_USD)
    elif (estimate := member(usage, "pydantic_ai_gateway").get("cost_estimate")) is not None:
        notes.cost(estimate)
    elif (estimate := usage.get("estimated_cost")) is not None:
        notes.cost(estimate)  # DeepInfra


def note_copilot_cost(payload: Mapping[str, Json], notes: Notes) -> None:
    """GitHub Copilot states its own beside ``usage``; 0 for the models that a plan includes, which says nothing of their worth."""
    nano = member(payload, "copilot_usage").get("total_nano_aiu")
    if decimal(nano):
        notes.cost(nano, _NANO_AIU_USD)


def cost_in_headers(endpoint: Endpoint, headers: Mapping[str, str]) -> Decimal | None:
    """What a gateway says in the headers of its answer (LiteLLM); anywhere else the header says nothing."""
    stated = decimal(headers.get("x-litellm-response-cost")) if COST_IN_HEADER in endpoint.traits else None
    return stated if stated is not None and stated >= 0 else None


def _gateway_cost(cost: Json, usage: Mapping[str, Json], notes: Notes) -> None:
    """OpenRouter (Vercel writes a text). With a key of one's own it states its fee, often 0, and the provider's bill beside it.

    Both are owed; without the second the figure says nothing of what the call cost (openrouter.ai/docs, usage accounting). Older answers
    name no ``is_byok``: there a bill above the charge tells.
    """
    upstream = decimal(member(usage, "cost_details").get("upstream_inference_cost"))
    own_key = usage.get("is_byok")
    charged = decimal(cost)
    if own_key is None:
        own_key = upstream is not None and charged is not None and upstream > charged
    if own_key is not True:
        notes.cost(cost)
        if usage.get("is_byok") is False and charged == 0:
            notes.flags.add(CHARGED_NOTHING)
    elif upstream is not None:
        notes.cost(str(upstream + (charged or 0)))
