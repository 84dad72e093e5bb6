"""``tollkeeper logout``: forget a session here, and end it at its issuer."""

import asyncio

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.identity.config import IdentityConfig
from tollkeeper.identity.desk import Desk, Folder
from tollkeeper.identity.issuer import Issuer
from tollkeeper.identity.local import LoginNote
from tollkeeper.identity.session import Sessions
from tollkeeper.identity.token_store import open_store

from .login import choose, opened


@click.command()
@click.argument("issuer", required=False)
def command(issuer: str | None) -> None:
    """Log out at ISSUER, or everywhere. Proxy passwords that stand for the session end with it."""
    config, folder = opened()
    rows = (choose(config, issuer, folder),) if issuer is not None else config.login_rows
    ended = asyncio.run(_end(config, folder, rows))
    click.echo(f"tollkeeper: logged out of {', '.join(ended)}" if ended else "tollkeeper: nobody was logged in", err=True)


async def _end(config: IdentityConfig, folder: Folder, rows: tuple[Issuer, ...]) -> list[str]:
    desk = Desk(config, folder=folder)
    try:
        sessions = Sessions(open_store(folder.sessions), desk.verifier, folder.sessions, system_clock)
        ended = [row.name for row in rows if await sessions.end(row)]
        issuers = {issuer for row in rows for issuer in row.issuers}
        desk.handles.remove(lambda handle: handle.principal.issuer not in issuers)
        LoginNote(folder.login).remove()
        return ended
    finally:
        await desk.close()
