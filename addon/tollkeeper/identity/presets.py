"""What each provider fixes, so that a row needs only what is yours.

Sources: the providers' own pages on their tokens (docs/identity.md names what to look up where). Issuers shared by all customers
of a provider must be narrowed to yours: GitHub's by owner, Buildkite's by organisation, gitlab.com's by namespace, Google's by
hosted domain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .fields import Table
from .issuer import Kind

GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
DAY_S = 86_400

type Fixed = dict[str, Any]
"""Fields of ``Issuer`` that the preset knows."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Keys that this kind adds to the common ones, and what it makes of them."""

    keys: tuple[str, ...]
    read: Callable[[Table], Fixed]


def _access(table: Table) -> Fixed:
    team = table.text("team", required=True, example="acme", pattern=r"[a-z0-9-]{1,63}(\.cloudflareaccess\.com)?")
    origin = f"https://{team.removesuffix('.cloudflareaccess.com')}.cloudflareaccess.com"
    for tag in table.texts("audience", required=True, example="the application's AUD tag, 64 hexadecimal digits"):
        if len(tag) != 64 or set(tag) - set("0123456789abcdef"):
            table.wrong(
                "audience", "audience is not an AUD tag: 64 hexadecimal digits, in the application's overview at Cloudflare"
            )
    return {
        "issuers": (origin,),
        "jwks_url": f"{origin}/cdn-cgi/access/certs",
        "required": {"type": ("app",)},  # "org" tokens, of the team's log-in page, have the same issuer and keys
        "max_life_s": 31 * DAY_S,  # the longest session an application can be given
        "trust_email": True,  # Access sends nobody through whose address its provider has not vouched for
        "whoami": table.url("whoami", example="https://whoami.example.com/"),
        "notes": {"get_identity": f"{origin}/cdn-cgi/access/get-identity"},
    }


def _issuer(table: Table) -> Fixed:
    return {"issuers": (table.url("issuer", required=True, example="https://login.example.com"),)}


def _entra(table: Table) -> Fixed:
    tenant = table.text("tenant", required=True, example="the directory (tenant) ID", pattern=GUID)
    login = f"https://login.microsoftonline.com/{tenant}"
    fixed: Fixed = {"required": {"tid": (tenant,)}, "subject": "{oid}@{tid}"}
    if table.number("version", 1, 2, 2) == 1:
        return fixed | {"issuers": (f"https://sts.windows.net/{tenant}/",), "jwks_url": f"{login}/discovery/keys"}
    return fixed | {
        "issuers": (f"{login}/v2.0",),
        "jwks_url": f"{login}/discovery/v2.0/keys",
        "discovery": f"{login}/v2.0/.well-known/openid-configuration",
    }


def _google(table: Table) -> Fixed:
    domains = table.texts("hosted_domain", example="example.com", pattern=r"[a-z0-9.-]+")
    if not domains and "subjects" not in table.values:
        told = 'add hosted_domain = "example.com", or name the people in subjects = ["ada@example.com"]'
        table.problems.add(table.path, f"{table.where} would accept every Google account there is; {told}")
    fixed: Fixed = {"issuers": ("https://accounts.google.com", "accounts.google.com"), "subject": "{email}"}
    return fixed | ({"required": {"hd": domains}} if domains else {})


def _keycloak(table: Table) -> Fixed:
    url = table.url("url", required=True, example="https://sso.example.com").rstrip("/")
    realm = table.text("realm", required=True, example="staff", pattern=r"[A-Za-z0-9._~-]+")
    # Log-out and refresh tokens are signed too; ``typ`` tells them apart (Keycloak, TokenUtil).
    return {"issuers": (f"{url}/realms/{realm}",), "required": {"typ": ("Bearer", "ID")}}


def _github(table: Table) -> Fixed:
    owners = table.texts("owner_id", required=True, example="9919", pattern=r"[0-9]{1,20}")
    server = table.url("url", example="https://github.example.com").rstrip("/")
    enterprise = table.text("enterprise", example="acme", pattern=r"[A-Za-z0-9-]+")
    issuer = f"{server}/_services/token" if server else "https://token.actions.githubusercontent.com"
    return {
        "issuers": (f"{issuer}/{enterprise}" if enterprise else issuer,),
        "required": {"repository_owner_id": owners},
        "subject": "github:{repository}",
        "evidence": (
            "repository", "repository_id", "ref", "run_id", "run_attempt", "job_workflow_ref", "actor", "environment",
            "event_name", "runner_environment",
        ),
    }  # fmt: skip


