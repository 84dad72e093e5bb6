"""Logging in on another screen: the device authorization grant (RFC 8628)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .answers import IdentityError
from .issuer import Issuer, Kind
from .oauth import Endpoints, Failure, Tokens, ask_tokens, client_of, post_form, seconds_in
from .web import WebError, check_url

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_S = 5
"""When the issuer does not say (RFC 8628 3.2)."""
SLOWER_S = 5
MAX_INTERVAL_S = 60
MAX_WAIT_S = 1800
_ELSEWHERE = {Kind.ENTRA: ("microsoft.com", "login.microsoft.com"), Kind.GOOGLE: ("google.com", "www.google.com")}
"""Where these send people, which is not below their issuer."""

type Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What to show: ``user_code`` to type at ``verification_uri``, or ``verification_uri_complete`` to open."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str = ""
    expires_in_s: int = MAX_WAIT_S
    interval_s: int = INTERVAL_S


async def begin(row: Issuer, endpoints: Endpoints, trust: Path | None = None) -> DeviceCode:
    """Ask for a code. Raises ``IdentityError`` when the issuer does not offer this, or answers with something unsafe."""
    client = client_of(row)
    if not endpoints.device_authorization_endpoint:
        raise IdentityError(f"{row.name} offers no log-in by device code; use `tollkeeper login --browser`")
    form = {"client_id": client.id, "scope": " ".join(client.scopes)}
    if client.resource:
        form["resource"] = client.resource
    try:
        answer = await post_form(endpoints.device_authorization_endpoint, form, row.ca_file or trust)
    except WebError as error:
        raise IdentityError(f"{row.name} cannot be asked for a code: {error}") from None
    if isinstance(answer, Failure):
        hint = "allow the device code grant for this client, or use `tollkeeper login --browser`"
        raise IdentityError(f"{row.name} gives no device code ({answer.code}): {hint}")
    # Google says verification_url, as the draft did.
    shown = answer.get("verification_uri") or answer.get("verification_url")
    code, device = answer.get("user_code"), answer.get("device_code")
    if not _is_plain(code, 64) or not _is_plain(device, 4096) or not isinstance(shown, str):
        raise IdentityError(f"{row.name} answered the request for a code with something else")
    complete = answer.get("verification_uri_complete", "")
    for url in (shown, complete) if complete else (shown,):
        if not isinstance(url, str) or not belongs(url, row):
            raise IdentityError(f"{row.name} wants to send you to an address that is not its own; nothing was opened")
    return DeviceCode(
        device_code=str(device),
        user_code=str(code),
        verification_uri=shown,
        verification_uri_complete=complete,
        expires_in_s=min(seconds_in(answer.get("expires_in")) or 300, MAX_WAIT_S),
        interval_s=min(seconds_in(answer.get("interval")) or INTERVAL_S, MAX_INTERVAL_S),
    )


async def wait(
    row: Issuer,
    endpoints: Endpoints,
    code: DeviceCode,
    trust: Path | None = None,
    *,
    sleep: Sleep = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Tokens:
    """Ask until somebody has allowed or refused it, as often as the issuer wants. Raises ``IdentityError`` saying how it ended."""
    form: Mapping[str, str] = {"grant_type": GRANT, "device_code": code.device_code}
    interval_s: float = code.interval_s
    deadline = monotonic() + code.expires_in_s
    while monotonic() + interval_s < deadline:
        await sleep(interval_s)
        try:
            found = await ask_tokens(row, endpoints, form, trust)
        except WebError:
            interval_s = min(interval_s * 2, MAX_INTERVAL_S)  # RFC 8628 3.5: back off when the connection fails
            continue
        if isinstance(found, Tokens):
            return found
        match found.code:
            case "authorization_pending":
                continue
            case "slow_down":
                interval_s += SLOWER_S  # for this and all later requests
            case "access_denied":
                raise IdentityError(f"the log-in at {row.name} was refused in the browser")
            case "expired_token":
                break
            case _ if found.status >= 500 or found.status == 429:
                interval_s = min(interval_s * 2, MAX_INTERVAL_S)
            case _:
                raise IdentityError(f"the log-in at {row.name} failed ({found.code})")
    raise IdentityError(f"nobody entered the code in time; start again with `tollkeeper login {row.name}`")


def belongs(url: str, row: Issuer) -> bool:
    """Whether an address to send a person to is the issuer's: its host, above or below it, or known for its kind.

    A code that is entered at somebody else's page logs somebody else in (RFC 8628 5.4).
    """
    if check_url(url):
        return False
    host, own = (urlsplit(address).hostname or "" for address in (url, row.issuers[0]))
    if host == own or host in _ELSEWHERE.get(row.kind, ()):
        return True
    shorter = min(host, own, key=len)
    return shorter.count(".") >= 1 and (host.endswith(f".{own}") or own.endswith(f".{host}"))


def _is_plain(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isascii() and value.isprintable()
