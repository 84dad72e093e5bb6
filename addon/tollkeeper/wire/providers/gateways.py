"""Gateways in front of providers: those that name the provider in their path, and those with a surface of their own."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from tollkeeper.wire.row import CHAT, MESSAGES, RESPONSES, Provider, blind, free, read
from tollkeeper.wire.traits import COST_IN_HEADER, REASONING_OUTSIDE, USAGE_ASKABLE, USAGE_UNASKED

_VERCEL = (
    read("POST", r"/v\d/ai/language-model", "chat", "vercel-sdk"),
    read("POST", r"/v\d/ai/embedding-model", "embeddings", "vercel-sdk"),
    read("POST", r"/v\d/ai/reranking-model", "rerank", "vercel-sdk"),
    read("POST", r"/v\d/ai/image-model", "image_generation", "vercel-sdk"),
    read("POST", r"/v\d/ai/(?:speech|transcription|video)-model", "other", "vercel-sdk"),
    blind("WEBSOCKET", r"/v\d/ai/.*", "realtime", "the AI SDK's frames are not read"),
    free("GET", r"/v\d/(?:ai/)?(?:config|credits|generation|models|report)(?:/.*)?", "a status or a list"),
    blind("POST", r"/v\d/ai/.*", "other", "this part of the AI SDK's protocol is not read"),
)

_BRAINTRUST = (
    read("POST", r"/v1/proxy(?:/v1)?/auto", "chat", "any-shape"),
    read("POST", r"/v1/proxy/(?:anthropic|v1)(?:/v1)?/messages", "chat", MESSAGES),
    read("POST", r"/v1/proxy(?:/v1)?/chat/completions", "chat", CHAT),
    read("POST", r"/v1/proxy(?:/v1)?/responses", "chat", RESPONSES),
    free("*", r"/(?!v1/proxy/).*", "logs and experiments"),
)

_PORTKEY = (
    free("POST", r"/v1/(?:logs|feedback|prompts/[^/]+/render|configs|virtual-keys|api-keys|admin|collections|labels)(?:/.*)?"),
    read("POST", r"/v1/prompts/[^/]+/completions", "chat", "any-shape"),
)

_HELICONE = (free("*", r"/(?:v1/(?:request|prompt|session|user|trace|evals|log)|oai/v1/log)(?:/.*)?"),)

PROVIDERS = (
    Provider(name="openrouter", rows=(read("POST", r"/api/v1/messages", "chat", MESSAGES),), usage=USAGE_UNASKED, new_cap=True),
    Provider(
        name="vercel",
        rows=_VERCEL,
        usage=USAGE_UNASKED,
        new_cap=True,
        chat_traits=frozenset({REASONING_OUTSIDE}),
    ),
    Provider(name="braintrust", rows=_BRAINTRUST),
    Provider(name="portkey", rows=_PORTKEY),
    Provider(name="helicone", rows=_HELICONE),
    Provider(name="litellm", usage=USAGE_ASKABLE, traits=frozenset({COST_IN_HEADER})),  # docs.litellm.ai/docs/completion/stream
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
        "workers-ai": "workers-ai",
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

HELICONE_HOSTS: Mapping[str, str] = MappingProxyType(
    {
        "oai": "openai",
        "anthropic": "anthropic",
        "groq": "groq",
        "deepseek": "deepseek",
        "mistral": "mistral",
        "together": "together",
        "fireworks": "fireworks",
        "perplexity": "perplexity",
        "openrouter": "openrouter",
        "x": "xai",
    }
)
"""Whom the hosts of Helicone front (docs.helicone.ai/getting-started/integration-method)."""
