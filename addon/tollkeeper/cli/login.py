"""``tollkeeper login``: prove once who you are, at your own identity provider."""

import asyncio
import os
import sys
import webbrowser
from collections.abc import Mapping

import click

from tollkeeper.core.clock import US_PER_SECOND, system_clock
from tollkeeper.core.principal import Principal
from tollkeeper.identity.answers import IdentityError, Proof, Refused
from tollkeeper.identity.config import IdentityConfig, load_identity
from tollkeeper.identity.desk import Desk, Folder
from tollkeeper.identity.issuer import Issuer, Kind
from tollkeeper.identity.local import LoginNote
from tollkeeper.identity.oauth import Tokens, find_endpoints
from tollkeeper.identity.session import Sessions
from tollkeeper.identity.token_store import Session, TokenStore, open_store

from .process import made_home

SAMPLE = "docs/identity.md has a ready [issuer.…] for Access, Okta, Entra, Google and Keycloak"


@click.command()
@click.argument("issuer", required=False)
@click.option("--browser/--device", "in_browser", default=None, help="Open a browser here, or enter a code on any other screen.")
def command(issuer: str | None, in_browser: bool | None) -> None:
    """Log in at an ISSUER of identity.toml. Without a name: at the only one that people can log in at."""
    folder = Folder(made_home().root)
    config = load_identity(folder.document)
    row = choose(config, issuer, folder)
    asyncio.run(_log_in(config, row, folder, in_browser))


def choose(config: IdentityConfig, named: str | None, folder: Folder) -> Issuer:
    """The row to log in at. Raises ``IdentityError`` saying which there are."""
    rows = {row.name: row for row in config.login_rows}
    if named is not None and named in rows:
        return rows[named]
    if not rows:
        raise IdentityError(f"nobody can log in yet: no issuer in {folder.document} has client_id or app_url; {SAMPLE}")
    if named is None and len(rows) == 1:
        return next(iter(rows.values()))
    asked = f'there is no issuer "{named[:64]}" to log in at' if named is not None else "there are several issuers"
    raise IdentityError(f"{asked}; say one of: {', '.join(rows)}")


async def _log_in(config: IdentityConfig, row: Issuer, folder: Folder, in_browser: bool | None) -> None:
    desk = Desk(config, folder=folder)
    try:
        store = open_store(folder.sessions)
        sessions = Sessions(store, desk.verifier, folder.sessions, system_clock)
        if row.kind is Kind.ACCESS:
            session, proof = await _access(desk, row, store)
        else:
            session, proof = await sessions.begin(row, await _tokens(row, in_browser))
        now_s = system_clock() // US_PER_SECOND
        until = max(session.expires_at, now_s + config.handle_s) if session.refresh_token else session.expires_at
        LoginNote(folder.login).write(proof.principal, until)
    finally:
        await desk.close()
    click.echo(f"tollkeeper: {said(proof.principal)}; {lasting(session, now_s)}", err=True)
    if store.notice:
        click.echo(f"tollkeeper: {store.notice}", err=True)


async def _access(desk: Desk, row: Issuer, store: TokenStore) -> tuple[Session, Proof]:
    """Access does its own log-in; what we keep is the application token, to know who it was for."""
    from tollkeeper.identity.cloudflared import access_token

    token = await access_token(row, os.environ, log_in=True)
    found = await desk.verifier.verify(token, "login")
    if isinstance(found, Refused):
        raise IdentityError(f"{row.name} let you in, but {found}")
    session = Session(
        issuer=row.name,
        subject=found.principal.subject,
        token=token,
        expires_at=found.expires_at,
        logged_in_at=system_clock() // US_PER_SECOND,
    )
    await asyncio.to_thread(store.save, session)
    return session, found


async def _tokens(row: Issuer, in_browser: bool | None) -> Tokens:
    from tollkeeper.identity import browser, device

    endpoints = await find_endpoints(row, None)
    if in_browser is None:
        offered = endpoints.authorization_endpoint and (has_screen(os.environ) or not endpoints.device_authorization_endpoint)
        in_browser = bool(offered)
    if in_browser:
        async with browser.listening(row, endpoints) as login:
            click.echo(f"tollkeeper: log in here, if no browser opens:\n  {login.url}", err=True)
            await asyncio.to_thread(webbrowser.open, login.url)
            return await browser.finish(row, endpoints, login)
    code = await device.begin(row, endpoints)
    click.echo(f"tollkeeper: open {code.verification_uri} and enter the code {code.user_code}", err=True)
    if code.verification_uri_complete:
        click.echo(f"  or open {code.verification_uri_complete} and check that it shows this code", err=True)
    return await device.wait(row, endpoints, code)


def has_screen(environ: Mapping[str, str]) -> bool:
    """Whether a browser opened here would be seen: not over SSH, not without a display."""
    if environ.get("SSH_CONNECTION") or environ.get("CI"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") or environ.get("BROWSER"))


def said(principal: Principal) -> str:
    """``ada@example.com (verified by https://…), groups: research``."""
    groups = ", ".join(sorted(principal.groups)[:10])
    return f"{principal.subject} ({principal.assurance} by {principal.issuer})" + (f", groups: {groups}" if groups else "")


def lasting(session: Session, now_s: int) -> str:
    """How long a session lasts, in words; a clear one when it is about to end."""
    minutes = max(0, session.expires_at - now_s) // 60
    left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    if session.refresh_token:
        return f"renewed by itself every {left}, until the issuer ends the session"
    return f"ends in {left}" + ("; log in again soon: tollkeeper login" if minutes < 15 else "")


def opened() -> tuple[IdentityConfig, Folder]:
    """The configuration and folder of this user, for the verbs beside this one."""
    folder = Folder(made_home().root)
    return load_identity(folder.document), folder
