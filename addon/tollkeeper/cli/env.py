"""``tollkeeper env``: what a shell, a container or a CI job needs to use the running proxy."""

import os
import sys
from typing import Any

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import GateError
from tollkeeper.core.paths import home
from tollkeeper.gate.environment import ACTIVE, SAVED, client_variables, replaced, restored
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.gate.shells import FILES, SHELLS, shell_exports, shell_of, shell_unsets

from .process import proxy_url, read_state
from .proved import proved_here

USE = {
    "fish": "tollkeeper env | source",
    "pwsh": "tollkeeper env --shell pwsh | Out-String | Invoke-Expression",
    "nu": "tollkeeper env --shell nu | from json | load-env",
    "dotenv": "tollkeeper env --shell dotenv > .env.tollkeeper",
    "docker": "docker run --network host --env-file <(tollkeeper env --shell docker) …",
    "github": 'tollkeeper env --shell github >> "$GITHUB_ENV"',
}
"""How each format is used; the rest: ``eval "$(tollkeeper env)"``."""


@click.command()
@click.option("--shell", type=click.Choice(SHELLS), help="Syntax to write [default: the shell in $SHELL].")
@click.option("--unset", is_flag=True, help="Take the variables back, and restore what they replaced.")
def command(shell: str | None, unset: bool) -> None:
    """Print the variables that send this shell's AI calls through the running proxy.

    \b
    eval "$(tollkeeper env)"           use it from here on
    eval "$(tollkeeper env --unset)"   no longer
    """  # noqa: D301 — click's mark is the character itself
    chosen = shell or shell_of(os.environ.get("SHELL", ""))
    if unset:
        before, gone = restored(os.environ)
        if gone:
            click.echo((shell_exports(before, chosen) if before else "") + shell_unsets(gone, chosen), nl=False)
        else:
            click.echo("tollkeeper: this shell uses no proxy of ours, nothing to take back", err=True)
        return
    state = read_state()
    if state is None:
        raise GateError(
            f"no proxy is running (looked at {home().state}): start one with `tollkeeper start`, "
            "or meter a single command with `tollkeeper run -- CMD`"
        )
    bundle, root = home().ca / BUNDLE, home().ca / ROOT_CERTIFICATE
    for file in (bundle, root):
        if not file.is_file():
            raise GateError(f"{file} is missing: `tollkeeper stop` and `tollkeeper start` write it again")
    variables = client_variables(proxy_url(_with_handle(state)), bundle, root, os.environ)
    if chosen not in FILES:
        variables[SAVED] = replaced(os.environ)
    click.echo(shell_exports(variables, chosen), nl=False)
    if sys.stdout.isatty():
        click.echo(f"# use it: {USE.get(chosen, 'eval "$(tollkeeper env)"')}", err=True)
    elif os.environ.get(ACTIVE):
        click.echo("tollkeeper: this shell already used a proxy; now it uses the one that is running", err=True)


def _with_handle(state: dict[str, Any]) -> dict[str, Any]:
    """The running proxy with a password of this shell's own, where somebody is logged in: it stands for them until the session ends."""
    here = proved_here(home().root, quiet=True)
    if here is None:
        return state
    from tollkeeper.identity.desk import Folder
    from tollkeeper.identity.handles import HandleBook, mint

    login, handle = mint(here.proof.principal, uid=os.getuid(), expires_at=here.until, label="env")
    HandleBook(Folder(home().root).handles, system_clock).add(handle)
    return {**state, "proxy_user": login.user, "proxy_password": login.password}
