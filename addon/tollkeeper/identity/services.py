"""Access service tokens: a client id and its secret, known by a digest here, or proved at an address behind Access.

A digest says that the caller holds the secret; not that Cloudflare still accepts it. The ``whoami`` address says both: Access lets
the pair through, and the assertion it adds is verified like any other token.
"""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.principal import Assurance, Principal

from .answers import Proof, Refused, Why
from .config import IdentityConfig, Service
from .issuer import Issuer
from .token import looks_like_token
from .verify import Verifier
from .web import WebError, ask

MAX_ID_CHARS, MAX_SECRET_CHARS = 128, 128
FAILED_S = 30
MAX_PAIRS = 1024
MAX_EXCHANGES = 16
"""Under way at once: made-up pairs must not become a flood of requests to the address that proves real ones."""
CHANNEL = "service-token"
ID_HEADER, SECRET_HEADER = "cf-access-client-id", "cf-access-client-secret"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECRET = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Pair:
    """What a caller presents."""

    client_id: str
    secret: str = field(repr=False)


def secret_digest(secret: str) -> str:
    """What ``secret_sha256`` holds. The secret is 256 random bits, so nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def single_header(value: str) -> Pair | None:
    """A pair in one header's JSON (Access: ``read_service_tokens_from_header``), None when it is none."""
    if not value.startswith("{") or len(value) > 1024 or ID_HEADER not in value.lower():
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    named = {name.lower(): text for name, text in found.items()} if isinstance(found, dict) else {}
    client_id, secret = named.get(ID_HEADER), named.get(SECRET_HEADER)
    return Pair(client_id, secret) if isinstance(client_id, str) and isinstance(secret, str) else None


def presented(ids: Sequence[str], secrets_: Sequence[str], single: Sequence[str]) -> Pair | Refused | None:
    """The one pair among the headers; None when there is none; refused when there are several or half a pair."""
    if len(ids) == len(secrets_) == 1 and not single:
        return Pair(ids[0], secrets_[0])
    if not ids and not secrets_:
        if not single:
            return None
        if len(single) == 1 and (pair := single_header(single[0])) is not None:
            return pair
    reason = "the service token is incomplete or there is more than one"
    return Refused(why=Why.SEVERAL, reason=reason, remedy="send CF-Access-Client-Id and CF-Access-Client-Secret once each")


def compare(services: Mapping[str, Service], pair: Pair) -> Proof | Refused:
    """Whether the secret is the configured one; an unknown id takes as long as a wrong secret."""
    service = services.get(pair.client_id)
    given = secret_digest(pair.secret[:MAX_SECRET_CHARS].encode("utf-8", "replace").decode())
    known = service.digests if service is not None else ("0" * 64,)
    matches = [hmac.compare_digest(given, digest) for digest in known]
    if service is None or not any(matches) or len(pair.secret) > MAX_SECRET_CHARS:
        remedy = "check [service.…] in identity.toml: its client_id, and the SHA-256 of the present secret"
        return Refused(why=Why.SECRET, reason="the service token is not known, or its secret is wrong", remedy=remedy)
    return Proof(
        principal=Principal(
            subject=service.subject,
            issuer=service.issuer,
            channel=CHANNEL,
            assurance=Assurance.STATIC,
            groups=service.groups,
        ),
        row=service.name,
    )


class Services:
    """Proves pairs: by digest where one is configured, else by asking the ``whoami`` of an Access row; for one event loop."""

    def __init__(self, config: IdentityConfig, verifier: Verifier, clock: Clock, trust: Path | None = None) -> None:
        self._config = config
        self._verifier = verifier
        self._clock = clock
        self._trust = trust
        self._salt = secrets.token_bytes(32)
        self._proved: OrderedDict[bytes, tuple[float, Proof | Refused]] = OrderedDict()
        self._failed: OrderedDict[bytes, tuple[float, Proof | Refused]] = OrderedDict()
        """Apart from those that were proved, which a flood of wrong ones must not push out."""
        self._flights: dict[bytes, asyncio.Task[Proof | Refused]] = {}

    def at_once(self, pair: Pair) -> Proof | Refused | None:
        """``prove`` where it has to wait for nothing; None where it has."""
        if pair.client_id in self._config.services or not any(row.whoami for row in self._config.issuers):
            return compare(self._config.services, pair)
        if not _ID.fullmatch(pair.client_id) or not _SECRET.fullmatch(pair.secret):
            return Refused(why=Why.SECRET, reason="the service token has not the form of one")
        key = self._key(pair)
        hit = self._proved.get(key) or self._failed.get(key)
        return hit[1] if hit is not None and self._clock() / US_PER_SECOND < hit[0] else None

    def _key(self, pair: Pair) -> bytes:
        return hmac.digest(self._salt, f"{pair.client_id}\n{pair.secret}".encode(), "sha256")

    async def prove(self, pair: Pair) -> Proof | Refused:
        """Who the pair is; ``static`` by digest, ``verified`` by exchange."""
        if (found := self.at_once(pair)) is not None:
            return found
        asked = [row for row in self._config.issuers if row.whoami]
        key = self._key(pair)
        if key not in self._flights:
            if len(self._flights) >= MAX_EXCHANGES:
                reason = f"{MAX_EXCHANGES} service tokens are being proved just now"
                return Refused(why=Why.UNREACHABLE, reason=reason, remedy="try again in a moment")
            task = asyncio.get_running_loop().create_task(self._exchange(key, asked, pair))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(self._flights[key])

    async def _exchange(self, key: bytes, rows: Sequence[Issuer], pair: Pair) -> Proof | Refused:
        found: Proof | Refused = Refused(why=Why.SECRET, reason="no whoami address is configured")
        for row in rows:
            found = await self._at(row, pair)
            if isinstance(found, Proof):
                break
        now_s = self._clock() / US_PER_SECOND
        known, other = (self._proved, self._failed) if isinstance(found, Proof) else (self._failed, self._proved)
        other.pop(key, None)
        known[key] = (found.expires_at if isinstance(found, Proof) else now_s + FAILED_S, found)
        while len(known) > MAX_PAIRS:
            known.popitem(last=False)
        return found

    async def _at(self, row: Issuer, pair: Pair) -> Proof | Refused:
        try:
            headers = [(ID_HEADER, pair.client_id), (SECRET_HEADER, pair.secret)]
            answer = await ask(row.whoami, headers=headers, trust=row.ca_file or self._trust)
        except WebError as error:
            return _refused(row, str(error), Why.UNREACHABLE)
        if answer.status != 200:
            return _refused(row, f"Access does not let it through (status {answer.status})", Why.SECRET)
        text = answer.headers.get("cf-access-jwt-assertion") or answer.body.decode("ascii", "replace").strip()
        if not looks_like_token(text):
            return _refused(row, "its answer is not the assertion it was called with", Why.SHAPE)
        found = await self._verifier.verify(text, CHANNEL)
        if isinstance(found, Refused):
            return found
        if found.principal.subject != pair.client_id:
            return _refused(row, "its answer is about another service", Why.SUBJECT)
        return replace(found, row=row.name)


def _refused(row: Issuer, reason: str, why: Why) -> Refused:
    remedy = f"check `whoami` of [issuer.{row.name}] and the service token at Cloudflare"
    return Refused(why=why, reason=f"the service token cannot be proved at {row.name}: {reason}", remedy=remedy)
