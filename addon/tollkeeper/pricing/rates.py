"""A resolved price: every rate one billed call needs, serialised so that any ledger row recomputes bit for bit.

The document is canonical JSON (sorted keys, no spaces) and its SHA-256 is the price's id. Charges are exact rational arithmetic
over integers, rounded half to even once per charge; no float and no Decimal context takes part, so a row computed today and in
ten years agree.
"""

import json
from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from tollkeeper.core.charge import Charge, PriceRef
from tollkeeper.core.errors import PriceError
from tollkeeper.core.money import NANO_PER_USD
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.core.value import dataclass

from .units import LINES, PARTS, is_measured_otherwise

SCHEMA = 1
LIST, CEILING, FREE = "list", "ceiling", "free"

_PART_UNITS = frozenset().union(*PARTS.values())

type RawRate = tuple[Decimal, int, tuple[tuple[int, Decimal], ...]]
"""USD, the number of units it covers, and ``(above, USD)`` for total inputs above each threshold, ascending."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One rate as exact nano-USD per unit (``num / den``), and as dollars for people."""

    num: int
    den: int
    usd: Decimal

    def cost_nanousd(self, quantity: int) -> int:
        """``quantity`` units, rounded half to even."""
        if self.den == 1:
            return self.num * quantity
        whole, rest = divmod(self.num * quantity, self.den)
        twice = rest * 2
        return whole + (twice > self.den or (twice == self.den and whole & 1 == 1))

    def cost_nanousd_up(self, quantity: int) -> int:
        """``quantity`` units, rounded up."""
        return -(-self.num * quantity // self.den)


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate and its context tiers: ``steps[0]`` is the base, each later one applies to all tokens above its threshold."""

    steps: tuple[_Step, ...]
    above: tuple[int, ...] = ()
    coarse: bool = False

    def at(self, total_input_tokens: int) -> _Step:
        """The step for a call with that many input tokens, cached or not."""
        index = 0
        for threshold in self.above:
            if total_input_tokens > threshold:
                index += 1
        return self.steps[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """What one usage costs at one price: rounded lines, the units without a rate, and what looked wrong."""

    charges: tuple[Charge, ...]
    unpriced: tuple[tuple[str, int], ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def sum_nanousd(self) -> int:
        """The sum of the charges."""
        return sum(charge.cost_nanousd for charge in self.charges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Everything needed to charge one billed call; immutable and shared between threads.

    ``kind`` is ``list``, ``ceiling`` (an upper bound for something unknown) or ``free``. ``discount`` multiplies the list cost.
    ``flags`` say what was odd about finding this price.
    """

    kind: str
    provider: str
    model: str
    source: str
    since: str | None = None
    terms: tuple[tuple[str, str], ...] = ()
    multipliers: tuple[tuple[str, Decimal], ...] = ()
    discount: Decimal = Decimal(1)
    rates: Mapping[str, Rate]
    ref: PriceRef
    flags: tuple[str, ...] = ()
    raw: Mapping[str, RawRate] = field(default_factory=dict, repr=False)

    def discounted_nanousd(self, list_nanousd: int) -> int:
        """What is owed for a list cost, rounded half to even."""
        if self.discount == 1:
            return list_nanousd
        share = Fraction(self.discount)
        return _Step(share.numerator, share.denominator, self.discount).cost_nanousd(list_nanousd)

    def charge(self, usage: Usage) -> Charged:
        """Price every count of ``usage``. Counts outside 0…10⁹ are clamped and flagged, never trusted."""
        total = usage.total_input_tokens
        charges: list[Charge] = []
        unpriced: list[tuple[str, int]] = []
        flags: list[str] = []
        rates, units = self.rates, usage.units
        parts = dict(units) if units else {}
        if usage.reasoning_tokens and "reasoning_tokens" in rates:
            parts["reasoning_tokens"] = usage.reasoning_tokens
        for unit, count in (
            ("input_tokens", usage.input_tokens),
            ("cache_read_tokens", usage.cache_read_tokens),
            ("cache_write_5m_tokens", usage.cache_write_5m_tokens),
            ("cache_write_1h_tokens", usage.cache_write_1h_tokens),
            ("output_tokens", usage.output_tokens),
        ):
            if not count:
                continue
            rest = _clamped(count, unit, flags)
            if parts and unit in PARTS and not PARTS[unit].isdisjoint(parts):
                rest -= self._parts(unit, rest, parts, total, charges, flags)
            if rest:
                self._line(unit, rest, total, charges, unpriced, flags)
        if "requests" in rates:
            self._line("requests", 1, total, charges, unpriced, flags)
        for unit, count in units.items():
            if count and unit not in _PART_UNITS and unit != "requests" and not is_measured_otherwise(unit, units, rates):
                self._line(unit, _clamped(count, unit, flags), total, charges, unpriced, flags)
        return Charged(charges=tuple(charges), unpriced=tuple(unpriced), flags=tuple(flags))

    def _parts(self, base: str, whole: int, parts: Mapping[str, int], total: int, charges: list[Charge], flags: list[str]) -> int:
        """Charge the parts of a count that have a rate of their own; returns how many tokens they took."""
        taken = 0
        for unit in sorted(PARTS[base] & parts.keys()):
            count = min(_clamped(parts[unit], unit, flags), whole - taken)
            if not count:
                continue
            if unit in self.rates:
                self._line(unit, count, total, charges, [], flags)
                taken += count
            elif LINES[unit].loose:
                flags.append(f"coarse:{unit}")
        return taken

    def _line(
        self, unit: str, count: int, total: int, charges: list[Charge], unpriced: list[tuple[str, int]], flags: list[str]
    ) -> None:
        rate = self.rates.get(unit)
        if rate is None:
            unpriced.append((unit, count))
            return
        step = rate.at(total) if rate.above else rate.steps[0]
        charges.append(Charge(unit=unit, quantity=count, rate_usd=step.usd, cost_nanousd=step.cost_nanousd(count)))
        if rate.coarse:
            flags.append(f"coarse:{unit}")


def resolve_rates(quoted: Mapping[str, RawRate]) -> dict[str, tuple[RawRate, bool]]:
    """Our lines from a price list's rate names: for each line its rate, and whether that rate is a coarser one."""
    found: dict[str, tuple[RawRate, bool]] = {}
    for unit, line in LINES.items():
        for index, key in enumerate(line.keys):
            if (rate := quoted.get(key)) is not None:
                found[unit] = (rate, line.loose and index >= line.exact)
                break
    return found


def make_price(
    *,
    kind: str,
    provider: str,
    model: str,
    source: str,
    quoted: Mapping[str, RawRate],
    extra: Mapping[str, RawRate] | None = None,
    since: str | None = None,
    terms: tuple[tuple[str, str], ...] = (),
    multipliers: tuple[tuple[str, Decimal], ...] = (),
    discount: Decimal = Decimal(1),
    flags: tuple[str, ...] = (),
) -> Price:
    """A price from quoted rates (by rate name) and ``extra`` rates (by our unit names, such as units that are free)."""
    rates = {
        unit: {"usd": str(rate[0]), "per": rate[1]}
        | ({"tiers": [[above, str(usd)] for above, usd in rate[2]]} if rate[2] else {})
        | ({"coarse": True} if coarse else {})
        for unit, (rate, coarse) in {**{u: (r, False) for u, r in (extra or {}).items()}, **resolve_rates(quoted)}.items()
    }
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": kind,
        "provider": provider,
        "model": model,
        "source": source,
        "rates": rates,
    }
    if since:
        document["since"] = since
    if terms:
        document["terms"] = dict(terms)
    if multipliers:
        document["multipliers"] = [[name, str(factor)] for name, factor in multipliers]
    if discount != 1:
        document["discount"] = str(discount)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return _compile(text, flags)


