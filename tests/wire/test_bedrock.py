"""Amazon Bedrock: Converse and InvokeModel, with and without stream, guardrails, and the model in the path."""

import json
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.call import Ask, Call, Endpoint, Metering
from tollkeeper.core.charge import Bill, CostSource
from tollkeeper.core.usage import MAX_COUNT, Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook
from tollkeeper.proxy.headers import is_bound
from tollkeeper.wire.inject import asks_for_usage
from tollkeeper.wire.refuse import refusal
from tollkeeper.wire.request import prompt_text, read_ask, set_model, set_output_cap
from tollkeeper.wire.routes import endpoint_for
from wire.eventstream_samples import EVENT_STREAM, chunk, event, exception
from wire.samples import JSON, read, some_splits

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:us-east-1:012345678901:"
NOVEMBER_2026 = 1_795_000_000_000_000
BOOK = PriceBook.load()

USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 78, "cacheReadInputTokens": 10, "cacheReadInputTokenCount": 10}
USAGE |= {"cacheWriteInputTokens": 60, "cacheWriteInputTokenCount": 60, "serverToolUsage": {}}


def at(model: str, operation: str, host: str = HOST, provider: str = "bedrock") -> Endpoint:
    return endpoint_for(provider, host, "POST", f"/model/{quote(model, safe='')}/{operation}")


def converse_stream(usage: Any = USAGE, **more: Any) -> bytes:
    deltas = [event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": "ab"}) for text in ("Hel", "lo")]
    start, stop = event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})
    return b"".join((start, *deltas, stop, event("metadata", {"usage": usage, "metrics": {"latencyMs": 7}, **more})))


def answer(model: str, operation: str, body: Any, headers: Mapping[str, str] = JSON, **more: Any) -> Reading:
    return read(at(model, operation), body if isinstance(body, bytes) else json.dumps(body).encode(), headers, **more)


def bill(endpoint: Endpoint, reading: Reading, ask: Ask | None = None) -> Bill:
    return BOOK.bill(Call(id="c", started_at=NOVEMBER_2026, endpoint=endpoint, ask=ask or Ask()), reading)


def one(reading: Reading) -> Usage:
    (call,) = reading.calls
    return call


# --- what a path is ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "operation", "kind", "dialect"),
    [
        (NOVA, "converse", "chat", "bedrock-converse"),
        (CLAUDE, "converse-stream", "chat", "bedrock-converse"),
        ("anthropic.claude-v2:1", "invoke", "chat", "bedrock-invoke"),
        (ARN + "inference-profile/" + CLAUDE, "invoke-with-response-stream", "chat", "bedrock-invoke"),
        ("cohere.embed-english-v3", "invoke", "embeddings", "bedrock-invoke"),
        ("amazon.titan-embed-text-v2:0", "invoke", "embeddings", "bedrock-invoke"),
        ("cohere.rerank-v3-5:0", "invoke", "rerank", "bedrock-invoke"),
        ("stability.sd3-5-large-v1:0", "invoke", "image_generation", "bedrock-invoke"),
        ("us.amazon.nova-canvas-v1:0", "invoke", "image_generation", "bedrock-invoke"),
    ],
)
def test_each_operation_is_read_and_the_model_in_its_path_kept(model: str, operation: str, kind: str, dialect: str) -> None:
    for path in (
        f"/model/{quote(model, safe='')}/{operation}",
        f"/model/{model}/{operation}",
        f"/model/{quote(quote(model))}/{operation}",
    ):
        endpoint = endpoint_for("bedrock", HOST, "POST", path)
        assert (endpoint.operation, endpoint.dialect, endpoint.model_in_path) == (kind, dialect, model)


@pytest.mark.parametrize(
    ("method", "path", "metering"),
    [
        ("POST", f"/model/{quote(CLAUDE)}/count-tokens", Metering.FREE),
        ("POST", f"/model/{quote(ARN + 'foundation-model/anthropic.claude-v2', safe='')}/count-tokens", Metering.FREE),
        ("POST", "/guardrail/abc/version/1/apply", Metering.METERED),
        ("POST", "/guardrail-checks", Metering.UNMETERED),
        ("POST", "/async-invoke", Metering.UNMETERED),
        ("GET", "/async-invoke/arn:x", Metering.FREE),
        ("POST", "/model/amazon.nova-sonic-v1%3A0/invoke-with-bidirectional-stream", Metering.UNMETERED),
        ("POST", "/openai/v1/chat/completions", Metering.METERED),
        ("POST", "/openai/v1/responses", Metering.METERED),
        ("POST", "/something/new", Metering.UNMETERED),
    ],
)
def test_what_stands_beside_the_models_is_free_read_or_unmetered_with_a_reason(
    method: str, path: str, metering: Metering
) -> None:
    endpoint = endpoint_for("bedrock", HOST, method, path)
    assert endpoint.metering is metering
    assert metering is Metering.METERED or endpoint.reason


def test_a_gateway_that_puts_something_before_the_path_is_read_alike() -> None:
    path = f"/v1/account/gateway/aws-bedrock/bedrock-runtime/us-east-1/model/{quote(NOVA)}/converse"
    endpoint = endpoint_for("cloudflare-gateway", "gateway.ai.cloudflare.com", "POST", path)
    assert (endpoint.provider, endpoint.dialect, endpoint.model_in_path) == ("bedrock", "bedrock-converse", NOVA)


