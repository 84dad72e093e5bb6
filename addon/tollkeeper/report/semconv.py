"""Our names in other people's vocabularies: one table for OpenTelemetry's GenAI conventions, one for FOCUS columns.

OpenTelemetry: https://github.com/open-telemetry/semantic-conventions-genai as of 2026-08, every name "Development" there. FOCUS 1.2:
https://focus.finops.org/focus-specification/v1-2/; columns that it does not define begin with ``x_``.
"""

from typing import Final

OTEL_PROVIDERS: Final = {
    "anthropic": "anthropic",
    "openai": "openai",
    "azure": "azure.ai.openai",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "x-ai": "x_ai",
    "xai": "x_ai",
    "mistral": "mistral_ai",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "perplexity": "perplexity",
}
"""``gen_ai.provider.name``; a provider that is not listed keeps our name."""

OTEL: Final = {
    "provider": "gen_ai.provider.name",
    "operation": "gen_ai.operation.name",
    "model_requested": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "client_session": "gen_ai.conversation.id",
    "agent": "gen_ai.agent.id",
    "error": "error.type",
    "status": "http.response.status_code",
    "principal": "enduser.id",
    "project": "tollkeeper.project",
    "client": "tollkeeper.client",
    "verdict": "tollkeeper.verdict",
    "would": "tollkeeper.would",
    "rule": "tollkeeper.rule",
    "usage_source": "tollkeeper.usage.source",
    "cost_source": "tollkeeper.cost.source",
    "call_id": "tollkeeper.call.id",
    "plan": "tollkeeper.plan",
}
"""Attributes of a call. ``enduser.id`` is of the general conventions; ours stand under ``tollkeeper.``."""

OTEL_INPUT: Final = "gen_ai.usage.input_tokens"
"""All input, read from a cache or not: the sum of our disjoint kinds."""
OTEL_TOKENS: Final = {
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
OTEL_COST: Final = "tollkeeper.cost.nanousd"
"""There is no standard name for money; a whole number, because the only other kind of number there is a float."""

OTEL_METRICS: Final = {
    "input": "gen_ai.client.inference.usage.input_tokens",
    "output": "gen_ai.client.inference.usage.output_tokens",
    "cache_read": "gen_ai.client.inference.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.client.inference.usage.cache_write.input_tokens",
    "reasoning": "gen_ai.client.inference.usage.reasoning.output_tokens",
    "cost": "tollkeeper.cost.nanousd",
    "calls": "tollkeeper.calls",
}

FOCUS_COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity",
    "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags", "x_Estimated", "x_UsageSource",
    "x_CostSource", "x_ExposureUsd",
)  # fmt: skip
FOCUS_PROVIDERS: Final = {
    "anthropic": "Anthropic",
    "openai": "OpenAI",
    "google": "Google",
    "aws": "AWS",
    "azure": "Microsoft",
    "mistral": "Mistral AI",
    "x-ai": "xAI",
    "cohere": "Cohere",
}
FOCUS_UNITS: Final = {
    "tokens": "Tokens",
    "requests": "Requests",
    "seconds": "Seconds",
    "images": "Images",
    "characters": "Characters",
}
"""``ConsumedUnit`` by the last word of our unit."""


def otel_provider(provider: str) -> str:
    """``gen_ai.provider.name`` for one of our providers."""
    return OTEL_PROVIDERS.get(provider, provider)


def focus_provider(provider: str) -> str:
    """``ProviderName`` for one of our providers."""
    return FOCUS_PROVIDERS.get(provider, provider)


def focus_unit(unit: str) -> str:
    """``ConsumedUnit`` for one of our units: ``input_tokens`` is counted in ``Tokens``."""
    last = unit.rpartition("_")[2]
    return FOCUS_UNITS.get(last, last.capitalize() or "Units")


def focus_meter(unit: str) -> str:
    """``SkuMeter``: ``Cache Read Tokens``."""
    return unit.replace("_", " ").title()
