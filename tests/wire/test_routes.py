"""Routes: what a URL is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Metering
from tollkeeper.wire.dialects import DIALECTS, SESSIONS
from tollkeeper.wire.providers import PROVIDERS
from tollkeeper.wire.providers.common import COMMON
from tollkeeper.wire.routes import clean_path, endpoint_for
from tollkeeper.wire.traits import OUTPUT_IS_REST, USAGE_ASKABLE, WRAPPED

READ = [
    ("openai", "/v1/chat/completions", "chat", "openai-chat", None),
    ("openai", "/v1/completions/", "text_completion", "openai-chat", None),
    ("openai", "//v1///responses?x=1", "chat", "openai-responses", None),
    ("openai", "/v1/responses/compact", "chat", "openai-responses", None),
    ("openai", "/v1/embeddings", "embeddings", "openai-chat", None),
    ("openai", "/v1/chat%2Fcompletions", "chat", "openai-chat", None),
    ("openai", "/v1/models/../chat/completions", "chat", "openai-chat", None),
    ("chatgpt", "/backend-api/codex/responses", "chat", "openai-responses", None),
    ("anthropic", "/v1/messages?beta=true", "chat", "anthropic-messages", None),
    ("anthropic", "/api/v1/messages", "chat", "anthropic-messages", None),
    ("azure", "/openai/deployments/my-gpt/chat/completions?api-version=2025-01-01", "chat", "openai-chat", "my-gpt"),
    ("azure", "/OpenAI/Deployments/my-gpt/Embeddings", "embeddings", "openai-chat", "my-gpt"),
    ("azure", "/anthropic/v1/messages", "chat", "anthropic-messages", None),
    ("azure", "/models/chat/completions", "chat", "openai-chat", None),
    (
        "gemini",
        "/v1beta/models/gemini-2.5-pro:generateContent?key=secret",
        "generate_content",
        "gemini-generate",
        "gemini-2.5-pro",
    ),
    ("gemini", "/v1beta/models/gemini-2.5-pro%3AstreamGenerateContent", "generate_content", "gemini-generate", "gemini-2.5-pro"),
    ("gemini", "/v1beta/openai/chat/completions", "chat", "openai-chat", None),
    (
        "vertex",
        "/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent",
        "generate_content",
        "gemini-generate",
        "g",
    ),
    ("vertex", "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:rawPredict", "chat", "anthropic-messages", "c@1"),
    ("vertex", "/v1/publishers/anthropic/models/c@1:streamRawPredict", "chat", "anthropic-messages", "c@1"),
    ("code-assist", "/v1internal:streamGenerateContent?alt=sse", "generate_content", "gemini-generate", None),
    ("copilot", "/chat/completions", "chat", "openai-chat", None),
    ("openrouter", "/api/v1/chat/completions", "chat", "openai-chat", None),
    ("groq", "/openai/v1/chat/completions", "chat", "openai-chat", None),
    ("deepseek", "/anthropic/v1/messages", "chat", "anthropic-messages", None),
    ("zai", "/api/coding/paas/v4/chat/completions", "chat", "openai-chat", None),
    ("unknown:llm.example", "/v1/chat/completions", "chat", "openai-chat", None),
]


@pytest.mark.parametrize(("provider", "path", "operation", "dialect", "model"), READ)
def test_a_model_call_is_read_by_its_dialect(provider: str, path: str, operation: str, dialect: str, model: str | None) -> None:
    endpoint = endpoint_for(provider, "host", "POST", path)
    assert (endpoint.operation, endpoint.dialect, endpoint.model_in_path) == (operation, dialect, model)
    assert endpoint.metering is Metering.METERED


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("anthropic", "POST", "/v1/messages/count_tokens?beta=true"),
        ("anthropic", "POST", "/api/event_logging/batch"),
        ("anthropic", "HEAD", "/"),
        ("openai", "GET", "/v1/models"),
        ("openai", "GET", "/v1/responses/resp_1/input_items"),
        ("openai", "POST", "/v1/responses/input_tokens"),
        ("openai", "POST", "/v1/moderations"),
        ("openai", "POST", "/v1/traces/ingest"),
        ("openai", "POST", "/v1/threads/thread_1/messages"),
        ("openai", "GET", "/v1/chat/completions"),
        ("gemini", "POST", "/v1beta/models/g:countTokens"),
        ("vertex", "POST", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict"),
        ("code-assist", "POST", "/v1internal:loadCodeAssist"),
        ("chatgpt", "GET", "/backend-api/codex/models"),
        ("bedrock", "POST", "/model/anthropic.claude/count-tokens"),
        ("workers-ai", "POST", "/client/v4/zones/z/purge_cache"),
        ("openai", "POST", "/v1/evals"),
        ("openai", "GET", "/v1/evals/eval_1/runs/run_1"),
        ("chatgpt", "POST", "/backend-api/codex/analytics-events/events"),
        ("chatgpt", "GET", "/backend-api/wham/usage"),
    ],
)
def test_what_is_not_billed_is_free(provider: str, method: str, path: str) -> None:
    assert endpoint_for(provider, "host", method, path).metering is Metering.FREE


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("openai", "POST", "/v1/never/heard/of"),
        ("openai", "GET", "/v1/responses"),
        ("openai", "GET", "/v1/realtime?model=gpt-realtime"),
        ("bedrock", "POST", "/model/amazon.nova-sonic-v1%3A0/invoke-with-bidirectional-stream"),
        ("gemini", "POST", "/v1beta/cachedContents"),
        ("cursor", "POST", "/aiserver.v1.ChatService/Stream"),
        ("openai", "POST", "/v1/evals/eval_1/runs"),
        ("chatgpt", "POST", "/backend-api/codex/images/generations"),
        ("chatgpt", "POST", "/backend-api/wham/tasks"),
        ("copilot", "POST", "/agents/swe/v1/jobs/owner/repo"),
    ],
)
def test_what_may_be_billed_and_is_not_read_is_unmetered_with_a_reason(provider: str, method: str, path: str) -> None:
    endpoint = endpoint_for(provider, "host", method, path)
    assert endpoint.metering is Metering.UNMETERED
    assert endpoint.reason


def test_a_gateway_path_is_read_as_the_provider_it_names() -> None:
    endpoint = endpoint_for("cloudflare-gateway", "gateway.ai.cloudflare.com", "POST", "/v1/acc/gw/anthropic/v1/messages")
    assert (endpoint.provider, endpoint.dialect, endpoint.host) == (
        "anthropic",
        "anthropic-messages",
        "gateway.ai.cloudflare.com",
    )
    compat = endpoint_for("cloudflare-gateway", "gateway.ai.cloudflare.com", "POST", "/v1/acc/gw/compat/chat/completions")
    assert (compat.provider, compat.dialect) == ("cloudflare-gateway", "openai-chat")


def test_the_kept_path_holds_no_query_because_queries_hold_keys() -> None:
    endpoint = endpoint_for("gemini", "host", "POST", "/v1beta/models/g:generateContent?key=AIzaSecret")
    assert "AIza" not in repr(endpoint)


def test_an_old_azure_version_is_not_asked_for_usage() -> None:
    old = endpoint_for("azure", "h", "POST", "/openai/deployments/d/chat/completions?api-version=2024-02-01")
    new = endpoint_for("azure", "h", "POST", "/openai/deployments/d/chat/completions?api-version=2024-10-21")
    assert (USAGE_ASKABLE in old.traits, USAGE_ASKABLE in new.traits) == (False, True)


def test_deviations_travel_with_the_endpoint() -> None:
    assert OUTPUT_IS_REST in endpoint_for("gemini", "h", "POST", "/v1beta/openai/chat/completions").traits
    assert WRAPPED in endpoint_for("code-assist", "h", "POST", "/v1internal:generateContent").traits


def test_every_row_names_a_dialect_that_exists_or_a_reason() -> None:
    rows = [*COMMON, *(row for provider in PROVIDERS.values() for row in provider.rows)]
    known = {*DIALECTS, *SESSIONS}
    assert all(row.dialect in known if row.metering is Metering.METERED else row.reason for row in rows)
    assert all(row.dialect in SESSIONS for row in rows if row.metering is Metering.METERED and "WEBSOCKET" in row.methods)


@given(
    st.sampled_from([*PROVIDERS, "openai", "helicone", "x"]), st.sampled_from(["GET", "POST", "put", ""]), st.text(max_size=60)
)
def test_no_path_raises(provider: str, method: str, path: str) -> None:
    endpoint = endpoint_for(provider, "host", method, path)
    assert endpoint.metering is not Metering.METERED or endpoint.dialect in {*DIALECTS, *SESSIONS}


@given(st.text(max_size=40))
def test_cleaning_a_path_twice_changes_nothing_more_without_escapes(path: str) -> None:
    once = clean_path(path.replace("%", "").replace("?", "").replace("#", ""))
    assert clean_path(once.replace("%", "").replace("?", "").replace("#", "")) == once


def test_an_endless_path_is_unmetered() -> None:
    assert endpoint_for("openai", "h", "POST", "/v1/" + "a" * 10_000).metering is Metering.UNMETERED