def test_an_unknown_host_with_bedrocks_paths_is_read_but_not_priced() -> None:
    endpoint = endpoint_for("unknown:llm.example.com", "llm.example.com", "POST", f"/bedrock/model/{quote(NOVA)}/converse")
    assert (endpoint.dialect, endpoint.model_in_path) == ("bedrock-converse", NOVA)
    assert bill(endpoint, read(endpoint, json.dumps({"usage": USAGE}).encode(), JSON)).cost_nanousd is None


def test_the_mantle_speaks_the_shapes_of_openai_and_anthropic() -> None:
    for path, dialect in {
        "/v1/chat/completions": "openai-chat",
        "/openai/v1/responses": "openai-responses",
        "/anthropic/v1/messages": "anthropic-messages",
    }.items():
        assert endpoint_for("bedrock-mantle", "bedrock-mantle.us-east-1.api.aws", "POST", path).dialect == dialect


# --- Converse ------------------------------------------------------------------------------------------------------------------------


def test_converse_counts_are_disjoint_and_the_doubled_names_are_taken_once() -> None:
    reading = answer(NOVA, "converse", {"output": {"message": {"content": [{"text": "Hello"}]}}, "usage": USAGE})
    assert reading.source is UsageSource.REPORTED
    assert reading.model == NOVA
    assert one(reading) == Usage(model=NOVA, input_tokens=3, cache_read_tokens=10, cache_write_5m_tokens=60, output_tokens=5)


def test_only_one_of_the_two_names_is_enough() -> None:
    short = {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokenCount": 3, "cacheWriteInputTokenCount": 4}
    long = {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 4}
    assert one(answer(NOVA, "converse", {"usage": short})) == one(answer(NOVA, "converse", {"usage": long}))


def test_cache_writes_are_told_apart_by_how_long_they_last() -> None:
    details = [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 40}]
    usage = one(answer(CLAUDE, "converse", {"usage": {**USAGE, "cacheDetails": details}}))
    assert (usage.cache_write_1h_tokens, usage.cache_write_5m_tokens, usage.total_input_tokens) == (20, 40, 73)


def test_a_converse_stream_is_read_from_its_metadata_in_any_split() -> None:
    body = converse_stream({**USAGE, "cacheDetails": [{"ttl": "1h", "inputTokens": 60}]})
    whole = read(at(CLAUDE, "converse-stream"), body, EVENT_STREAM)
    assert (whole.source, whole.complete, one(whole).cache_write_1h_tokens) == (UsageSource.REPORTED, True, 60)
    for split in [*some_splits(body, 3), list(range(len(body)))]:
        assert read(at(CLAUDE, "converse-stream"), body, EVENT_STREAM, at=split) == whole


def test_the_bytes_tell_the_framing_when_a_recorder_lost_the_content_type() -> None:
    assert one(read(at(NOVA, "converse-stream"), converse_stream(), {})).output_tokens == 5


def test_a_converse_stream_cut_anywhere_is_partial_until_its_figures_were_seen() -> None:
    body = converse_stream()
    for length in range(1, len(body)):
        reading = read(at(NOVA, "converse-stream"), body[:length], EVENT_STREAM, cut=True)
        assert (reading.source, reading.calls) == (UsageSource.PARTIAL, ())
        assert "Hello".startswith(reading.visible_output)
    assert read(at(NOVA, "converse-stream"), body, EVENT_STREAM, cut=True).source is UsageSource.REPORTED


def test_a_whole_stream_without_figures_is_counted_by_its_text() -> None:
    reading = read(at("moonshot.kimi-k2-thinking", "converse-stream"), converse_stream(None), EVENT_STREAM)
    assert (reading.source, reading.visible_output) == (UsageSource.COUNTED, "Hello")


def test_reasoning_and_tool_input_count_as_output_that_was_seen() -> None:
    blocks = [
        {"delta": {"reasoningContent": {"text": "hm "}}},
        {"delta": {"reasoningContent": {"signature": "c2lnbmF0dXJl"}}},
        {"delta": {"toolUse": {"input": '{"a":1}'}}},
    ]
    body = b"".join(event("contentBlockDelta", block) for block in blocks)
    assert read(at(CLAUDE, "converse-stream"), body, EVENT_STREAM, cut=True).visible_output == 'hm {"a":1}'


def test_an_exception_in_a_stream_is_named_by_its_class() -> None:
    nothing = read(at(NOVA, "converse-stream"), exception("modelStreamErrorException"), EVENT_STREAM)
    assert (nothing.source, nothing.error, nothing.calls) == (UsageSource.NONE, "modelStreamErrorException", ())
    begun = read(at(NOVA, "converse-stream"), converse_stream()[:400] + b"", EVENT_STREAM, cut=True)
    assert begun.error is None
    said = event("contentBlockDelta", {"delta": {"text": "Hello"}}) + exception("throttlingException")
    partial = read(at(NOVA, "converse-stream"), said, EVENT_STREAM)
    assert (partial.source, partial.error, partial.visible_output) == (UsageSource.PARTIAL, "throttlingException", "Hello")


