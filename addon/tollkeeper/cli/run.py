"""``tollkeeper run -- CMD…``: one command, metered, nothing else on the machine touched."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.ids import new_id
from tollkeeper.core.paths import home
from tollkeeper.gate.access import new_credential
from tollkeeper.gate.environment import client_environment
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.proxy.settings import Settings

from .process import chained, made_home, proxy_url, spawn
from .proved import settings_of

OWN_FAILURE, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes of a launcher, as ``env`` and ``docker run`` use them; every other code is the child's."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--policy", type=click.Path(exists=True, dir_okay=False), help="Policy document for this run.")
@click.option("--project", help="Name to record [default: the git repository's folder].")
@click.option("--upstream-proxy", help="Proxy to go through; `none` for none.  [HTTPS_PROXY of this shell]")
@click.option("--quiet", "-q", is_flag=True, help="No narration, no summary.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def command(policy: str | None, project: str | None, upstream_proxy: str | None, quiet: bool, arguments: tuple[str, ...]) -> None:
    """Run a command with its AI calls metered. Ends with the command's exit code and a summary on stderr.

    Examples: tollkeeper run -- claude, or: tollkeeper run --policy team.toml -- python agent.py
    """
    if os.environ.get("TOLLKEEPER_ACTIVE") and not quiet:
        click.echo("tollkeeper: already inside a metered run; this command's calls are recorded by its own proxy only", err=True)
    started_at = system_clock()
    session = new_id(started_at)
    try:
        code = _run(arguments, policy or "", _project(project), session, upstream_proxy, quiet=quiet)
    except TollkeeperError as error:
        click.echo(f"tollkeeper: {error}", err=True)
        sys.exit(OWN_FAILURE)
    if not quiet:
        _summarise(session, started_at)
    sys.exit(code)


def _run(arguments: Sequence[str], policy: str, project: str, session: str, upstream_proxy: str | None, *, quiet: bool) -> int:
    own = made_home()
    _remove_left(own.root)
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=own.root) as folder:
        through, no_proxy = chained(upstream_proxy)
        settings = Settings(
            port=0,
            upstream_proxy=through,
            no_proxy=no_proxy,
            policy=policy,
            state=str(Path(folder) / "proxy.json"),
            bundle=str(Path(folder) / BUNDLE),
            project=project,
            session=session,
            credentials=dict([new_credential()]),
            parent=os.getpid(),
            **settings_of(own.root, quiet=quiet),
        )
        proxy, state = spawn(settings, log=own.log)
        try:
            if not quiet:
                mode = "nothing is blocked" if state["mode"] == "observe" else "budgets are enforced"
                click.echo(f"tollkeeper: metering AI calls on {state['host']}:{state['port']} ({mode})", err=True)
            environment = client_environment(proxy_url(state), settings.bundle_path, own.ca / ROOT_CERTIFICATE, os.environ)
            return _run_child(arguments, environment)
        finally:
            proxy.send_signal(signal.SIGTERM)
            try:
                proxy.wait(timeout=settings.drain_seconds + 10)
            except subprocess.TimeoutExpired:
                proxy.kill()
                proxy.wait()
            if proxy.returncode:
                message = f"the proxy broke down (exit code {proxy.returncode}): calls may have failed, or count at what was held"
                click.echo(f"tollkeeper: {message}; its log is {own.log}", err=True)


def _remove_left(root: Path) -> None:
    """Remove the folders of runs that were killed."""
    for folder in root.glob("run-*-*"):
        process = folder.name.split("-")[1]
        if process.isdigit():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)
            except (OSError, OverflowError):
                continue


def _run_child(arguments: Sequence[str], environment: dict[str, str]) -> int:
    """Run the command with our signals passed on; its exit code, 128 + n when signal n ended it."""
    try:
        child = subprocess.Popen(list(arguments), env=environment)
    except FileNotFoundError:
        click.echo(f"tollkeeper: {arguments[0]}: command not found", err=True)
        return NOT_FOUND
    except OSError as error:
        click.echo(f"tollkeeper: {arguments[0]}: {error.strerror}", err=True)
        return NOT_EXECUTABLE

    def pass_on(number: int, _frame: object) -> None:
        child.send_signal(number)

    # Ctrl-C reaches the child from the terminal itself; we only must outlive it to settle and report.
    previous = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        previous[number] = signal.signal(number, pass_on)
    try:
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _project(named: str | None) -> str:
    """The project's name: as said, else the folder of the git repository we are in, else empty."""
    if named is not None:
        return named
    try:
        here = Path.cwd()
    except OSError:  # the folder was removed under our feet
        return ""
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            return folder.name
    return ""


def _summarise(session: str, started_at: int) -> None:
    from tollkeeper.report.summary import summary_lines

    for line in summary_lines(home().ledger, since=started_at, session=session):
        click.echo(f"tollkeeper: {line}", err=True)
