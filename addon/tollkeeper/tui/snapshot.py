"""What the screen shows at one moment: plain values, made by ``feed`` in a thread, drawn by everything else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tollkeeper.ledger.plan_windows import PlanStanding
from tollkeeper.ledger.rows import CallRow, Gap, Group, OpenCall
from tollkeeper.policy.document import OBSERVE_ALL
from tollkeeper.policy.model import Policy
from tollkeeper.report.outlook import BudgetLine

type Proxy = Mapping[str, Any]
"""What a running proxy says of itself (``tollkeeper status --json``), with ``answers``: whether it still does."""

PERIODS = ("today", "7d", "month", "all")
"""What ``[`` and ``]`` step through: calendar days of the screen's zone, so that a total only ever grows until midnight."""

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "person": ("principal",),
    "team": ("team",),
    "project": ("project",),
    "branch": ("branch",),
    "tool": ("client",),
    "session": ("session",),
    "agents": ("session", "parent-agent", "agent"),
    "model": ("model",),
    "provider": ("provider",),
}
"""What Tab steps through in the breakdown, and the groupings of a report that each stands for."""

SPEND_SLOT_US = 5 * 60 * 1_000_000
SPEND_SLOTS = 288
"""The spend curve: a day in slots of five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """``calls`` and ``decided`` are newest first. None means not known yet, never nothing."""

    at: int
    zone: str
    period: str = "today"
    since: int | None = None
    dimension: str = "person"
    policy: Policy = OBSERVE_ALL
    proxies: tuple[Proxy, ...] | None = None
    calls: tuple[CallRow, ...] = ()
    open_calls: tuple[OpenCall, ...] = ()
    budgets: tuple[BudgetLine, ...] = ()
    total: Group | None = None
    groups: tuple[Group, ...] | None = None
    spend: Mapping[int, int] | None = None
    """Nano-dollars by the number of the slot of ``SPEND_SLOT_US``."""
    decided: tuple[CallRow, ...] | None = None
    saved: Mapping[str, int] = field(default_factory=dict)
    """What each rewritten call saved, by its id, where that can be told."""
    unpriced: tuple[Gap, ...] = ()
    unmetered: tuple[Gap, ...] = ()
    expired_calls: int = 0
    plan_windows: tuple[PlanStanding, ...] = ()
    fault: str = ""
    """Why the figures are not fresh, for people; empty when they are."""

    @property
    def by(self) -> tuple[str, ...]:
        """The groupings of the dimension shown."""
        return DIMENSIONS[self.dimension]

    @property
    def burn_nanousd_h(self) -> int | None:
        """What was spent in the last hour."""
        if self.spend is None:
            return None
        first = (self.at - 3_600_000_000) // SPEND_SLOT_US
        return sum(amount for slot, amount in self.spend.items() if slot > first)
