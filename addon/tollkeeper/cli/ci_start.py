"""``tollkeeper ci start``: the sidecar of this job, before its first call."""

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import ConfigError, GateError, SetupError, TollkeeperError
from tollkeeper.core.ids import new_id
from tollkeeper.core.paths import Home
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.core.resources import data
from tollkeeper.gate import firewall
from tollkeeper.gate.environment import client_variables
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.gate.firewall import Place, Rules
from tollkeeper.gate.shells import shell_exports
from tollkeeper.proxy.egress import checked_patterns
from tollkeeper.proxy.modes import transparent_addresses
from tollkeeper.proxy.settings import DEFAULT_PORT, Settings

from .ci_files import append, read_document
from .ci_job import Job, job_of
from .ci_settle import COPY, SETTLED
from .ci_state import FOLDER_VARIABLE, STATE, STEPS, CiState, changeable_program, ci_home, public_folder, replaceable_parent
from .process import chained, has_ipv6, proxy_url, read_state, spawn
from .transparent import Host, chosen_tool, dns_of, put_up, user_id, users_of

AUDIENCE = "tollkeeper"
IN_REPOSITORY = Path(".tollkeeper")
DOCUMENTS = ("policy.toml", "prices.toml", "hosts.toml", "identity.toml")
"""Taken from there into the state folder when the job starts: what the job changes later has no effect."""
ENVIRONMENT_CHANNEL = "ci-environment"
END_SECONDS = 10.0


@click.command()
@click.option("--policy", type=click.Path(exists=True, dir_okay=False), help="Policy.  [.tollkeeper/policy.toml, else ci.toml]")
@click.option(
    "--ledger", type=click.Path(dir_okay=False), help="Ledger, on a volume that outlives the job.  [in the state folder]"
)
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--lock", is_flag=True, help="Catch all connections of the job's user and refuse every other way out (needs root).")
@click.option(
    "--job-user",
    "job_users",
    multiple=True,
    help="With --lock: whose connections (name, number, range of numbers).  [$SUDO_USER]",
)
@click.option("--proxy-user", help="With --lock: a user of its own for the proxy, and for nothing else.  [tollkeeper]")
@click.option("--any-installation", is_flag=True, help="With --lock: start although others than root could change this program.")
@click.option(
    "--others",
    type=click.Choice(["tunnel", "refuse"]),
    help="What is no AI host.  [refuse with --lock --allow-host, else tunnel]",
)
@click.option("--allow-host", "allow", multiple=True, help="A host the job may reach besides AI hosts; may be repeated.")
@click.option("--allow-port", "ports", multiple=True, help="With --lock: let a port through untouched, like tcp:22.")
@click.option("--dns", multiple=True, help="With --lock: a resolver that the job may ask, or `any`.  [those of resolv.conf]")
@click.option("--internal-host", "internal", multiple=True, help="A host that may have a private address; may be repeated.")
@click.option("--upstream-proxy", help="Proxy to go through; `none` for none.  [HTTPS_PROXY]")
@click.option("--audience", default=AUDIENCE, show_default=True, help="Audience to ask the platform's identity token for.")
@click.option("--require-identity", is_flag=True, help="Do not start unless the job's own token proves who it is.")
@click.option(
    "--settle-script", type=click.Path(dir_okay=False), help="With --lock: write the one command that the job may run as root."
)
@click.option(
    "--shell",
    type=click.Choice(["bash", "github", "dotenv"]),
    help="How to print the variables.  [github: appended to GITHUB_ENV]",
)
def command(
    policy: str | None,
    ledger: str | None,
    port: int,
    lock: bool,
    job_users: tuple[str, ...],
    proxy_user: str | None,
    any_installation: bool,
    others: str | None,
    allow: tuple[str, ...],
    ports: tuple[str, ...],
    dns: tuple[str, ...],
    internal: tuple[str, ...],
    upstream_proxy: str | None,
    audience: str,
    require_identity: bool,
    settle_script: str | None,
    shell: str | None,
) -> None:
    """Start the sidecar of this CI job and print the variables its steps need.

    Examples: eval "$(tollkeeper ci start)", or on GitHub: sudo -E tollkeeper ci start --lock
    """
    root, public = ci_home(os.environ, locked=lock), public_folder(os.environ, locked=lock)
    os.environ["TOLLKEEPER_HOME"] = str(root)
    owner = user_id(proxy_user or "tollkeeper") if lock else None
    if owner is not None:
        _check_lock(root, public, ledger, owner, any_installation=any_installation)
    if (running := read_state()) is not None:
        raise GateError(f"already started (pid {running['pid']}); `tollkeeper ci finish` ends it")
    if (job_users or proxy_user or ports or dns) and not lock:
        raise ConfigError("--job-user, --proxy-user, --allow-port and --dns only mean something with --lock")
    _make_folders(root, public, Path(policy) if policy else None, owner)
    job, now = job_of(os.environ), system_clock()
    principal = asyncio.run(job_principal(job, root, audience, required=require_identity))
    through, no_proxy = chained(upstream_proxy)
    settings = Settings(
        port=port,
        policy=str(root / "policy.toml"),
        ledger=str(Path(ledger).absolute()) if ledger else "",
        session=new_id(now),
        **_whose(job, principal),
        groups=tuple(sorted(principal.groups)),
        mode="transparent" if lock else "regular",
        transparent_hosts=transparent_addresses((), has_ipv6=has_ipv6()) if lock else (),
        strict=lock,
        others=others or ("refuse" if lock and allow else ""),
        allow=checked_patterns(allow, "--allow-host"),
        internal=checked_patterns(internal, "--internal-host"),
        upstream_proxy=through,
        no_proxy=no_proxy,
        ephemeral=True,
        watch_policy=False,
    )  # fmt: skip
    rules = _rules(settings, owner, job_users, ports, dns) if owner is not None else None
    if owner is not None:
        _give(root, owner)
    process, state = spawn(settings, log=Home(root).log, user=owner)
    try:
        if rules is not None:
            put_up(Host(), chosen_tool(None), rules)
        _publish(settings, public)
        if settle_script:
            _write_settle_script(Path(settle_script), root, public)
        _state_of(job, principal, settings, state, now, settle_script or "").write(public)
        _export(client_variables(proxy_url(state), public / BUNDLE, public / ROOT_CERTIFICATE, os.environ), public, shell)
    except BaseException:
        _take_back(process, public)
        raise
    _tell(job, principal, state, locked=lock)