@lru_cache(maxsize=512)
def price_from(document: str) -> Price:
    """The price that a stored document describes. Raises ``PriceError`` when it is not one of ours."""
    return _compile(document, ())


def reprice_from(document: str, usage: Usage) -> tuple[Charge, ...]:
    """The charges of ``usage`` at a stored price, equal bit for bit to those billed then.

    The document already holds the rates its terms selected, so the terms are not asked for again. Raises ``PriceError``.
    """
    return price_from(document).charge(usage).charges


def _compile(text: str, flags: tuple[str, ...]) -> Price:
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise PriceError(f"price document of schema {document['schema']!r}; this version reads schema {SCHEMA}")
        multipliers = tuple((name, Decimal(factor)) for name, factor in document.get("multipliers", ()))
        factor = Fraction(1)
        for _, one in multipliers:
            factor *= Fraction(one)
        rates = {unit: _rate(unit, rate, factor) for unit, rate in document["rates"].items()}
        raw: dict[str, RawRate] = {
            unit: (Decimal(rate["usd"]), rate["per"], tuple((above, Decimal(usd)) for above, usd in rate.get("tiers", ())))
            for unit, rate in document["rates"].items()
        }
        return Price(
            kind=document["kind"],
            provider=document["provider"],
            model=document["model"],
            source=document["source"],
            since=document.get("since"),
            terms=tuple(sorted(document.get("terms", {}).items())),
            multipliers=multipliers,
            discount=Decimal(document.get("discount", 1)),
            rates=MappingProxyType(rates),
            raw=MappingProxyType(raw),
            ref=PriceRef(id=sha256(text.encode()).hexdigest(), document=text),
            flags=flags,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PriceError(
            f"damaged price document ({type(error).__name__} while reading it); restore the ledger from a backup"
        ) from None


def _rate(unit: str, rate: Mapping[str, Any], factor: Fraction) -> Rate:
    """Multipliers are premiums on model use: they apply to tokens, never to per-request fees (providers' own pricing pages)."""
    times = factor if unit.endswith("_tokens") else Fraction(1)
    per = int(rate["per"])
    tiers = [(int(above), Decimal(usd)) for above, usd in rate.get("tiers", ())]
    return Rate(
        steps=tuple(_step(Fraction(usd) * times / per) for usd in (Decimal(rate["usd"]), *(usd for _, usd in tiers))),
        above=tuple(above for above, _ in tiers),
        coarse=bool(rate.get("coarse")),
    )


def _step(usd_per_unit: Fraction) -> _Step:
    if usd_per_unit < 0:
        raise ValueError("negative rate")
    nano = usd_per_unit * NANO_PER_USD
    with localcontext() as context:
        context.prec = 28
        shown = Decimal(usd_per_unit.numerator) / Decimal(usd_per_unit.denominator)
    return _Step(nano.numerator, nano.denominator, shown)


def _clamped(count: int, unit: str, flags: list[str]) -> int:
    if 0 <= count <= MAX_COUNT:
        return count
    flags.append(f"clamped:{unit}")
    return 0 if count < 0 else MAX_COUNT
