"""From charged usages to lines of a bill: which figure counts, and what stands in when none is known."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tollkeeper.core.charge import Bill, CostSource, Priced
from tollkeeper.core.money import MAX_NANOUSD, to_nanousd
from tollkeeper.core.usage import CHARGED_NOTHING, Reading, Usage, UsageSource
from tollkeeper.core.value import dataclass

from .rates import CEILING, FREE, Charged, Price
from .shipped import Ceilings

NOTIONAL = "notional"
_ESTIMATED = frozenset({UsageSource.COUNTED, UsageSource.PARTIAL})
_MAX_PROVIDER_USD = Decimal(1_000_000)
"""A single answer that claims to cost more is a broken report."""
_TOLERANCE_NANOUSD = 1_000
"""Providers round their own figure (to $0.000001 and finer): smaller differences are no finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One billed model call, resolved: whom it is at, the name to record, its price.

    ``notional``: a plan's traffic, whose list price is what it would have cost; with ``counts`` it counts so against budgets.
    """

    usage: Usage
    provider: str
    model: str
    lookup_provider: str
    lookup_model: str
    price: Price
    notional: bool = False
    counts: bool = False


def line(item: Item, reading: Reading, ceilings: Ceilings) -> Priced:
    """One priced line. Unknown model or unit: cost None, exposure at the ceiling, never 0 for something used.

    Of a plan's traffic nothing is owed, whatever its list price.
    """
    made = _line(item, reading, ceilings)
    if not item.notional:
        return made
    return replace(made, cost_nanousd=0, exposure_nanousd=made.exposure_nanousd if item.counts else 0, source=CostSource.FREE)


def _line(item: Item, reading: Reading, ceilings: Ceilings) -> Priced:
    charged = item.price.charge(item.usage)
    flags = item.price.flags + charged.flags if charged.flags else item.price.flags
    if item.notional:
        flags = (*flags, NOTIONAL)
    if item.price.kind == CEILING:
        return _unknown(item, charged, flags, ceilings)
    list_nanousd = charged.sum_nanousd
    if item.price.kind == FREE:
        return Priced(
            usage=item.usage,
            provider=item.provider,
            model=item.model,
            list_cost_nanousd=0,
            cost_nanousd=0,
            source=CostSource.FREE,
            price=item.price.ref,
            flags=flags,
        )
    owed = item.price.discounted_nanousd(list_nanousd)
    if charged.unpriced:
        at_most = ceilings.exposure_nanousd(
            item.lookup_provider, item.lookup_model, charged.unpriced, item.usage.total_input_tokens
        )
        return Priced(
            usage=item.usage,
            provider=item.provider,
            model=item.model,
            charges=charged.charges,
            exposure_nanousd=_bounded(owed + at_most),
            source=CostSource.CEILING,
            price=item.price.ref,
            unpriced=tuple(unit for unit, _ in charged.unpriced),
            flags=flags,
        )
    return Priced(
        usage=item.usage,
        provider=item.provider,
        model=item.model,
        charges=charged.charges,
        list_cost_nanousd=list_nanousd,
        cost_nanousd=owed,
        exposure_nanousd=owed,
        source=CostSource.ESTIMATED if reading.source in _ESTIMATED else CostSource.COMPUTED,
        price=item.price.ref,
        flags=flags,
    )


def _unknown(item: Item, charged: Charged, flags: tuple[str, ...], ceilings: Ceilings) -> Priced:
    """No price: the ceiling's own document is kept, so that the exposure too can be recomputed."""
    rest = ceilings.exposure_nanousd(item.lookup_provider, item.lookup_model, charged.unpriced, item.usage.total_input_tokens)
    return Priced(
        usage=item.usage,
        provider=item.provider,
        model=item.model,
        exposure_nanousd=_bounded(charged.sum_nanousd + rest),
        source=CostSource.CEILING,
        price=item.price.ref,
        unpriced=(*(charge.unit for charge in charged.charges), *(unit for unit, _ in charged.unpriced)),
        flags=flags,
    )


def assemble(lines: Sequence[Priced], reading: Reading) -> Bill:
    """The bill of an exchange. The provider's own figure wins; it is shared out over the lines by what each was computed to cost."""
    flags: list[str] = []
    stated = _stated_nanousd(reading, flags)
    is_free = CHARGED_NOTHING in reading.flags
    if stated == 0 and not is_free and any(one.list_cost_nanousd != 0 or one.exposure_nanousd for one in lines):
        # Gateways state 0 for models they know no price of (LiteLLM), and before a stream has begun: what was used is priced here.
        flags.append("cost-zero")
        stated = None
    if stated is None:
        return Bill(lines=tuple(lines), flags=tuple(flags))
    if lines and all(NOTIONAL in one.flags for one in lines):
        # What a plan's provider states is what it takes off the plan (GitHub's AI credits), not what is owed.
        return Bill(lines=_listed(lines, stated), flags=tuple(flags))
    computed = Bill(lines=tuple(lines)).cost_nanousd if lines else None
    if computed is not None and _differs(stated, computed):
        flags.append("cost-differs")
    return Bill(lines=_shared(lines, stated), provider_cost_nanousd=stated, flags=tuple(flags))


def _stated_nanousd(reading: Reading, flags: list[str]) -> int | None:
    usd = reading.provider_cost_usd
    if usd is None:
        return None
    if not usd.is_finite() or usd < 0 or usd > _MAX_PROVIDER_USD:
        flags.append("provider-cost-invalid")
        return None
    return to_nanousd(usd)


def _differs(stated: int, computed: int) -> bool:
    delta = abs(stated - computed)
    return delta > _TOLERANCE_NANOUSD and delta * 100 > max(stated, computed)


def _listed(lines: Sequence[Priced], stated: int) -> tuple[Priced, ...]:
    """A plan's lines with the stated figure as their list cost; what counts against budgets, if anything, is that figure too."""
    return tuple(
        replace(
            one, list_cost_nanousd=shared.cost_nanousd, exposure_nanousd=(shared.cost_nanousd or 0) if one.exposure_nanousd else 0
        )
        for one, shared in zip(lines, _shared(lines, stated), strict=True)
    )


def _shared(lines: Sequence[Priced], stated: int) -> tuple[Priced, ...]:
    """``stated`` split in proportion to each line's exposure; the parts add up to it exactly."""
    whole = sum(one.exposure_nanousd for one in lines)
    shared, before, given = [], 0, 0
    for index, one in enumerate(lines):
        before += one.exposure_nanousd if whole else 1
        upto = stated if index == len(lines) - 1 else stated * before // (whole or len(lines))
        part, given = upto - given, upto
        shared.append(replace(one, cost_nanousd=part, exposure_nanousd=part, source=CostSource.PROVIDER))
    return tuple(shared)


def _bounded(nanousd: int) -> int:
    return min(nanousd, MAX_NANOUSD // 1_000)