def _take_back(process: subprocess.Popen[bytes], public: Path) -> None:
    """No job was started after all: end the sidecar, and leave nothing that says otherwise. Rules of a lock stay: it fails closed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(OSError):
        (public / STATE).unlink(missing_ok=True)


def _check_lock(root: Path, public: Path, ledger: str | None, owner: int, *, any_installation: bool) -> None:
    """Raises ``SetupError`` when the job could put something else in the place of what root or the sidecar uses."""
    if not any_installation and (part := changeable_program()) is not None:
        raise SetupError(
            f"--lock: others than root could change the program ({part}): install it as root with the system's own Python, or say "
            "--any-installation if the job's user is not who could"
        )
    _check_place(root, public)
    if ledger:
        _check_place(Path(ledger), owner=owner)


def _check_place(*paths: Path, owner: int = 0) -> None:
    for path in paths:
        if (parent := replaceable_parent(path, owner)) is not None:
            remedy = "give the folder to the proxy's user" if owner else "leave TOLLKEEPER_HOME unset"
            raise SetupError(f"--lock: {path} stands below {parent}, where others than root could replace it; {remedy}")


def _whose(job: Job, principal: Principal) -> dict[str, Any]:
    """The settings that say where the calls come from and who pays."""
    told = {"subject": principal.subject, "issuer": principal.issuer, "channel": principal.channel}
    return {
        "project": job.repository,
        "branch": job.branch,
        "run": job.run_key,
        "labels": job.labels,
        "principal": {**told, "assurance": principal.assurance.value},
    }


def _state_of(job: Job, principal: Principal, settings: Settings, state: dict[str, Any], now: int, settle_script: str) -> CiState:
    return CiState(
        job={name: value for name, value in asdict(job).items() if value},
        session=settings.session,
        started_at=now,
        principal=principal.subject,
        assurance=principal.assurance.value,
        locked=settings.strict,
        pid=state["pid"],
        home=str(settings.home.root),
        host=str(state["host"]),
        port=int(state["port"]),
        transparent_port=settings.transparent_port if settings.strict else 0,
        strict=settings.strict,
        settle_script=settle_script,
        ledger=settings.ledger,
    )


async def job_principal(job: Job, root: Path, audience: str, *, required: bool) -> Principal:
    """Who this job is: proved by its platform's token where identity.toml knows the issuer, else as its environment says, marked so.

    Raises ``SetupError`` when a proof is required and there is none, or a token is there and wrong: it never becomes a weaker identity.
    """
    from tollkeeper.identity.answers import IdentityError, Refused
    from tollkeeper.identity.desk import Desk
    from tollkeeper.identity.job_token import job_token

    claimed = Principal(subject=job.subject, issuer="environment", channel=ENVIRONMENT_CHANNEL, assurance=Assurance.CLAIMED)
    desk = Desk.open(root)
    try:
        if not desk.config.issuers:
            if required:
                raise SetupError(
                    f"--require-identity: no issuer is configured; write {root / 'identity.toml'} (docs/identity.md)"
                )
            return claimed
        try:
            token = await job_token(os.environ, audience)
        except IdentityError as error:
            if required:
                raise SetupError(f"--require-identity: {error}") from error
            click.echo(f"tollkeeper: {error}; calls are recorded under {claimed.subject}, unproved", err=True)
            return claimed
        if token is None:
            if required:
                raise SetupError("--require-identity: this job has no identity token")
            return claimed
        found = await desk.verifier.verify(token.token, "ci-token")
        if isinstance(found, Refused):
            raise SetupError(
                f"the token of {token.source} is refused: {found.reason}{f'; {found.remedy}' if found.remedy else ''}"
            )
        return found.principal
    finally:
        await desk.close()


def _make_folders(root: Path, public: Path, policy: Path | None, owner: int | None) -> None:
    """The private folder, for the proxy's user alone, with the documents in force; and the public one. Raises ``SetupError``."""
    if owner is not None and os.geteuid() != 0:
        raise SetupError("--lock sets packet rules and runs the proxy as a user of its own: start it with sudo -E")
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        public.mkdir(parents=True, exist_ok=True, mode=0o755)
        public.chmod(0o755)
        for name in (STEPS, SETTLED, COPY):  # of an earlier job
            (public / name).unlink(missing_ok=True)
        (public / STEPS).touch()
        (public / STEPS).chmod(0o666)
        documents = {name: found for name in DOCUMENTS if (found := read_document(IN_REPOSITORY, name)) is not None}
        for name, found in documents.items():
            (root / name).write_bytes(found)
        if policy is not None or "policy.toml" not in documents:
            shutil.copyfile(policy or data("policies") / "ci.toml", root / "policy.toml")
    except OSError as error:
        raise SetupError(
            f"{error.filename or root} cannot be made ({error.strerror}): choose another place with TOLLKEEPER_HOME"
        ) from error


