"""The price catalogue: genai-prices behind one narrow door.

Only its public types are used, and none of its caches (they grow by every name a client sends) nor its updater (a thread that
talks to the network, through us). Importing it costs a quarter of a second, so this module is imported by ``PriceBook.load`` only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import Any

from genai_prices.data import providers as bundled_providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from .rates import RawRate
from .units import PER


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the catalogue says of a model at one moment.

    ``used`` are the terms that selected a rate; ``borrowed`` means that the terms' rates are another provider's (Azure serves
    OpenAI's models at OpenAI's prices). ``quoted`` is empty for an entry without any price.
    """

    provider: str
    model: str
    name: str
    quoted: dict[str, RawRate]
    since: str | None
    used: tuple[tuple[str, str], ...] = ()
    borrowed: bool = False


class Catalogue:
    """Read-only, and safe to share between threads."""

    def __init__(self) -> None:
        self.version = version("genai-prices")
        self._providers: list[Provider] = list(bundled_providers)
        self._by_id = {provider.id: provider for provider in self._providers}
        self.find = lru_cache(maxsize=4_096)(self._find)
        """The entry that a lower-case model name means at a provider id, or at those whose models it resells; None for neither.

        Cached, bounded: a name that fits nothing is held against a thousand clauses (0.5 ms at OpenRouter).
        """

    def _find(self, provider_id: str, model: str) -> tuple[Provider, ModelInfo] | None:
        provider = self._by_id.get(provider_id)
        found = provider.find_model(model, all_providers=self._providers) if provider else None
        return (provider, found) if provider and found else None

    def quote(self, entry: tuple[Provider, ModelInfo], at: datetime, terms: dict[str, str]) -> Quote:
        """The rates of an entry at ``at`` (aware, UTC) under mapped terms."""
        provider, model = entry
        standard = _rates(model.get_prices(at))
        quoted, used = standard, []
        for key, value in sorted(terms.items()):
            # Each term alone tells whether it selects anything; together they give the rates.
            if _rates(model.get_prices(at, {key: value})) != standard or _neutral(model, key, value):
                used.append((key, value))
        if used:
            quoted = _rates(model.get_prices(at, terms))
        return Quote(
            provider=provider.id,
            model=model.id,
            name=model.name or model.id,
            quoted=quoted,
            since=_since(model, at),
            used=tuple(used),
            borrowed=bool(used) and not any(one is model for one in provider.models),
        )

    def entries(self) -> Iterator[tuple[Provider, ModelInfo]]:
        """Every entry of the catalogue."""
        for provider in self._providers:
            for model in provider.models:
                yield provider, model

    @cached_property
    def boundaries(self) -> frozenset[int]:
        """The minutes of the day (UTC) at which some price changes."""
        found: set[int] = set()
        for _, model in self.entries():
            prices: list[Any] = [] if isinstance(model.prices, ModelPrice) else list(model.prices)
            for one in (*prices, *(model.price_variants or ())):
                if isinstance(one.constraint, TimeOfDateConstraint):
                    for moment in (one.constraint.start_time, one.constraint.end_time):
                        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                        utc = datetime.combine(date(1970, 1, 2), aware).astimezone(UTC)
                        # A boundary inside a minute is rounded outwards: both minutes get their own resolution.
                        found.add(utc.hour * 60 + utc.minute)
                        if utc.second or utc.microsecond:
                            found.add((utc.hour * 60 + utc.minute + 1) % 1440)
        return frozenset(found)


def _neutral(model: ModelInfo, key: str, value: str) -> bool:
    """Whether the entry names the term and gives it the standard price (OpenAI's ``service_tier: default``)."""
    return any(variant.when.get(key) == value and not variant.constraint for variant in model.price_variants or ())


def _rates(price: ModelPrice) -> dict[str, RawRate]:
    found: dict[str, RawRate] = {}
    for key, value in price.__dict__.items():
        per = PER.get(key)
        if value is None or per is None:
            continue
        if isinstance(value, TieredPrices):
            found[key] = (value.base, per, tuple((tier.start, tier.price) for tier in value.tiers))
        else:
            found[key] = (value, per, ())
    return found


def _since(model: ModelInfo, at: datetime) -> str | None:
    """The start date of the price in force, when the entry has a history."""
    if isinstance(model.prices, ModelPrice):
        return None
    dated: list[ConditionalPrice] = [one for one in model.prices if isinstance(one.constraint, StartDateConstraint)]
    for one in reversed(dated):
        if isinstance(one.constraint, StartDateConstraint) and one.constraint.active(at):
            return one.constraint.start_date.isoformat()
    return None
