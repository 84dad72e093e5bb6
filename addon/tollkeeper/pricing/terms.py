"""What multiplies a price, in the provider's words → the words of the price list.

A term we do not know leaves the standard price and raises a flag: the catalogue itself would take a misspelt term for no term.
Sources: platform.openai.com/docs/guides/priority-processing and flex-processing; docs.claude.com service tiers, batch and fast mode;
ai.google.dev/gemini-api/docs/pricing; cloud.google.com/vertex-ai trafficType.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_STANDARD = frozenset(
    {"", "auto", "default", "standard", "standard_only", "on_demand", "unspecified", "service_tier_unspecified"}
)
_TRAFFIC = {
    "on_demand": "",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "traffic_type_unspecified": "",
}
_TIER_KEYS = frozenset({"service_tier", "servicetier", "traffic_type", "traffictype", "processing"})
_GEO_KEYS = frozenset({"inference_geo"})
_SIZE_KEYS = frozenset({"image_size", "image_quality", "video_size", "video_sound"})
"""What was made, where that selects the price: overlays name them under ``terms``."""
MAX_TERMS = 8
MAX_TERM = 64


@dataclass(frozen=True, slots=True)
class Mapped:
    """``context`` selects rates in the catalogue; ``marks`` select multipliers of overlays; ``flags`` name unknown terms."""

    context: tuple[tuple[str, str], ...]
    marks: tuple[tuple[str, str], ...]
    flags: tuple[str, ...] = ()


def bounded(terms: Mapping[str, str], asked_tier: str | None) -> tuple[tuple[str, str], ...]:
    """The terms of an answer as a small sorted key. The tier that was asked for counts only when the answer names none."""
    if not terms:
        return (("service_tier", asked_tier[:MAX_TERM].lower()),) if asked_tier else ()
    items = [(key[:MAX_TERM].lower(), str(value)[:MAX_TERM].lower()) for key, value in list(terms.items())[:MAX_TERMS]]
    if asked_tier and not any(key in _TIER_KEYS for key, _ in items):
        items.append(("service_tier", asked_tier[:MAX_TERM].lower()))
    return tuple(sorted(items))


def map_terms(provider: str, terms: tuple[tuple[str, str], ...]) -> Mapped:
    """Terms of a provider as the price list calls them."""
    context: dict[str, str] = {}
    marks: dict[str, str] = {}
    flags: list[str] = []
    for key, value in terms:
        if key in _TIER_KEYS:
            _tier(provider, key, value, context, flags)
        elif key == "speed":
            if value not in {"standard", "normal", "default", ""}:
                context["speed"] = value
        elif key in _SIZE_KEYS or key == "search_context_size":
            context[key] = value
        elif key == "latency":  # Bedrock's latency-optimised inference
            if value not in _STANDARD:
                marks[key] = value
        elif key in _GEO_KEYS:
            if value not in {"global", "not_available", ""}:
                marks[key] = value
        else:
            flags.append(f"unknown-term:{_safe(key)}")
    return Mapped(tuple(sorted(context.items())), tuple(sorted(marks.items())), tuple(flags))


def _tier(provider: str, key: str, value: str, context: dict[str, str], flags: list[str]) -> None:
    tier = _TRAFFIC.get(value, value)
    if tier in _STANDARD:
        return
    if tier.startswith("provisioned") or tier in {"scale", "reserved"}:
        # Bought in advance: the list price is what it would have cost.
        flags.append("prepaid-tier")
    elif tier == "batch":
        context["processing"] = "batch"
    elif tier == "priority" and provider in {"anthropic", "anthropic-aws"}:
        # A committed-capacity tier, not a dearer one: usage is priced as standard (docs.claude.com, service tiers).
        return
    elif tier == "flex" and provider == "groq":
        # Same price as on demand (console.groq.com/docs/service-tiers).
        return
    elif key == "processing":
        flags.append("unknown-term:processing")
    else:
        context["service_tier"] = tier


def _safe(key: str) -> str:
    return "".join(char for char in key if char.isascii() and (char.isalnum() or char in "_-"))[:32]