def _give(root: Path, owner: int) -> None:
    """The state folder and all that was made in it so far belong to the proxy's user."""
    for path in (root, *root.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)


def _rules(settings: Settings, owner: int, job_users: tuple[str, ...], ports: tuple[str, ...], dns: tuple[str, ...]) -> Rules:
    named = job_users or tuple(filter(None, (os.environ.get("SUDO_USER"),)))
    if not named:
        raise ConfigError("--lock: whose connections are to be caught? Name the job's user with --job-user")
    uids, ranges = users_of(named, Host())
    if 0 in uids:
        raise ConfigError(
            "--lock cannot hold root: the job's user must be another one, without sudo (`tollkeeper ci verify` checks it)"
        )
    chosen_tool(None)
    rules = Rules(
        place=Place.OWNER,
        port=settings.transparent_port,
        proxy_uid=owner,
        uids=uids,
        ranges=ranges,
        dns=dns_of(dns, Host(), everywhere=False),
        lock=True,
        allow=ports,
    )
    return firewall.checked(rules)


def _publish(settings: Settings, public: Path) -> None:
    """Copy what is no secret to where every step can read it: the root certificate, and the bundle with it."""
    for source, name in ((settings.bundle_path, BUNDLE), (settings.home.ca / ROOT_CERTIFICATE, ROOT_CERTIFICATE)):
        shutil.copyfile(source, public / name)
        (public / name).chmod(0o644)


def _write_settle_script(path: Path, root: Path, public: Path) -> None:
    """A script of root's that takes nothing from whoever calls it: no option, no variable, no folder of theirs."""
    if (parent := replaceable_parent(path)) is not None:
        raise SetupError(
            f"--settle-script {path} stands below {parent}, where others than root could replace it; use /usr/local/sbin"
        )
    quoted = " ".join(
        shlex.quote(word) for word in (sys.executable, "-I", "-c", "from tollkeeper.cli.main import main; main()", "ci", "settle")
    )
    variables = f"TOLLKEEPER_HOME={shlex.quote(str(root))} {FOLDER_VARIABLE}={shlex.quote(str(public))}"
    path.write_text(f"#!/bin/sh\ncd /\nexec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin {variables} {quoted}\n")
    path.chmod(0o755)


def _tell(job: Job, principal: Principal, state: dict[str, object], *, locked: bool) -> None:
    proved = "proved" if principal.assurance is Assurance.VERIFIED else "not proved"
    click.echo(
        f"tollkeeper: metering {job.platform} job on {state['host']}:{state['port']} as {principal.subject} ({proved})", err=True
    )
    if locked:
        click.echo(
            "tollkeeper: the job's user has no other way out; prove it from inside the job: tollkeeper ci verify", err=True
        )


def _export(variables: dict[str, str], public: Path, shell: str | None) -> None:
    variables = {**variables, FOLDER_VARIABLE: str(public), "TOLLKEEPER_HOME": os.environ["TOLLKEEPER_HOME"]}
    target = os.environ.get("GITHUB_ENV")
    if shell is None and target:
        try:
            append(Path(target), shell_exports(variables, "github"))
        except OSError as error:
            raise TollkeeperError(f"GITHUB_ENV ({target}) cannot be written: {error.strerror}") from error
        return
    click.echo(shell_exports(variables, shell or "bash"), nl=False)
