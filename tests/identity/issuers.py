"""Keys, tokens and an HTTP server for the tests of identity."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tollkeeper.identity.answers import Proof, Refused
from tollkeeper.identity.config import IdentityConfig, parse_identity
from tollkeeper.identity.jwks import KeySource
from tollkeeper.identity.keys import Key, read_keys
from tollkeeper.identity.verify import Verifier

NOW_S = 1_800_000_000
TEAM = "https://acme.cloudflareaccess.com"
AUD = "a" * 64
OIDC = "https://login.example.com"


class FakeClock:
    """A clock that the test sets, in seconds."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> int:
        return int(self.now_s * 1_000_000)


def b64(data: bytes | str | Mapping[str, Any]) -> str:
    raw = data.encode() if isinstance(data, str) else data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class SigningKey:
    """A private key with a name."""

    kid: str
    algorithm: str
    private: Any = field(repr=False)

    def jwk(self, **extra: Any) -> dict[str, Any]:
        maker: Any = jwt.get_algorithm_by_name(self.algorithm)
        public = json.loads(maker.to_jwk(self.private.public_key()))
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig", **extra}

    def sign(self, claims: Mapping[str, Any] | bytes, **header: Any) -> str:
        """A compact JWS; a header given as None is left out, and anything may be in the claims."""
        named = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **header}
        head = {name: value for name, value in named.items() if value is not None}
        body = f"{b64(head)}.{b64(claims)}"
        maker: Any = jwt.get_algorithm_by_name(self.algorithm)
        return f"{body}.{b64(maker.sign(body.encode(), self.private))}"


@cache
def key(name: str = "one", algorithm: str = "RS256", bits: int = 2048) -> SigningKey:
    if algorithm.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]()
        return SigningKey(name, algorithm, ec.generate_private_key(curve))
    if algorithm == "EdDSA":
        return SigningKey(name, algorithm, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(name, algorithm, rsa.generate_private_key(65537, bits))


def jwks(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk() for key in keys]}).encode()


class StaticKeys(KeySource):
    """Keys that are there."""

    def __init__(self, raw: bytes, allowed: tuple[str, ...]) -> None:
        self.keys = read_keys(raw, allowed)

    async def key(self, kid: str) -> Key | Refused:
        from tollkeeper.identity.answers import Why

        return self.keys.get(kid) or Refused(why=Why.KEY, reason="unknown key")

    def describe(self) -> str:
        return f"{len(self.keys)} keys"

    async def close(self) -> None:
        return


CONFIG = f"""
[issuer.access]
kind = "cloudflare-access"
team = "acme"
audience = "{AUD}"
groups = "custom.groups"
static_groups = {{ owners = ["ada@example.com"] }}

[issuer.oidc]
kind = "oidc"
issuer = "{OIDC}"
audience = "tollkeeper"
algorithms = ["RS256", "ES256", "EdDSA"]
groups = "groups"
"""


def parsed(text: str, path: Path = Path("identity.toml")) -> IdentityConfig:
    return parse_identity(path, text)


def verifier_for(config: IdentityConfig, *keys: SigningKey, clock: FakeClock | None = None) -> Verifier:
    sources = {row.name: StaticKeys(jwks(*keys), row.algorithms) for row in config.issuers}
    return Verifier(config, sources, clock or FakeClock())


def verified(verifier: Verifier, token: str) -> Proof | Refused:
    return asyncio.run(verifier.verify(token))


def person(**changed: Any) -> dict[str, Any]:
    """An Access token's claims for a person, as Cloudflare documents them; a claim changed to ... is left out."""
    claims = {
        "aud": [AUD],
        "email": "ada@example.com",
        "exp": NOW_S + 3600,
        "iat": NOW_S - 60,
        "nbf": NOW_S - 60,
        "iss": TEAM,
        "type": "app",
        "identity_nonce": "6ei69kawdKzMIAPF",
        "sub": "7335d417-61da-459d-899c-0a01c76a2f94",
        "country": "IT",
    }
    return _changed(claims, changed)


def service(**changed: Any) -> dict[str, Any]:
    claims = {
        "type": "app",
        "aud": [AUD],
        "exp": NOW_S + 3600,
        "iss": TEAM,
        "common_name": f"{'0f' * 16}.access",
        "iat": NOW_S - 60,
        "sub": "",
    }
    return _changed(claims, changed)


def subject(**changed: Any) -> dict[str, Any]:
    claims = {"iss": OIDC, "aud": "tollkeeper", "sub": "ada", "exp": NOW_S + 3600, "iat": NOW_S - 60}
    return _changed(claims, changed)


def _changed(claims: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**claims, **changed}.items() if value is not ...}


@dataclass(frozen=True)
class Asked:
    """A request that the server was sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: str


type Reply = tuple[int, bytes] | bytes | None
"""Status and body; or raw bytes to send as they are; or nothing, for ever."""
type Handler = Callable[[Asked], Reply | Awaitable[Reply]]


class Web:
    """An HTTP/1.1 server that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.routes: dict[str, Handler] = {}
        self.asked: list[Asked] = []
        self.drip = b""
        """Sent again and again after the first line of an answer."""
        self._busy: set[asyncio.Task[Any]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, body: bytes | Mapping[str, Any], status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.routes[path] = lambda _: (status, raw)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self._open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = Asked(method, target, headers, body.decode())
            self.asked.append(asked)
            if self.drip:
                writer.write(b"HTTP/1.1 200 X\r\n")
                while True:
                    writer.write(self.drip)
                    await writer.drain()
                    await asyncio.sleep(0.01)
            handler = self.routes.get(target.partition("?")[0], lambda _: (404, b"{}"))
            reply: Any = handler(asked)
            if hasattr(reply, "__await__"):
                reply = await reply
            if reply is None:
                await asyncio.Event().wait()
            if isinstance(reply, tuple):
                status, content = reply
                extra = b""
                reply = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n%s" % (
                    status, len(content), extra, content,
                )  # fmt: skip
            writer.write(reply)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._busy.discard(task)

    async def stop(self) -> None:
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)
