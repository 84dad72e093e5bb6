"""One request to an identity provider: no proxy (we are it), no redirect, a whole-exchange deadline, a bound on every byte.

Written over asyncio and h11, so that a provider that is slow, silent or endless costs a waiting task and never the event loop.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import certifi
import h11

MAX_BODY_BYTES = 65_536
MAX_HEAD_BYTES = 16_384
TIMEOUT_S = 5.0
_READ_BYTES = 16_384
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class WebError(Exception):
    """The exchange failed; the message names the host and what happened, never a header or a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer. Header names are lower case; a name that came more than once is joined by ``, ``."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: str) -> str | None:
    """Why ``url`` may not be asked, or None: https to any host, http to this machine only."""
    if len(url) > 2048 or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        return "is not a plain URL of 2048 characters at most"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        return "must name a host, and neither a user nor a fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return None
    return "must begin with https://"


def is_loopback_url(url: str) -> bool:
    """Whether the URL leads to this machine."""
    return urlsplit(url).hostname in _LOOPBACK


@cache
def _trust(bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(bundle) if bundle is not None else None)
    if bundle is None:
        context.load_verify_locations(certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    trust: Path | None = None,
    timeout_s: float = TIMEOUT_S,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Answer:
    """The answer to one request, whatever its status. ``trust`` is a PEM bundle of roots, by default the system's.

    Raises ``WebError`` when the URL is not allowed, the exchange takes longer than ``timeout_s`` from name look-up to last
    byte, the answer is longer than ``max_body_bytes``, or is not HTTP.
    """
    if reason := check_url(url):
        raise WebError(f"the address {reason}")
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(parts, host, method, headers, body, trust, max_body_bytes)
    except TimeoutError:
        raise WebError(f"{host} did not answer within {timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise WebError(f"the certificate of {host} is not trusted ({error.verify_message})") from None
    except h11.ProtocolError:
        raise WebError(f"{host} does not speak HTTP/1.1") from None
    except (OSError, UnicodeError, EOFError) as error:
        raise WebError(f"{host} cannot be reached ({_said(error)})") from None


async def _exchange(
    parts: SplitResult, host: str, method: str, headers: Sequence[tuple[str, str]], body: bytes, trust: Path | None, most: int
) -> Answer:
    secure = parts.scheme == "https"
    context = await asyncio.to_thread(_trust, trust) if secure else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_READ_BYTES)
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        named = f"[{host}]" if ":" in host else host
        sent = [
            ("host", f"{named}:{parts.port}" if parts.port else named),
            ("accept", "application/json"),
            ("connection", "close"),
        ]
        if body or method == "POST":
            sent.append(("content-length", str(len(body))))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        pieces = [http.send(h11.Request(method=method, target=target, headers=[*sent, *headers]))]
        pieces += [http.send(h11.Data(data=body)), http.send(h11.EndOfMessage())]
        writer.write(b"".join(piece for piece in pieces if piece))
        await writer.drain()
        return await _answer(http, reader, host, most)
    finally:
        writer.transport.abort()


async def _answer(http: h11.Connection, reader: asyncio.StreamReader, host: str, most: int) -> Answer:
    status, headers, body = 0, dict[str, str](), bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ_BYTES)
            if not data and not status:
                raise EOFError
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            for name, value in event.headers:
                key, text = name.decode("ascii"), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > most:
                raise WebError(f"{host} answered with more than {most:,} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status=status, headers=headers, body=bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError


def _said(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "it closed the connection"
    return (getattr(error, "strerror", None) or type(error).__name__)[:100]
