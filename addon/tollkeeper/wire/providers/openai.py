"""OpenAI, the ChatGPT plan, and where others host OpenAI's surface."""

from tollkeeper.wire.row import RESPONSES, Provider, blind, free, read
from tollkeeper.wire.traits import SUBSCRIPTION, USAGE_ASKABLE, USAGE_UNASKED

from .batches import ASSISTANTS

_OPENAI = (
    free("POST", r"/v1/traces/ingest", "telemetry"),
    *ASSISTANTS,
    blind("POST", r"/v1/evals/[^/]+/runs", "other", "an evaluation calls models, and states what they used when it is looked at"),
    free("*", r"/v1/(?:assistants|threads|conversations|organization|evals)(?:/.*)?"),
    blind("POST", r"/v1/(?:vector_stores|containers)(?:/.*)?", "storage", "storage and searches are billed by time and request"),
)

_CHATGPT = (
    blind("POST", r"/backend-api/(?:f/)?conversation", "chat", "ChatGPT on the web: part of a plan, states no usage"),
    read("POST", r"/backend-api/codex/responses(?:/compact)?", "chat", RESPONSES),
    read("WEBSOCKET", r"/backend-api/codex/responses", "chat", RESPONSES),
    blind("GET", r"/backend-api/codex/responses", "chat", "the upgrade to a WebSocket, without its frames"),
    free("POST", r"/backend-api/(?:codex|wham)/(?:analytics-events|memories|models|usage|telemetry)(?:/.*)?"),
    blind("POST WEBSOCKET", r"/backend-api/codex/.*", "other", "a part of Codex that nothing here reads the usage of"),
    blind("POST", r"/backend-api/wham/.*", "other", "a task of Codex in the cloud: part of a plan, states no usage"),
    free("*", r".*"),  # the rest of a website
)

_COPILOT = (
    free("POST", r".*/(?:models/session|telemetry|copilot_internal/.*|v1/telemetry)"),
    blind("POST", r".*/agents/.*", "other", "a task of Copilot's agent in the cloud: part of a plan, states no usage"),
)

PROVIDERS = (
    Provider(name="openai", rows=_OPENAI, usage=USAGE_ASKABLE, new_cap=True),
    Provider(name="azure", rows=ASSISTANTS, usage=USAGE_ASKABLE, new_cap=True),
    Provider(name="github-models", usage=USAGE_ASKABLE, new_cap=True),
    Provider(name="chatgpt", rows=_CHATGPT, traits=frozenset({SUBSCRIPTION})),
    Provider(name="copilot", rows=_COPILOT, usage=USAGE_UNASKED, new_cap=True, traits=frozenset({SUBSCRIPTION})),
)
