"""Cloudflare Workers AI."""

from tollkeeper.wire.row import CHAT, LATER, RESPONSES, Provider, blind, free, read

_WORKERS_AI = (
    blind("POST", r"/client/v4/accounts/[^/]+/ai/run/.*", "chat", f"Workers AI: {LATER}"),
    read("POST", r"/client/v4/accounts/[^/]+/ai/v1/chat/completions", "chat", CHAT),
    read("POST", r"/client/v4/accounts/[^/]+/ai/v1/embeddings", "embeddings", CHAT),
    read("POST", r"/client/v4/accounts/[^/]+/ai/v1/responses", "chat", RESPONSES),
    blind("POST", r"/client/v4/accounts/[^/]+/ai/.*", "other", f"Workers AI: {LATER}"),
    free("*", r".*"),
)

PROVIDERS = (Provider(name="workers-ai", rows=_WORKERS_AI),)
