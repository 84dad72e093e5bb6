"""Access on a laptop: ``cloudflared`` logs in and keeps the token; we ask it for one.

https://developers.cloudflare.com/cloudflare-one/tutorials/cli/
"""

import shutil
from collections.abc import Mapping

from tollkeeper.gate.environment import environment_before

from .answers import IdentityError
from .helpers import printed
from .issuer import Issuer
from .token import looks_like_token

COMMAND = "cloudflared"
TOKEN_S = 20.0
LOGIN_S = 600.0


def installed(environ: Mapping[str, str]) -> str | None:
    """The path of ``cloudflared``, None when it is not installed."""
    return shutil.which(COMMAND, path=environ.get("PATH"))


async def access_token(row: Issuer, environ: Mapping[str, str], *, log_in: bool = False) -> str:
    """The application token of the person who is logged in. With ``log_in`` a browser opens when nobody is.

    Raises ``IdentityError`` when it is not installed, not configured, or nobody is logged in.
    """
    url = row.client.app_url if row.client is not None else ""
    if not url:
        raise IdentityError(f'add app_url = "https://…", the protected application, to [issuer.{row.name}] in identity.toml')
    command = installed(environ)
    if command is None:
        raise IdentityError("cloudflared is not installed; it does the log-in at Cloudflare Access")
    # Through our own proxy it would ask for an identity to get an identity.
    own = environment_before(environ)
    token = await _run([command, "access", "token", f"-app={url}"], own, TOKEN_S)
    if not looks_like_token(token) and log_in:
        await _run([command, "access", "login", "--quiet", url], own, LOGIN_S)
        token = await _run([command, "access", "token", f"-app={url}"], own, TOKEN_S)
    if not looks_like_token(token):
        raise IdentityError(
            f"nobody is logged in at {row.name}: `tollkeeper login {row.name}`, or cloudflared access login {url}"
        )
    return token


async def _run(arguments: list[str], environ: Mapping[str, str], timeout_s: float) -> str:
    try:
        return await printed(arguments, environ, timeout_s)
    except TimeoutError:
        raise IdentityError(f"cloudflared did not answer within {timeout_s:g} s") from None
