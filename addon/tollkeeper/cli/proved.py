"""Who starts a command here, for ``run`` and ``env``: proved now, so that a proxy password may stand for it afterwards."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.identity.job_place import job_place


def settings_of(root: Path, *, quiet: bool = False) -> dict[str, Any]:
    """What ``Settings`` takes of a proved identity: nothing where identity.toml is not there, or nobody is logged in.

    Raises ``ConfigError`` when the document is wrong.
    """
    here = proved_here(root, quiet=quiet)
    if here is None:
        return {}
    principal, job = here.proof.principal, job_place(here.proof.evidence)
    return {
        "principal": {
            "subject": principal.subject,
            "issuer": principal.issuer,
            "channel": principal.channel,
            "assurance": principal.assurance.value,
        },
        "groups": tuple(sorted(principal.groups)),
        "until": here.until,
        "branch": job.branch,
        "run": job.run,
        "labels": dict(job.labels),
    }


def proved_here(root: Path, *, quiet: bool = False) -> Any:
    """The ``Here`` of this shell or job, None where nothing proves one. What went wrong on the way is told on stderr."""
    from tollkeeper.identity.desk import Desk, Folder

    folder = Folder(root)
    if not folder.document.exists():
        return None
    from tollkeeper.identity.config import load_identity
    from tollkeeper.identity.here import find_here

    async def find() -> Any:
        desk = Desk(load_identity(folder.document), folder=folder)
        try:
            return await find_here(desk.config, desk.verifier, folder.sessions, os.environ, system_clock)
        finally:
            await desk.close()

    found = asyncio.run(find())
    if not quiet:
        for trouble in found.trouble:
            click.echo(f"tollkeeper: {trouble}", err=True)
        if found.here is None:
            click.echo("tollkeeper: nobody is logged in (tollkeeper login): calls count under this machine's own login", err=True)
    return found.here
