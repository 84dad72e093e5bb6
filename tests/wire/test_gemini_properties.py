"""Laws of every Google reader: any split reads alike, any cut holds, no shape of JSON raises or gives an absurd count."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import MAX_COUNT, Reading
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import GENERATE, JSON, SSE, read, some_splits
from wire.test_gemini_interactions import COMPLETED, POST, STREAM

EMBED = endpoint_for("gemini", "h", "POST", "/v1beta/models/gemini-embedding-2:batchEmbedContents")
PREDICT = endpoint_for("vertex", "h", "POST", "/v1/publishers/google/models/text-embedding-005:predict")
MULTI = endpoint_for("vertex", "h", "POST", "/v1/publishers/google/models/multimodalembedding@001:predict")
IMAGEN = endpoint_for("vertex", "h", "POST", "/v1/publishers/google/models/imagen-4.0-generate-001:predict")
VEO = endpoint_for("gemini", "h", "POST", "/v1beta/models/veo-3.1-generate-preview:predictLongRunning")
ENDPOINTS = (POST, EMBED, PREDICT, MULTI, IMAGEN, VEO, GENERATE)

WHOLE = json.dumps(COMPLETED["interaction"]).encode()
VECTORS = json.dumps({"embeddings": [{"values": [0.25, -1e-9]}], "usageMetadata": {"promptTokenCount": 4}}).encode()
PICTURES = json.dumps({"predictions": [{"bytesBase64Encoded": "QUJD" * 900, "mimeType": "image/png"}]}).encode()
ANSWERS: tuple[tuple[Endpoint, bytes, Mapping[str, str]], ...] = (
    (POST, STREAM, SSE),
    (POST, WHOLE, JSON),
    (EMBED, VECTORS, JSON),
    (IMAGEN, PICTURES, JSON),
)


@pytest.mark.parametrize("answer", ANSWERS, ids=["interaction-stream", "interaction", "vectors", "pictures"])
def test_any_split_of_an_answer_gives_the_same_reading(answer: tuple[Endpoint, bytes, Mapping[str, str]]) -> None:
    endpoint, body, headers = answer
    once = read(endpoint, body, headers)
    for at in some_splits(body, seed=len(body)):
        assert read(endpoint, body, headers, at=at) == once


def test_a_stream_cut_at_any_byte_never_claims_more_than_it_said() -> None:
    for end in range(len(STREAM)):
        reading = read(POST, STREAM[:end], cut=True)
        assert sum(call.output_tokens for call in reading.calls) in {0, 25}
        assert sound(reading)


KEYS = (
    "id", "model", "agent", "status", "usage", "total_input_tokens", "totalInputTokens", "total_cached_tokens", "total_output_tokens",
    "total_thought_tokens", "total_tool_use_tokens", "total_tokens", "input_tokens_by_modality", "modality", "tokens", "steps", "type",
    "arguments", "queries", "grounding_tool_count", "count", "interaction", "event_type", "metadata", "total_usage", "delta", "content",
    "text", "error", "code", "interactionCompletedEvent", "usageMetadata", "promptTokenCount", "candidatesTokenCount",
    "promptTokensDetails", "promptTokenDetails", "tokenCount", "predictions", "embeddings", "statistics", "token_count",
    "billableCharacterCount", "videoEmbeddings", "startOffsetSec", "endOffsetSec", "imageEmbedding", "bytesBase64Encoded", "gcsUri",
    "name", "data", "instances", "parameters", "sampleCount", "durationSeconds", "resolution", "prompt", "video", "image",
    "videoSegmentConfig", "requests", "input", "tools", "googleSearch", "google_maps", "generation_config", "max_output_tokens",
    "candidates", "groundingMetadata", "groundingChunks", "maps", "webSearchQueries", "retrievalQueries", "finishReason", "responseId",
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["AUDIO", "12", "-9", "1e400", "in_progress", "completed", "google_search", "y" * 200, "STOP", ""]),
)  # fmt: skip
DOCUMENTS = st.dictionaries(
    st.sampled_from(KEYS),
    st.recursive(
        VALUES,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)),
        max_leaves=20,
    ),
    max_size=6,
)


def sound(reading: Reading) -> bool:
    """No figure is negative or beyond what an answer may claim."""
    for call in reading.calls:
        figures = (call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens, *call.units.values())
        if not all(type(figure) is int and 0 <= figure <= 10_000 * MAX_COUNT for figure in figures):
            return False
    return all(type(flag) is str for flag in reading.flags)


@settings(max_examples=120, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.sampled_from(ENDPOINTS))
def test_no_shape_of_json_raises_or_gives_an_absurd_count(
    asked: dict[str, Any], answer: dict[str, Any], endpoint: Endpoint
) -> None:
    body = json.dumps(asked).encode()
    ask = read_ask(endpoint, body)
    assert all(type(number) is int and 0 <= number <= MAX_COUNT for number in ask.units.values())
    assert isinstance(prompt_text(endpoint, body), str)
    whole = read(endpoint, json.dumps(answer).encode(), JSON, ask=ask)
    streamed = read(endpoint, b"data: " + json.dumps(answer).encode() + b"\n\n", SSE, ask=ask, cut=True)
    for reading in (whole, streamed):
        assert sound(reading)
        assert "meter-fault" not in reading.flags
