"""Which method and path is which operation: data, first match wins; a host's own rows stand before the common ones.

Sources: each provider's API reference, and docs/wire.md. A pattern covers the whole path, after ``routes`` has decoded it, resolved its
dots and taken doubled and trailing slashes out; letter case does not count.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tollkeeper.core.call import Metering

FREE, METERED, UNMETERED = Metering.FREE, Metering.METERED, Metering.UNMETERED
CHAT, RESPONSES, MESSAGES, GENERATE = "openai-chat", "openai-responses", "anthropic-messages", "gemini-generate"

NOT_A_CALL = "not a model call"
UNKNOWN = "a path that nothing here reads the usage of"
LATER = "its usage is not read yet"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``methods`` is a space-separated list, ``*`` for any."""

    methods: str
    pattern: re.Pattern[str]
    operation: str
    dialect: str | None
    metering: Metering
    reason: str


def _read(methods: str, pattern: str, operation: str, dialect: str) -> Row:
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, dialect, METERED, "")


def _free(methods: str, pattern: str, reason: str = NOT_A_CALL, operation: str = "other") -> Row:
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, None, FREE, reason)


def _blind(methods: str, pattern: str, operation: str, reason: str) -> Row:
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, None, UNMETERED, reason)


_COUNTING = "counting tokens is free"

COMMON: tuple[Row, ...] = (
    _read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/chat/completions", "chat", CHAT),
    _read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/completions", "text_completion", CHAT),
    _read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/embeddings", "embeddings", CHAT),
    _free("POST", r".*/responses/input_tokens", _COUNTING, "count_tokens"),
    _read("POST", r".*/responses(?:/compact)?", "chat", RESPONSES),
    _free("POST", r".*/responses/[^/]+/cancel"),
    _blind("GET WEBSOCKET", r".*/responses", "chat", "Responses over a WebSocket: its frames are not read yet"),
    _free("GET", r".*/responses/[^/]+(?:/.*)?", "a stored response read again: it was billed when it was made"),
    _free("POST", r".*/messages/count_tokens", _COUNTING, "count_tokens"),
    _blind("POST", r".*/v1/messages/batches", "batch", "a batch: billed when its results are read, which is not read yet"),
    _blind("GET", r".*/v1/messages/batches/[^/]+/results", "batch", "results of a batch, billed at half price, are not read yet"),
    _read("POST", r".*/v1/messages", "chat", MESSAGES),
    _read(
        "POST",
        r".*/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?:generateContent|streamGenerateContent)",
        "generate_content",
        GENERATE,
    ),
    _free("POST", r".*:countTokens", _COUNTING, "count_tokens"),
    _free("POST", r".*/moderations", "moderation is free", "moderation"),
    _blind("POST", r".*/images/[a-z]+", "image_generation", f"image generation: {LATER}"),
    _blind("POST", r".*/audio/[a-z]+", "audio", f"audio: {LATER}"),
    _blind("POST", r".*/(?:videos|video/generations)(?:/.*)?", "video", f"video: {LATER}"),
    _blind("POST", r".*/(?:rerank|reranking)", "rerank", f"rerank: {LATER}"),
    _blind("GET POST WEBSOCKET", r".*/realtime", "realtime", "a realtime session: its frames are not read yet"),
    _free("POST", r".*/realtime/(?:sessions|client_secrets|transcription_sessions)"),
    _blind("POST", r".*/realtime/calls", "realtime", "a realtime call: its media do not pass here"),
    _blind("POST", r".*/batches", "batch", "a batch: billed when it has run, which is not read yet"),
    _blind("GET", r".*/files/[^/]+/content", "batch", "may be the results of a batch, which are not read yet"),
    _blind("POST", r".*/fine_tuning/.*", "fine_tuning", "training is billed apart from any answer"),
    _free("POST", r".*/(?:files|uploads)(?:/.*)?"),
    _free("GET", r".*/chat/completions(?:/.*)?", "stored answers read again"),
    _free("HEAD OPTIONS DELETE TRACE", r".*"),
    _free("GET", r"/|.*/(?:models|engines|deployments|tunedModels)(?:/[^/:]+)*", "a list of models", "list_models"),
    _free(
        "GET",
        r".*/(?:files|uploads|batches|fine_tuning|vector_stores|containers|cachedContents|operations|credits|keys?|usage|me"
        r"|organizations?|skills|health|version|tags|ps)(?:/.*)?",
        "a status or a list",
    ),
)

