"""One row of the configuration: whom we believe, for what, and what their tokens must say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from .answers import NOTHING

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Every algorithm that can be allowed. HMAC is not among them: its key could forge what it verifies."""


LOGIN_SCOPES = ("openid", "email", "profile", "offline_access")


class Kind(StrEnum):
    """Presets: what is fixed by the provider and need not be written."""

    ACCESS = "cloudflare-access"
    OKTA = "okta"
    ENTRA = "entra"
    GOOGLE = "google"
    KEYCLOAK = "keycloak"
    OIDC = "oidc"
    GITHUB = "github-actions"
    GITLAB = "gitlab"
    CIRCLECI = "circleci"
    BUILDKITE = "buildkite"
    KUBERNETES = "kubernetes"
    SPIFFE = "spiffe"
    AWS = "aws"


class GroupSource(StrEnum):
    """Where groups come from, besides the static map."""

    NONE = "none"
    CLAIM = "claim"
    GET_IDENTITY = "get-identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How people log in at this issuer. ``scopes`` are asked for; ``resource`` is RFC 8707's, where the issuer wants one."""

    id: str
    scopes: tuple[str, ...] = LOGIN_SCOPES
    resource: str = ""
    secret: str = field(default="", repr=False)
    """Google and some others want one of native clients too, where it is no secret (RFC 8252, 8.5)."""
    redirect_port: int = 0
    """The port of the loopback redirect, for issuers that compare it; 0 takes a free one."""
    app_url: str = ""
    """The application that ``cloudflared access token`` is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A row. Everything a token is compared with stands here; nothing is ever taken from the token but its ``kid``."""

    name: str
    kind: Kind
    issuers: tuple[str, ...]
    """Accepted values of ``iss``, byte for byte. Empty only for SPIFFE, whose tokens need not have one."""
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ("RS256",)
    jwks_url: str = ""
    jwks_file: Path | None = None
    discovery: str = ""
    """Where the address of the keys is looked up when neither is given."""
    ca_file: Path | None = None
    subject: str = "{sub}"
    """Template of claims: what budgets count under."""
    groups_from: GroupSource = GroupSource.NONE
    groups_claim: str = ""
    static_groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Subject to groups."""
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Claim to the values it may have."""
    subjects: tuple[str, ...] = ()
    """Subjects that are accepted, ``*`` for any run of characters; empty accepts all."""
    evidence: tuple[str, ...] = ()
    """Claims to record beside the identity."""
    max_life_s: int = 86_400
    """The longest ``exp − iat`` that is believed."""
    needs_iat: bool = True
    trust_email: bool = False
    """``email`` may be used without ``email_verified``: the provider vouches for it."""
    whoami: str = ""
    """An address behind Access that answers with the assertion it was called with: proves service tokens."""
    client: Client | None = None
    notes: Mapping[str, str] = field(default=NOTHING)

    @property
    def authority(self) -> str:
        """What principals of this row have as their issuer, and budgets and grants tell equal subjects apart by."""
        return self.issuers[0] if self.issuers else f"spiffe://{self.trust_domain}"

    @property
    def trust_domain(self) -> str:
        """SPIFFE: the domain its subjects must stand in; empty for every other kind."""
        return self.notes.get("trust_domain", "")
