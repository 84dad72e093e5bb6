"""What the shapes on Bedrock share: the model in the path, the weight of a request, usage in Converse's words, guardrails.

Reference: docs.aws.amazon.com/bedrock/latest/APIReference, API_runtime_TokenUsage, _CacheDetail, _GuardrailUsage, _ContentBlock.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.framing.eventstream import EXCEPTION
from tollkeeper.wire.material import MAX_NODES, Material

SERVICE_TIER_HEADER = "x-amzn-bedrock-service-tier"
LATENCY_HEADER = "x-amzn-bedrock-performanceconfig-latency"
REQUEST_ID_HEADER = "x-amzn-requestid"

_ARN = re.compile(r"arn:[a-z0-9-]+:(?P<service>[a-z-]+):[a-z0-9-]*:\d*:(?P<kind>[a-z-]+)/(?P<id>.+)", re.IGNORECASE)
_NAMING = frozenset({"foundation-model", "inference-profile"})
"""Kinds of ARN whose last part is a model's own id; every other one (application profile, provisioned, imported) is the customer's."""

_MEDIA = frozenset(
    {
        "image", "images", "video", "document", "audio", "image_url", "inputImage", "inputVideo", "inputAudio", "maskImage", "mask",
        "mask_image", "init_image", "conditionImage", "sourceImage", "referenceImage", "style_image",
    }
)  # fmt: skip
_SHORTEST_PAYLOAD = 512
"""Shorter texts under these keys are words, not pictures (an argument of a tool may be called "document")."""

_MEDIA_TYPES = frozenset({"image", "document", "image_url", "input_image", "input_audio", "video_url", "audio_url"})
_SILENT = frozenset(
    {
        "type", "role", "id", "toolUseId", "tool_use_id", "tool_call_id", "cachePoint", "cache_control", "signature", "redactedContent",
        "format", "bytes", "s3Location", "status", "anthropic_version", "anthropic_beta", "schemaVersion", "taskType", "media_type",
        "data", "requestMetadata", "guardrailConfig", "embeddingTypes", "embedding_types", "input_type", "truncate", "output_format",
        "stop_reason", "finish_reason", "finishReason", "completionReason", "stopReason", "object", "logprobs",
    }
)  # fmt: skip
_PLAIN_DOCUMENTS = frozenset({"txt", "md", "csv", "html"})
_GUARDRAIL_UNITS = {
    "contentPolicyUnits": "guardrail_content_units",
    "contentPolicyImageUnits": "guardrail_image_units",
    "topicPolicyUnits": "guardrail_topic_units",
    "sensitiveInformationPolicyUnits": "guardrail_pii_units",
    "contextualGroundingPolicyUnits": "guardrail_grounding_units",
    "automatedReasoningPolicyUnits": "guardrail_reasoning_units",
}
"""Words and regular expressions are checked for nothing (aws.amazon.com/bedrock/pricing, Guardrails)."""

_MAX_ASSESSMENTS = 256
_MAX_SERVER_TOOLS = 16


def named_model(endpoint: Endpoint) -> str | None:
    """The model that the path names, or None where the name there is the customer's own."""
    model = endpoint.model_in_path
    if model is None:
        return None
    arn = _ARN.fullmatch(model)
    if arn is None:
        return model if "." in model and not model.lower().startswith("arn:") else None
    return model if arn["kind"].lower() in _NAMING and "." in arn["id"] else None


def note_path_terms(endpoint: Endpoint, notes: Notes) -> None:
    """Provisioned throughput is bought by the hour: the tokens of such a model are prepaid."""
    arn = _ARN.fullmatch(endpoint.model_in_path or "")
    if arn is not None and arn["kind"].lower() == "provisioned-model":
        notes.terms["service_tier"] = "provisioned"


def note_terms(notes: Notes, tier: Json, latency: Json) -> None:
    """What the answer says of the price: the tier that served it, and whether it was the latency-optimised deployment."""
    if notes.terms.get("service_tier") != "provisioned":
        notes.term("service_tier", tier)
    if latency == "optimized":
        notes.term("latency", latency)


def failure(payload: Mapping[str, Json], notes: Notes) -> bool:
    """Whether a stream element is a failure; its class is noted."""
    if EXCEPTION not in payload:
        return False
    notes.error = name(payload[EXCEPTION]) or "error"
    return True