OPENAI: tuple[Row, ...] = (
    _free("POST", r"/v1/traces/ingest", "telemetry"),
    _blind("POST", r"/v1/threads(?:/[^/]+)?/runs(?:/.*)?", "chat", f"Assistants: {LATER}"),
    _free("*", r"/v1/(?:assistants|threads|conversations|organization|evals)(?:/.*)?"),
    _blind("POST", r"/v1/(?:vector_stores|containers)(?:/.*)?", "storage", "storage and searches are billed by time and request"),
)

ANTHROPIC: tuple[Row, ...] = (
    _free("*", r"/api/(?!v1/messages).*", "telemetry and settings of a client"),
    _blind("POST", r"/v1/complete", "text_completion", "legacy completions state no usage"),
    _free("*", r"/v1/(?:files|skills|organizations|oauth|mcp_servers)(?:/.*)?"),
)

_PREDICT = r":(?:rawPredict|streamRawPredict)"

VERTEX: tuple[Row, ...] = (
    _free("POST", r".*/publishers/anthropic/models/count-tokens" + _PREDICT, _COUNTING, "count_tokens"),
    _read("POST", r".*/publishers/anthropic/models/(?P<model>[^/:]+)" + _PREDICT, "chat", MESSAGES),
    _read("POST", r".*/publishers/mistralai/models/(?P<model>[^/:]+)" + _PREDICT, "chat", CHAT),
    _blind(
        "POST", r".*:(?:predict|predictLongRunning|embedContent|batchEmbedContents)", "predict", f"Vertex predictions: {LATER}"
    ),
    _blind("POST", r".*" + _PREDICT, "predict", f"this publisher's models on Vertex: {LATER}"),
    _blind("POST", r".*/cachedContents", "cache", "cached content is billed by the hour it is kept"),
)

GEMINI: tuple[Row, ...] = (
    _blind("POST", r".*:(?:embedContent|batchEmbedContents)", "embeddings", f"Gemini embeddings: {LATER}"),
    _blind(
        "POST", r".*:(?:predict|predictLongRunning|batchGenerateContent|generateAnswer|asyncBatchEmbedContent)", "predict", LATER
    ),
    _blind("POST", r".*/interactions", "chat", f"Gemini Interactions: {LATER}"),
    _blind("POST", r".*/cachedContents", "cache", "cached content is billed by the hour it is kept"),
    _blind("*", r"/ws/.*", "realtime", "Gemini Live: its frames are not read yet"),
)

CODE_ASSIST: tuple[Row, ...] = (
    _read("POST", r"/v1internal:(?:generateContent|streamGenerateContent)", "generate_content", GENERATE),
    _free("POST", r"/v1internal:.*"),
)

CHATGPT: tuple[Row, ...] = (
    _blind("POST", r"/backend-api/(?:f/)?conversation", "chat", "ChatGPT on the web: part of a plan, states no usage"),
    _read("POST", r"/backend-api/codex/responses(?:/compact)?", "chat", RESPONSES),
    _blind("GET WEBSOCKET", r"/backend-api/codex/responses", "chat", "Responses over a WebSocket: its frames are not read yet"),
    _free("*", r".*"),
)

BEDROCK: tuple[Row, ...] = (
    _free("POST", r"/model/[^/]+/count-tokens", _COUNTING, "count_tokens"),
    _blind(
        "POST",
        r"/model/(?P<model>.+)/(?:converse|converse-stream|invoke|invoke-with-response-stream|invoke-with-bidirectional-stream)",
        "chat",
        f"Bedrock: {LATER}",
    ),
    _blind("POST", r"/guardrail/.*", "guardrail", "guardrails are billed in text units"),
)

WORKERS_AI: tuple[Row, ...] = (
    _blind("POST", r"/client/v4/accounts/[^/]+/ai/run/.*", "chat", f"Workers AI: {LATER}"),
    _read("POST", r"/client/v4/accounts/[^/]+/ai/v1/chat/completions", "chat", CHAT),
    _read("POST", r"/client/v4/accounts/[^/]+/ai/v1/embeddings", "embeddings", CHAT),
    _read("POST", r"/client/v4/accounts/[^/]+/ai/v1/responses", "chat", RESPONSES),
    _blind("POST", r"/client/v4/accounts/[^/]+/ai/.*", "other", f"Workers AI: {LATER}"),
    _free("*", r".*"),
)

