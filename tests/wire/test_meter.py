"""The meter: one answer in, one reading out, whatever the split, the encoding or the shape."""

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Ask
from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire.meter import MAX_RETAINED_BYTES, Meter
from tollkeeper.wire.routes import endpoint_for
from wire.samples import (
    ALL,
    CHAT,
    CHAT_STREAM,
    CHAT_USAGE,
    GENERATE,
    JSON,
    MESSAGE_START,
    MESSAGE_STREAM,
    MESSAGES,
    PLAIN_CHAT_STREAM,
    RESPONSES,
    SSE,
    STREAMS,
    TEXT_DELTA,
    chunk,
    read,
    some_splits,
    sse,
)

FREE = endpoint_for("anthropic", "h", "POST", "/v1/messages/count_tokens")
BLIND = endpoint_for("openai", "h", "POST", "/v1/fine_tuning/jobs")


@pytest.mark.parametrize("index", range(len(STREAMS)))
def test_any_split_of_a_stream_gives_the_same_reading(index: int) -> None:
    endpoint, stream, headers = STREAMS[index]
    for cut in (False, True):
        for part in (stream, stream[: len(stream) // 2]):
            whole = read(endpoint, part, headers, cut=cut)
            assert all(read(endpoint, part, headers, cut=cut, at=at) == whole for at in some_splits(part, index))


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 1500), max_size=20), st.integers(0, 1500))
def test_any_split_of_any_cut_gives_the_same_reading(sample: Any, at: list[int], end: int) -> None:
    endpoint, stream, headers = sample
    assert read(endpoint, stream[:end], headers, cut=True, at=at) == read(endpoint, stream[:end], headers, cut=True)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstandard.compress)],
)
def test_an_encoded_stream_reads_as_the_plain_one_split_at_every_byte(encoding: str, pack: Any) -> None:
    packed = pack(MESSAGE_STREAM)
    plain = read(MESSAGES, MESSAGE_STREAM)
    headers = {**SSE, "content-encoding": encoding}
    assert read(MESSAGES, MESSAGE_STREAM, headers) == plain  # the header may stand above plain bytes
    for position in range(len(packed)):
        assert read(MESSAGES, packed, headers, at=[position]) == plain
    assert read(MESSAGES, packed, headers, at=list(range(len(packed)))) == plain


@pytest.mark.parametrize("index", [0, 2, 3, 4, 5])
def test_a_stream_cut_anywhere_never_claims_more_than_it_saw(index: int) -> None:
    endpoint, stream, headers = STREAMS[index]
    full = read(endpoint, stream, headers)
    for end in range(len(stream)):
        reading = read(endpoint, stream[:end], headers, cut=True)
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        if reading.source is UsageSource.REPORTED:
            assert reading.calls == full.calls
            assert not reading.visible_output


def test_a_client_that_leaves_after_the_final_usage_had_its_whole_answer() -> None:
    for endpoint, stream, headers in (STREAMS[0], STREAMS[2], STREAMS[3], STREAMS[4]):
        reading = read(endpoint, stream, headers, cut=True)
        assert (reading.source, reading.complete) == (UsageSource.REPORTED, True)


def test_a_stream_without_usage_is_counted_from_what_was_seen() -> None:
    reading = read(CHAT, PLAIN_CHAT_STREAM)
    assert (reading.source, reading.calls, reading.visible_output) == (UsageSource.COUNTED, (), "Hello wörld \u2028")
    assert "Hello" not in repr(reading)


def test_a_cut_stream_keeps_the_providers_own_first_figures() -> None:
    reading = read(MESSAGES, sse(MESSAGE_START, TEXT_DELTA), cut=True)
    assert (reading.source, reading.complete, reading.visible_output) == (UsageSource.PARTIAL, False, "Bonjour")
    assert reading.calls[0].input_tokens == 2068


def test_a_stream_that_just_stops_is_partial_although_nobody_cut_it() -> None:
    reading = read(MESSAGES, sse(MESSAGE_START, TEXT_DELTA))
    assert (reading.source, reading.complete) == (UsageSource.PARTIAL, False)


