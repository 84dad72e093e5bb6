"""What a URL on a known AI host is: which operation, read by which dialect, billed or not."""

import posixpath
import re
from functools import lru_cache
from urllib.parse import quote, unquote

from tollkeeper.core.call import Endpoint, Metering

from .counts import name
from .route_table import (
    BY_PROVIDER,
    CHAT,
    COMMON,
    GATEWAY_PREFIX,
    HELICONE_HOSTS,
    UNKNOWN,
    UPSTREAM_OF_SLUG,
    Row,
)
from .traits import (
    OLD_CAP,
    OUTPUT_IS_REST,
    REASONING_APART,
    REASONING_OUTSIDE,
    SUBSCRIPTION,
    USAGE_ASKABLE,
    USAGE_BY_HOST,
    WRAPPED,
)

MAX_PATH_CHARS = 8192
_API_VERSION = re.compile(r"[?&]api-version=(\d{4}-\d{2}-\d{2})", re.IGNORECASE)
_OLDEST_ASKABLE = "2024-09-01"
"""Azure takes ``stream_options`` from API version 2024-09-01-preview on (learn.microsoft.com, API lifecycle)."""

_NEW_CAP = frozenset({"openai", "azure", "github-models", "groq", "openrouter", "cerebras", "copilot", "vercel"})
_ALWAYS: dict[str, frozenset[str]] = {
    "chatgpt": frozenset({SUBSCRIPTION}),
    "copilot": frozenset({SUBSCRIPTION}),
    "code-assist": frozenset({SUBSCRIPTION, WRAPPED}),
}
_IN_CHAT: dict[str, frozenset[str]] = {
    "xai": frozenset({REASONING_OUTSIDE}),
    "vercel": frozenset({REASONING_OUTSIDE}),
    "perplexity": frozenset({REASONING_APART}),
    "gemini": frozenset({OUTPUT_IS_REST}),
    "vertex": frozenset({OUTPUT_IS_REST}),
}


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
    for table in (BY_PROVIDER.get(provider, ()), COMMON):
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
    traits = set(_ALWAYS.get(provider, ()))
    if row.dialect == CHAT and row.operation != "embeddings":
        traits |= _IN_CHAT.get(provider, frozenset())
        if usage := USAGE_BY_HOST.get(provider):
            traits.add(usage)
        if provider not in _NEW_CAP:
            traits.add(OLD_CAP)
        version = _API_VERSION.search(raw_path)
        if version and version[1] < _OLDEST_ASKABLE:
            traits.discard(USAGE_ASKABLE)
    return frozenset(traits)