def test_damage_in_a_stream_is_flagged_and_the_rest_still_read() -> None:
    broken = bytearray(event("contentBlockDelta", {"delta": {"text": "x"}}))
    broken[-5] ^= 255
    reading = read(at(NOVA, "converse-stream"), bytes(broken) + converse_stream(), EVENT_STREAM)
    assert (reading.source, one(reading).input_tokens, reading.flags) == (UsageSource.REPORTED, 3, ("event-damaged",))


def test_the_tier_and_the_latency_that_served_a_call_are_terms_of_its_price() -> None:
    body = {"usage": USAGE, "serviceTier": {"type": "priority"}, "performanceConfig": {"latency": "optimized"}}
    assert answer(NOVA, "converse", body).terms == {"service_tier": "priority", "latency": "optimized"}
    standard = {"usage": USAGE, "serviceTier": {"type": "default"}, "performanceConfig": {"latency": "standard"}}
    assert answer(NOVA, "converse", standard).terms == {"service_tier": "default"}
    streamed = converse_stream(serviceTier={"type": "flex"})
    assert read(at(NOVA, "converse-stream"), streamed, EVENT_STREAM).terms == {"service_tier": "flex"}


def test_a_prompt_router_is_billed_as_the_model_that_it_chose() -> None:
    router = ARN + "default-prompt-router/anthropic.claude:1"
    chosen = ARN + "inference-profile/us.anthropic.claude-3-5-sonnet-20240620-v1:0"
    reading = answer(router, "converse", {"usage": USAGE, "trace": {"promptRouter": {"invokedModelId": chosen}}})
    assert (reading.model, one(reading).model) == ("us.anthropic.claude-3-5-sonnet-20240620-v1:0",) * 2


def test_searches_that_ran_at_amazon_are_counted() -> None:
    block = {"toolUse": {"name": "nova_grounding", "toolUseId": "t", "type": "server_tool_use"}}
    body = {"output": {"message": {"content": [block, {"text": "x"}]}}, "usage": USAGE}
    assert one(answer(NOVA, "converse", body)).units == {"web_search_requests": 1}
    stated = {"usage": {**USAGE, "serverToolUsage": {"webSearchRequests": 2, "text": "x"}}}
    assert one(answer(NOVA, "converse", stated)).units == {"web_search_requests": 2}
    stream = event("contentBlockStart", {"start": block}) + converse_stream()
    assert one(read(at(NOVA, "converse-stream"), stream, EVENT_STREAM)).units == {"web_search_requests": 1}


def test_guardrail_units_of_all_assessments_are_summed_and_priced() -> None:
    units = {"contentPolicyUnits": 2, "topicPolicyUnits": 1, "wordPolicyUnits": 9, "sensitiveInformationPolicyFreeUnits": 4}
    one_check = {"invocationMetrics": {"usage": units}}
    trace = {"guardrail": {"inputAssessment": {"g": one_check}, "outputAssessments": {"g": [one_check]}}}
    reading = answer(NOVA, "converse", {"usage": {"inputTokens": 1_000, "outputTokens": 0}, "trace": trace})
    assert one(reading).units == {"guardrail_content_units": 4, "guardrail_topic_units": 2}
    assert bill(at(NOVA, "converse"), reading).cost_nanousd == 1_000 * 60 + 6 * 150_000


def test_applying_a_guardrail_alone_is_billed_by_its_units() -> None:
    endpoint = endpoint_for("bedrock", HOST, "POST", "/guardrail/abc/version/DRAFT/apply")
    body = {"action": "NONE", "usage": {"contentPolicyUnits": 1, "contextualGroundingPolicyUnits": 2, "wordPolicyUnits": 3}}
    ask = read_ask(endpoint, json.dumps({"source": "INPUT", "content": [{"text": {"text": "words"}}]}).encode())
    reading = read(endpoint, json.dumps(body).encode(), JSON, ask=ask)
    assert (reading.source, ask.input_bytes) == (UsageSource.REPORTED, 5)
    (line,) = bill(endpoint, reading, ask).lines
    assert (line.cost_nanousd, line.source) == (150_000 + 2 * 100_000, CostSource.COMPUTED)


# --- InvokeModel: the vendors' bodies ------------------------------------------------------------------------------------------------

COUNTED = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "9", **JSON}

BODIES: list[tuple[str, Any, Mapping[str, str], tuple[int, int]]] = [
    ("amazon.titan-text-express-v1", {"inputTextTokenCount": 4, "results": [{"tokenCount": 2}, {"tokenCount": 3}]}, JSON, (4, 5)),
    ("amazon.titan-embed-text-v2:0", {"embedding": [0.1], "inputTextTokenCount": 6}, JSON, (6, 0)),
    ("meta.llama3-70b-instruct-v1:0", {"generation": "x", "prompt_token_count": 8, "generation_token_count": 3}, JSON, (8, 3)),
    ("amazon.nova-pro-v1:0", {"output": {}, "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}, JSON, (5, 6)),
    (
        "ai21.jamba-1-5-mini-v1:0",
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}},
        JSON,
        (2, 4),
    ),
    ("openai.gpt-oss-20b-1:0", {"model": "o", "usage": {"prompt_tokens": 70, "completion_tokens": 1}}, COUNTED, (70, 1)),
    ("mistral.mistral-7b-instruct-v0:2", {"outputs": [{"text": "x", "stop_reason": "stop"}]}, COUNTED, (7, 9)),
    ("cohere.command-r-plus-v1:0", {"text": "x", "generation_id": "g", "finish_reason": "COMPLETE"}, COUNTED, (7, 9)),
    ("deepseek.r1-v1:0", {"choices": [{"text": "x", "stop_reason": "stop"}]}, COUNTED, (7, 9)),
    ("ai21.j2-ultra-v1", {"id": 1234, "completions": [{"data": {"text": "x"}}]}, COUNTED, (7, 9)),
    ("cohere.embed-english-v3", {"embeddings": [[0.1]]}, {"x-amzn-bedrock-input-token-count": "7", **JSON}, (7, 0)),
    ("anthropic.claude-v2:1", {"type": "completion", "completion": "x"}, COUNTED, (7, 9)),
    (
        "anthropic.claude-3-haiku-20240307-v1:0",
        {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 2}},
        COUNTED,
        (1, 2),
    ),
]