def converse_usage(usage: Mapping[str, Json], model: str | None, flags: set[str]) -> Usage:
    """Disjoint counts out of Converse's usage: the input is without the cache, and each cache count may stand there under two names."""
    written = _either(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount", flags)
    long_write = short_write = 0
    details = usage.get("cacheDetails")
    for detail in details[:_MAX_SERVER_TOOLS] if isinstance(details, list) else ():
        tokens = count(detail.get("inputTokens"), flags) if isinstance(detail, dict) else 0
        if isinstance(detail, dict) and detail.get("ttl") == "1h":
            long_write += tokens
        else:
            short_write += tokens
    return Usage(
        model=model,
        input_tokens=count(usage.get("inputTokens"), flags),
        cache_read_tokens=_either(usage, "cacheReadInputTokens", "cacheReadInputTokenCount", flags),
        cache_write_5m_tokens=count(max(short_write, written - long_write), flags),
        cache_write_1h_tokens=count(long_write, flags),
        output_tokens=count(usage.get("outputTokens"), flags),
        units=_server_tools(member(usage, "serverToolUsage"), flags),
    )


def has_converse_counts(usage: Json) -> bool:
    """Whether this is a usage object in Converse's words, with figures in it."""
    return isinstance(usage, dict) and any(has_count(usage, key) for key in ("inputTokens", "outputTokens", "totalTokens"))


def guardrail_units(usage: Mapping[str, Json], flags: set[str]) -> dict[str, int]:
    """The billed units of one guardrail's usage, by our names."""
    return {ours: found for theirs, ours in _GUARDRAIL_UNITS.items() if (found := count(usage.get(theirs), flags))}


def trace_units(guardrail: Json, flags: set[str]) -> dict[str, int]:
    """The billed units of every assessment in a guardrail trace, wherever it stands there."""
    total: dict[str, int] = {}
    stack, seen = [guardrail], 0
    while stack and seen < _MAX_ASSESSMENTS * 16:
        value = stack.pop()
        seen += 1
        if isinstance(value, list):
            stack.extend(value[:_MAX_ASSESSMENTS])
        elif isinstance(value, dict):
            usage = member(value, "invocationMetrics").get("usage")
            if isinstance(usage, dict):
                for unit, found in guardrail_units(usage, flags).items():
                    total[unit] = total.get(unit, 0) + found
            stack.extend(list(value.values())[:_MAX_ASSESSMENTS])
    return {unit: count(found, flags) for unit, found in total.items()}


def weigh_blocks(values: Iterable[Json]) -> Material:
    """The text and media of a request in Converse's or a vendor's shape."""
    material = Material()
    total = 0
    for text in _texts(values, material):
        total += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    material.text_bytes += total
    return material


def block_texts(values: Iterable[Json]) -> Iterator[str]:
    """The texts of a request, or of an answer, in no promised order."""
    return _texts(values, Material())


def _texts(values: Iterable[Json], material: Material) -> Iterator[str]:
    stack = list(values)
    for _ in range(MAX_NODES):
        if not stack:
            return
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            if isinstance(kind := value.get("type"), str) and kind in _MEDIA_TYPES:
                material.media_parts += 1
                continue
            if (point := value.get("cachePoint")) is not None or (point := value.get("cache_control")) is not None:
                long = isinstance(point, dict) and point.get("ttl") == "1h"
                material.cache_write_ttl = "1h" if long or material.cache_write_ttl == "1h" else "5m"
            for key, inner in value.items():
                if key in _MEDIA and inner and not (isinstance(inner, str) and len(inner) < _SHORTEST_PAYLOAD):
                    _weigh_media(inner, material)
                elif key not in _SILENT:
                    stack.append(inner)


def _weigh_media(inner: Json, material: Material) -> None:
    """A picture counts as one part; a document of plain text besides as the text that it holds (base64 is a third longer)."""
    material.media_parts += len(inner) if isinstance(inner, list) else 1
    if isinstance(inner, dict) and isinstance(kind := inner.get("format"), str) and kind in _PLAIN_DOCUMENTS:
        source = member(inner, "source")
        packed = source.get("bytes")
        plain = source.get("text")
        material.text_bytes += len(packed) * 3 // 4 if isinstance(packed, str) else 0
        material.text_bytes += len(plain.encode("utf-8", "surrogatepass")) if isinstance(plain, str) else 0


def _either(usage: Mapping[str, Json], first: str, second: str, flags: set[str]) -> int:
    return count(usage[first] if has_count(usage, first) else usage.get(second), flags)


def _server_tools(used: Mapping[str, Json], flags: set[str]) -> dict[str, int]:
    """Requests of tools that ran at Amazon, under our names: ``webSearchRequests`` becomes ``web_search_requests``."""
    units: dict[str, int] = {}
    for key in list(used)[:_MAX_SERVER_TOOLS]:
        if name(key) and key.lower().endswith("requests") and (found := count(used[key], flags)):
            units[re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()] = found
    return units
