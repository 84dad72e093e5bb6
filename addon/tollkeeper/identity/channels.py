"""Which of the things that say who is calling counts: pure, values in, one resolution out.

Order of trust: a handle or token in the proxy password, one token in a header, an Access service token (these are *proved*), the
process at the other end of the socket, the provider key, the configured default. Nothing a client merely says is in this list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tollkeeper.core.principal import ANONYMOUS, Assurance, Principal

from .answers import Proof, Refused, Why
from .services import ID_HEADER, SECRET_HEADER, Pair, presented

TOKEN_HEADERS = ("cf-access-jwt-assertion", "cf-access-token")
"""Where Access puts its token towards an origin, and where its clients put it towards Access. Besides them, one configured header."""
CLAIMED_EMAIL = "cf-access-authenticated-user-email"
CLAIMED_HEADERS = (CLAIMED_EMAIL, "x-user", "x-forwarded-user", "x-forwarded-email", "x-auth-request-email", "cf-aig-metadata")
"""Anyone can send these: they are recorded as claims, and prove nothing."""

STRIPPED_HEADERS = frozenset(
    {
        "proxy-authorization", "proxy-connection", *TOKEN_HEADERS, ID_HEADER, SECRET_HEADER, CLAIMED_EMAIL,
        "x-user", "x-forwarded-user", "x-forwarded-email", "remote-user", "x-remote-user", "forwarded", "via",
        "x-auth-request-email", "x-goog-iap-jwt-assertion",
    }
)  # fmt: skip
"""Removed before anything leaves for a provider, on every path; the configured header too (``is_stripped``).

Besides those we read ourselves, what proxies that log people in put before an application: oauth2-proxy (``--set-xauthrequest``),
Google's IAP, AWS load balancers, Azure App Service, and the usual ``Remote-User``.
"""
STRIPPED_PREFIXES = (
    "x-tollkeeper-", "x-forwarded-", "x-auth-request-", "x-goog-authenticated-user-", "x-amzn-oidc-", "x-ms-client-principal",
)  # fmt: skip
STRIPPED_COOKIES = ("cf_authorization", "cf_appsession", "cf_binding")

MAX_CLAIM_CHARS = 256

PROVED = frozenset({Assurance.VERIFIED, Assurance.STATIC})
"""What counts as a proof. A default of this kind is that of a proxy that was started for one proved job, and is good for all its calls."""


class OnNoIdentity(StrEnum):
    """What happens to a call that nothing but the default speaks for."""

    DEFAULT = "default"
    """It is the configured default's: on a laptop, whoever is logged in."""
    MARK = "mark"
    """It goes on as anonymous, and stands so in every report."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What the headers of a request offer as proof, not yet checked."""

    token: str | Refused | None = None
    service: Pair | Refused | None = None
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What every channel said of a connection and a request. ``peer`` and ``key`` are weaker than proofs."""

    password: Proof | Refused | None = None
    token: Proof | Refused | None = None
    service: Proof | Refused | None = None
    peer: Principal | None = None
    key: Principal | None = None
    default: Principal | None = None
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Who is calling. With ``refusal`` set, ``principal`` is anonymous: for a policy that only observes, and records the refusal."""

    principal: Principal
    proof: Proof | None = None
    refusal: Refused | None = None
    claims: tuple[tuple[str, str], ...] = ()


def is_stripped(name: str, own_header: str) -> bool:
    """Whether a header must not leave for a provider. ``own_header`` is the configured one, in small letters."""
    lowered = name.lower()
    return lowered in STRIPPED_HEADERS or lowered == own_header or lowered.startswith(STRIPPED_PREFIXES)


def is_stripped_value(value: str) -> bool:
    """Whether a header's value is an Access service token as JSON, whole or not: Access can be set to read it from any header."""
    return value[:16].lstrip()[:1] == "{" and SECRET_HEADER in value.lower()