@pytest.mark.parametrize(("model", "body", "headers", "counts"), BODIES)
def test_every_vendors_body_is_read_by_its_own_figures_or_by_amazons_headers(
    model: str, body: Any, headers: Mapping[str, str], counts: tuple[int, int]
) -> None:
    reading = answer(model, "invoke", body, headers)
    usage = one(reading)
    assert reading.source is UsageSource.REPORTED
    assert (usage.model, usage.input_tokens, usage.output_tokens) == (model, *counts)


def test_a_body_without_any_figure_is_counted_by_its_text() -> None:
    reading = answer("mistral.mistral-7b-instruct-v0:2", "invoke", {"outputs": [{"text": "Hello", "stop_reason": "stop"}]})
    assert (reading.source, reading.calls, reading.visible_output) == (UsageSource.COUNTED, (), "Hello")


def test_an_anthropic_body_is_read_by_the_reader_of_anthropics_own_api_and_priced_by_the_path() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 9, "output_tokens": 8}
    usage["cache_creation"] = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 7}
    model = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
    reading = answer(model, "invoke", {"type": "message", "id": "msg_1", "model": "claude-haiku-4-5-20251001", "usage": usage})
    expected = Usage(
        model=model,
        input_tokens=3,
        cache_read_tokens=4,
        cache_write_5m_tokens=2,
        cache_write_1h_tokens=7,
        output_tokens=8,
    )
    assert (one(reading), reading.response_id) == (expected, "msg_1")
    assert bill(at(model, "invoke"), reading).cost_nanousd == 3 * 1000 + 4 * 100 + 2 * 1250 + 7 * 2000 + 8 * 5000


def test_the_headers_tell_cache_reads_and_writes_and_what_tier_served() -> None:
    headers = COUNTED | {"x-amzn-bedrock-cache-read-input-token-count": "5", "x-amzn-bedrock-cache-write-input-token-count": "6"}
    headers |= {
        "x-amzn-bedrock-service-tier": "priority",
        "x-amzn-bedrock-performanceconfig-latency": "optimized",
        "x-amzn-requestid": "r-1",
    }
    reading = answer("mistral.pixtral-large-2502-v1:0", "invoke", {"outputs": []}, headers)
    usage = one(reading)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.output_tokens) == (7, 5, 6, 9)
    assert (reading.terms, reading.response_id) == ({"service_tier": "priority", "latency": "optimized"}, "r-1")


METRICS = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 7,
        "outputTokenCount": 9,
        "invocationLatency": 3,
        "firstByteLatency": 2,
    }
}
CLAUDE_START = {
    "type": "message_start",
    "message": {"id": "m", "model": "claude", "usage": {"input_tokens": 7, "output_tokens": 1}},
}
CLAUDE_EVENTS = [
    CLAUDE_START,
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop", **METRICS},
]
STREAMS: list[tuple[str, list[Any]]] = [
    ("anthropic.claude-3-sonnet-20240229-v1:0", CLAUDE_EVENTS),
    ("anthropic.claude-v2", [{"completion": "Hel", "stop_reason": None}, {"completion": "lo", "stop_reason": "stop", **METRICS}]),
    (
        "amazon.titan-text-express-v1",
        [{"outputText": "Hello", "totalOutputTextTokenCount": 9, "inputTextTokenCount": 7, **METRICS}],
    ),
    (
        "meta.llama2-13b-chat-v1",
        [
            {"generation": "Hello", "prompt_token_count": 7, "generation_token_count": 4, "stop_reason": None},
            {"generation": "", "prompt_token_count": None, "generation_token_count": 9, "stop_reason": "stop", **METRICS},
        ],
    ),
    ("mistral.mistral-7b-instruct-v0:2", [{"outputs": [{"text": "Hello", "stop_reason": None}]}, {"outputs": [], **METRICS}]),
    ("cohere.command-text-v14", [{"generations": [{"text": "Hello"}], "id": "i", **METRICS}]),
    (
        NOVA,
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "Hello"}}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 9}}, **METRICS},
        ],
    ),
    (
        "openai.gpt-oss-120b-1:0",
        [
            {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "Hello"}, "finish_reason": None}]},
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 9},
                **METRICS,
            },
        ],
    ),
]


