"""The doctor's longer checks: clients by real handshakes, identity, gaps of the last week, and a block by a real call."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.money import format_usd
from tollkeeper.core.paths import Home
from tollkeeper.gate.environment import ACTIVE, client_environment
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.gate.health import Check, State

WEEK_US = 7 * 86_400 * US_PER_SECOND
NAMED = 3


def guarded_all(group: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """The checks; one finding when they cannot be made, because the doctor must reach the end."""
    try:
        return checks()
    except TollkeeperError as error:
        return [Check(group, State.FAILED, str(error))]
    except Exception as error:
        return [Check(group, State.WARNING, f"could not be checked: {type(error).__name__}: {str(error)[:200]}")]


def client_checks(own: Home, names: tuple[str, ...], environ: Mapping[str, str]) -> list[Check]:
    """Every runtime found: whether it trusts our authority as it is started from here (with our variables, where they are not set)."""
    from tollkeeper.gate.ca import find_ca
    from tollkeeper.gate.trust_trial import found_clients, java_trusts, try_runtimes

    authority = find_ca(own.ca, names, system_clock())
    bundle, root = own.ca / BUNDLE, own.ca / ROOT_CERTIFICATE
    if authority is None or not (bundle.is_file() and root.is_file()):
        return [Check("clients", State.OK, "not tried: nothing for them to trust yet, `tollkeeper start` writes it")]
    as_here = bool(environ.get(ACTIVE))
    tried_with = dict(environ) if as_here else client_environment("http://127.0.0.1:9", bundle, root, environ)
    trials = try_runtimes(authority.confdir, tried_with, system_clock())
    where = "in this shell" if as_here else "as `tollkeeper run` starts them"
    checks = []
    if good := [trial.runtime.name for trial in trials if trial.trusts]:
        checks.append(Check("clients", State.OK, f"trust the proxy {where}, by a real TLS handshake: {', '.join(good)}"))
    for trial in trials:
        if not trial.trusts:
            detail = f"{trial.runtime.name} refuses our certificate ({trial.detail}); it reads {trial.runtime.variable}"
            checks.append(Check("clients", State.FAILED, detail, _mend(trial.runtime.variable, root, bundle)))
    if java_trusts(root, environ) is False:
        checks.append(_java(root))
    if clients := found_clients(environ.get("PATH")):
        checks.append(
            Check("clients", State.OK, f"found: {', '.join(clients)}; metered when started with `tollkeeper run -- NAME`")
        )
    return checks


def identity_checks(own: Home, environ: Mapping[str, str], *, keys: bool) -> list[Check]:
    """What the identity document says, and what holds of it here; who calls are booked to without one. ``keys``: ask the issuers."""
    from tollkeeper.identity import health
    from tollkeeper.identity.local import local_principal

    if not (own.root / "identity.toml").exists():
        principal = local_principal()
        told = f"no identity.toml: calls are booked to {principal.subject} ({principal.assurance.value})"
        return [Check("identity", State.OK, told)]
    return health.identity_checks(own.root, environ, keys=keys)


def gap_checks(own: Home) -> list[Check]:
    """What the last week's figures lack: calls that could not be metered, models without a price, calls that never came back."""
    from tollkeeper.ledger.queries import report

    if not own.ledger.exists():
        return []
    found = report(own.ledger, by=(), since=system_clock() - WEEK_US)
    checks = []
    if found.unmetered:
        calls = sum(gap.calls for gap in found.unmetered)
        hosts = ", ".join(dict.fromkeys(f"{gap.host} {gap.operation}" for gap in found.unmetered))
        detail = f"{calls:,} calls of the last 7 days could not be metered: {hosts[:200]}"
        checks.append(Check("gaps", State.WARNING, detail, "tollkeeper report --by operation --since 7d"))
    if found.unpriced:
        calls = sum(gap.calls for gap in found.unpriced)
        counted = format_usd(sum(gap.exposure_nanousd for gap in found.unpriced))
        models = ", ".join(f"{gap.provider}/{gap.model}" for gap in found.unpriced[:NAMED])
        detail = f"{calls:,} calls of the last 7 days have no known price and count as {counted}: {models}"
        checks.append(Check("gaps", State.WARNING, detail, "tollkeeper prices unpriced"))
    if lost := found.expired_calls + found.total.crashed:
        detail = f"{lost:,} calls of the last 7 days never came back or were cut off by a crash: their cost is not known"
        checks.append(Check("gaps", State.WARNING, detail, "tollkeeper report --by outcome --since 7d"))
    return checks or [Check("gaps", State.OK, "none in the last 7 days")]


def block_checks() -> list[Check]:
    """A proxy of its own, a budget of nothing, a call to a fake provider: it must be answered by us and reach nobody."""
    from .trial import prove_block

    blocked, told = prove_block()
    if blocked:
        return [Check("block", State.OK, f"a block blocks: {told}")]
    return [Check("block", State.FAILED, f"a block does not block: {told}", "tollkeeper demo")]


def _mend(variable: str, root: Path, bundle: Path) -> str:
    name = variable.split()[0]
    return f"export {name}='{root if name == 'NODE_EXTRA_CA_CERTS' else bundle}'"


def _java(root: Path) -> Check:
    detail = "Java is here and not covered: its own store does not hold our root, and it does not read HTTPS_PROXY (docs/gate.md)"
    fix = f"keytool -importcert -cacerts -storepass changeit -noprompt -alias tollkeeper -file '{root}'"
    return Check("clients", State.OK, detail, fix)
