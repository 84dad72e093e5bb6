"""What the proxy needs of the other rooms, gathered once at start-up."""

from dataclasses import dataclass, field
from pathlib import Path

from tollkeeper.core.call import Attribution, Call
from tollkeeper.core.clock import Clock, steady, system_clock
from tollkeeper.core.paths import Home
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import PlanWindow
from tollkeeper.gate.extra_hosts import host_table
from tollkeeper.gate.hosts import HostTable
from tollkeeper.identity.channels import OnNoIdentity
from tollkeeper.identity.desk import Desk
from tollkeeper.identity.local import local_principal
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.plan_windows import resets_at
from tollkeeper.policy import model as policy_model
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.estimate import Estimates
from tollkeeper.policy.model import Policy
from tollkeeper.pricing.book import PriceBook

MAX_WINDOWS = 256
ON_NO_IDENTITY = {word: OnNoIdentity(word.value) for word in policy_model.OnNoIdentity if word.value in set(OnNoIdentity)} | {
    policy_model.OnNoIdentity.OPEN: OnNoIdentity.DEFAULT,
    policy_model.OnNoIdentity.CLOSED: OnNoIdentity.REFUSE,
}
"""The policy's words and the desk's."""


@dataclass(slots=True)
class Counters:
    """What this process has done; shown by ``status``, never in the road."""

    calls: int = 0
    refused: int = 0
    rewritten: int = 0
    unmetered: int = 0
    tunnelled: int = 0
    faults: int = 0
    ledger_errors: int = 0
    refused_connections: int = 0
    """Stopped by the rules for others before any call was seen: to a host that is not allowed, without a name, around the proxy."""
    last_refused: str = ""
    identity_refusals: int = 0
    """Calls that came with a proof which is wrong, or with two that disagree."""
    last_identity: str = ""
    """Why the last of them was not accepted."""
    untrusting_hosts: dict[str, int] = field(default_factory=dict)
    untrusting_clients: dict[str, dict[str, str | int]] = field(default_factory=dict)
    """Programs that refuse our certificate, each with the host, how often, and whether it said so (``proxy.distrust``)."""
    last_fault: str = ""
    policy_reloads: int = 0
    policy_error: str = ""
    """Why the document in the file is not in force; empty when it is."""
    plan_windows: dict[str, dict[str, str | int | None]] = field(default_factory=dict)
    """The newest state of each plan's windows, by ``plan/window``."""

    def note_windows(self, call: Call, windows: tuple[PlanWindow, ...], at: int) -> None:
        """Keep what an answer said of its plan; ``at`` is UTC microseconds."""
        for window in windows:
            key = f"{call.plan}/{window.name}"
            if key in self.plan_windows or len(self.plan_windows) < MAX_WINDOWS:
                self.plan_windows[key] = {
                    "principal": call.principal.subject,
                    "plan": call.plan,
                    "window": window.name,
                    "used_ppm": window.used_ppm,
                    "resets_at": resets_at(window, at),
                    "status": window.status,
                    "at": at,
                }


@dataclass(slots=True, kw_only=True)
class Stages:
    """The rooms of the road, ready to serve."""

    hosts: HostTable
    policy: Policy
    book: PriceBook
    ledger: Ledger
    principal: Principal = field(default_factory=local_principal)
    attribution: Attribution = field(default_factory=Attribution)
    clock: Clock = system_clock
    counters: Counters = field(default_factory=Counters)
    estimates: Estimates = field(default_factory=Estimates)
    desk: Desk = field(default_factory=Desk)

    def open_desk(self, home: Home, trust: Path, owner: Principal | None = None) -> None:
        """Read who is believed (``identity.toml``). ``trust``: roots for the issuers' keys; ``owner``: whose calls these are, if known.

        Raises ``ConfigError`` when the document is wrong.
        """
        rule = ON_NO_IDENTITY.get(self.policy.on_no_identity, OnNoIdentity.DEFAULT)
        self.desk = Desk.open(home.root, trust=trust, on_no_identity=rule, owner=owner)
        self.principal = self.desk.default


def load_policy_or_observe(path: Path | None, home: Home) -> Policy:
    """The policy at ``path``, else the home's own, else the built-in one that observes everything.

    Raises ``ConfigError`` when a named or existing document is wrong: a broken policy never becomes no policy.
    """
    chosen = path or (home.policy if home.policy.exists() else None)
    return load_policy(chosen) if chosen is not None else OBSERVE_ALL


def open_stages(
    home: Home,
    *,
    policy_path: Path | None = None,
    ledger_path: Path | None = None,
    attribution: Attribution | None = None,
) -> Stages:
    """Everything opened. Raises ``TollkeeperError`` naming what is wrong: a proxy that cannot record does not start."""
    home.make()
    policy = load_policy_or_observe(policy_path, home)
    book = PriceBook.load(home.prices if home.prices.exists() else None)
    ledger = Ledger.open(ledger_path or home.ledger, system_clock)
    return Stages(
        hosts=host_table(home.hosts),
        policy=policy,
        book=book,
        ledger=ledger,
        attribution=attribution or Attribution(),
        clock=steady(system_clock, ledger.latest),
    )
