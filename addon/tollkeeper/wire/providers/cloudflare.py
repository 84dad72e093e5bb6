"""Cloudflare: Workers AI on its API host, and the gateway in front of others (its paths: ``gateways``).

Reference: developers.cloudflare.com/workers-ai, developers.cloudflare.com/ai-gateway/usage/rest-api.
"""

from tollkeeper.wire.row import CHAT, MESSAGES, RESPONSES, Provider, blind, free, read

_AI = r"/client/v4/accounts/[^/]+/ai"
_MODEL = r"(?P<model>@(?:cf|hf)/.+)"

_WORKERS_AI = (
    read("POST", rf"{_AI}/run/(?P<model>@(?:cf|hf)/(?:baai/bge-(?!rerank)|.*embed).*)", "embeddings", "workers-ai"),
    read("POST", rf"{_AI}/run/(?P<model>@(?:cf|hf)/.*rerank.*)", "rerank", "workers-ai"),
    read("POST", rf"{_AI}/run/(?P<model>.+)", "chat", "workers-ai"),
    read("POST", rf"{_AI}/run", "chat", "workers-ai"),
    # The same models behind the gateway: the path is the model's name (developers.cloudflare.com/ai-gateway/usage/providers/workersai).
    read("POST", rf"(?:/run)?/{_MODEL}", "chat", "workers-ai"),
    read("POST", rf"(?:{_AI})?/v1/chat/completions", "chat", CHAT),
    read("POST", rf"(?:{_AI})?/v1/(?:embeddings)", "embeddings", CHAT),
    read("POST", rf"(?:{_AI})?/v1/responses", "chat", RESPONSES),
    read("POST", rf"(?:{_AI})?/v1/messages", "chat", MESSAGES),
    blind("POST", rf"{_AI}/(?:tomarkdown|autorag|ai-search).*", "other", "this service of Cloudflare states no usage"),
    free("GET", rf"{_AI}/.*", "a status or a list"),
    blind("POST", rf"{_AI}/.*", "other", "this service of Workers AI states no usage"),
    free("*", r".*"),
)

_GATEWAY = (
    read("POST", r"/v1/[^/]+/[^/]+(?:/universal)?", "chat", "any-shape"),
    read("POST", r"/v1/[^/]+/[^/]+/run", "image_generation", "workers-ai"),
    read("POST", r"/v1/[^/]+/[^/]+/compat/chat/completions", "chat", CHAT),
)

PROVIDERS = (
    Provider(name="workers-ai", rows=_WORKERS_AI),
    Provider(name="cloudflare-gateway", rows=_GATEWAY),
)