def test_long_streams_are_sampled_within_a_bound_and_say_the_scale() -> None:
    delta = sse(chunk("word " * 20))
    meter = Meter(CHAT, Ask(streamed=True), 200, SSE)
    number = 2 * MAX_RETAINED_BYTES // len(delta)
    for _ in range(number):
        meter.feed(delta)
    reading = meter.close(cut=True)
    assert reading.visible_output_scale == pytest.approx(2, rel=0.1)
    assert len(reading.visible_output) * reading.visible_output_scale == pytest.approx(number * 100, rel=0.02)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("after", [0, 2])
def test_an_event_too_long_to_keep_stands_for_itself_with_its_head_and_tail(before: int, after: int) -> None:
    """Without it a stream whose text came in one event was one that said nothing."""
    said = ["word " * 5] * before + ["word " * 300_000] + ["word " * 5] * after
    reading = read(CHAT, sse(*(chunk(text) for text in said)), cut=True)
    assert len(reading.visible_output) < MAX_RETAINED_BYTES // 4
    assert len(reading.visible_output) * reading.visible_output_scale == pytest.approx(1_500_000, rel=0.05)


def test_long_events_are_kept_within_the_same_bound() -> None:
    reading = read(CHAT, sse(*(chunk("word " * 200_000) for _ in range(30))), cut=True)
    assert len(reading.visible_output) <= MAX_RETAINED_BYTES
    assert len(reading.visible_output) * reading.visible_output_scale == pytest.approx(30_000_000, rel=0.02)


def test_a_long_event_without_a_word_adds_no_words() -> None:
    picture = {"type": "response.image_generation_call.partial_image", "partial_image_b64": "iVBORw0K" * 100_000}
    reading = read(RESPONSES, sse({"type": "response.output_text.delta", "delta": "Hallo"}, picture), cut=True)
    assert (reading.visible_output, reading.visible_output_scale) == ("Hallo", pytest.approx(1))


