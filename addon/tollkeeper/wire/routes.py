"""What a URL on a known AI host is: which operation, read by which dialect, billed or not."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote

from tollkeeper.core.call import Endpoint, Metering

from .counts import model_name
from .providers import PROVIDERS
from .providers.common import COMMON
from .providers.gateways import GATEWAY_PREFIX, HELICONE_HOSTS, UPSTREAM_OF_SLUG
from .row import CHAT, FIXED_MODEL_DIALECTS, UNKNOWN, Provider, Row
from .traits import COST_IN_HEADER, FIXED_MODEL, OLD_CAP, USAGE_ASKABLE

MAX_PATH_CHARS = 8192
_API_VERSION = re.compile(r"[?&]api-version=(\d{4}-\d{2}-\d{2})", re.IGNORECASE)
_MODEL_NAME = re.compile(r"[A-Za-z0-9_.:/@+\-]{1,200}")
_MODEL_HEADERS = ("ai-language-model-id", "ai-model-id")
_OLDEST_ASKABLE = "2024-09-01"
"""Azure takes ``stream_options`` from API version 2024-09-01-preview on (learn.microsoft.com, API lifecycle)."""

_PLAIN = Provider(name="")
"""A host that nothing more is known of."""
_STRANGER = Provider(name="", traits=frozenset({COST_IN_HEADER}))
"""A host that is nobody's we know: it may be a gateway of somebody's own."""


@lru_cache(maxsize=4096)
def endpoint_for(provider: str, host: str, method: str, path: str) -> Endpoint:
    """The endpoint of a request: ``provider`` as the gate names the host, ``path`` with its query as on the wire.

    Never raises. What the table does not know is unmetered, whatever its method: it may be billed, and we cannot tell. The path
    kept is decoded, without its query: queries hold keys. A gateway that names the provider in its path is read as that provider.
    """
    if len(path) > MAX_PATH_CHARS:
        return _endpoint(provider, host, path[:256], None, "")
    clean = clean_path(path)
    upstream, inner = _upstream(provider, host, clean)
    row, model = _find(upstream, method.upper(), inner)
    return _endpoint(upstream, host, clean, row, path, model)


def named_by_header(endpoint: Endpoint, headers: Mapping[str, str]) -> Endpoint:
    """The endpoint with the model that a request header names, for the one protocol that names it there (Vercel's AI SDK).

    ``headers`` has lower-case names, or is blind to case.
    """
    if endpoint.dialect != "vercel-sdk":
        return endpoint
    said = next((found for key in _MODEL_HEADERS if (found := model_name(headers.get(key)))), None)
    return replace(endpoint, model_in_path=said) if said else endpoint


def model_in_query(path: str) -> str:
    """The model that a WebSocket's URL names (Azure calls it a deployment), or "". ``path`` as on the wire; its query is not kept."""
    query = path.partition("?")[2][:MAX_PATH_CHARS]
    try:
        said = dict(parse_qsl(query, max_num_fields=100))
    except ValueError:
        return ""
    return model_name(said.get("model")) or model_name(said.get("deployment")) or ""


def clean_path(path: str) -> str:
    """A path as servers take it: without query, decoded once, dots resolved, without doubled or trailing slashes."""
    bare = unquote(path.partition("?")[0].partition("#")[0]).encode("utf-8", "replace").decode()
    return "/" + posixpath.normpath("/" + bare.lstrip("/")).strip("/.")


def _upstream(provider: str, host: str, path: str) -> tuple[str, str]:
    if provider == "helicone":
        return HELICONE_HOSTS.get(host.partition(".")[0], provider), path
    prefix = GATEWAY_PREFIX.get(provider)
    match = prefix.fullmatch(path) if prefix else None
    if match is None or match["slug"] not in UPSTREAM_OF_SLUG:
        return provider, path
    return UPSTREAM_OF_SLUG[match["slug"]], match["rest"]


def _find(provider: str, method: str, path: str) -> tuple[Row | None, str | None]:
    for table in (PROVIDERS.get(provider, _PLAIN).rows, COMMON):
        for row in table:
            if row.methods != "*" and method not in row.methods.split():
                continue
            match = row.pattern.fullmatch(path)
            if match is not None:
                return row, _model(match.groupdict().get("model"))
    return None, None


def _model(found: str | None) -> str | None:
    """A model's name as the path has it: an ARN of Bedrock's is longer than other names, and some clients encode it twice."""
    plain = unquote(found) if found and "%" in found else found
    return plain if plain and _MODEL_NAME.fullmatch(plain) else None


def _endpoint(provider: str, host: str, path: str, row: Row | None, raw_path: str, model: str | None = None) -> Endpoint:
    shown = quote(path, safe="/:@!$&'()*+,;=~")
    if row is None:
        return Endpoint(provider=provider, host=host, path=shown, operation="other", metering=Metering.UNMETERED, reason=UNKNOWN)
    return Endpoint(
        provider=provider,
        host=host,
        path=shown,
        operation=row.operation,
        metering=row.metering,
        dialect=row.dialect,
        reason=row.reason,
        model_in_path=model,
        traits=_traits(provider, row, raw_path),
    )


def _traits(provider: str, row: Row, raw_path: str) -> frozenset[str]:
    if row.dialect is None:
        return frozenset()
    known = PROVIDERS.get(provider) or (_STRANGER if provider.startswith("unknown:") else _PLAIN)
    traits = set(known.traits)
    if row.dialect in FIXED_MODEL_DIALECTS:
        traits.add(FIXED_MODEL)
    if row.dialect == CHAT and row.operation != "embeddings":
        traits |= known.chat_traits
        if known.usage:
            traits.add(known.usage)
        if not known.new_cap:
            traits.add(OLD_CAP)
        version = _API_VERSION.search(raw_path)
        if version and version[1] < _OLDEST_ASKABLE:
            traits.discard(USAGE_ASKABLE)
    return frozenset(traits)
