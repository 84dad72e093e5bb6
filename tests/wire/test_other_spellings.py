"""The same answer in another spelling is read the same: other JSON writers, line ends, encodings, headers, addresses."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import brotli
import pytest
import zstandard

from tollkeeper.gate.hosts import HostTable
from tollkeeper.wire.archives import read_archive
from tollkeeper.wire.exchange import Exchange, read_exchange
from wire.recorded import RECORDINGS

EVERY = 12
"""Of the recorded exchanges every so many are spelled anew: it takes a second, and another file of recordings would take them all."""

HOSTS = HostTable.load()
_USAGE = re.compile("usage", re.IGNORECASE)


def parsed(value: Any, change: Callable[[dict[str, Any], bool], dict[str, Any]], inside: bool = False) -> Any:
    if isinstance(value, dict):
        return change({key: parsed(inner, change, inside or bool(_USAGE.search(key))) for key, inner in value.items()}, inside)
    return [parsed(inner, change) for inner in value] if isinstance(value, list) else value


def rewritten(body: bytes, change: Callable[[dict[str, Any], bool], dict[str, Any]], **style: Any) -> bytes:
    """Every JSON document of an answer written anew: a whole one, or those of its events."""

    def one(text: bytes) -> bytes:
        try:
            document = json.loads(text)
        except ValueError:
            return text
        return json.dumps(parsed(document, change), **style).encode("utf-8", "surrogatepass")

    if (whole := one(body)) is not body:
        return whole
    return re.sub(rb"(?m)^(data: ?)([{\[].*[}\]])", lambda found: found[1] + one(found[2]), unix(body))


def same(value: dict[str, Any], inside: bool) -> dict[str, Any]:
    return value


def backwards(value: dict[str, Any], inside: bool) -> dict[str, Any]:
    return dict(reversed(value.items()))


def with_more(value: dict[str, Any], inside: bool) -> dict[str, Any]:
    return {**value, "new_details": {"new_tokens": 7}, "new_tokens": None} if inside else value


def unix(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def packed(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Exchange], Exchange]:
    def change(exchange: Exchange) -> Exchange:
        headers = {**exchange.response_headers, "content-encoding": name}
        return replace(exchange, response_headers=headers, response_body=pack(exchange.response_body))

    return change


def written(change: Callable[[bytes], bytes]) -> Callable[[Exchange], Exchange]:
    return lambda exchange: replace(exchange, response_body=change(exchange.response_body))


SPELLINGS: dict[str, Callable[[Exchange], Exchange]] = {
    "gzip": packed("GZIP", gzip.compress),
    "br": packed("br", lambda body: brotli.compress(body, quality=1)),
    "zstd": packed("zstd", zstandard.compress),
    "two encodings": packed("gzip, br", lambda body: brotli.compress(gzip.compress(body), quality=1)),
    "a header above a plain body": packed("gzip", lambda body: body),
    "a word that is no encoding": packed("utf-8", lambda body: body),
    "CRLF": written(lambda body: unix(body).replace(b"\n", b"\r\n")),
    "no last line end": written(lambda body: body.rstrip(b"\r\n")),
    "no space after data": written(lambda body: re.sub(rb"(?m)^data: ", b"data:", body)),
    "spaces": written(lambda body: rewritten(body, same, ensure_ascii=False)),
    "escapes": written(lambda body: rewritten(body, same, separators=(",", ":"))),
    "keys backwards": written(lambda body: rewritten(body, backwards)),
    "fields that nobody knows": written(lambda body: rewritten(body, with_more, separators=(",", ":"))),
    "no content-type": lambda exchange: replace(
        exchange, response_headers={key: value for key, value in exchange.response_headers.items() if key != "content-type"}
    ),
    "another query": lambda exchange: replace(
        exchange, url=f"{exchange.url}{'&' if '?' in exchange.url else '?'}beta=true&trace=a%2Fb"
    ),
}


def some() -> list[Exchange]:
    if not RECORDINGS.exists():
        return []
    with RECORDINGS.open("rb") as stream:
        found = [item for item in read_archive(stream, RECORDINGS.name) if isinstance(item, Exchange)]
    return [item for item in found[::EVERY] if not item.is_socket and item.response_body]


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    found = some()
    if not found:
        pytest.skip("the recordings are not here")
    return found


def reading(exchange: Exchange) -> Any:
    host = exchange.host
    _, _, found = read_exchange(exchange, HOSTS.provider_of(host) or exchange.provider or f"unknown:{host}")
    return found.source, found.calls, found.error, found.complete, dict(found.terms), found.response_id, found.provider_cost_usd


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_answer_in_another_spelling_is_read_the_same(spelling: str, exchanges: list[Exchange]) -> None:
    change = SPELLINGS[spelling]
    differs = []
    for exchange in exchanges:
        is_packed = exchange.response_body.startswith((b"\x1f\x8b", b"\x28\xb5"))
        is_binary = exchange.response_body.startswith(b"\0")
        if not is_packed and not is_binary and reading(change(exchange)) != reading(exchange):
            differs.append(exchange.id)
    assert not differs
    assert len(exchanges) > 100
