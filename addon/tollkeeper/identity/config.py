"""The identity document (``identity.toml`` in the state folder): TOML in, an ``IdentityConfig`` out, or one error with every line.

docs/identity.md describes it for people.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tollkeeper.core.principal import HERE, Principal
from tollkeeper.core.toml_lines import load_toml

from .fields import Problems, Table, shown
from .issuer import ASYMMETRIC, LOGIN_SCOPES, Client, GroupSource, Issuer, Kind
from .presets import PRESETS
from .subject import fields_of

SCHEMA = 1
MAX_ISSUERS, MAX_SERVICES, MAX_STATIC_GROUPS = 64, 1_000, 1_000
DOCUMENT_KEYS = ("schema", "header", "clock_skew_seconds", "handle_hours", "static_groups", "issuer", "service")
COMMON_KEYS = (
    "kind", "audience", "algorithms", "subject", "subjects", "groups", "static_groups", "require", "evidence", "max_life_hours",
    "jwks_url", "jwks_file", "discovery", "ca_file", "trust_email", "client_id", "client_secret", "scopes", "resource",
    "redirect_port",
)  # fmt: skip
SERVICE_KEYS = ("client_id", "secret_sha256", "issuer", "subject", "groups")
OWN_HEADER = "x-tollkeeper-token"
PROVIDERS_OWN = frozenset(
    {
        "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "host", "content-type",
        "content-length", "transfer-encoding", "connection", "cf-aig-authorization", "cf-access-authenticated-user-email",
    }
)  # fmt: skip
"""Headers that cannot carry our token: a provider needs them, or they are only claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An Access service token that is known by a digest of its secret. ``digests``: SHA-256, hexadecimal; two while rotating."""

    name: str
    client_id: str
    digests: tuple[str, ...] = field(repr=False)
    subject: str
    issuer: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """Whom this proxy believes. Empty: nobody but this machine's own login."""

    issuers: tuple[Issuer, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    """By client id."""
    header: str = OWN_HEADER
    """A header that may carry a token, besides those of Access."""
    skew_s: int = 30
    handle_s: int = 12 * 3600
    local_groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Login name of this machine to groups."""

    @property
    def login_rows(self) -> tuple[Issuer, ...]:
        """Rows that people can log in at."""
        return tuple(row for row in self.issuers if row.client is not None)

    def grouped(self, principal: Principal) -> Principal:
        """A login of this machine with the groups that the document gives it; anybody else as they are."""
        groups = self.local_groups.get(principal.subject) if principal.issuer in HERE else None
        return replace(principal, groups=principal.groups | groups) if groups else principal


NOBODY = IdentityConfig()


def load_identity(path: Path) -> IdentityConfig:
    """The configuration at ``path``; nobody's when there is no such file. Raises ``ConfigError`` naming file and line."""
    return parse_identity(path) if path.exists() else NOBODY


def parse_identity(path: Path, text: str | None = None) -> IdentityConfig:
    """The configuration in ``text``, which came from ``path``. Raises ``ConfigError`` with every problem by file and line."""
    document, lines = load_toml(path, text)
    problems = Problems(str(path), lines)
    top = Table(problems, document, ())
    top.only(DOCUMENT_KEYS)
    if document.get("schema", SCHEMA) != SCHEMA:
        top.wrong("schema", f"schema = {shown(document['schema'])} is not known; this version reads schema = {SCHEMA}")
    issuers = tuple(_issuer(table, name, path.parent) for name, table in top.tables("issuer", MAX_ISSUERS).items())
    services: dict[str, Service] = {}
    for name, table in top.tables("service", MAX_SERVICES).items():
        service = _service(table, name, issuers)
        if service.client_id in services:
            table.wrong("client_id", f"[service.{services[service.client_id].name}] has the same client_id")
        services[service.client_id] = service
    header = top.text("header", default=OWN_HEADER, example=OWN_HEADER, pattern=r"[A-Za-z][A-Za-z0-9-]{0,63}").lower()
    if header in PROVIDERS_OWN:
        top.wrong("header", f'header = "{header}" is needed by providers or is only a claim; choose another, like "{OWN_HEADER}"')
    config = IdentityConfig(
        issuers=issuers,
        services=services,
        header=header,
        skew_s=top.number("clock_skew_seconds", 0, 300, 30),
        handle_s=top.number("handle_hours", 1, 744, 12) * 3600,
        local_groups=_static_groups(top),
    )
    problems.raise_any()
    return config


def _issuer(table: Table, name: str, folder: Path) -> Issuer:
    if "kind" not in table.values:
        table.problems.add(table.path, f'{table.where} has no kind; write kind = "oidc" or one of {", ".join(Kind)}')
        return Issuer(name=name, kind=Kind.OIDC, issuers=(), audiences=())
    kind = Kind(table.word("kind", [kind.value for kind in Kind], Kind.OIDC))
    preset = PRESETS[kind]
    table.only((*COMMON_KEYS, *preset.keys))
    fixed = preset.read(table)
    client = _client(table)
    row = {
        **fixed,
        "audiences": _audiences(table, fixed, client),
        "algorithms": table.words("algorithms", ASYMMETRIC, fixed.get("algorithms", ("RS256",))),
        "subject": _template(table, fixed.get("subject", "{sub}")),
        "subjects": (*fixed.get("subjects", ()), *table.texts("subjects", example="ada@example.com")),
        "required": {**_required(table), **fixed.get("required", {})},
        "evidence": (*fixed.get("evidence", ()), *table.texts("evidence", example="ref")),
        "static_groups": _static_groups(table),
        "jwks_url": table.url("jwks_url") or fixed.get("jwks_url", ""),
        "jwks_file": table.file("jwks_file", folder),
        "ca_file": table.file("ca_file", folder),
        "discovery": table.url("discovery") or fixed.get("discovery", ""),
        "max_life_s": table.number("max_life_hours", 1, 744, fixed.get("max_life_s", 86_400) // 3600) * 3600,
        "trust_email": table.flag("trust_email", default=fixed.get("trust_email", False)),
        "client": client,
    }
    if kind is Kind.KUBERNETES and "subjects" in table.values:
        row["subjects"] = table.texts("subjects", example="system:serviceaccount:batch:nightly")
    if kind in {Kind.KUBERNETES, Kind.SPIFFE} and "subject" in table.values:
        table.wrong("subject", f"subject is fixed for {kind}: its tokens' own sub")
    source, claim = _groups(table, kind)
    return Issuer(name=name, kind=kind, groups_from=source, groups_claim=claim, **row)


def _audiences(table: Table, fixed: Mapping[str, Any], client: Client | None) -> tuple[str, ...]:
    """As written; else the preset's, else the client's own id, which is what ID tokens are made out to."""
    known = fixed.get("audiences") or ((client.id,) if client is not None else ())
    return table.texts("audience", required=not known, example="tollkeeper") or known


def _client(table: Table) -> Client | None:
    app_url = table.url("app_url")
    if "client_id" not in table.values:
        for key in ("client_secret", "scopes", "resource", "redirect_port"):
            if key in table.values:
                table.wrong(key, f"{key} is for logging in, which needs client_id")
        return Client(id="", app_url=app_url) if app_url else None
    return Client(
        id=table.text("client_id", example="the application's client ID"),
        scopes=table.texts("scopes", example="openid", pattern=r"[\x21\x23-\x5b\x5d-\x7e]+") or LOGIN_SCOPES,
        secret=_client_secret(table),
        redirect_port=table.number("redirect_port", 0, 65_535, 0),
        resource=table.text("resource", example="https://tollkeeper.example.com"),
        app_url=app_url,
    )


def _client_secret(table: Table) -> str:
    value = table.values.get("client_secret", "")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{0,512}", value):
        table.wrong("client_secret", "client_secret is not possible; write it as the issuer shows it")
        return ""
    return value


def _template(table: Table, default: str) -> str:
    template = table.text("subject", default=default, example=default)
    try:
        fields_of(template)
    except ValueError as error:
        table.wrong("subject", f"subject = {shown(template)}: {error}")
        return default
    return template


def _groups(table: Table, kind: Kind) -> tuple[GroupSource, str]:
    value = table.text("groups", default="none", example="groups", pattern=r"[A-Za-z0-9_.:/-]+")
    if value == GroupSource.NONE:
        return GroupSource.NONE, ""
    if value != GroupSource.GET_IDENTITY:
        return GroupSource.CLAIM, value
    if kind is not Kind.ACCESS:
        table.wrong("groups", f'groups = "get-identity" is an address of Cloudflare Access; name a claim of {kind} instead')
    return GroupSource.GET_IDENTITY, ""


def _required(table: Table) -> dict[str, tuple[str, ...]]:
    """``require = { environment = "production", ref = ["refs/heads/main"] }``; true and false are words here."""
    value = table.values.get("require", {})
    if not isinstance(value, dict):
        table.wrong("require", 'require must be a table, as in require = { environment = "production" }')
        return {}
    inner = Table(
        table.problems, {k: str(v).lower() if isinstance(v, bool) else v for k, v in value.items()}, (*table.path, "require")
    )
    return {key: inner.texts(key, example="production") for key in inner.values}


def _static_groups(table: Table) -> dict[str, frozenset[str]]:
    """``static_groups = { research = ["ada@example.com"] }``, turned round: subject to groups."""
    value = table.values.get("static_groups", {})
    if not isinstance(value, dict) or len(value) > MAX_STATIC_GROUPS:
        table.wrong(
            "static_groups", f'static_groups must be a table of {MAX_STATIC_GROUPS} lists at most: research = ["ada@example.com"]'
        )
        return {}
    inner = Table(table.problems, value, (*table.path, "static_groups"))
    found: dict[str, set[str]] = {}
    for group in value:
        for subject in inner.texts(group, example="ada@example.com"):
            found.setdefault(subject, set()).add(group)
    return {subject: frozenset(groups) for subject, groups in found.items()}


def _service(table: Table, name: str, issuers: tuple[Issuer, ...]) -> Service:
    table.only(SERVICE_KEYS)
    rows = {row.name: row.issuers[0] for row in issuers if row.kind is Kind.ACCESS and row.issuers}
    client_id = table.text("client_id", required=True, example="0123….access", pattern=r"[A-Za-z0-9._-]{1,128}")
    digests = table.texts("secret_sha256", required=True, example="SHA-256 of the secret, in hexadecimal", pattern=".+")
    if any(not re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        # The value is not shown: it may be the secret itself.
        table.wrong("secret_sha256", 'secret_sha256 is not a SHA-256 in hexadecimal: printf %s "$SECRET" | sha256sum')
    default = next(iter(rows)) if len(rows) == 1 else ""
    chosen = table.word("issuer", rows, default) if "issuer" in table.values else default
    return Service(
        name=name,
        client_id=client_id,
        digests=digests,
        subject=table.text("subject", default=client_id, example="nightly-batch"),
        issuer=rows.get(chosen, "service-token"),
        groups=frozenset(table.texts("groups", example="batch")),
    )
