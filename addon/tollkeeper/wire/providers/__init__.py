"""What each provider's hosts serve: data, one file a family; ``PROVIDERS`` is how ``routes`` finds it."""

from collections.abc import Mapping
from types import MappingProxyType

from tollkeeper.wire.row import Provider

from . import anthropic, aws, cloudflare, compatible, gateways, google, openai, others, xai

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for module in (anthropic, aws, cloudflare, compatible, gateways, google, openai, others, xai)
        for provider in module.PROVIDERS
    }
)
