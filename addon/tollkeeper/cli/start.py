"""``tollkeeper start``: the proxy for this machine, in the background or in this terminal."""

import click

from tollkeeper.core.errors import GateError
from tollkeeper.gate.access import new_credential
from tollkeeper.proxy.settings import DEFAULT_PORT, Settings

from .process import become, made_home, proxy_url, read_state, spawn

USE = 'eval "$(tollkeeper env)"'


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback needs --auth.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False), help="Policy document [default: policy.toml of the home]."
)
@click.option("--auth/--no-auth", default=False, help="Ask clients for a proxy password; `tollkeeper env` knows it.")
@click.option("--foreground", is_flag=True, help="Stay in this terminal until Ctrl-C.")
@click.option("--drain-seconds", default=20.0, show_default=True, help="How long open streams may go on after a stop.")
def command(host: str, port: int, policy: str | None, auth: bool, foreground: bool, drain_seconds: float) -> None:
    """Start the proxy. Point tools at it with `eval "$(tollkeeper env)"`, or use `tollkeeper run`."""
    own = made_home()
    if (running := read_state()) is not None:
        raise GateError(f"already running on {proxy_url(running)} (pid {running['pid']}); `tollkeeper stop` ends it")
    settings = Settings(
        host=host,
        port=port,
        policy=policy or "",
        credentials=dict([new_credential()]) if auth else {},
        drain_seconds=drain_seconds,
    )
    if foreground:
        click.echo(f"tollkeeper: starting; when it serves, use it from another terminal: {USE}", err=True)
        become(settings)
    _, state = spawn(settings, log=own.log)
    click.echo(f"tollkeeper: metering on {state['host']}:{state['port']} ({_mode_words(state['mode'])})", err=True)
    click.echo(f"use it: {USE}    stop it: tollkeeper stop", err=True)


def _mode_words(mode: str) -> str:
    return "observe: nothing is blocked" if mode == "observe" else "enforce"
