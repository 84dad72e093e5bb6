"""OpenAI's way of counting, and its many relatives': cached tokens inside the input, reasoning inside the output.

Relatives rename fields, move them, or put reasoning outside; ``total_tokens`` tells which (docs/wire.md, "Counting").
"""

from collections.abc import Mapping
from typing import TypeGuard

from tollkeeper.core.usage import Usage

from .counts import Json, count, has_count, member
from .traits import OUTPUT_IS_REST, REASONING_APART, REASONING_OUTSIDE

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "completion_token_details", "output_token_details")
_WRITTEN = ("cache_creation_input_tokens", "cache_creation_tokens")
_CACHED_ELSEWHERE = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")  # DeepSeek, Moonshot, Venice

_FEES = (
    ("citation_tokens", "citation_tokens"),  # Perplexity
    ("num_search_queries", "web_search_requests"),  # Perplexity
    ("num_sources_used", "search_sources"),  # xAI
)


def has_counts(usage: Json) -> TypeGuard[Mapping[str, Json]]:
    """Whether this is a usage object with figures in it."""
    return isinstance(usage, dict) and any(has_count(usage, key) for key in (*_INPUT, *_OUTPUT, "total_tokens"))


def later(before: Mapping[str, Json] | None, usage: Mapping[str, Json]) -> Mapping[str, Json]:
    """The bill after one more usage object: its figures take the place of earlier ones, field by field.

    Null takes nothing away, and neither does an object of nothing but zeros: what was used is never given back.
    """
    if before is None:
        return usage
    if not any(count(usage.get(key), set()) for key in (*_INPUT, *_OUTPUT, "total_tokens")):
        return before
    return {**before, **{key: value for key, value in usage.items() if value is not None}}


def inclusive_usage(usage: Mapping[str, Json], model: str | None, traits: frozenset[str], flags: set[str]) -> Usage:
    """Disjoint counts out of an inclusive usage object."""
    input_details, output_details = _first_object(usage, _INPUT_DETAILS), _first_object(usage, _OUTPUT_DETAILS)
    total = count(usage.get("total_tokens"), flags)
    output_stated = any(has_count(usage, key) for key in _OUTPUT)
    prompt = _first(usage, _INPUT, flags)
    if not any(has_count(usage, key) for key in _INPUT) and not output_stated:
        prompt = total  # embeddings of some hosts state the total alone
    cached = count(input_details.get("cached_tokens"), flags) or _first(usage, _CACHED_ELSEWHERE, flags)
    long_write, short_write = _cache_writes(usage, input_details, flags)
    reasoning = count(output_details.get("reasoning_tokens"), flags) or count(usage.get("reasoning_tokens"), flags)
    if (heard := count(input_details.get("audio_tokens"), flags)) and total == prompt + heard + _first(usage, _OUTPUT, flags):
        prompt += heard  # Mistral's voxtral: the audio stands beside the prompt, and only the total tells
    output = _output(usage, prompt=prompt, reasoning=reasoning, total=total, traits=traits, flags=flags)
    if reasoning > output:
        flags.add("reasoning-over-output")
        reasoning = output
    uncached = prompt - cached - long_write - short_write
    if uncached < 0:
        flags.add("cached-over-prompt")
        uncached = 0
    units = _units(usage, input_details, output_details, flags)
    return Usage(
        model=model,
        input_tokens=uncached,
        cache_read_tokens=cached,
        cache_write_5m_tokens=short_write,
        cache_write_1h_tokens=long_write,
        output_tokens=output,
        reasoning_tokens=reasoning,
        units=units,
    )


def _output(
    usage: Mapping[str, Json], *, prompt: int, reasoning: int, total: int, traits: frozenset[str], flags: set[str]
) -> int:
    completion = _first(usage, _OUTPUT, flags)
    if OUTPUT_IS_REST in traits:
        return max(completion, total - prompt)
    if not reasoning:
        return completion
    if REASONING_APART in traits:
        return completion + reasoning
    if total == prompt + completion + reasoning:
        return completion + reasoning
    return completion + reasoning if not total and REASONING_OUTSIDE in traits else completion


def _cache_writes(usage: Mapping[str, Json], details: Mapping[str, Json], flags: set[str]) -> tuple[int, int]:
    """(long, short) cache writes: OpenAI's 12-hour ones count as long, 30-minute and unstated ones as short.

    Gateways pass Anthropic's own split on: at the top, or as LiteLLM does among the details.
    """
    written = count(details.get("cache_write_tokens"), flags) or _first({**details, **usage}, _WRITTEN, flags)
    long_write = count(member(details, "cache_write_tokens_details").get("ttl_12h_tokens"), flags)
    for split in (member(usage, "cache_creation"), member(details, "cache_creation_token_details")):
        long_write = long_write or min(count(split.get("ephemeral_1h_input_tokens"), flags), written)
    return long_write, max(0, written - long_write)


def _units(
    usage: Mapping[str, Json], input_details: Mapping[str, Json], output_details: Mapping[str, Json], flags: set[str]
) -> dict[str, int]:
    units: dict[str, int] = {}
    for kind in ("audio", "image", "video"):
        for side, details in (("input", input_details), ("output", output_details)):
            if found := count(details.get(f"{kind}_tokens"), flags):
                units[f"{kind}_{side}_tokens"] = found
        cached = count(member(input_details, "cached_tokens_details").get(f"{kind}_tokens"), flags)
        if cached:
            units[f"{kind}_cache_read_tokens"] = cached
            if stated := units.get(f"{kind}_input_tokens"):
                units[f"{kind}_input_tokens"] = max(0, stated - cached)
    for key, unit in _FEES:
        if found := count(usage.get(key), flags):
            units[unit] = found
    if found := count(usage.get("prompt_audio_seconds"), flags):
        units["audio_input_seconds"] = found  # Mistral bills sound by the second
    return {unit: found for unit, found in units.items() if found}


def _first(usage: Mapping[str, Json], keys: tuple[str, ...], flags: set[str]) -> int:
    for key in keys:
        if has_count(usage, key):
            return count(usage[key], flags)
    return 0


def _first_object(usage: Mapping[str, Json], keys: tuple[str, ...]) -> Mapping[str, Json]:
    for key in keys:
        if found := member(usage, key):
            return found
    return {}
