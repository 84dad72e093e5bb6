"""``tollkeeper whoami``: under whose name calls from here are recorded, how sure that is, and for how long."""

import asyncio
import json
import os
from typing import Any

import click

from tollkeeper.core.clock import US_PER_SECOND, system_clock
from tollkeeper.identity.config import IdentityConfig
from tollkeeper.identity.desk import Desk, Folder
from tollkeeper.identity.here import booked_to, find_here

from .login import lasting, opened, said


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object; holds no token.")
def command(as_json: bool) -> None:
    """Say who you are here: the CI job's identity, else your session, else this machine's login. Exit 4: something is wrong with it."""
    config, folder = opened()
    found = asyncio.run(_find(config, folder))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for line in lines(found):
            click.echo(line)
    raise SystemExit(4 if found["trouble"] else 0)


def lines(found: dict[str, Any]) -> list[str]:
    """The answer for people."""
    shown = [found["said"], *([found["lasting"]] if found["lasting"] else [])]
    if found["source"] == "machine":
        shown.append("nothing proves it: budgets that ask for a verified identity do not accept these calls")
    return [*shown, *(f"! {trouble}" for trouble in found["trouble"])]


async def _find(config: IdentityConfig, folder: Folder) -> dict[str, Any]:
    desk = Desk(config, folder=folder)
    try:
        found = await find_here(config, desk.verifier, folder.sessions, os.environ, system_clock)
    finally:
        await desk.close()
    here = found.here
    principal = here.proof.principal if here is not None else booked_to(config, folder.login, system_clock)
    words = here.told if here is not None else ""
    if here is not None and here.session is not None:
        words = f"{words}; {lasting(here.session, system_clock() // US_PER_SECOND)}"
    return {
        "source": here.source.value if here is not None else "machine",
        "subject": principal.subject,
        "issuer": principal.issuer,
        "assurance": principal.assurance.value,
        "groups": sorted(principal.groups),
        "until": here.until if here is not None else None,
        "said": said(principal),
        "lasting": words,
        "trouble": list(found.trouble),
    }