@pytest.mark.parametrize(("model", "events"), STREAMS)
def test_every_vendors_stream_is_read_in_any_split(model: str, events: list[Any]) -> None:
    body = b"".join(chunk(one_event) for one_event in events)
    endpoint = at(model, "invoke-with-response-stream")
    whole = read(endpoint, body, EVENT_STREAM)
    usage = one(whole)
    assert (whole.source, whole.complete, usage.model, usage.input_tokens, usage.output_tokens) == (
        UsageSource.REPORTED, True, model, 7, 9,
    )  # fmt: skip
    for split in [*some_splits(body, 5, 6), list(range(len(body)))]:
        assert read(endpoint, body, EVENT_STREAM, at=split) == whole


@pytest.mark.parametrize(("model", "events"), STREAMS)
def test_every_vendors_stream_cut_anywhere_is_partial_and_its_text_kept(model: str, events: list[Any]) -> None:
    body = b"".join(chunk(one_event) for one_event in events)
    endpoint = at(model, "invoke-with-response-stream")
    last = len(body) - len(chunk(events[-1]))
    for length in range(1, last, 7):
        reading = read(endpoint, body[:length], EVENT_STREAM, cut=True)
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        assert reading.source is UsageSource.REPORTED or "Hello".startswith(reading.visible_output)
        assert sum(call.output_tokens for call in reading.calls) <= 9
    if last:
        before_the_end = read(endpoint, body[:last], EVENT_STREAM, cut=True)
        assert before_the_end.source is UsageSource.REPORTED or before_the_end.visible_output


def test_a_failure_after_the_first_words_of_an_invoked_stream_is_partial() -> None:
    body = b"".join(chunk(one_event) for one_event in CLAUDE_EVENTS[:2]) + exception("internalServerException")
    reading = read(at(CLAUDE, "invoke-with-response-stream"), body, EVENT_STREAM)
    assert (reading.source, reading.error, one(reading).input_tokens) == (UsageSource.PARTIAL, "internalServerException", 7)


def test_a_guardrail_that_intervenes_ends_a_stream_and_states_its_units() -> None:
    trace = {"guardrail": {"input": {"g": {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}}}}
    last = {"outputText": "Blocked", "totalOutputTextTokenCount": 3.0, "inputTextTokenCount": 6.0}
    last |= {"amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": trace}
    reading = read(at("amazon.titan-text-express-v1", "invoke-with-response-stream"), chunk(last), EVENT_STREAM)
    usage = one(reading)
    assert (reading.source, usage.input_tokens, usage.output_tokens) == (UsageSource.REPORTED, 6, 3)
    assert usage.units == {"guardrail_topic_units": 1}


@pytest.mark.parametrize(
    ("config", "kcount"),
    [
        ({}, 40),
        ({"width": 2048, "height": 2048}, 60),
        ({"quality": "premium"}, 60),
        ({"width": 1280, "height": 1280, "quality": "premium"}, 80),
    ],
)
def test_pictures_are_billed_by_number_size_and_quality(config: dict[str, Any], kcount: int) -> None:
    endpoint = at("amazon.nova-canvas-v1:0", "invoke")
    asked = {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a cat"},
        "imageGenerationConfig": {"numberOfImages": 3, **config},
    }
    ask = read_ask(endpoint, json.dumps(asked).encode())
    assert ask.units == {"output_images": 3}
    reading = read(endpoint, json.dumps({"images": ["iVBOR", "iVBOR"], "error": None}).encode(), JSON, ask=ask)
    (line,) = bill(endpoint, reading, ask).lines
    assert (one(reading).units, line.cost_nanousd, line.flags) == ({"output_images": 2}, 2 * kcount * 1_000_000, ())


def test_pictures_of_other_vendors_are_counted_too() -> None:
    assert one(answer("stability.stable-image-core-v1:1", "invoke", {"images": ["x"], "seeds": [1]})).units == {
        "output_images": 1
    }
    assert one(answer("stability.stable-diffusion-xl-v1", "invoke", {"artifacts": [{"base64": "x"}] * 4})).units == {
        "output_images": 4
    }


def test_a_picture_that_was_filtered_out_is_an_error_and_costs_nothing() -> None:
    reading = answer("amazon.nova-canvas-v1:0", "invoke", {"images": [], "error": "blocked by our filters"})
    assert (reading.source, reading.calls, reading.error) == (UsageSource.NONE, (), "error")


def test_a_rerank_is_billed_by_the_hundred_documents() -> None:
    endpoint = at("cohere.rerank-v3-5:0", "invoke")
    ask = read_ask(endpoint, json.dumps({"query": "q", "documents": ["d"] * 101}).encode())
    reading = read(endpoint, b'{"results":[{"index":0,"relevance_score":0.9}]}', JSON, ask=ask)
    assert one(reading).units == {"search_units": 2}
    assert bill(endpoint, reading, ask).cost_nanousd == 2 * 2_000_000


def test_pictures_in_an_embedding_are_billed_apart_at_amazons_own_models() -> None:
    endpoint = at("amazon.titan-embed-image-v1", "invoke")
    ask = read_ask(endpoint, json.dumps({"inputText": "a", "inputImage": "i" * 4000}).encode())
    reading = read(endpoint, b'{"embedding":[0.1],"inputTextTokenCount":10}', JSON, ask=ask)
    assert (ask.input_bytes, one(reading).units) == (1, {"input_images": 1})
    assert bill(endpoint, reading, ask).cost_nanousd == 10 * 800 + 60_000


