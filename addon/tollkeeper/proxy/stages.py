"""What the proxy needs of the other rooms, gathered once at start-up."""

from dataclasses import dataclass, field
from pathlib import Path

from tollkeeper.core.call import Attribution
from tollkeeper.core.clock import Clock, system_clock
from tollkeeper.core.paths import Home
from tollkeeper.core.principal import Principal
from tollkeeper.gate.hosts import HostTable
from tollkeeper.identity.local import local_principal
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.model import Policy
from tollkeeper.pricing.book import PriceBook


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
    untrusting_hosts: dict[str, int] = field(default_factory=dict)
    last_fault: str = ""


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
    return Stages(
        hosts=HostTable.load(),
        policy=policy,
        book=book,
        ledger=Ledger.open(ledger_path or home.ledger, system_clock),
        attribution=attribution or Attribution(),
    )
