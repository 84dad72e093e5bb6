"""How Google counts: tokens by modality, tool prompts and thoughts beside the rest, fees of the grounding tools.

Reference: ai.google.dev/api/generate-content#UsageMetadata; fees: ai.google.dev/gemini-api/docs/pricing. Field names come in camel and in
snake case: protobuf JSON takes both.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.reading_asks import SEARCHES_UNBOUNDED

KINDS = ("audio", "image", "video")
"""Modalities that have rates of their own; documents are billed as the text and pictures they hold."""

_NUMBERED = {2: "image", 3: "video", 4: "audio"}
"""Modalities as clients get them that ask for ``enum-encoding=int`` (google.ai.generativelanguage ``Modality``)."""

MAX_DETAILS = 32
MAX_ID_CHARS = 4_096
MAX_TOOLS = 128

TIER_HEADER = "x-gemini-service-tier"
"""The tier that really served a request: priority is downgraded when its share is used up (ai.google.dev, Priority inference)."""

SEARCH, MAPS, ENTERPRISE, RETRIEVAL = (
    "web_search_requests",
    "maps_search_requests",
    "enterprise_search_requests",
    "retrieval_requests",
)

_TOOLS = {
    "googlesearch": SEARCH,
    "googlesearchretrieval": SEARCH,
    "googlemaps": MAPS,
    "enterprisewebsearch": ENTERPRISE,
    "retrieval": RETRIEVAL,
}


def pick(value: Mapping[str, Json], snake: str) -> Json:
    """The member of that name, in snake or in camel case; None when there is none."""
    if snake in value:
        return value[snake]
    head, *rest = snake.split("_")
    return value.get(head + "".join(word.capitalize() for word in rest))


def by_kind(details: Json, flags: set[str]) -> dict[str, int]:
    """Tokens of each kind in a list such as ``[{"modality": "AUDIO", "tokenCount": 7}]``; Interactions write ``tokens``."""
    counts: dict[str, int] = {}
    for item in details[:MAX_DETAILS] if isinstance(details, list) else ():
        stated = item.get("modality") if isinstance(item, dict) else None
        kind = stated.lower() if isinstance(stated, str) else _NUMBERED.get(stated, "") if type(stated) is int else ""
        if kind in KINDS:
            tokens = item.get("tokens") if "tokens" in item else pick(item, "token_count")
            counts[kind] = counts.get(kind, 0) + count(tokens, flags)
    return counts


def disjoint(
    figures: Mapping[str, int], details: Mapping[str, Json], model: str | None, fees: Mapping[str, int], flags: set[str]
) -> Usage:
    """A usage out of Google's figures: ``prompt`` (the ``cached`` inside), ``tool_use``, ``thoughts``, ``answer``, and their details."""
    prompt, cached = figures.get("prompt", 0), figures.get("cached", 0)
    tool_use, thoughts, answer = figures.get("tool_use", 0), figures.get("thoughts", 0), figures.get("answer", 0)
    if cached > prompt:
        flags.add("cached-over-prompt")
    kinds = {side: by_kind(details.get(side), flags) for side in ("prompt", "cached", "tool_use", "answer")}
    units: dict[str, int] = {}
    for kind in KINDS:
        asked = max(0, kinds["prompt"].get(kind, 0) - kinds["cached"].get(kind, 0))
        units[f"{kind}_input_tokens"] = asked + kinds["tool_use"].get(kind, 0)
        units[f"{kind}_cache_read_tokens"] = kinds["cached"].get(kind, 0)
        units[f"{kind}_output_tokens"] = kinds["answer"].get(kind, 0)
    return Usage(
        model=model,
        input_tokens=max(0, prompt - cached) + tool_use,
        cache_read_tokens=cached,
        output_tokens=answer + thoughts,
        reasoning_tokens=thoughts,
        units={unit: found for unit, found in {**units, **fees}.items() if found},
    )


def bills_queries(model: str) -> bool:
    """Gemini 3 and later, and the agents built on them, are billed each search query; older ones each grounded prompt."""
    bare = model.rpartition("/")[2]
    generation = bare.removeprefix("gemini-")[:1]
    return bare.startswith("deep-research") or (generation.isdigit() and int(generation) >= 3)


def tool_fees(tools: Json, model: str) -> dict[str, int]:
    """Upper bounds of what the billed tools among ``tools`` may be used, by unit. Both APIs' shapes are taken."""
    most = SEARCHES_UNBOUNDED if bills_queries(model) else 1
    return {unit: most if unit in {SEARCH, MAPS} else 1 for unit in _tool_units(tools)}


def _tool_units(tools: Json) -> Iterator[str]:
    for tool in tools[:MAX_TOOLS] if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            names = [tool["type"]] if isinstance(tool.get("type"), str) else list(tool)[:16]
            for one in names:
                if (unit := _TOOLS.get(one.replace("_", "").lower())) is not None:
                    yield unit


def resource_id(value: Json) -> str | None:
    """The last part of a resource's name; one that is too long to be kept as it stands (interactions have such) by its digest."""
    if not isinstance(value, str) or not value or len(value) > MAX_ID_CHARS:
        return None
    last = value.rpartition("/")[2]
    return name(last) or "sha256:" + sha256(last.encode("utf-8", "replace")).hexdigest()[:32]


def tier(value: Json) -> str | None:
    """A service tier in one spelling: protobuf's ``SERVICE_TIER_FLEX`` is ``flex``."""
    known = name(value)
    return known.lower().removeprefix("service_tier_") if known else None


def note_tier(notes: Notes, value: Json) -> None:
    """Keep the tier that served the request, when it is named."""
    if (served := tier(value)) is not None:
        notes.terms["service_tier"] = served
