"""The proxy process: CA, stages, mitmproxy's ``Master`` with four core addons and ours, until a signal; then a clean drain."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mitmproxy import options
from mitmproxy.addons import core, errorcheck, next_layer, proxyserver, tlsconfig

from tollkeeper import __version__
from tollkeeper.core.call import Attribution
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import GateError
from tollkeeper.gate.access import check_listener
from tollkeeper.gate.bundle import upstream_bundle, write_bundle
from tollkeeper.gate.ca import EPHEMERAL_DAYS, Authority, ensure_ca
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.ledger.process import this_process
from tollkeeper.policy.document import OBSERVE_ALL
from tollkeeper.policy.model import Policy

from . import handler, limits, repairs, trim
from .alerts import Alerts
from .chain import parse_upstream
from .dial import Dialer
from .dispatch import SidecarMaster
from .door import Door
from .entrance import Entrance
from .hooks import Hooks
from .listener import check_free, sole
from .modes import Mode, listeners
from .options import LOCKED, OptionsGuard, weakened
from .plain_through import PlainThrough
from .progress import open_calls
from .reload import Reload
from .resolve import VARIABLE, parse_pins
from .settings import Settings
from .slack import Slack
from .stages import Stages, open_stages

logger = logging.getLogger("tollkeeper")

FIRST_START = "first start"


def prepare_trust(settings: Settings, stages: Stages) -> Authority:
    """Make or check the CA, and write the two bundles: what clients trust, and what we trust upstream."""
    folder = settings.home.ca
    lifetime = {"lifetime_days": EPHEMERAL_DAYS} if settings.ephemeral else {}
    authority = ensure_ca(folder, stages.hosts.permitted_names(), system_clock(), **lifetime)
    if authority.renewed and authority.renewed != FIRST_START:
        logger.warning("the CA was made anew: %s; restart clients that have loaded the old one", authority.renewed)
    write_bundle(settings.bundle_path, authority.root_certificate)
    if settings.publish:
        publish(Path(settings.publish), {BUNDLE: settings.bundle_path, ROOT_CERTIFICATE: folder / ROOT_CERTIFICATE})
    for left in folder.glob("upstream-*.pem"):
        if not _is_running(left.stem.partition("-")[2]):
            left.unlink(missing_ok=True)  # of a process that was killed
    upstream_bundle(settings.upstream_path)
    return authority


def publish(folder: Path, files: Mapping[str, Path]) -> None:
    """Copy what is no secret to where other users may read it. Raises ``GateError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in files.items():
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(source.read_bytes())
            temporary.chmod(0o644)
            temporary.replace(folder / name)
    except OSError as error:
        raise GateError(
            f"the root certificate cannot be published in {folder} ({error.strerror}): give the proxy that folder"
        ) from error


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


def master_options(settings: Settings, authority: Authority) -> options.Options:
    """mitmproxy's options for this process; the locked ones are set by ``build`` once their addons have declared them."""
    return options.Options(
        confdir=str(authority.confdir),
        listen_host=settings.host,
        listen_port=settings.port,
        mode=listeners(Mode(settings.mode), settings.port, settings.transparent_hosts, settings.transparent_port),
        ssl_verify_upstream_trusted_ca=str(settings.upstream_path),
    )


def build(settings: Settings, stages: Stages, authority: Authority) -> tuple[SidecarMaster, Hooks]:
    """The master with its addons. Raises ``GateError`` when an option would open a hole."""
    repairs.apply()
    handler.install()
    trim.install()
    limits.cap_bodies()
    master = SidecarMaster(master_options(settings, authority))
    pins = parse_pins(os.environ.get(VARIABLE, ""))
    through = parse_upstream(settings.upstream_proxy, settings.no_proxy) if settings.upstream_proxy else None
    door = Door(
        stages,
        credentials=settings.credentials,
        egress=settings.egress,
        until=settings.until,
        is_shared=not settings.parent,
    )
    master.dialer = Dialer(check=door.check_address, proxy=through, pins=pins, trust=str(settings.upstream_path))
    hooks = Hooks(stages, door, drain_seconds=settings.drain_seconds, status=lambda: describe(settings, stages, hooks, master))
    most = limits.connection_limit(limits.raise_descriptor_limit())
    master.addons.add(core.Core(), proxyserver.Proxyserver(), limits.Limits(stages.counters, most=most), door)
    master.addons.add(Entrance(door, Mode(settings.mode)), next_layer.NextLayer(), tlsconfig.TlsConfig(), hooks)
    master.addons.add(Alerts(stages), Slack())
    if settings.watch_policy:
        master.addons.add(Reload(stages, Path(settings.policy) if settings.policy else settings.home.policy))
    if through is not None:
        master.addons.add(PlainThrough(through, stages.counters))
    master.options.update(**LOCKED)
    if reason := weakened(master.options):
        raise GateError(reason)
    master.addons.add(OptionsGuard(), errorcheck.ErrorCheck(repeat_errors_on_stderr=True))
    return master, hooks


