"""The price data that ships with Tollkeeper (``pricing/`` of the repository): pins, gaps, ceilings, families."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

from tollkeeper.core.errors import PriceError
from tollkeeper.core.resources import data
from tollkeeper.core.toml_lines import load_toml

from .clauses import Clause, parse_clause
from .overlay import Overlay, load_overlay
from .rates import CEILING, Price, RawRate, make_price
from .units import MTOK, PER


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The catalogue this release was reviewed with, and when its age becomes worth a word."""

    version: str
    date: date
    warn_after_days: int
    loud_after_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How a model family counts: tokens per o200k token (``central``, ``upper``), and what is held for media and searches.

    ``media_tokens`` and ``search_tokens`` are reserves for each, ``media_guess_tokens`` is a best guess for a cut stream.
    """

    name: str
    central: Decimal
    upper: Decimal
    media_tokens: int
    media_guess_tokens: int
    search_tokens: int


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Upper bounds for what has no price."""

    entries: tuple[tuple[str, Clause | None, Price], ...]
    default: Price
    other_unit_usd: Decimal

    def of(self, provider: str, model: str) -> Price:
        """The ceiling for a provider's model."""
        for name, clause, price in self.entries:
            if name == provider and (clause is None or clause(model)):
                return price
        return self.default

    def exposure_nanousd(self, provider: str, model: str, units: Iterable[tuple[str, int]], total_input_tokens: int) -> int:
        """What those counts may cost at most, in nano-USD; never 0 for a positive count."""
        price, total = self.of(provider, model), 0
        for unit, count in units:
            rate = price.rates.get(unit) or self.default.rates.get(unit)
            if rate is None and unit.endswith("_tokens"):
                rate = price.rates["output_tokens"]
            if rate is None:
                total += ceil(self.other_unit_usd * 10**9 * count)
            else:
                total += rate.at(total_input_tokens).cost_nanousd_up(count)
        return total


class Families:
    """Families and output ceilings by model name; look-ups are cached, bounded and safe between threads."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        default = document["default"]
        self._default = _family("default", default)
        self._default_output = int(default["max_output_tokens"])
        self._families = [(parse_clause(one["match"]), _family(one["name"], one)) for one in document["family"]]
        self._outputs = [(parse_clause(one["match"]), int(one["max_output_tokens"])) for one in document["output"]]
        self.of = lru_cache(maxsize=1024)(self._of)
        """The family of a cleaned model name."""
        self.max_output_tokens = lru_cache(maxsize=1024)(self._max_output_tokens)
        """The most tokens one answer of a model may hold."""

    def _of(self, model: str) -> Family:
        return next((family for clause, family in self._families if clause(model)), self._default)

    def _max_output_tokens(self, model: str) -> int:
        return next((most for clause, most in self._outputs if clause(model)), self._default_output)


def load_pin() -> Pin:
    """``catalog.toml``."""
    document, _ = load_toml(data("pricing") / "catalog.toml")
    return Pin(
        version=document["genai_prices"],
        date=document["date"],
        warn_after_days=document["warn_after_days"],
        loud_after_days=document["loud_after_days"],
    )


def load_gaps() -> Overlay:
    """``gaps.toml``: what the catalogue gets wrong."""
    return load_overlay(data("pricing") / "gaps.toml")


@lru_cache(maxsize=1)
def load_families() -> Families:
    """``families.toml``."""
    document, _ = load_toml(data("pricing") / "families.toml")
    return Families(document)


def load_ceilings() -> Ceilings:
    """``ceilings.toml``; raises ``PriceError`` when it does not bound input and output everywhere."""
    path = data("pricing") / "ceilings.toml"
    document, _ = load_toml(path)
    base = document["default"]
    default = _ceiling("default", base, base, path)
    entries = tuple(
        (provider, parse_clause(one["match"]) if "match" in one else None, _ceiling(provider, base, one, path))
        for one in document["ceiling"]
        for provider in ([one["provider"]] if isinstance(one["provider"], str) else one["provider"])
    )
    return Ceilings(entries, default, Decimal(base["other_unit_usd"]))


def _ceiling(provider: str, base: Mapping[str, Any], entry: Mapping[str, Any], path: Path) -> Price:
    def quote(key: str) -> RawRate:
        return (Decimal(entry[key] if key in entry else base[key]), PER[key], ())

    for key in ("input_mtok", "output_mtok"):
        if key not in entry:
            raise PriceError(f"{path}: the ceiling of {provider} has no {key}")
    quoted = {key: quote(key) for key in PER if key in entry or key in base}
    # Writing a cache costs at most twice the input (docs.claude.com, one hour); an entry may say so itself.
    for key, times in (("cache_write_mtok", Decimal("1.25")), ("cache_write_1h_mtok", Decimal(2))):
        if key not in entry:
            quoted[key] = (quoted["input_mtok"][0] * times, MTOK, ())
    return make_price(kind=CEILING, provider=provider, model="*", source="ceilings.toml", quoted=quoted)


def _family(name: str, entry: Mapping[str, Any]) -> Family:
    return Family(
        name=name,
        central=Decimal(entry["central"]),
        upper=Decimal(entry["upper"]),
        media_tokens=int(entry["media_tokens"]),
        media_guess_tokens=int(entry["media_guess_tokens"]),
        search_tokens=int(entry["search_tokens"]),
    )
