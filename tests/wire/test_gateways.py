"""Gateways: Vercel's AI SDK, Braintrust, Portkey, Helicone, LiteLLM, OpenRouter's fallbacks; company accounts; what states nothing."""

from decimal import Decimal

import pytest

from tollkeeper.core.call import Metering
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.exchange import Exchange, read_exchange
from tollkeeper.wire.routes import endpoint_for, named_by_header
from tollkeeper.wire.traits import FIXED_MODEL
from wire.own_shapes import ask_of, at, figures, only, whole
from wire.samples import read, some_splits, sse

SDK = at("vercel", "/v3/ai/language-model")
GATEWAY = {
    "routing": {"originalModelId": "anthropic/claude-haiku-4.5", "canonicalSlug": "anthropic/claude-haiku-4.5"},
    "cost": "0.000038",
    "surchargeCost": "0.0001",
    "gatewayCost": "0.000138",
    "generationId": "gen_1",
}
NESTED = {
    "inputTokens": {"total": 120, "noCache": 100, "cacheRead": 15, "cacheWrite": 5},
    "outputTokens": {"total": 40, "text": 30, "reasoning": 10},
}
SDK_STREAM = sse(
    {"type": "stream-start", "warnings": []},
    {"type": "response-metadata", "id": "msg_1", "modelId": "claude-haiku-4-5"},
    {"type": "text-delta", "id": "0", "delta": "Hi"},
    {"type": "finish", "finishReason": {"unified": "stop"}, "usage": NESTED, "providerMetadata": {"gateway": GATEWAY}},
    "[DONE]",
)


def test_vercel_s_sdk_states_usage_and_what_the_gateway_bills() -> None:
    expected = read(SDK, SDK_STREAM)
    assert (figures(expected), expected.source) == ((100, 15, 5, 40, 10), UsageSource.REPORTED)
    assert (expected.provider_cost_usd, only(expected).model) == (Decimal("0.000138"), "anthropic/claude-haiku-4.5")
    for cuts in some_splits(SDK_STREAM, 8):
        assert read(SDK, SDK_STREAM, at=cuts) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"inputTokens": 120, "outputTokens": 40, "totalTokens": 160, "reasoningTokens": 10, "cachedInputTokens": 20},
            (100, 20, 0, 40, 10),
        ),
        ({"promptTokens": 120, "completionTokens": 40}, (120, 0, 0, 40, 0)),
        ({"tokens": 7}, (7, 0, 0, 0, 0)),
    ],
)
def test_every_generation_of_the_sdk_s_usage_is_read(usage: dict[str, int], expected: tuple[int, ...]) -> None:
    assert figures(whole(SDK, {"content": [], "usage": usage})) == expected


def test_the_sdk_names_its_model_in_a_header() -> None:
    assert named_by_header(SDK, {"ai-language-model-id": "openai/gpt-5"}).model_in_path == "openai/gpt-5"
    assert named_by_header(SDK, {"ai-model-id": "x" * 500}) is SDK
    plain = at("vercel", "/v1/chat/completions")
    assert named_by_header(plain, {"ai-language-model-id": "openai/gpt-5"}) is plain
    exchange = Exchange(
        id="1",
        method="POST",
        url="https://ai-gateway.vercel.sh/v3/ai/embedding-model",
        request_headers={"ai-model-id": "openai/text-embedding-3-small"},
        request_body=b'{"input": "x"}',
        status=200,
        response_body=b'{"embeddings": [[0.1]], "usage": {"tokens": 7}}',
    )
    endpoint, ask, reading = read_exchange(exchange, "vercel")
    assert (ask.model, only(reading).model, endpoint.operation) == (*["openai/text-embedding-3-small"] * 2, "embeddings")


def test_a_model_that_no_rewrite_reaches_is_never_moved() -> None:
    fixed = [
        SDK,
        at("replicate", "/v1/predictions"),
        at("watsonx", "/ml/v1/text/chat"),
        at("mistral", "/v1/conversations"),
        at("cloudflare-gateway", "/v1/a/g"),
        at("llama-cpp", "/completion"),
    ]
    assert all(FIXED_MODEL in endpoint.traits for endpoint in fixed)
    assert (
        FIXED_MODEL
        not in at("cohere", "/v2/chat").traits | at("ollama", "/api/chat").traits | at("openai", "/v1/responses").traits
    )


