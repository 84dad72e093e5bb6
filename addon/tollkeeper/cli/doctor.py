"""``tollkeeper doctor``: is everything in place, and what to paste where it is not."""

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import click

from tollkeeper import __version__
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.paths import Home, home
from tollkeeper.gate.access import is_loopback
from tollkeeper.gate.extra_hosts import host_table
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.gate.health import Check, State, authority_checks, shell_checks
from tollkeeper.gate.hosts import HostTable

from .checks import block_checks, client_checks, gap_checks, guarded_all, identity_checks
from .doctor_ledger import ledger_check
from .process import ask_status, read_state
from .status import mend, refusal_words

if TYPE_CHECKING:
    from tollkeeper.pricing.book import CatalogueInfo

VERDICTS = {State.OK: "HEALTHY", State.WARNING: "DEGRADED", State.FAILED: "BROKEN"}
MARKS = {State.OK: "ok", State.WARNING: "!!", State.FAILED: "XX"}
RESTART = "tollkeeper stop; tollkeeper start"
BOOTSTRAP = "scripts/bootstrap runtime"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for bug reports; holds no secret.")
@click.option("--quick", is_flag=True, help="No trials: no TLS handshakes by the clients found, no call that must be blocked.")
def command(as_json: bool, quick: bool) -> None:
    """Check proxy, CA, this shell, every client found, identity, ledger, prices, policy and gaps. Ends with 1 when something is broken.

    Clients are tried with a real TLS handshake against a server on this machine, a block with a real call to a fake provider.
    """
    checks = examine(home(), trials=not quick)
    worst = verdict(checks)
    if as_json:
        report = {"verdict": VERDICTS[worst], "version": __version__, "checks": [asdict(check) for check in checks]}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo("\n".join(lines(checks)))
    sys.exit(1 if worst is State.FAILED else 0)


def examine(own: Home, *, trials: bool = False) -> list[Check]:
    """Every check on the state folder ``own`` and on the environment of this process; ``trials`` adds those that take seconds."""
    state = read_state(own.state)
    checks = proxy_checks(state, ask_status(state) if state else None)
    try:
        names = host_table(own.hosts).permitted_names()
    except TollkeeperError as error:
        checks.append(Check("hosts", State.FAILED, str(error)))
        names = HostTable.load().permitted_names()
    bundle, root = own.ca / BUNDLE, own.ca / ROOT_CERTIFICATE
    checks += authority_checks(own.ca, bundle, names, system_clock())
    checks += shell_checks(os.environ, _address(state), bundle, root, names, _listens)
    if trials:
        checks += guarded_all("clients", lambda: client_checks(own, names, os.environ))
    checks += guarded_all("identity", lambda: identity_checks(own, os.environ, keys=trials))
    for group, check in (("ledger", ledger_check), ("prices", _prices), ("policy", _policy)):
        checks.append(_guarded(group, check, own))
    checks += guarded_all("gaps", lambda: gap_checks(own))
    if trials:
        checks += guarded_all("block", block_checks)
    return [*checks, *version_checks(sys.version_info[:3], _installed("mitmproxy"))]


def verdict(checks: list[Check]) -> State:
    """The worst state of all."""
    order = list(State)
    return max((check.state for check in checks), key=order.index, default=State.OK)


def lines(checks: list[Check]) -> list[str]:
    """The report for people: the verdict, then one line per check, then what to paste."""
    shown = [VERDICTS[verdict(checks)]]
    for check in checks:
        shown.append(f"  {MARKS[check.state]}  {check.group:<8} {check.detail}")
        if check.remedy:
            shown.append(f"                → {check.remedy}")
    return shown


