"""Names: which catalogue a provider's models are priced from, and under which spellings a model may stand there.

Providers write the same model in many ways (``models/gemini-2.5-pro``, ``anthropic/claude-opus-5``, ``claude-opus-4-5@20251101``,
``us.anthropic.claude-…-v1:0``, ``claude-sonnet-4-5[1m]``); the catalogue knows some of them. Spellings are tried from the most to
the least literal, so that a dated snapshot with a price of its own is never rounded to its family.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote

MAX_NAME = 200
"""Longer model names are cut: lookups and caches must not grow by what a client sends (3,000 bogus names made 3,000 entries)."""

_MAKERS = ("openai", "anthropic", "google", "x-ai", "mistral", "deepseek", "cohere")

CATALOGUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openai": ("openai",),
        "chatgpt": ("openai",),
        "anthropic": ("anthropic",),
        "anthropic-aws": ("anthropic",),
        "azure": ("azure", "openai", "anthropic", "mistral", "cohere"),
        "github-models": ("azure", "openai", "mistral", "cohere"),
        "copilot": ("github-copilot",),
        "bedrock": ("aws",),
        "bedrock-mantle": ("aws",),
        "gemini": ("google",),
        "vertex": ("google", "anthropic", "mistral"),
        "code-assist": ("google",),
        "openrouter": ("openrouter",),
        "workers-ai": ("cloudflare",),
        "xai": ("x-ai",),
        "mistral": ("mistral",),
        "cohere": ("cohere",),
        "deepseek": ("deepseek",),
        "zai": ("zai", "zhipuai"),
        "moonshot": ("moonshotai",),
        "minimax": ("minimax",),
        "groq": ("groq",),
        "perplexity": ("perplexity",),
        "together": ("together",),
        "fireworks": ("fireworks",),
        "cerebras": ("cerebras",),
        "sambanova": ("huggingface_sambanova",),
        "voyage": ("voyageai",),
        "databricks": ("databricks",),
        "elevenlabs": ("elevenlabs",),
        "doubleword": ("doubleword",),
        # Gateways that name no vendor: a model of a maker's own is priced at that maker.
        "portkey": _MAKERS,
        "helicone": _MAKERS,
        "braintrust": _MAKERS,
        "opencode": _MAKERS,
        "charm": _MAKERS,
        "litellm": _MAKERS,
        "cloudflare-gateway": _MAKERS,
        # Priced from an overlay only: the catalogue has nothing of theirs.
        "alibaba": (),
        "nvidia": (),
        "deepinfra": (),
        "venice": (),
        "replicate": (),
        "snowflake": (),
        "watsonx": (),
        "ollama": (),
        "aleph-alpha": (),
        "local": (),
        "vllm": (),
        "llama-cpp": (),
        "lm-studio": (),
    }
)

VENDORS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "azure-openai": "azure",
        "azure": "azure",
        "anthropic": "anthropic",
        "google": "gemini",
        "google-ai-studio": "gemini",
        "google-vertex-ai": "vertex",
        "vertex": "vertex",
        "aws-bedrock": "bedrock",
        "bedrock": "bedrock",
        "amazon": "bedrock",
        "workers-ai": "workers-ai",
        "x-ai": "xai",
        "xai": "xai",
        "grok": "xai",
        "mistral": "mistral",
        "mistralai": "mistral",
        "cohere": "cohere",
        "deepseek": "deepseek",
        "zai": "zai",
        "z-ai": "zai",
        "moonshotai": "moonshot",
        "minimax": "minimax",
        "groq": "groq",
        "perplexity": "perplexity",
        "perplexity-ai": "perplexity",
        "together": "together",
        "togetherai": "together",
        "fireworks": "fireworks",
        "fireworks-ai": "fireworks",
        "cerebras": "cerebras",
        "openrouter": "openrouter",
        "voyage": "voyage",
        "replicate": "replicate",
        "huggingface": "huggingface",
    }
)
"""How gateways name the vendor that really serves a call → our provider name."""

GATEWAYS = frozenset(
    {"cloudflare-gateway", "workers-ai", "vercel", "pydantic-gateway", "portkey", "opencode", "charm", "helicone", "braintrust"}
    | {"litellm", "huggingface"}
)

_ROUTING = re.compile(r":(thinking|nitro|floor|online|exacto|extended|beta|batch|latest)$")
_DATE = re.compile(r"[-@](?:20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$")
_VERSION_AT = re.compile(r"@(default|latest|\d{3})$")
_BRACKET = re.compile(r"\[[^\]]{0,20}\]$")
_BEDROCK_GEO = re.compile(r"^(?:us-gov|us|eu|apac|jp|au|ca|in|global)\.")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]+")


def upstream(provider: str, path: str, model: str | None) -> tuple[str, str | None]:
    """The provider that serves a call behind a gateway, and the model by that provider's own name.

    Cloudflare names it in the path (``/v1/{account}/{gateway}/{provider}/…``), Hugging Face in the path or a ``:suffix``, the
    others in the model (``anthropic/claude-…``). Direct providers come back unchanged.
    """
    if provider not in GATEWAYS:
        return provider, model
    parts = path.split("?", 1)[0].strip("/").split("/")
    if provider == "cloudflare-gateway" and len(parts) > 3 and parts[3] in VENDORS:
        return VENDORS[parts[3]], model
    if provider == "huggingface":
        name, _, suffix = (model or "").partition(":")
        server = suffix or (parts[0] if parts and parts[0] not in {"v1", "models"} else "")
        return (f"huggingface_{server}" if server else provider), name or None
    if model and "/" in model:
        vendor, _, name = model.partition("/")
        if vendor.lower() in VENDORS:
            return VENDORS[vendor.lower()], name
    return provider, model


def catalogues(provider: str) -> tuple[str, ...]:
    """The ids of the price catalogues to look in, in order; none for a provider that only an overlay can price.

    A provider that is not listed is looked for under its own name.
    """
    return CATALOGUES.get(provider, (provider,))


def clean(model: str | None) -> str:
    """A model name fit for lookups, caches and records: decoded, lower case, no control characters, at most 200 characters."""
    return _clean(model[: MAX_NAME * 3]) if model else ""


@lru_cache(maxsize=2_048)
def _clean(name: str) -> str:
    if "%" in name:
        name = unquote(name)
    return _CONTROL.sub("", name).lower()[:MAX_NAME]


def spellings(model: str) -> Iterator[str]:
    """The names to look a cleaned model up by, most literal first. A ``:free`` variant keeps its suffix: it has its own price."""
    seen = set()
    for name in _spellings(model):
        if name and name not in seen:
            seen.add(name)
            yield name


def _spellings(model: str) -> Iterator[str]:
    yield model
    name = _BRACKET.sub("", model)
    yield name
    bare = _ROUTING.sub("", name)
    yield bare
    if "/" in bare:
        # models/x, openai/x, publishers/google/models/x, arn:…:inference-profile/us.anthropic.x
        yield bare.rpartition("/")[2]
        bare = bare.rpartition("/")[2]
    elif bare.startswith("arn:"):
        bare = bare.rpartition(":")[2]
    if bare.startswith("ft:"):
        # A fine-tuned model has its own price; its base model's price would be too low.
        return
    for stem in (bare, _BEDROCK_GEO.sub("", bare)):
        yield stem
        plain = _VERSION_AT.sub("", stem)
        yield plain
        if "@" in plain:
            yield plain.replace("@", "-")
        if (undated := _DATE.sub("", plain)) != plain:
            yield undated
        if undated.endswith("-latest"):
            yield undated.removesuffix("-latest")
