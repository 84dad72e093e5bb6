"""Dollars, line by line."""

from decimal import Decimal
from enum import StrEnum
from typing import Any

from .usage import Usage
from .value import dataclass


class CostSource(StrEnum):
    """Which figure ``cost_nanousd`` is (order of truth: docs/pricing.md)."""

    PROVIDER = "provider"
    COMPUTED = "computed"
    ESTIMATED = "estimated"
    CEILING = "ceiling"
    FREE = "free"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One priced line: ``quantity`` units of ``unit`` at ``rate_usd`` each."""

    unit: str
    quantity: int
    rate_usd: Decimal
    cost_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRef:
    """The exact price used: content hash and canonical JSON, from which any row recomputes bit for bit."""

    id: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One billed model call with its price.

    ``list_cost_nanousd`` is list price times usage, None when unknown. ``cost_nanousd`` is what we believe is owed (provider's
    own figure first, discounts applied), None when unknown. ``exposure_nanousd`` is what counts against budgets: the cost, or
    the ceiling where the cost is unknown; never 0 for something billed. ``unpriced`` names the units without a rate.
    """

    usage: Usage
    provider: str
    model: str
    charges: tuple[Charge, ...] = ()
    list_cost_nanousd: int | None = None
    cost_nanousd: int | None = None
    exposure_nanousd: int = 0
    source: CostSource = CostSource.COMPUTED
    price: PriceRef | None = None
    unpriced: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """All priced calls of one exchange, and their sums."""

    lines: tuple[Priced, ...] = ()
    provider_cost_nanousd: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def list_cost_nanousd(self) -> int | None:
        """Sum of the list costs, None as soon as one is unknown."""
        return _sum(line.list_cost_nanousd for line in self.lines)

    @property
    def cost_nanousd(self) -> int | None:
        """What is owed: the provider's own figure when it stated one, else the sum of the lines."""
        if self.provider_cost_nanousd is not None:
            return self.provider_cost_nanousd
        return _sum(line.cost_nanousd for line in self.lines)

    @property
    def exposure_nanousd(self) -> int:
        """What counts against budgets."""
        if self.provider_cost_nanousd is not None:
            return self.provider_cost_nanousd
        return sum(line.exposure_nanousd for line in self.lines)

    @property
    def source(self) -> CostSource:
        """The least certain source among the lines."""
        if self.provider_cost_nanousd is not None:
            return CostSource.PROVIDER
        order = list(CostSource)
        return max((line.source for line in self.lines), key=order.index, default=CostSource.FREE)


def _sum(values: Any) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