def proxy_checks(state: dict[str, Any] | None, status: dict[str, Any] | None) -> list[Check]:
    """The process that ``state`` names, and what it says of itself when asked (None: no answer)."""
    if state is None:
        return [Check("proxy", State.WARNING, "not running: only `tollkeeper run` meters", "tollkeeper start")]
    where = f"{state['host']}:{state['port']} (pid {state['pid']})"
    if status is None:
        return [Check("proxy", State.FAILED, f"{where} does not answer", RESTART)]
    checks = [Check("proxy", State.OK, f"answers on {where}, mode {status.get('mode')}, {status.get('calls', 0)} calls")]
    if (running := status.get("version")) != __version__:
        checks.append(Check("proxy", State.WARNING, f"runs version {running}, installed is {__version__}", RESTART))
    if faults := status.get("faults"):
        checks.append(Check("proxy", State.WARNING, f"{faults} internal faults, the last: {str(status.get('last_fault'))[:200]}"))
    if errors := status.get("ledger_errors"):
        checks.append(Check("proxy", State.FAILED, f"{errors} calls could not be recorded", "tollkeeper ledger verify"))
    clients = list(dict(status.get("untrusting_clients") or {}).values())
    refusing = sorted(clients, key=lambda found: -int(found["count"]))[:5]
    checks += [Check("proxy", State.WARNING, f"{refusal_words(one)}: its calls fail", mend(one)) for one in refusing]
    for host, count in sorted(dict(status.get("untrusting_hosts") or {}).items())[:5]:
        if not any(one["host"] == host for one in clients):
            detail = (
                f"{count} connections to {str(host)[:100]} ended in the handshake: a client may not trust us (`clients` below)"
            )
            checks.append(Check("proxy", State.WARNING, detail, 'eval "$(tollkeeper env)"'))
    return checks


def version_checks(python: tuple[int, ...], mitmproxy: str | None) -> list[Check]:
    """The interpreter and mitmproxy: 12.2.3 or a later 12.2, since 12.3 carries a compromised public CA's key (docs/proxy.md)."""
    checks = []
    if python < (3, 12):
        checks.append(
            Check("versions", State.FAILED, f"Python {'.'.join(map(str, python))} is too old, 3.12 is needed", BOOTSTRAP)
        )
    if mitmproxy is None:
        checks.append(Check("versions", State.FAILED, "mitmproxy is not installed", BOOTSTRAP))
    elif not (12, 2, 3) <= _numbers(mitmproxy) < (12, 3):
        detail = (
            f"mitmproxy {mitmproxy} is not one we run on (12.2.3 or a later 12.2; 12.3 carries a compromised public CA's key)"
        )
        checks.append(Check("versions", State.FAILED, detail, BOOTSTRAP))
    return checks or [Check("versions", State.OK, f"Python {'.'.join(map(str, python))}, mitmproxy {mitmproxy}")]


def price_check(catalogue: "CatalogueInfo", at: int) -> Check:
    """The age of the prices at ``at`` (UTC microseconds); old ones make every dollar figure doubtful."""
    what = f"genai-prices {catalogue.version}" + "".join(f", {name}" for name in catalogue.overlays)
    age = catalogue.age_days(at)
    if age is None:
        return Check("prices", State.WARNING, f"{what}: not the catalogue this release was reviewed with", BOOTSTRAP)
    if age > catalogue.warn_after_days:
        detail = f"{what}: {age} days old, models released since are priced at a ceiling: update Tollkeeper"
        return Check("prices", State.WARNING, detail, "git pull && make run")
    return Check("prices", State.OK, f"{what}, {age} days old")


def _guarded(group: str, check: Callable[[Home], Check], own: Home) -> Check:
    try:
        return check(own)
    except TollkeeperError as error:
        return Check(group, State.FAILED, str(error))
    except Exception as error:  # the doctor must reach the end: what it cannot check is a finding
        return Check(group, State.FAILED, f"could not be checked: {type(error).__name__}: {str(error)[:200]}")


def _prices(own: Home) -> Check:
    from tollkeeper.pricing.book import PriceBook

    return price_check(PriceBook.load(own.prices if own.prices.exists() else None).catalogue, system_clock())


def _policy(own: Home) -> Check:
    from tollkeeper.policy.document import load_policy

    if not own.policy.exists():
        return Check("policy", State.OK, "none: everything is metered, nothing is blocked")
    policy = load_policy(own.policy)
    return Check("policy", State.OK, f"{own.policy} parses, mode {policy.mode}")


def _address(state: dict[str, Any] | None) -> tuple[str, int] | None:
    if state is None:
        return None
    host = str(state["host"])
    return ("127.0.0.1" if is_loopback(host) and ":" not in host else host, int(state["port"]))


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