def test_openrouter_s_fallbacks_are_known_before_the_call_leaves() -> None:
    chat = at("openrouter", "/api/v1/chat/completions")
    ask = ask_of(chat, {"model": "a/small", "models": ["a/small", "b/large", 7, None], "messages": []})
    assert ask.fallback_models == ("b/large",)


@pytest.mark.parametrize(
    ("provider", "path", "dialect"),
    [
        ("databricks", "/serving-endpoints/databricks-gpt-oss-120b/invocations", "openai-chat"),
        ("databricks", "/serving-endpoints/chat/completions", "openai-chat"),
        ("snowflake", "/api/v2/cortex/inference:complete", "openai-chat"),
        ("snowflake", "/api/v2/cortex/v1/chat/completions", "openai-chat"),
        ("snowflake", "/api/v2/cortex/v1/messages", "anthropic-messages"),
        ("braintrust", "/v1/proxy/chat/completions", "openai-chat"),
        ("braintrust", "/v1/proxy/anthropic/messages", "anthropic-messages"),
        ("braintrust", "/v1/proxy/auto", "any-shape"),
        ("portkey", "/v1/chat/completions", "openai-chat"),
        ("portkey", "/v1/messages", "anthropic-messages"),
        ("litellm", "/v1/chat/completions", "openai-chat"),
        (
            "litellm",
            "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
            "gemini-generate",
        ),
        ("opencode", "/zen/v1/messages", "anthropic-messages"),
        ("github-models", "/inference/chat/completions", "openai-chat"),
        ("github-models", "/orgs/acme/inference/chat/completions", "openai-chat"),
        ("huggingface", "/together/v1/chat/completions", "openai-chat"),
        ("deepseek", "/beta/completions", "openai-chat"),
        ("perplexity", "/v1/sonar", "openai-chat"),
    ],
)
def test_gateways_and_enterprise_hosts_are_read(provider: str, path: str, dialect: str) -> None:
    assert (at(provider, path).metering, at(provider, path).dialect) == (Metering.METERED, dialect)


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("snowflake", "/api/v2/cortex/agent:run"),
        ("snowflake", "/api/v2/statements"),
        ("huggingface", "/hf-inference/models/x"),
        ("deepgram", "/v1/listen"),
        ("elevenlabs", "/v1/text-to-speech/x"),
        ("cursor", "/aiserver.v1.AiService/StreamChat"),
        ("perplexity", "/search"),
        ("replicate", "/v1/models/a/b/versions/c/trainings"),
    ],
)
def test_what_states_nothing_is_unmetered_with_its_reason(provider: str, path: str) -> None:
    endpoint = at(provider, path)
    assert endpoint.metering is Metering.UNMETERED
    assert len(endpoint.reason) > 10


@pytest.mark.parametrize(
    ("host", "provider"), [("oai", "openai"), ("anthropic", "anthropic"), ("groq", "groq"), ("new", "helicone")]
)
def test_helicone_s_hosts_are_read_as_whom_they_front(host: str, provider: str) -> None:
    assert endpoint_for("helicone", f"{host}.helicone.ai", "POST", "/v1/chat/completions").provider == provider


@pytest.mark.parametrize("header", ["helicone-cache", "x-portkey-cache-status", "x-bt-cached", "cf-aig-cache-status"])
def test_a_gateway_s_own_cache_hit_costs_nothing(header: str) -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    reading = whole(at("portkey", "/v1/chat/completions"), body, headers={header: "HIT", "x-litellm-response-cost": "0.5"})
    assert (reading.source, reading.provider_cost_usd) == (UsageSource.NONE, None)


def test_litellm_states_its_cost_in_a_header() -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    reading = whole(at("litellm", "/v1/chat/completions"), body, headers={"x-litellm-response-cost": "0.00012"})
    assert reading.provider_cost_usd == Decimal("0.00012")
