"""What a URL on a known AI host is: which operation, read by which dialect, billed or not."""

import posixpath
import re
from functools import lru_cache
from urllib.parse import quote, unquote

from tollkeeper.core.call import Endpoint, Metering

from .counts import name
from .providers import PROVIDERS
from .providers.common import COMMON
from .providers.gateways import GATEWAY_PREFIX, HELICONE_HOSTS, UPSTREAM_OF_SLUG
from .row import CHAT, UNKNOWN, Provider, Row
from .traits import OLD_CAP, USAGE_ASKABLE

MAX_PATH_CHARS = 8192
_API_VERSION = re.compile(r"[?&]api-version=(\d{4}-\d{2}-\d{2})", re.IGNORECASE)
_OLDEST_ASKABLE = "2024-09-01"
"""Azure takes ``stream_options`` from API version 2024-09-01-preview on (learn.microsoft.com, API lifecycle)."""

_PLAIN = Provider(name="")
"""A host that nothing more is known of."""


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
                return row, name(match.groupdict().get("model"))
    return None, None


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
    known = PROVIDERS.get(provider, _PLAIN)
    traits = set(known.traits)
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
