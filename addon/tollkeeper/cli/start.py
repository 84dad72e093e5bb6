"""``tollkeeper start``: the proxy for this machine, in the background or in this terminal."""

from pathlib import Path

import click

from tollkeeper.core.errors import GateError
from tollkeeper.gate.access import new_credential
from tollkeeper.gate.password_file import read_credentials
from tollkeeper.proxy.egress import checked_patterns
from tollkeeper.proxy.modes import transparent_addresses
from tollkeeper.proxy.settings import DEFAULT_PORT, Settings

from .process import become, chained, has_ipv6, made_home, proxy_url, read_state, spawn

MODES = ("regular", "transparent", "reverse")
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
@click.option("--auth-file", type=click.Path(exists=True, dir_okay=False), help="The passwords instead: lines of user:password.")
@click.option(
    "--publish", type=click.Path(file_okay=False), help="Folder for the root certificate and the bundle, readable by all."
)
@click.option(
    "--mode", type=click.Choice(MODES), default=MODES[0], show_default=True, help="How traffic comes in (docs/transparent.md)."
)
@click.option(
    "--transparent-host", "transparent_hosts", multiple=True, help="Address of the transparent listener.  [127.0.0.1 and ::1]"
)
@click.option("--transparent-port", type=click.IntRange(1, 65535), default=8878, show_default=True, help="Its port.")
@click.option(
    "--strict", is_flag=True, help="A sidecar's rules: names decide where connections go, only public addresses are dialled."
)
@click.option(
    "--others", type=click.Choice(["tunnel", "refuse"]), help="What is no AI host.  [the policy's [egress], else tunnel]"
)
@click.option("--allow-host", "allow", multiple=True, help="With --others refuse: let this host through; may be repeated.")
@click.option("--internal-host", "internal", multiple=True, help="A host that may have a private address; may be repeated.")
@click.option("--upstream-proxy", help="Proxy to go through; `none` for none.  [HTTPS_PROXY of this shell]")
@click.option("--foreground", is_flag=True, help="Stay in this terminal until Ctrl-C.")
@click.option("--drain-seconds", default=20.0, show_default=True, help="How long open streams may go on after a stop.")
def command(
    host: str,
    port: int,
    policy: str | None,
    auth: bool,
    auth_file: str | None,
    publish: str | None,
    mode: str,
    transparent_hosts: tuple[str, ...],
    transparent_port: int,
    strict: bool,
    others: str | None,
    allow: tuple[str, ...],
    internal: tuple[str, ...],
    upstream_proxy: str | None,
    foreground: bool,
    drain_seconds: float,
) -> None:
    """Start the proxy. Point tools at it with `eval "$(tollkeeper env)"`, or use `tollkeeper run`."""
    own = made_home()
    if (running := read_state()) is not None:
        raise GateError(f"already running on {proxy_url(running)} (pid {running['pid']}); `tollkeeper stop` ends it")
    through, no_proxy = chained(upstream_proxy)
    settings = Settings(
        mode=mode,
        transparent_hosts=transparent_addresses(transparent_hosts, has_ipv6=has_ipv6()) if mode == "transparent" else (),
        transparent_port=transparent_port,
        strict=strict,
        others=others or "",
        allow=checked_patterns(allow, "--allow-host"),
        internal=checked_patterns(internal, "--internal-host"),
        upstream_proxy=through,
        no_proxy=no_proxy,
        host=host,
        port=port,
        policy=policy or "",
        credentials=read_credentials(Path(auth_file)) if auth_file else dict([new_credential()]) if auth else {},
        publish=str(Path(publish).absolute()) if publish else "",
        drain_seconds=drain_seconds,
    )
    if foreground:
        click.echo(f"tollkeeper: starting; when it serves, use it from another terminal: {USE}", err=True)
        become(settings)
    _, state = spawn(settings, log=own.log)
    click.echo(f"tollkeeper: metering on {state['host']}:{state['port']} ({_mode_words(state['mode'])})", err=True)
    if mode == "transparent":
        click.echo(f"transparent on port {transparent_port}; send connections there: tollkeeper transparent up --help", err=True)
    if state.get("upstream_proxy"):
        click.echo(f"behind {state['upstream_proxy']}", err=True)
    click.echo(f"use it: {USE}    stop it: tollkeeper stop", err=True)


def _mode_words(mode: str) -> str:
    return "observe: nothing is blocked" if mode == "observe" else "enforce"
