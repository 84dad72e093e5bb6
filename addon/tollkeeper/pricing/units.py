"""Which billed line each count belongs to, and under which key a price list names its rate.

Our counts are disjoint (``core.usage``); price lists nest them (cached audio input is also audio, cached and input). A line takes
the first of its keys that has a rate; only the first ``exact`` of them mean that very line, the rest are coarser rates that
cover it. Keys are those of genai-prices (``data_units.unit_data``), so overlays and catalogue speak alike.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType

MTOK = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """A kind of charge.

    ``keys`` are rate names, most precise first; ``exact`` says how many of them mean this line itself. ``parent`` is the count
    this one is a part of: without an exact rate it stays inside its parent. ``loose`` lines are flagged when priced at a coarser
    rate, because that rate is known to be wrong for them (gpt-4o-audio-preview: billed $0.0075 instead of $0.0655).
    """

    unit: str
    keys: tuple[str, ...]
    exact: int = 1
    parent: str | None = None
    loose: bool = False


TOKEN_LINES: tuple[Line, ...] = (
    Line("input_tokens", ("input_text_mtok", "input_mtok"), exact=2),
    Line("audio_input_tokens", ("input_audio_mtok",), parent="input_tokens", loose=True),
    Line("image_input_tokens", ("input_image_mtok",), parent="input_tokens"),
    Line("video_input_tokens", ("input_video_mtok",), parent="input_tokens"),
    Line("cache_read_tokens", ("cache_text_read_mtok", "cache_read_mtok", "input_mtok"), exact=2),
    Line("audio_cache_read_tokens", ("cache_audio_read_mtok", "input_audio_mtok"), parent="cache_read_tokens", loose=True),
    Line("image_cache_read_tokens", ("cache_image_read_mtok", "input_image_mtok"), parent="cache_read_tokens"),
    Line("video_cache_read_tokens", ("cache_video_read_mtok", "input_video_mtok"), parent="cache_read_tokens"),
    Line("cache_write_5m_tokens", ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"), exact=2, loose=True),
    Line("cache_write_1h_tokens", ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"), exact=1, loose=True),
    Line("output_tokens", ("output_text_mtok", "output_mtok"), exact=2),
    Line("reasoning_tokens", ("output_reasoning_mtok",), parent="output_tokens"),
    Line("audio_output_tokens", ("output_audio_mtok",), parent="output_tokens", loose=True),
    Line("image_output_tokens", ("output_image_mtok",), parent="output_tokens", loose=True),
    Line("video_output_tokens", ("output_video_mtok",), parent="output_tokens", loose=True),
    Line("citation_tokens", ("output_citation_mtok",)),
)

OTHER_LINES: tuple[Line, ...] = (
    Line("requests", ("requests_kcount",)),
    Line("web_search_requests", ("web_searches_kcount",)),
    Line("web_search_preview_requests", ("web_search_previews_kcount", "web_searches_kcount")),
    Line("file_search_requests", ("storage_searches_kcount",)),
    Line("social_search_requests", ("social_searches_kcount",)),
    Line("maps_search_requests", ("maps_searches_kcount",)),
    Line("enterprise_search_requests", ("enterprise_searches_kcount",)),
    Line("retrieval_requests", ("retrievals_kcount",)),
    Line("attachment_search_requests", ("attachment_searches_kcount",)),
    Line("search_sources", ("search_sources_kcount",)),
    Line("code_execution_requests", ("code_executions_kcount",)),
    Line("code_interpreter_sessions", ("code_sessions_kcount",)),
    Line("search_units", ("rerank_searches_kcount",)),
    Line("audio_input_seconds", ("input_audio_hours", "audio_hours"), exact=2),
    Line("audio_output_seconds", ("output_audio_hours", "audio_hours"), exact=2),
    Line("audio_seconds", ("audio_hours",)),
    Line("input_characters", ("input_mchars",)),
    Line("input_pixels", ("input_gpixels",)),
    Line("document_pages", ("input_document_kpages",)),
    Line("annotated_document_pages", ("input_annotated_document_kpages",)),
    Line("input_text_messages", ("input_text_messages_kcount",)),
    Line("output_images", ("output_images_kcount",)),
    Line("upscaled_images", ("upscaled_images_kcount",)),
    Line("input_images", ("input_images_kcount",)),
    Line("output_pixels", ("output_gpixels",)),
    Line("hardware_milliseconds", ("hardware_hours",)),
    Line("millineurons", ("neurons_kcount",)),
    Line("input_video_seconds", ("input_video_second",)),
    Line("audio_clips", ("audio_clips_kcount",)),
    Line("video_seconds", ("video_second",)),
    # Bedrock's guardrails, by text units of 1,000 characters (or pictures) and policy.
    Line("guardrail_content_units", ("guardrail_content_kcount",)),
    Line("guardrail_topic_units", ("guardrail_topic_kcount",)),
    Line("guardrail_pii_units", ("guardrail_pii_kcount",)),
    Line("guardrail_grounding_units", ("guardrail_grounding_kcount",)),
    Line("guardrail_reasoning_units", ("guardrail_reasoning_kcount",)),
    Line("guardrail_image_units", ("guardrail_images_kcount",)),
)

LINES: Mapping[str, Line] = MappingProxyType({line.unit: line for line in (*TOKEN_LINES, *OTHER_LINES)})

PARTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        base: frozenset(line.unit for line in TOKEN_LINES if line.parent == base)
        for base in ("input_tokens", "cache_read_tokens", "output_tokens")
    }
)

PER: Mapping[str, int] = MappingProxyType(
    {key: MTOK for line in TOKEN_LINES for key in line.keys}
    | {key: 1_000 for line in OTHER_LINES for key in line.keys}
    | {"input_mchars": MTOK, "input_gpixels": 1_000_000_000, "output_gpixels": 1_000_000_000}
    | {key: 1 for line in OTHER_LINES for key in line.keys if key.endswith("_second")}
    | {"hardware_hours": 3_600_000, "neurons_kcount": 1_000_000}
    | {"audio_hours": 3_600, "input_audio_hours": 3_600, "output_audio_hours": 3_600}
)
"""How many units one quoted price covers, by rate name."""

RATE_KEYS = frozenset(PER)
"""Every rate name an overlay may use."""

MEASURES: Mapping[str, str] = MappingProxyType({"output_pixels": "output_images"})
"""Two measures of one thing: price lists go by one or the other (by the megapixel, or by the picture), usages hold both."""


def is_measured_otherwise(unit: str, units: Container[str], rates: Container[str]) -> bool:
    """Whether ``unit`` needs no rate, because another unit among ``units`` measures the same thing and is what the price goes by."""
    if unit in rates:
        return False
    if (coarse := MEASURES.get(unit)) is not None:
        return coarse in units
    return any(other == unit and fine in units and fine in rates for fine, other in MEASURES.items())