def _gitlab(table: Table) -> Fixed:
    url = table.url("url", example="https://gitlab.example.com").rstrip("/") or "https://gitlab.com"
    required = {
        key: values for key in ("namespace_id", "project_id") if (values := table.texts(key, example="72", pattern="[0-9]{1,20}"))
    }
    if url == "https://gitlab.com" and not required:
        told = 'add namespace_id = "…", the number of your group'
        table.problems.add(table.path, f"{table.where} would accept every project on gitlab.com; {told}")
    return {
        "issuers": (url,),
        "required": required,
        "subject": "gitlab:{project_path}",
        "evidence": (
            "project_path", "project_id", "ref", "ref_protected", "pipeline_id", "pipeline_source", "job_id", "environment",
            "user_login", "runner_environment",
        ),
    }  # fmt: skip


def _circleci(table: Table) -> Fixed:
    organization = table.text("organization_id", required=True, example="the organisation's ID", pattern=GUID)
    return {
        "issuers": (f"https://oidc.circleci.com/org/{organization}",),
        "audiences": (organization,),  # of CIRCLE_OIDC_TOKEN_V2; `circleci run oidc get` can ask for another
        "subject": "circleci:{oidc.circleci.com/project-id}",
        "evidence": ("oidc.circleci.com/project-id", "oidc.circleci.com/vcs-origin", "oidc.circleci.com/vcs-ref"),
    }


def _buildkite(table: Table) -> Fixed:
    organizations = table.texts("organization_id", required=True, example="the organisation's ID", pattern=GUID)
    return {
        "issuers": ("https://agent.buildkite.com",),
        "required": {"organization_id": organizations},
        "subject": "buildkite:{organization_slug}/{pipeline_slug}",
        "evidence": ("pipeline_slug", "pipeline_id", "build_number", "build_branch", "step_key", "job_id"),
    }


def _kubernetes(table: Table) -> Fixed:
    namespaces = table.texts("namespaces", example="batch", pattern=r"[a-z0-9-]{1,63}")
    return _issuer(table) | {
        "subjects": tuple(f"system:serviceaccount:{name}:*" for name in namespaces) or ("system:serviceaccount:*",),
    }


def _spiffe(table: Table) -> Fixed:
    domain = table.text("trust_domain", required=True, example="example.org", pattern=r"[a-z0-9._-]{1,255}")
    issuer = table.url("issuer")
    if not ({"jwks_url", "jwks_file"} & set(table.values)):
        table.problems.add(table.path, f"{table.where} has no keys; write jwks_file or jwks_url of the trust domain's bundle")
    return {
        "issuers": (issuer,) if issuer else (),
        "algorithms": ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"),
        "subjects": (f"spiffe://{domain}/*",),
        "needs_iat": False,  # a JWT-SVID must have sub, aud and exp, and need have nothing else
        "notes": {"trust_domain": domain},
    }


def _aws(table: Table) -> Fixed:
    return _issuer(table) | {"algorithms": ("RS256", "ES384")}


PRESETS: Mapping[Kind, Preset] = {
    Kind.ACCESS: Preset(("team", "whoami", "app_url"), _access),
    Kind.OKTA: Preset(("issuer",), _issuer),
    Kind.ENTRA: Preset(("tenant", "version"), _entra),
    Kind.GOOGLE: Preset(("hosted_domain",), _google),
    Kind.KEYCLOAK: Preset(("url", "realm"), _keycloak),
    Kind.OIDC: Preset(("issuer",), _issuer),
    Kind.GITHUB: Preset(("owner_id", "url", "enterprise"), _github),
    Kind.GITLAB: Preset(("url", "namespace_id", "project_id"), _gitlab),
    Kind.CIRCLECI: Preset(("organization_id",), _circleci),
    Kind.BUILDKITE: Preset(("organization_id",), _buildkite),
    Kind.KUBERNETES: Preset(("issuer", "namespaces"), _kubernetes),
    Kind.SPIFFE: Preset(("trust_domain", "issuer"), _spiffe),
    Kind.AWS: Preset(("issuer",), _aws),
}