@pytest.mark.parametrize("status", [204, 205, 300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_or_an_empty_answer_is_no_call(status: int) -> None:
    """Whoever follows the redirect is metered where it leads: to charge both would charge twice."""
    reading = read(CHAT, b"", {"location": "https://api.openai.com/v2/chat/completions"}, status=status)
    assert (reading.source, reading.calls, reading.complete) == (UsageSource.NONE, (), True)


def test_an_error_of_the_provider_costs_nothing_and_keeps_its_class_only() -> None:
    body = json.dumps({"error": {"message": "my secret prompt", "type": "invalid_request_error", "code": None}}).encode()
    reading = read(CHAT, body, JSON, status=400)
    assert (reading.source, reading.error, reading.calls) == (UsageSource.NONE, "invalid_request_error", ())
    assert "secret" not in repr(reading)
    assert read(CHAT, b"<html>502</html>", status=502).error == "http_502"
    assert (
        read(GENERATE, b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]', JSON, status=429).error == "RESOURCE_EXHAUSTED"
    )
    assert read(
        MESSAGES, gzip.compress(b'{"type":"error","error":{"type":"overloaded_error"}}'), {"content-encoding": "gzip"}, status=529
    ).error == ("overloaded_error")


def test_a_streamed_question_may_be_answered_by_a_json_object() -> None:
    body = json.dumps({"id": "x", "model": "m", "choices": [], "usage": CHAT_USAGE}, indent=1).encode()
    assert read(CHAT, body, SSE).source is UsageSource.REPORTED
    error = b'{"error":{"code":402,"message":"pay"},"user_id":"u"}'
    assert read(CHAT, error, JSON) == Reading(source=UsageSource.NONE, error="402", model="asked")


def test_errors_inside_a_stream_are_named_and_cost_what_was_said_before() -> None:
    early = read(CHAT, sse({"error": {"type": "server_error", "message": "secret"}}))
    assert (early.source, early.error) == (UsageSource.NONE, "server_error")
    late = read(MESSAGES, sse(MESSAGE_START, TEXT_DELTA, {"type": "error", "error": {"type": "overloaded_error"}}))
    assert (late.source, late.error, late.visible_output) == (UsageSource.PARTIAL, "overloaded_error", "Bonjour")
    failed = {
        "type": "response.failed",
        "response": {"id": "r", "usage": None, "error": {"code": "rate_limit_exceeded", "message": "x"}},
    }
    assert read(RESPONSES, sse(failed)).error == "rate_limit_exceeded"


def test_free_and_unmetered_endpoints_are_not_parsed() -> None:
    body = json.dumps({"usage": CHAT_USAGE}).encode()
    assert read(FREE, body, JSON).source is UsageSource.NONE
    blind = read(BLIND, body, JSON)
    assert (blind.source, blind.flags, blind.calls) == (UsageSource.UNMETERED, (BLIND.reason,), ())
    assert read(BLIND, b'{"error":{"type":"x"}}', JSON, status=403).source is UsageSource.NONE


def test_a_gateways_own_cache_costs_nothing() -> None:
    reading = read(CHAT, CHAT_STREAM, {**SSE, "cf-aig-cache-status": "HIT"})
    assert (reading.source, reading.calls, reading.flags) == (UsageSource.NONE, (), ("gateway-cache-hit",))


def test_a_cost_in_a_header_is_kept() -> None:
    gateway = endpoint_for("litellm", "llm.example.com", "POST", "/v1/chat/completions")
    assert str(read(gateway, CHAT_STREAM, {**SSE, "x-litellm-response-cost": "0.000123"}).provider_cost_usd) == "0.000123"


@pytest.mark.parametrize(
    ("provider", "is_believed"),
    [
        ("litellm", True),
        ("local", True),
        ("unknown:llm.example.com", True),
        ("openai", False),
        ("anthropic", False),
        ("xai", False),
    ],
)
def test_a_cost_in_a_header_is_believed_of_a_gateway_of_ones_own_only(provider: str, is_believed: bool) -> None:
    endpoint = endpoint_for(provider, "h", "POST", "/v1/chat/completions")
    reading = read(endpoint, CHAT_STREAM, {**SSE, "x-litellm-response-cost": "0.5"})
    assert (reading.provider_cost_usd is not None) is is_believed


def test_an_answer_too_large_or_unreadable_is_given_up_with_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollkeeper.wire.meter.MAX_BODY_BYTES", 50)
    assert read(CHAT, b"{" + b" " * 100 + b"}", JSON).flags == ("answer-too-large",)
    assert read(CHAT, b"{]", JSON).flags == ("answer-unreadable",)
    assert read(CHAT, b"data: {}", {"content-encoding": "made-up"}).flags == ("encoding-unknown",)
    packed = gzip.compress(CHAT_STREAM)
    damaged = packed[:12] + bytes(byte ^ 0xA5 for byte in packed[12:])
    reading = read(CHAT, damaged, {**SSE, "content-encoding": "gzip"})
    assert (reading.source, reading.flags) == (UsageSource.COUNTED, ("answer-unreadable",))


def test_large_embeddings_answers_are_skimmed() -> None:
    endpoint = endpoint_for("openai", "h", "POST", "/v1/embeddings")
    vectors = [{"embedding": [0.123456789] * 1000} for _ in range(10)]
    body = json.dumps(
        {"object": "list", "data": vectors, "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    )
    reading = read(endpoint, body.encode(), JSON)
    assert (reading.source, reading.model, reading.calls[0].input_tokens) == (UsageSource.REPORTED, "text-embedding-3-small", 8)


def test_closing_twice_gives_the_same_reading_and_feeding_after_it_nothing() -> None:
    meter = Meter(CHAT, Ask(), 200, SSE)
    meter.feed(CHAT_STREAM)
    first = meter.close(cut=False)
    meter.feed(CHAT_STREAM)
    assert meter.close(cut=True) is first


def test_raw_usage_keeps_counts_and_no_text() -> None:
    usage = {**CHAT_USAGE, "note": "my secret prompt, quite long", "tier": "flex", "x" * 100: 1, "deep": {"a": [1, "two words"]}}
    reading = read(CHAT, json.dumps({"choices": [], "usage": usage}).encode(), JSON)
    raw = json.dumps(reading.raw)
    assert "secret" not in raw
    assert "words" not in raw
    assert reading.raw[0]["tier"] == "flex"
    assert reading.raw[0]["prompt_tokens_details"] == {"cached_tokens": 40, "audio_tokens": 0}


ODD = st.sampled_from([None, True, False, -9, 0, 7, 1.5, "x", "12", "-3", "1e400", "NaN", 10**30, [], {}, [{}], [None], {"a": 1}])
KEYS = st.sampled_from(
    ["type", "message", "usage", "usageMetadata", "choices", "delta", "response", "output", "error", "candidates", "content", "parts",
     "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "iterations", "cache_creation", "model", "id",
     "prompt_tokens_details", "cached_tokens", "promptTokenCount", "totalTokenCount", "promptTokensDetails", "finishReason", "cost",
     "finish_reason", "server_tool_use", "groundingMetadata", "webSearchQueries", "tool_usage", "web_search", "x_groq", "service_tier",
     "web_search_requests", "input_tokens_details", "copilot_usage", "code", "item", "text", "tools", "cost_in_usd_ticks", "modality"]
)  # fmt: skip
TYPES = st.sampled_from(
    ["message_start", "message_delta", "message_stop", "error", "response.completed", "response.failed", "response.output_item.done",
     "compaction", "message", "fallback_message", "web_search_call", "code_interpreter_call"]
)  # fmt: skip
SHAPES = st.recursive(
    ODD | TYPES, lambda inner: st.dictionaries(KEYS, inner, max_size=6) | st.lists(inner, max_size=3), max_leaves=20
)


@given(
    st.lists(st.dictionaries(KEYS, SHAPES, max_size=8), max_size=4),
    st.sampled_from(ALL),
    st.sampled_from(["sse", "json", "array"]),
    st.booleans(),
)
def test_no_shape_of_answer_raises_or_gives_an_absurd_count(events: list[Any], endpoint: Any, form: str, cut: bool) -> None:
    body = {"sse": sse(*events), "json": json.dumps(events[0] if events else 1).encode(), "array": json.dumps(events).encode()}[
        form
    ]
    reading = read(endpoint, body, SSE if form == "sse" else JSON, cut=cut)
    assert "meter-fault" not in reading.flags
    for usage in reading.calls:
        counts = [
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.output_tokens,
        ]
        assert all(0 <= count <= 4 * MAX_COUNT for count in [*counts, *usage.units.values()])
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert reading.provider_cost_usd is None or reading.provider_cost_usd >= 0
    json.dumps(reading.raw)


@given(
    st.binary(max_size=300),
    st.sampled_from(ALL),
    st.sampled_from(["", "gzip", "br", "zstd", "deflate", "gzip, br"]),
    st.integers(1, 300),
)
def test_no_bytes_raise(body: bytes, endpoint: Any, encoding: str, at: int) -> None:
    headers = {**SSE, "content-encoding": encoding}
    assert read(endpoint, body, headers, at=[at]) == read(endpoint, body, headers)


def test_a_stream_that_fails_after_words_and_still_ends_is_partial() -> None:
    """OpenRouter, for one, sends the error, a finish reason and ``[DONE]`` after what was already said."""
    meter = Meter(CHAT, Ask(model="gpt-4o", streamed=True), 200, SSE)
    failed = {
        "error": {"type": "server_error", "message": "no"},
        "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
    }
    meter.feed(sse(chunk("Hello there"), failed, "[DONE]"))
    reading = meter.close(cut=False)
    assert (reading.source, reading.error, reading.visible_output) == (UsageSource.PARTIAL, "server_error", "Hello there")


def test_a_stream_that_fails_at_once_is_charged_nothing() -> None:
    meter = Meter(CHAT, Ask(model="gpt-4o", streamed=True), 200, SSE)
    meter.feed(sse({"error": {"type": "server_error", "message": "no"}}, "[DONE]"))
    assert meter.close(cut=False).source is UsageSource.NONE


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_byte_order_mark_may_come_in_pieces(at: int) -> None:
    answer = b'\xef\xbb\xbfdata: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\ndata: [DONE]\n\n'
    meter = Meter(CHAT, Ask(model="gpt-4o-mini", streamed=True), 200, {"content-type": "text/event-stream"})
    meter.feed(answer[:at])
    meter.feed(answer[at:])
    (usage,) = meter.close(cut=False).calls
    assert (usage.input_tokens, usage.output_tokens) == (7, 3)