def test_a_large_embedding_is_skimmed_for_its_count() -> None:
    body = {"embedding": [0.123456789] * 9_000, "inputTextTokenCount": 31}
    assert one(answer("amazon.titan-embed-text-v2:0", "invoke", body)).input_tokens == 31


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_an_error_is_named_by_its_header_and_costs_nothing(status: int) -> None:
    headers = JSON | {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    reading = answer(NOVA, "invoke", {"message": "some text"}, headers, status=status)
    assert (reading.source, reading.error, reading.calls) == (UsageSource.NONE, "ValidationException", ())


# --- which price --------------------------------------------------------------------------------------------------------------------


def million(model: str, host: str = HOST, **more: Any) -> Bill:
    body = {"usage": {"inputTokens": 1_000_000, "outputTokens": 0}, **more}
    return bill(at(model, "converse", host), answer(model, "converse", body))


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("jp.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
        (ARN + "inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("us.meta.llama4-scout-17b-instruct-v1:0", "0.17"),
        ("eu.amazon.nova-lite-v1:0", "0.078"),
        (ARN + "inference-profile/eu.amazon.nova-lite-v1:0", "0.078"),
        ("us.amazon.nova-lite-v1:0", "0.06"),
        ("ai21.jamba-1-5-large-v1:0", "2"),
        ("deepseek.v3-v1:0", "0.58"),
    ],
)
def test_a_model_is_priced_by_the_profile_in_its_path(model: str, usd: str) -> None:
    assert million(model).cost_nanousd == int(float(usd) * 1e9 + 0.5)


@pytest.mark.parametrize(
    "kind", ["application-inference-profile/abcdefghijkl", "imported-model/abc", "custom-model-deployment/x1"]
)
def test_a_name_of_the_customers_own_is_unknown_loudly_and_counts_at_the_ceiling(kind: str) -> None:
    whole = million(ARN + kind)
    assert whole.cost_nanousd is None
    assert whole.lines[0].source is CostSource.CEILING
    assert "unknown-model" in whole.lines[0].flags
    assert whole.lines[0].exposure_nanousd >= 1_000_000_000


def test_where_the_path_names_no_model_the_answer_may() -> None:
    body = {"type": "message", "model": "claude-haiku-4-5-20251001", "usage": {"input_tokens": 10, "output_tokens": 0}}
    model = ARN + "application-inference-profile/abcdefghijkl"
    reading = answer(model, "invoke", body)
    assert reading.model == "claude-haiku-4-5-20251001"
    assert bill(at(model, "invoke"), reading).cost_nanousd == 11_000  # the regional price, the dearer of two


def test_provisioned_throughput_is_flagged_as_prepaid() -> None:
    model = ARN + "provisioned-model/abcdefghijkl"
    body = {"type": "message", "model": "claude-haiku-4-5-20251001", "usage": {"input_tokens": 10, "output_tokens": 0}}
    reading = answer(model, "invoke", body, JSON | {"x-amzn-bedrock-service-tier": "default"})
    assert "prepaid-tier" in bill(at(model, "invoke"), reading).lines[0].flags
    assert answer(model, "converse", {"usage": USAGE}).terms == {"service_tier": "provisioned"}


def test_tiers_latency_and_regions_multiply_the_price() -> None:
    pro = "amazon.nova-pro-v1:0"
    assert million(pro, serviceTier={"type": "priority"}).cost_nanousd == 1_400_000_000
    assert million(pro, serviceTier={"type": "flex"}).cost_nanousd == 400_000_000
    assert million(pro, performanceConfig={"latency": "optimized"}).cost_nanousd == 1_000_000_000
    assert million("meta.llama3-70b-instruct-v1:0", "bedrock-runtime.sa-east-1.amazonaws.com").cost_nanousd == 4_452_000_000
    assert million("minimax.minimax-m2.5", "bedrock-runtime.eu-central-1.amazonaws.com").cost_nanousd == 360_000_000
    assert million(pro, "bedrock-runtime-fips.us-gov-west-1.amazonaws.com").cost_nanousd == 960_000_000
    assert million(CLAUDE, "bedrock-runtime.us-gov-west-1.amazonaws.com").cost_nanousd == 3_600_000_000
    assert not million(pro, serviceTier={"type": "priority"}).lines[0].flags


def test_the_mantles_short_names_have_prices() -> None:
    for model in (
        "openai.gpt-oss-120b",
        "openai.gpt-oss-20b",
        "anthropic.claude-haiku-4-5",
        "qwen.qwen3-32b",
        "deepseek.v3.1",
        "zai.glm-4.7",
    ):
        price = BOOK.price_of("bedrock-mantle", model, NOVEMBER_2026, host="bedrock-mantle.us-east-1.api.aws")
        assert price is not None, model


def test_what_is_held_covers_what_is_billed() -> None:
    asked = {"messages": [{"role": "user", "content": [{"text": "word " * 400}]}], "inferenceConfig": {"maxTokens": 50}}
    endpoint = at(CLAUDE, "converse")
    ask = read_ask(endpoint, json.dumps(asked).encode())
    quote_held = BOOK.hold(Call(id="c", started_at=NOVEMBER_2026, endpoint=endpoint, ask=ask))
    owed = bill(endpoint, answer(CLAUDE, "converse", {"usage": {"inputTokens": 420, "outputTokens": 50}}), ask).cost_nanousd
    assert quote_held.known
    assert owed is not None
    assert quote_held.worst_nanousd >= owed


# --- what is asked ------------------------------------------------------------------------------------------------------------------


def test_a_converse_request_is_weighed_without_its_pictures() -> None:
    content = [
        {"text": "Look"},
        {"image": {"format": "png", "source": {"bytes": "i" * 9_000}}},
        {"document": {"format": "pdf", "name": "d", "source": {"bytes": "d" * 9_000}}},
        {"document": {"format": "txt", "name": "d", "source": {"bytes": "dGV4dA=="}}},
        {
            "toolResult": {
                "toolUseId": "t",
                "content": [{"json": {"a": "bc"}}, {"image": {"format": "png", "source": {"bytes": "i" * 900}}}],
            }
        },
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ]
    tools = [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}, {"systemTool": {"name": "nova_grounding"}}]
    body = {
        "messages": [{"role": "user", "content": content}],
        "system": [{"text": "Be"}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 300},
        "toolConfig": {"tools": tools},
        "serviceTier": {"type": "flex"},
    }
    endpoint = at(CLAUDE, "converse-stream")
    ask = read_ask(endpoint, json.dumps(body).encode())
    assert (ask.model, ask.streamed, ask.max_output_tokens, ask.fresh, ask.cache_write_ttl) == (CLAUDE, True, 300, True, "1h")
    assert (ask.media_parts, ask.service_tier, ask.server_tools > 0) == (4, "flex", True)
    assert ask.input_bytes == len("Look" + "Be" + "bc") + 6 + len(json.dumps(tools, separators=(",", ":")))
    text = prompt_text(endpoint, json.dumps(body).encode())
    assert "Look" in text
    assert "iiii" not in text
    later = {"messages": [{"role": "user", "content": []}, {"role": "assistant", "content": []}]}
    assert not read_ask(endpoint, json.dumps(later).encode()).fresh
    assert (
        read_ask(
            endpoint, json.dumps({"messages": [], "toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}}).encode()
        ).cache_write_ttl
        == "5m"
    )


CAPS = [
    ("anthropic.claude-v2", {"prompt": "p", "max_tokens_to_sample": 9}, ("max_tokens_to_sample",)),
    ("anthropic.claude-3-haiku-20240307-v1:0", {"anthropic_version": "v", "messages": [], "max_tokens": 9}, ("max_tokens",)),
    (
        "amazon.titan-text-express-v1",
        {"inputText": "p", "textGenerationConfig": {"maxTokenCount": 9}},
        ("textGenerationConfig", "maxTokenCount"),
    ),
    (NOVA, {"messages": [], "inferenceConfig": {"max_new_tokens": 9}}, ("inferenceConfig", "max_new_tokens")),
    (NOVA, {"messages": [], "inferenceConfig": {"maxTokens": 9}}, ("inferenceConfig", "maxTokens")),
    ("meta.llama3-70b-instruct-v1:0", {"prompt": "p", "max_gen_len": 9}, ("max_gen_len",)),
    ("ai21.j2-ultra-v1", {"prompt": "p", "maxTokens": 9}, ("maxTokens",)),
    ("mistral.mistral-7b-instruct-v0:2", {"prompt": "p", "max_tokens": 9}, ("max_tokens",)),
    ("openai.gpt-oss-20b-1:0", {"messages": [], "max_completion_tokens": 9}, ("max_completion_tokens",)),
]


@pytest.mark.parametrize(("model", "body", "path"), CAPS)
def test_each_vendors_cap_is_read_lowered_and_added_where_it_stands(
    model: str, body: dict[str, Any], path: tuple[str, ...]
) -> None:
    endpoint = at(model, "invoke")
    assert read_ask(endpoint, json.dumps(body).encode()).max_output_tokens == 9
    lowered = json.loads(set_output_cap(endpoint, json.dumps(body).encode(), 5))
    assert read_ask(endpoint, json.dumps(lowered).encode()).max_output_tokens == 5
    assert (lowered[path[0]][path[1]] if len(path) == 2 else lowered[path[0]]) == 5
    bare = {key: value for key, value in body.items() if key != path[0]}
    added = set_output_cap(endpoint, json.dumps(bare).encode(), 5)
    assert read_ask(endpoint, added).max_output_tokens == 5


def test_a_cohere_chat_with_a_history_is_not_fresh_and_choices_are_read() -> None:
    endpoint = at("cohere.command-r-v1:0", "invoke")
    ask = read_ask(endpoint, json.dumps({"message": "m", "chat_history": [{"role": "CHATBOT", "message": "x"}]}).encode())
    assert (ask.fresh, ask.input_bytes) == (False, 2)
    assert read_ask(endpoint, json.dumps({"prompt": "p", "num_generations": 3}).encode()).choices == 3


def test_the_model_in_the_path_is_changed_there_and_the_body_left_alone() -> None:
    for path in (f"/model/{quote(CLAUDE, safe='')}/converse", f"/model/{CLAUDE}/converse?x=1"):
        endpoint = endpoint_for("bedrock", HOST, "POST", path)
        changed, body = set_model(endpoint, path, b'{"messages":[]}', "amazon.nova-micro-v1:0")
        assert changed.startswith("/model/amazon.nova-micro-v1%3A0/converse")
        assert body == b'{"messages":[]}'


def test_signed_requests_are_never_rewritten_and_bearer_keys_may_be() -> None:
    signed = b"AWS4-HMAC-SHA256 Credential=AKIA/20261101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"
    assert is_bound(HOST, ((b"Authorization", signed),))
    assert is_bound(HOST, ((b"authorization", b"AWS4-ECDSA-P256-SHA256 Credential=AKIA"),))
    assert not is_bound(HOST, ((b"authorization", b"Bearer bedrock-api-key-x"),))


def test_bedrocks_own_streams_are_never_asked_for_usage() -> None:
    endpoint = at(NOVA, "converse-stream")
    assert not asks_for_usage(endpoint, read_ask(endpoint, b'{"messages":[]}'))


def test_a_refusal_has_bedrocks_shape_whatever_the_operation() -> None:
    for operation in ("converse", "converse-stream", "invoke", "invoke-with-response-stream"):
        reply = refusal(at(CLAUDE, operation), "The budget is used up")
        assert (reply.status, json.loads(reply.body)) == (400, {"message": "The budget is used up"})
        assert reply.headers["x-amzn-errortype"] == "ValidationException"


# --- any shape ----------------------------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "usage", "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokenCount", "cacheDetails", "ttl",
        "serverToolUsage", "webSearchRequests", "metadata", "messageStop", "messageStart", "contentBlockStart", "contentBlockDelta",
        "delta", "text", "trace", "guardrail", "promptRouter", "invokedModelId", "invocationMetrics", "contentPolicyUnits", "output",
        "message", "content", "toolUse", "type", "name", "serviceTier", "performanceConfig", "latency", ":exception", "images",
        "artifacts", "results", "tokenCount", "inputTextTokenCount", "totalOutputTextTokenCount", "prompt_token_count",
        "generation_token_count", "amazon-bedrock-invocationMetrics", "amazon-bedrock-trace", "inputTokenCount", "outputTokenCount",
        "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "choices", "error", "model", "id", "messages", "system",
        "role", "inferenceConfig", "maxTokens", "toolConfig", "tools", "image", "document", "source", "bytes", "cachePoint", "documents",
        "imageGenerationConfig", "numberOfImages", "width", "quality", "anthropic_version", "chat_history", "prompt", "inputText",
    ]
)  # fmt: skip
SHAPED = st.recursive(
    JUNK | st.sampled_from(["message_start", "message_delta", "message", "server_tool_use", "1h", "optimized"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, SHAPED, max_size=6)
ENDPOINTS = [
    at(NOVA, "converse"), at(CLAUDE, "invoke"), at("cohere.rerank-v3-5:0", "invoke"), at("amazon.titan-embed-image-v1", "invoke"),
    at("amazon.nova-canvas-v1:0", "invoke"), endpoint_for("bedrock", HOST, "POST", "/guardrail/a/version/1/apply"),
]  # fmt: skip


def sane(reading: Reading) -> None:
    """Every count is possible, and nothing that was read can fail later."""
    for call in reading.calls:
        counts = (
            call.input_tokens,
            call.cache_read_tokens,
            call.cache_write_5m_tokens,
            call.cache_write_1h_tokens,
            call.output_tokens,
        )
        assert all(0 <= number <= MAX_COUNT for number in (*counts, call.reasoning_tokens, *call.units.values()))
    assert json.dumps(reading.raw) is not None
    assert "meter-fault" not in reading.flags


@settings(max_examples=150)
@given(OBJECTS, st.sampled_from(ENDPOINTS))
def test_a_body_of_any_shape_gives_a_sane_reading(body: dict[str, Any], endpoint: Endpoint) -> None:
    ask = read_ask(endpoint, json.dumps(body).encode())
    assert ask.input_bytes >= 0
    assert all(0 <= bound <= MAX_COUNT for bound in ask.units.values())
    prompt_text(endpoint, json.dumps(body).encode())
    reading = read(endpoint, json.dumps(body).encode(), COUNTED, ask=ask)
    sane(reading)
    bill(endpoint, reading, ask)


@settings(max_examples=150)
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.booleans(), st.integers(0, 2**16))
def test_a_stream_of_any_shapes_gives_the_same_sane_reading_in_any_split(events: list[Any], packed: bool, seed: int) -> None:
    kinds = random.Random(seed).choices(["metadata", "messageStop", "contentBlockStart", "contentBlockDelta", "x"], k=len(events))
    body = b"".join(chunk(one_event) if packed else event(kind, one_event) for one_event, kind in zip(events, kinds, strict=True))
    for endpoint in (at(NOVA, "converse-stream"), at(CLAUDE, "invoke-with-response-stream")):
        whole = read(endpoint, body, EVENT_STREAM)
        sane(whole)
        split = sorted(random.Random(seed).sample(range(1, len(body)), k=min(9, len(body) - 1)))
        assert read(endpoint, body, EVENT_STREAM, at=split) == whole
        sane(read(endpoint, body[: split[0]], EVENT_STREAM, cut=True))