COPILOT: tuple[Row, ...] = (_free("POST", r".*/(?:models/session|telemetry|agents/.*|copilot_internal/.*|v1/telemetry)"),)

_COHERE = _blind("POST", r"/v[12]/(?:chat|generate|embed|classify|summarize|rerank|parse)", "chat", f"Cohere: {LATER}")
_REPLICATE = _blind(
    "POST", r".*/predictions", "predict", "Replicate bills by the second, stated only when the prediction is polled"
)
_WATSONX = _blind("POST", r"/ml/.*/(?:text|generation)/.*", "chat", f"watsonx: {LATER}")


def _all_blind(reason: str) -> tuple[Row, ...]:
    return (_blind("POST", r".*", "other", reason),)


BY_PROVIDER: Mapping[str, tuple[Row, ...]] = MappingProxyType(
    {
        "openai": OPENAI,
        "anthropic": ANTHROPIC,
        "chatgpt": CHATGPT,
        "vertex": VERTEX,
        "gemini": GEMINI,
        "code-assist": CODE_ASSIST,
        "bedrock": BEDROCK,
        "workers-ai": WORKERS_AI,
        "copilot": COPILOT,
        "openrouter": (_read("POST", r"/api/v1/messages", "chat", MESSAGES),),
        "writer": (
            _read("POST", r"/v1/chat", "chat", CHAT),
            _blind("POST", r"/v1/completions", "text_completion", "Writer's text completions state no usage"),
        ),
        "mistral": (
            _read("POST", r"/v1/(?:fim|agents)/completions", "chat", CHAT),
            _blind("POST", r"/v1/(?:ocr|conversations|audio)(?:/.*)?", "other", f"this surface of Mistral: {LATER}"),
        ),
        "cohere": (_COHERE,),
        "replicate": (_REPLICATE,),
        "watsonx": (_WATSONX,),
        "ollama": (
            _blind("POST", r"/api/(?:chat|generate|embed|embeddings)", "chat", f"Ollama's own API: {LATER}"),
            _free("POST", r"/api/.*"),
        ),
        "vercel": (_blind("POST", r"/v\d/ai/.*", "chat", f"the AI SDK's own gateway protocol: {LATER}"),),
        "bedrock-agent": _all_blind("answers of Bedrock agents carry no usage"),
        "sagemaker": _all_blind("priced by the instance and hour"),
        "deepgram": _all_blind("priced by the second of audio"),
        "elevenlabs": _all_blind("priced by the character"),
        "cursor": _all_blind("Cursor's protocol is not readable: no usage passes here"),
        "aleph-alpha": _all_blind(LATER),
    }
)

UPSTREAM_OF_SLUG: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "openai-chat": "openai",
        "openai-responses": "openai",
        "anthropic": "anthropic",
        "azure-openai": "azure",
        "google-ai-studio": "gemini",
        "google-vertex-ai": "vertex",
        "google-vertex": "vertex",
        "aws-bedrock": "bedrock",
        "bedrock": "bedrock",
        "groq": "groq",
        "mistral": "mistral",
        "deepseek": "deepseek",
        "grok": "xai",
        "openrouter": "openrouter",
        "perplexity-ai": "perplexity",
        "cerebras": "cerebras",
        "cohere": "cohere",
        "huggingface": "huggingface",
        "replicate": "replicate",
        "elevenlabs": "elevenlabs",
        "deepgram": "deepgram",
    }
)
"""How gateways name the provider in their path (developers.cloudflare.com/ai-gateway/usage/providers, ai.pydantic.dev/gateway)."""

GATEWAY_PREFIX: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "cloudflare-gateway": re.compile(r"/v1/[^/]+/[^/]+/(?P<slug>[^/]+)(?P<rest>/.*)"),
        "pydantic-gateway": re.compile(r"(?:/proxy)?/(?P<slug>[^/]+)(?P<rest>/.*)"),
    }
)

HELICONE_HOSTS: Mapping[str, str] = MappingProxyType({"oai": "openai", "anthropic": "anthropic"})
