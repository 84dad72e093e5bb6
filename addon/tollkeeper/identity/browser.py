"""Logging in with the browser of this machine: authorization code with PKCE, answered on loopback (RFC 7636, RFC 8252)."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from .answers import IdentityError
from .issuer import Issuer, Kind
from .oauth import Endpoints, Failure, Tokens, ask_tokens, client_of
from .token import claim_of
from .web import WebError

WAIT_S = 300
PATH = "/callback"
_MAX_REQUEST_BYTES = 16_384
_DONE = "You are logged in. This window can be closed."
_FAILED = "The log-in did not succeed; the terminal says why. This window can be closed."


@dataclass(slots=True)
class BrowserLogin:
    """A log-in under way: ``url`` is what the browser must open."""

    url: str
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    answer: "asyncio.Future[dict[str, str]]" = field(repr=False)


def challenge(verifier: str) -> str:
    """``code_challenge`` for S256 (RFC 7636 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@asynccontextmanager
async def listening(row: Issuer, endpoints: Endpoints) -> AsyncIterator[BrowserLogin]:
    """Listen on a free port of 127.0.0.1 for the browser's return. Raises ``IdentityError`` when the issuer has no such log-in."""
    client = client_of(row)
    if not endpoints.authorization_endpoint:
        raise IdentityError(f"{row.name} offers no log-in in a browser; use `tollkeeper login --device`")
    login = BrowserLogin(
        url="",
        redirect_uri="",
        state=secrets.token_urlsafe(24),
        verifier=secrets.token_urlsafe(48),
        nonce=secrets.token_urlsafe(24),
        answer=asyncio.get_running_loop().create_future(),
    )
    server = await _listen(login, client.redirect_port)
    login.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    login.url = _address(row, endpoints, login)
    try:
        yield login
    finally:
        server.close()
        if not login.answer.done():
            login.answer.cancel()


async def _listen(login: BrowserLogin, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(lambda r, w: _serve(login, r, w), "127.0.0.1", port, limit=_MAX_REQUEST_BYTES)
    except OSError as error:
        told = "end what listens there, or leave redirect_port out"
        raise IdentityError(f"port {port} of this machine cannot be used for the log-in ({error.strerror}): {told}") from None


def _address(row: Issuer, endpoints: Endpoints, login: BrowserLogin) -> str:
    """What the browser opens (RFC 6749 4.1.1, RFC 7636 4.3)."""
    client = client_of(row)
    query = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": login.redirect_uri,
        "scope": " ".join(client.scopes),
        "state": login.state,
        "nonce": login.nonce,
        "code_challenge": challenge(login.verifier),
        "code_challenge_method": "S256",
    }
    if client.resource:
        query["resource"] = client.resource
    if row.kind is Kind.GOOGLE:  # its word for offline_access; without a new consent it gives no refresh token
        query |= {"access_type": "offline", "prompt": "consent"}
    joint = "&" if urlsplit(endpoints.authorization_endpoint).query else "?"
    return f"{endpoints.authorization_endpoint}{joint}{urlencode(query)}"


async def finish(
    row: Issuer, endpoints: Endpoints, login: BrowserLogin, trust: Path | None = None, *, wait_s: float = WAIT_S
) -> Tokens:
    """Wait for the browser and exchange its code. Raises ``IdentityError`` saying how it ended."""
    try:
        async with asyncio.timeout(wait_s):
            answer = await login.answer
    except TimeoutError:
        raise IdentityError(f"the browser did not come back within {wait_s:g} s; start again with `tollkeeper login`") from None
    if answer.get("iss", endpoints.issuer) != endpoints.issuer:  # RFC 9207: another server's answer
        raise IdentityError(f"the browser came back from another issuer than {row.name}; the answer was not used")
    if "code" not in answer:
        known = {"access_denied": "it was refused in the browser"}
        raise IdentityError(
            f"the log-in at {row.name} failed: {known.get(answer.get('error', ''), 'the issuer reports an error')}"
        )
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": login.redirect_uri,
        "code_verifier": login.verifier,
    }
    try:
        found = await ask_tokens(row, endpoints, form, trust)
    except WebError as error:
        raise IdentityError(f"{row.name} cannot be asked for the tokens: {error}") from None
    if isinstance(found, Failure):
        raise IdentityError(f"{row.name} does not give the tokens ({found.code}); is this client a public (native) application?")
    if found.id_token and claim_of(found.id_token, "nonce") != login.nonce:  # OpenID Connect Core 3.1.3.7, 11
        raise IdentityError(f"{row.name} answered with the ID token of another log-in; it was not used")
    return found


async def _serve(login: BrowserLogin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of the browser. Anything but the expected return is answered with 404 and changes nothing."""
    with contextlib.suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            answer = returned(head, login.state)
            text = _DONE if answer is not None and "code" in answer else _FAILED
            body = f"<!doctype html><meta charset=utf-8><title>Tollkeeper</title><p>{text if answer else 'Not found'}".encode()
            status = "200 OK" if answer is not None else "404 Not Found"
            fixed = "content-type: text/html\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close"
            writer.write(f"HTTP/1.1 {status}\r\n{fixed}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            if answer is not None and not login.answer.done():
                login.answer.set_result(answer)
    writer.close()


def returned(head: bytes, state: str) -> dict[str, str] | None:
    """The parameters of the browser's return, None for any other request: wrong path, wrong or missing state, repeated parameters."""
    method, _, rest = head.partition(b" ")
    target = rest.partition(b" ")[0].decode("ascii", "replace")
    parts = urlsplit(target)
    if method != b"GET" or parts.path != PATH or parts.netloc:
        return None
    found = parse_qs(parts.query, keep_blank_values=True, max_num_fields=20)
    if any(len(values) != 1 for values in found.values()):
        return None
    answer = {name: values[0] for name, values in found.items()}
    if not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
        return None
    return answer if ("code" in answer) != ("error" in answer) else None
