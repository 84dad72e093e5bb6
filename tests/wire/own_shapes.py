"""Answers of providers with a shape of their own: what each endpoint sends, whole and streamed, and a framework that tries them hard."""

import json
from collections.abc import Mapping
from typing import Any

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Reading, Usage
from tollkeeper.wire.request import read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import read

NDJSON = {"content-type": "application/x-ndjson"}
COHERE_LINES = {"content-type": "application/stream+json"}

ACCOUNT = "/client/v4/accounts/acc"
GATEWAY = "/v1/acc/gw"


def at(provider: str, path: str, method: str = "POST", host: str = "") -> Endpoint:
    """The endpoint of a path at a provider."""
    return endpoint_for(provider, host or f"{provider}.example", method, path)


def ask_of(endpoint: Endpoint, body: Any) -> Ask:
    """What a JSON body asks there."""
    return read_ask(endpoint, json.dumps(body).encode())


def lines(*events: Any) -> bytes:
    """Events as JSON lines."""
    return b"".join(
        json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for event in events
    )


def whole(endpoint: Endpoint, body: Any, ask: Ask | None = None, headers: Mapping[str, str] | None = None) -> Reading:
    """The reading of one JSON answer."""
    stated = {"content-type": "application/json", **(headers or {})}
    return read(endpoint, json.dumps(body).encode(), stated, ask=ask or Ask(model="asked"))


def only(reading: Reading) -> Usage:
    """The one call of a reading."""
    assert len(reading.calls) == 1, reading
    return reading.calls[0]


def figures(reading: Reading) -> tuple[int, ...]:
    """Input, read from the cache, written to it, output, reasoning."""
    usage = only(reading)
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )
