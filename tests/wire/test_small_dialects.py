"""Every small dialect against odd answers, odd requests and streams that break off anywhere."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, UsageSource
from tollkeeper.wire.dialects import DIALECTS
from tollkeeper.wire.refuse import refusal
from tollkeeper.wire.request import prompt_text, read_ask
from wire.junk import documents
from wire.own_shapes import NDJSON, at, lines
from wire.samples import SSE, read, sse
from wire.test_gateways import SDK, SDK_STREAM
from wire.test_others import CONVERSE, CREATE, DASHSCOPE_STREAM, GENERATION, MISTRAL_STREAM, QWEN, WATSONX_STREAM

PLACES: dict[str, Endpoint] = {
    "any-shape": at("cloudflare-gateway", "/v1/a/g"),
    "cohere": at("cohere", "/v2/chat"),
    "dashscope": QWEN,
    "minimax": at("minimax", "/v1/text/chatcompletion_v2"),
    "mistral-native": CONVERSE,
    "ollama": at("ollama", "/api/chat"),
    "perplexity-async": at("perplexity", "/async/chat/completions"),
    "replicate": CREATE,
    "rerank": at("voyage", "/v1/rerank"),
    "stated-counts": at("llama-cpp", "/completion"),
    "vercel-sdk": SDK,
    "voyage": at("voyage", "/v1/multimodalembeddings"),
    "watsonx": GENERATION,
    "workers-ai": at("workers-ai", "/client/v4/accounts/a/ai/run/@cf/meta/llama"),
}
KEYS = (
    "usage", "billed_units", "tokens", "meta", "delta", "response", "result", "results", "output", "outputs", "metrics", "status", "id",
    "request_id", "task_status", "task_id", "predict_time", "image_count", "input_token_count", "generated_token_count", "done",
    "prompt_eval_count", "eval_count", "prompt_eval_cached_count", "connectors", "web_search", "connector_tokens", "usage_info",
    "pages_processed", "prompt_audio_seconds", "tokens_evaluated", "tokens_predicted", "inference_status", "inputTokens", "outputTokens",
    "total", "cacheRead", "cacheWrite", "reasoning", "providerMetadata", "gateway", "gatewayCost", "routing", "canonicalSlug", "type",
    "text_tokens", "image_pixels", "search_units", "images", "neurons", "transcription_info", "responses", "base_resp", "status_code",
    "extra_info", "usage_characters", "choices", "message", "content", "finish_reason", "error", "errors", "success", "attempts", "query",
    "provider", "endpoint", "model", "messages", "input", "prompt", "documents", "parameters", "options", "stream", "tools", "plugins",
)  # fmt: skip
HARD = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_every_place_speaks_the_dialect_it_stands_for() -> None:
    assert PLACES.keys() <= DIALECTS.keys()
    assert {name: endpoint.dialect for name, endpoint in PLACES.items()} == {name: name for name in PLACES}


@pytest.mark.parametrize("name", sorted(PLACES))
@HARD
@given(payloads=st.lists(documents(KEYS), min_size=1, max_size=3), split=st.integers(1, 40))
def test_odd_answers_never_raise_and_never_count_absurdly(name: str, payloads: list[dict[str, Any]], split: int) -> None:
    endpoint = PLACES[name]
    as_lines, as_events, as_body = lines(*payloads), sse(*payloads), json.dumps(payloads[0]).encode()
    for body, headers in ((as_body, {}), (as_events, SSE), (as_lines, NDJSON)):
        reading = read(endpoint, body, headers, ask=Ask(model="a/b", fallback_models=("c/d",)))
        assert "meter-fault" not in reading.flags
        assert (
            read(endpoint, body, headers, ask=Ask(model="a/b", fallback_models=("c/d",)), at=list(range(split, len(body), split)))
            == reading
        )
        for call in reading.calls:
            counts = (
                call.input_tokens,
                call.cache_read_tokens,
                call.cache_write_5m_tokens,
                call.output_tokens,
                *call.units.values(),
            )
            assert all(type(found) is int and 0 <= found <= 3 * MAX_COUNT for found in counts)
            assert 0 <= call.reasoning_tokens <= call.output_tokens
        assert reading.provider_cost_usd is None or reading.provider_cost_usd >= 0


@pytest.mark.parametrize("name", sorted(PLACES))
@HARD
@given(body=documents(KEYS))
def test_odd_requests_never_raise(name: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    ask = read_ask(PLACES[name], raw)
    assert ask.input_bytes >= 0
    assert all(type(bound) is int and bound > 0 for bound in ask.units.values())
    assert isinstance(prompt_text(PLACES[name], raw), str)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [(GENERATION, WATSONX_STREAM), (QWEN, DASHSCOPE_STREAM), (CONVERSE, MISTRAL_STREAM), (SDK, SDK_STREAM)],
    ids=["watsonx", "dashscope", "mistral", "vercel"],
)
def test_a_stream_cut_anywhere_is_partial_or_says_its_final_figures(endpoint: Endpoint, body: bytes) -> None:
    final = read(endpoint, body)
    for end in range(len(body)):
        reading = read(endpoint, body[:end], cut=True)
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        if reading.source is UsageSource.REPORTED:
            assert reading.calls == final.calls


@pytest.mark.parametrize("name", ["cohere", "ollama", "workers-ai", "watsonx", "dashscope", "replicate"])
def test_a_refusal_has_the_provider_s_own_shape(name: str) -> None:
    reply = refusal(PLACES[name], "budget used up")
    assert (reply.status, reply.headers["x-should-retry"]) == (400, "false")
    assert b"budget used up" in reply.body
    assert b'"type": "invalid_request_error"' not in reply.body
