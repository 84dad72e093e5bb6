"""Small readers of what a request's body says, shared by the dialects."""

from collections.abc import Mapping
from decimal import ROUND_CEILING

from .counts import Json, decimal, member, model_name, name
from .repair.effort import word_for

MAX_CHOICES = 1024
MAX_FALLBACKS = 32
SEARCHES_UNBOUNDED = 10
"""Searches reserved for when a request allows a search tool and names no bound; none of the recorded answers used more."""

SEARCH, SEARCH_PREVIEW = "web_search_requests", "web_search_preview_requests"
"""The units of OpenAI's web searches: its older tool and its older search models are billed at a price of their own."""


def positive(value: Json) -> int | None:
    """A positive whole number, or None."""
    return value if type(value) is int and 0 < value < 2**53 else None


def fallback_models(body: Mapping[str, Json]) -> tuple[str, ...]:
    """Models that may answer instead of the one asked for (OpenRouter ``models``: openrouter.ai/docs/features/model-routing)."""
    listed = body.get("models")
    named = (model_name(one) for one in (listed[:MAX_FALLBACKS] if isinstance(listed, list) else ()))
    return tuple(one for one in named if one is not None and not one.isdigit() and one != body.get("model"))


def effort_of(word: Json, budget_tokens: Json = None) -> str | None:
    """How much thinking a request asks for: its own word in small letters, else the word that its budget of tokens stands for."""
    if (said := name(word)) is not None:
        return said.lower()
    return word_for(budget_tokens) if type(budget_tokens) is int else None


def effort_in(config: Mapping[str, Json]) -> str | None:
    """The same of Gemini's configuration of an answer."""
    thinking = member(config, "thinkingConfig") or member(config, "thinking_config")
    level = thinking.get("thinkingLevel") or thinking.get("thinking_level")
    return effort_of(level, thinking.get("thinkingBudget", thinking.get("thinking_budget")))


def at_least_one(value: Json) -> int:
    """A number of answers asked for."""
    return min(positive(value) or 1, MAX_CHOICES)


def whole(value: Json) -> int | None:
    """A positive whole number, also as text (fields of a form are text); a fraction is rounded up. None for anything else."""
    number = None if isinstance(value, bool) or value is None else decimal(str(value) if isinstance(value, float) else value)
    if number is None or not 0 < number < 2**53:
        return None
    return int(number.to_integral_value(ROUND_CEILING))


def flag(value: Json) -> bool:
    """Whether a switch is on: ``true``, also as the text that a form holds."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")
