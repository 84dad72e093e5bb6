"""The verifier: one token, all configured issuers, a proof or a refusal. It never raises, and waits only for keys it does not know.

PyJWT checks signature, audience and issuer; what its usual call lets through (times as text, in 50 years, ``org`` tokens, …) is
checked in ``claims`` and ``subject``.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt

from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.principal import Assurance, Principal

from .answers import Proof, Refused, Why
from .claims import check_required, check_times, groups_in
from .config import IdentityConfig
from .get_identity import GetIdentity
from .issuer import GroupSource, Issuer
from .jwks import KeySource
from .keys import Key
from .subject import evidence_of, subject_of
from .token import Unverified, peek

CACHE_S = 300
"""A proof is used again for as long: a key that was withdrawn, or a group that was left, shows after five minutes at most."""
MAX_CACHED = 4096

_OPTIONS: Any = {
    "require": ["exp", "aud"],
    "enforce_minimum_key_length": True,
    "verify_exp": False,  # against the clock that is passed in, and by stricter rules: claims.check_times
    "verify_nbf": False,
    "verify_iat": False,
}
_WORDS: tuple[tuple[type[jwt.PyJWTError], Why, str], ...] = (
    (jwt.InvalidSignatureError, Why.SIGNATURE, "its signature is wrong"),
    (jwt.InvalidAudienceError, Why.AUDIENCE, "it is made out to another audience"),
    (jwt.InvalidIssuerError, Why.ISSUER, "it is of another issuer"),
    (jwt.InvalidAlgorithmError, Why.HEADER, "it is signed by an algorithm that is not allowed"),
    (jwt.DecodeError, Why.SHAPE, "its parts cannot be decoded"),
    (jwt.MissingRequiredClaimError, Why.CLAIMS, "a claim that every token must have is missing"),
)


class Verifier:
    """Checks tokens against the rows of a configuration; for one event loop."""

    def __init__(
        self, config: IdentityConfig, keys: Mapping[str, KeySource], clock: Clock, get_identity: GetIdentity | None = None
    ) -> None:
        self._config = config
        self._keys = keys
        self._clock = clock
        self._get_identity = get_identity or GetIdentity(clock)
        self._proofs: OrderedDict[bytes, tuple[float, Proof]] = OrderedDict()

    async def verify(self, token: str, channel: str = "token") -> Proof | Refused:
        """Who the token proves. ``channel`` is recorded in the principal: how the token came."""
        try:
            return await self._verify(token, channel)
        except Exception as error:  # whatever a token does to a parser, the answer is no
            return Refused(why=Why.SHAPE, reason=f"the token cannot be checked ({type(error).__name__})")

    def at_once(self, token: str, channel: str = "token") -> Proof | None:
        """The proof of a token that was verified lately; None when it has to be verified (again)."""
        if not token.isascii():
            return None
        hit = self._proofs.get(hashlib.sha256(token.encode("ascii")).digest())
        if hit is None or self._clock() / US_PER_SECOND >= hit[0]:
            return None
        return _through(hit[1], channel)

    async def _verify(self, token: str, channel: str) -> Proof | Refused:
        unverified = peek(token)
        if isinstance(unverified, Refused):
            return unverified
        now_s = self._clock() / US_PER_SECOND
        digest = hashlib.sha256(token.encode("ascii")).digest()
        if (hit := self._proofs.get(digest)) is not None and now_s < hit[0]:
            return _through(hit[1], channel)
        rows = [row for row in self._config.issuers if _is_of(row, unverified)]
        if not rows:
            known = ", ".join(row.name for row in self._config.issuers) or "none"
            remedy = f"add its issuer to identity.toml (configured: {known})"
            return Refused(why=Why.ISSUER, reason="the token is of an issuer that is not configured", remedy=remedy)
        refusals: list[Refused] = []
        for row in rows:
            found = await self._against(row, unverified, token, now_s)
            if isinstance(found, Proof):
                until = min(found.expires_at, now_s + CACHE_S)
                self._proofs[digest] = (until, found)
                while len(self._proofs) > MAX_CACHED:
                    self._proofs.popitem(last=False)
                return _through(found, channel)
            refusals.append(found)
        # Several rows of one issuer differ by audience or owner: what failed later was nearer to being right.
        order = list(Why)
        return max(refusals, key=lambda refusal: (order.index(refusal.why), refusal.reason))

    async def _against(self, row: Issuer, unverified: Unverified, token: str, now_s: float) -> Proof | Refused:
        if unverified.algorithm not in row.algorithms:
            reason = f"the token of {row.name} is signed by an algorithm that is not allowed"
            return Refused(why=Why.HEADER, reason=reason, remedy=f"allowed are {', '.join(row.algorithms)} (`algorithms`)")
        key = await self._keys[row.name].key(unverified.kid)
        if isinstance(key, Refused):
            return key
        claims = _signed(row, token, key, unverified.algorithm)
        if isinstance(claims, Refused):
            return claims
        expires_at = check_times(row, claims, now_s, self._config.skew_s)
        if isinstance(expires_at, Refused):
            return expires_at
        if (refusal := _misplaced(row, claims) or check_required(row, claims)) is not None:
            return refusal
        subject = subject_of(row, claims)
        if isinstance(subject, Refused):
            return subject
        groups = groups_in(row, claims)
        if row.groups_from is GroupSource.GET_IDENTITY and "common_name" not in claims:
            groups = await self._get_identity.groups(row, str(claims.get("email", "")).lower(), token)
        if isinstance(groups, Refused):
            return groups
        return Proof(
            principal=Principal(
                subject=subject,
                issuer=row.authority,
                assurance=Assurance.VERIFIED,
                groups=groups | row.static_groups.get(subject, frozenset()),
            ),
            expires_at=expires_at,
            row=row.name,
            evidence=evidence_of(row, claims),
        )

    async def close(self) -> None:
        """Give up fetches under way."""
        await asyncio.gather(*(source.close() for source in self._keys.values()))


def _is_of(row: Issuer, unverified: Unverified) -> bool:
    if row.trust_domain:
        return unverified.subject.startswith(f"spiffe://{row.trust_domain}/")
    return unverified.issuer in row.issuers


def _signed(row: Issuer, token: str, key: Key, algorithm: str) -> dict[str, Any] | Refused:
    """The claims, when signature, audience and issuer are right."""
    if algorithm not in key.algorithms:
        return Refused(why=Why.HEADER, reason=f"the token of {row.name} names a key that is for another algorithm")
    options: Any = {**_OPTIONS, "verify_iss": bool(row.issuers)}
    try:
        return jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=list(row.audiences),
            issuer=list(row.issuers) if row.issuers else None,
            options=options,
        )
    except jwt.PyJWTError as error:
        for kind, why, words in _WORDS:
            if isinstance(error, kind):
                remedy = (
                    f"the audience of [issuer.{row.name}] is what its tokens must be made out to" if why is Why.AUDIENCE else ""
                )
                return Refused(why=why, reason=f"the token of {row.name} is not valid: {words}", remedy=remedy)
        return Refused(why=Why.CLAIMS, reason=f"the token of {row.name} is not valid ({type(error).__name__})")


def _misplaced(row: Issuer, claims: Mapping[str, Any]) -> Refused | None:
    """Signed by the right issuer, but no identity of a bearer."""
    if "events" in claims:  # OpenID Connect Back-Channel Logout 1.0, 2.4; RFC 8417
        return Refused(why=Why.CLAIMS, reason=f"the token of {row.name} reports an event, it identifies nobody")
    if "cnf" in claims:  # RFC 7800
        reason = f"the token of {row.name} is bound to a key that its holder would have to prove"
        return Refused(why=Why.CLAIMS, reason=reason, remedy="ask the issuer for a bearer token")
    return None


def _through(proof: Proof, channel: str) -> Proof:
    return replace(proof, principal=replace(proof.principal, channel=channel))
