"""Where a provider's API of one dialect is, and how it wants its key: what is needed to send a call to another provider.

Each row is the provider's own reference (docs/refusals.md, "Sending a call elsewhere").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tollkeeper.core.call import Endpoint
from tollkeeper.core.errors import WireError

from .routes import endpoint_for
from .row import CHAT, GENERATE, MESSAGES, RESPONSES

BEARER: Final = b"authorization"
X_API_KEY: Final = b"x-api-key"
GOOGLE_KEY: Final = b"x-goog-api-key"

KEY_HEADERS: Final = frozenset({BEARER, X_API_KEY, GOOGLE_KEY, b"api-key", b"cookie"})
"""What says who pays. None of it may reach another provider."""
BOUND_HEADERS: Final = (b"openai-", b"anthropic-beta", b"anthropic-dangerous", b"x-goog-", b"chatgpt-", b"copilot-", b"cf-aig-")
"""Headers that mean something to one provider only, by how they begin."""

_OPENAI: Final = {CHAT: "/v1/chat/completions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One provider: its host, the path of each dialect, the header that holds the key."""

    host: str
    paths: Mapping[str, str]
    key_header: bytes = BEARER


SITES: Final[Mapping[str, Site]] = MappingProxyType(
    {
        "openai": Site(host="api.openai.com", paths={**_OPENAI, RESPONSES: "/v1/responses"}),
        "anthropic": Site(host="api.anthropic.com", paths={MESSAGES: "/v1/messages"}, key_header=X_API_KEY),
        "gemini": Site(
            host="generativelanguage.googleapis.com",
            paths={GENERATE: "/v1beta/models/{model}:{method}", CHAT: "/v1beta/openai/chat/completions"},
            key_header=GOOGLE_KEY,
        ),
        "openrouter": Site(
            host="openrouter.ai",
            paths={CHAT: "/api/v1/chat/completions", RESPONSES: "/api/v1/responses", MESSAGES: "/api/v1/messages"},
        ),
        "groq": Site(host="api.groq.com", paths={CHAT: "/openai/v1/chat/completions", RESPONSES: "/openai/v1/responses"}),
        "mistral": Site(host="api.mistral.ai", paths=_OPENAI),
        "deepseek": Site(host="api.deepseek.com", paths={CHAT: "/chat/completions", MESSAGES: "/anthropic/v1/messages"}),
        "xai": Site(host="api.x.ai", paths={**_OPENAI, RESPONSES: "/v1/responses"}),
        "together": Site(host="api.together.xyz", paths=_OPENAI),
        "fireworks": Site(host="api.fireworks.ai", paths={CHAT: "/inference/v1/chat/completions"}),
        "cerebras": Site(host="api.cerebras.ai", paths=_OPENAI),
        "deepinfra": Site(host="api.deepinfra.com", paths={CHAT: "/v1/openai/chat/completions"}),
        "nvidia": Site(host="integrate.api.nvidia.com", paths=_OPENAI),
        "zai": Site(host="api.z.ai", paths={CHAT: "/api/paas/v4/chat/completions", MESSAGES: "/api/anthropic/v1/messages"}),
        "moonshot": Site(host="api.moonshot.ai", paths={**_OPENAI, MESSAGES: "/anthropic/v1/messages"}),
        "sambanova": Site(host="api.sambanova.ai", paths=_OPENAI),
        "perplexity": Site(host="api.perplexity.ai", paths={CHAT: "/chat/completions"}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a call goes instead. ``path`` is as on the wire."""

    endpoint: Endpoint
    host: str
    port: int
    path: str
    key_header: bytes


def destination(endpoint: Endpoint, path: str, model: str, provider: str, host: str) -> Destination:
    """The place of ``provider`` (at ``host``, where one is said) that speaks the dialect of ``endpoint``; ``path`` is the client's own.

    Raises ``WireError`` when that provider is not known to speak it.
    """
    name, _, digits = host.partition(":")
    site = SITES.get(provider or endpoint.provider)
    if provider in {"", endpoint.provider}:
        to, key_header = path, _key_header(endpoint)
        at = name or endpoint.host
    elif (
        site is None
        or endpoint.dialect is None
        or endpoint.dialect not in site.paths
        or endpoint.operation not in {"chat", "generate_content"}
    ):
        known = ", ".join(sorted(known for known, one in SITES.items() if endpoint.dialect in one.paths)) or "none"
        raise WireError(f"{provider} is not known to speak {endpoint.dialect} (these are: {known})")
    else:
        bare, mark, query = path.partition("?")
        to = site.paths[endpoint.dialect].replace("{model}", model).replace("{method}", bare.rpartition(":")[2])
        to += mark + query if endpoint.dialect == GENERATE else ""
        at, key_header = name or site.host, site.key_header if endpoint.dialect != CHAT else BEARER
    found = endpoint_for(provider or endpoint.provider, at, "POST", to)
    return Destination(endpoint=found, host=at, port=int(digits or 443), path=to, key_header=key_header)


def readdressed(fields: tuple[tuple[bytes, bytes], ...], to: Destination, key: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers for another place: no key, cookie or setting of the first one, the new key where there is one.

    Without a key of its own a call may go to another host of its own provider only, and keeps its key (see ``needs_key``).
    """
    kept = [
        (name, value)
        for name, value in fields
        if not (key and (name.lower() in KEY_HEADERS or name.lower().startswith(BOUND_HEADERS))) and name.lower() != b"host"
    ]
    kept.insert(0, (b"Host", to.host.encode() if to.port == 443 else f"{to.host}:{to.port}".encode()))
    if key:
        kept.append((to.key_header, f"Bearer {key}".encode() if to.key_header == BEARER else key.encode()))
    return tuple(kept)


def needs_key(endpoint: Endpoint, provider: str, host: str) -> bool:
    """Whether a target must bring its own key: the client's key belongs to the client's provider at its own host."""
    return (provider or endpoint.provider) != endpoint.provider or bool(host and host.partition(":")[0] != endpoint.host)


def _key_header(endpoint: Endpoint) -> bytes:
    if endpoint.dialect == MESSAGES:
        return X_API_KEY
    return GOOGLE_KEY if endpoint.dialect == GENERATE else BEARER