def describe(settings: Settings, stages: Stages, hooks: Hooks, master: SidecarMaster) -> dict[str, Any]:
    """What the process says of itself: for ``status``, ``env`` and ``doctor``."""
    server, egress = master.addons.get("proxyserver"), settings.egress.under(stages.policy)
    address = next(iter(server.listen_addrs()), (settings.host, settings.port)) if server else (settings.host, settings.port)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "process": this_process(),
        "host": address[0],
        "port": address[1],
        "started_at": hooks.started_at,
        "mode": stages.policy.mode,
        "way": settings.mode,
        "strict": egress.strict,
        "others": egress.others,
        "upstream_proxy": str(parse_upstream(settings.upstream_proxy)) if settings.upstream_proxy else "",
        "policy": place_of(stages.policy, settings),
        "policy_digest": stages.policy.digest,
        "policy_watched": settings.watch_policy,
        "ledger": settings.ledger or str(settings.home.ledger),
        "principal": stages.principal.subject,
        "issuers": dict(stages.desk.describe()),
        "inflight": len(hooks.inflight),
        "open_calls": open_calls(hooks.passages(), stages.book),
        **asdict(stages.counters),
    }


def place_of(policy: Policy, settings: Settings) -> str:
    """The document that ``policy`` was read from, also where that is gone since; empty for the built-in one."""
    return "" if policy is OBSERVE_ALL else settings.policy or str(settings.home.policy)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the state file at once, readable by its owner only."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(state, file)
    temporary.replace(path)


def remove_state(path: Path) -> None:
    """Remove the state file, if it is this process's: a start that failed must not make the running proxy unfindable."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()


class Announcer:
    """An addon: writes the state file once the proxy serves and calls ``ready``; removes the file at the end."""

    name = "tollkeeper-announcer"

    def __init__(self, path: Path, state: Callable[[], dict[str, Any]], secret: dict[str, str]) -> None:
        self.path, self.state, self.secret = path, state, secret

    def running(self) -> None:
        """The listener is open."""
        state = self.state()
        blocks = "nothing is blocked" if state["mode"] == "observe" else "budgets are enforced"
        logger.info("metering on %s:%s (%s: %s)", state["host"], state["port"], state["mode"], blocks)
        user, password = next(iter(self.secret.items()), ("", ""))
        write_state(self.path, {**state, "proxy_user": user, "proxy_password": password})

    def done(self) -> None:
        """The process ends."""
        remove_state(self.path)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM, SIGINT or the parent's end. Raises ``TollkeeperError`` when it cannot start."""
    check_listener(settings.host, authenticated=bool(settings.credentials))
    check_free(settings.host, settings.port)
    for address in settings.transparent_hosts if settings.mode == Mode.TRANSPARENT else ():
        check_free(address, settings.transparent_port)
    stages = open_stages(
        settings.home,
        policy_path=Path(settings.policy) if settings.policy else None,
        ledger_path=Path(settings.ledger) if settings.ledger else None,
        attribution=Attribution(
            project=settings.project,
            session=settings.session,
            branch=settings.branch,
            run=settings.run,
            tags=tuple(sorted(settings.labels.items())),
        ),
    )
    try:
        authority = prepare_trust(settings, stages)
        stages.open_desk(settings.home, settings.upstream_path, settings.owner)
        master, hooks = build(settings, stages, authority)
    except BaseException:
        await stages.ledger.close()
        raise
    master.addons.add(Announcer(settings.state_path, hooks.status, settings.credentials))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)  # for what is cancelled after the master has put its own handler away
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, master, number)
    watch = loop.create_task(_follow(settings.parent, master)) if settings.parent else None
    # Objects made so far live as long as the process: collecting them again on every pass costs 5 to 10 % of a core.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        await master.run()
    finally:
        if watch is not None:
            watch.cancel()
        remove_state(settings.state_path)
        settings.upstream_path.unlink(missing_ok=True)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


_stopping_since = 0.0


def _stop(master: SidecarMaster, number: int) -> None:
    """First signal: drain. SIGTERM again changes nothing; SIGINT (Ctrl-C), a second or more later, leaves at once."""
    global _stopping_since  # noqa: PLW0603 — signals are global to the process
    if number == signal.SIGINT and _stopping_since and time.monotonic() - _stopping_since > 1:
        os._exit(130)
    _stopping_since = _stopping_since or time.monotonic()
    master.shutdown()


async def _follow(parent: int, master: SidecarMaster) -> None:
    """Shut down when the process that started us is gone."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    master.shutdown()


def configure_logging() -> None:
    """Narration on stderr: our own words from INFO, mitmproxy's from WARNING on."""
    narration = logging.StreamHandler(sys.stderr)
    narration.setFormatter(logging.Formatter("tollkeeper: %(message)s"))
    narration.addFilter(
        lambda record: not str(record.msg).startswith("Client TLS handshake failed")
    )  # ``distrust`` tells of those
    logging.basicConfig(level=logging.WARNING, handlers=[narration], force=True)
    logger.setLevel(logging.INFO)


def main(settings: Settings) -> None:
    """Run the proxy in this process, until it is told to stop."""
    configure_logging()
    settings.home.make()
    with contextlib.suppress(KeyboardInterrupt), sole(settings.state_path):
        asyncio.run(serve(settings))