def collect(headers: Iterable[tuple[str, str]], own_header: str) -> Presented:
    """The credentials among a request's headers (as received, duplicates included)."""
    tokens: list[str] = []
    ids: list[str] = []
    secrets: list[str] = []
    single: list[str] = []
    claims: list[tuple[str, str]] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered in TOKEN_HEADERS or lowered == own_header:
            tokens.append(value)
        elif lowered == ID_HEADER:
            ids.append(value)
        elif lowered == SECRET_HEADER:
            secrets.append(value)
        elif is_stripped_value(value):
            single.append(value.strip())
        elif lowered in CLAIMED_HEADERS and len(claims) < len(CLAIMED_HEADERS):
            claims.append((lowered, "".join(char if char.isprintable() else "?" for char in value[:MAX_CLAIM_CHARS])))
    return Presented(token=_one_token(tokens), service=presented(ids, secrets, single), claims=tuple(claims))


def _one_token(values: Sequence[str]) -> str | Refused | None:
    if len(values) > 1:
        # Joined by ", " they would be one text: the good token could be shown to one reader and the other to the next.
        reason = f"there are {len(values)} identity tokens in the headers; exactly one is accepted"
        return Refused(why=Why.SEVERAL, reason=reason, remedy=f"send one of {', '.join(TOKEN_HEADERS)}, once")
    return values[0] if values else None


def resolve(checked: Checked, on_no_identity: OnNoIdentity = OnNoIdentity.DEFAULT) -> Resolution:
    """The one identity that counts.

    A credential that is there and wrong is a refusal, whatever else is there: falling back to a weaker channel would make a bad
    token as good as none. Two that are right and name different principals are a refusal too.
    """
    offered = [found for found in (checked.password, checked.token, checked.service) if found is not None]
    for found in offered:
        if isinstance(found, Refused):
            return _refused(found, checked)
    shown = [found for found in offered if isinstance(found, Proof)]
    proofs = [found for found in shown if found.principal.assurance in PROVED]
    if proofs:
        first = proofs[0]
        for other in proofs[1:]:
            if not _same(first.principal, other.principal):
                reason = (
                    f"the {first.principal.channel} and the {other.principal.channel} of this call prove different identities"
                )
                return _refused(Refused(why=Why.DISAGREE, reason=reason, remedy="send one of them"), checked)
        return Resolution(principal=first.principal, proof=first, claims=checked.claims)
    if checked.default is not None and checked.default.assurance in PROVED:
        return Resolution(principal=checked.default, claims=checked.claims)
    if on_no_identity is OnNoIdentity.REFUSE:
        remedy = "log in with `tollkeeper login` and use `tollkeeper run`, or send a token (docs/identity.md)"
        return _refused(Refused(why=Why.MISSING, reason="nothing proves who is calling", remedy=remedy), checked)
    if on_no_identity is OnNoIdentity.MARK:
        return Resolution(principal=_marked(checked), claims=checked.claims)
    if shown:  # a proxy password of this machine's own login: as good as the login, and it knows its command
        return Resolution(principal=shown[0].principal, proof=shown[0], claims=checked.claims)
    principal = checked.peer or checked.key or checked.default
    return Resolution(principal=principal or ANONYMOUS, claims=checked.claims)


def _same(one: Principal, other: Principal) -> bool:
    return (one.subject, one.issuer) == (other.subject, other.issuer)


def _marked(checked: Checked) -> Principal:
    """Anonymous, or the address the caller claims; set apart, so that nobody can spend under another's name."""
    email = dict(checked.claims).get(CLAIMED_EMAIL, "")
    if not email:
        return ANONYMOUS
    return Principal(subject=f"claimed:{email}", issuer="claimed", channel="header", assurance=Assurance.CLAIMED)


def _refused(refusal: Refused, checked: Checked) -> Resolution:
    return Resolution(principal=ANONYMOUS, refusal=refusal, claims=checked.claims)
