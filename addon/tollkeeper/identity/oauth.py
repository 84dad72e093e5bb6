"""An issuer's OAuth endpoints and its answers (RFC 6749, RFC 8414), for the log-ins."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .answers import IdentityError
from .issuer import Client, Issuer
from .jwks import discovered
from .web import WebError, ask, check_url, is_loopback_url

MAX_TOKEN_CHARS = 16_384
MAX_SECONDS = 400 * 86_400
_CODE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}")
_ENDPOINTS = ("token_endpoint", "device_authorization_endpoint", "authorization_endpoint", "revocation_endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where an issuer is asked for what; empty where it offers nothing."""

    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str = ""
    authorization_endpoint: str = ""
    revocation_endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A token answer. ``expires_in_s`` is None when the issuer does not say."""

    access_token: str = field(repr=False)
    id_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error answer: the code of RFC 6749 5.2 or RFC 8628 3.5, or ``http`` and the status."""

    code: str
    status: int


def client_of(row: Issuer) -> Client:
    """The row's client. Raises ``IdentityError`` when nobody can log in there."""
    if row.client is None or not row.client.id:
        raise IdentityError(f'nobody can log in at {row.name}: add client_id = "…" to [issuer.{row.name}] in identity.toml')
    return row.client


async def find_endpoints(row: Issuer, trust: Path | None) -> Endpoints:
    """The issuer's endpoints, from its discovery document. Raises ``IdentityError``."""
    issuer = row.issuers[0]
    where = row.discovery or f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        answer = await ask(where, trust=row.ca_file or trust)
        if answer.status != 200:
            raise WebError(f"it answers with status {answer.status}")
        document = discovered(answer.body, issuer)
    except WebError as error:
        raise IdentityError(f"the discovery document of {row.name} ({where}) cannot be used: {error}") from None
    found = {}
    for name in _ENDPOINTS:
        url = document.get(name)
        if not isinstance(url, str):
            continue
        if check_url(url) or (is_loopback_url(url) and not is_loopback_url(issuer)):
            raise IdentityError(f"{row.name} names an unusable {name}; its discovery document is {where}")
        found[name] = url
    if "token_endpoint" not in found:
        raise IdentityError(f"{row.name} names no token_endpoint in {where}: it is no OAuth server")
    return Endpoints(issuer=issuer, **found)


async def post_form(url: str, form: Mapping[str, str], trust: Path | None) -> dict[str, Any] | Failure:
    """The JSON object that answers a form. Raises ``WebError`` when there is no answer at all."""
    kind = ("content-type", "application/x-www-form-urlencoded")
    answer = await ask(url, method="POST", headers=[kind], body=urlencode(form).encode(), trust=trust, timeout_s=15)
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if answer.status == 200 and isinstance(document, dict):
        return document
    code = document.get("error") if isinstance(document, dict) else None
    known = isinstance(code, str) and _CODE.fullmatch(code) is not None
    return Failure(code if known and isinstance(code, str) else f"http {answer.status}", answer.status)


async def ask_tokens(row: Issuer, endpoints: Endpoints, form: Mapping[str, str], trust: Path | None) -> Tokens | Failure:
    """Tokens for a grant. Raises ``WebError`` when there is no answer, ``IdentityError`` when it is not one."""
    client = client_of(row)
    own = {"client_id": client.id} | ({"resource": client.resource} if client.resource else {})
    own |= {"client_secret": client.secret} if client.secret else {}
    answer = await post_form(endpoints.token_endpoint, {**form, **own}, row.ca_file or trust)
    return answer if isinstance(answer, Failure) else read_tokens(row, answer)


def read_tokens(row: Issuer, answer: Mapping[str, Any]) -> Tokens:
    """The tokens of an answer. Raises ``IdentityError`` when it is not a bearer token answer."""
    texts = {}
    for name in ("access_token", "id_token", "refresh_token"):
        value = answer.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_TOKEN_CHARS or not value.isascii():
            raise IdentityError(f"{row.name} answered with an {name} that is none")
        texts[name] = value
    if not texts["access_token"] or str(answer.get("token_type", "")).lower() != "bearer":
        raise IdentityError(f"{row.name} answered without a bearer token")
    return Tokens(expires_in_s=seconds_in(answer.get("expires_in")), **texts)


def seconds_in(value: object) -> int | None:
    """A number of seconds as issuers write it (some as text), None when it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        return None
    return int(value)
