"""Gateways in front of providers: those that name the provider in their path, and those with a surface of their own."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from tollkeeper.wire.row import MESSAGES, Provider, blind, read
from tollkeeper.wire.traits import REASONING_OUTSIDE, USAGE_UNASKED

PROVIDERS = (
    Provider(name="openrouter", rows=(read("POST", r"/api/v1/messages", "chat", MESSAGES),), usage=USAGE_UNASKED, new_cap=True),
    Provider(
        name="vercel",
        rows=(blind("POST", r"/v\d/ai/.*", "chat", "the AI SDK's own gateway protocol: its usage is not read yet"),),
        usage=USAGE_UNASKED,
        new_cap=True,
        chat_traits=frozenset({REASONING_OUTSIDE}),
    ),
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
