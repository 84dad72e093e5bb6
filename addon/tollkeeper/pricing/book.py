"""The price book: what a call costs, what it may cost, and where each figure comes from.

Immutable after ``load`` and safe to use from the event loop and from worker threads at once; a changed overlay is a new book.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tollkeeper.core.call import Call, Endpoint, Metering
from tollkeeper.core.charge import Bill
from tollkeeper.core.money import MAX_NANOUSD
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.core.value import dataclass
from tollkeeper.wire.row import BATCH, MESSAGES, RETRIEVE, UPLOAD
from tollkeeper.wire.traits import SUBSCRIPTION

from .billing import Item, assemble, line
from .holds import bound, worst_nanousd
from .names import GATEWAYS, clean, upstream
from .overlay import Overlay, load_overlay
from .rates import CEILING, Price, reprice_from
from .shipped import Ceilings, Families, Pin, load_ceilings, load_families, load_gaps, load_pin
from .terms import bounded

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .resolver import Resolver

_US_PER_DAY = 86_400_000_000
_US_PER_MINUTE = 60_000_000
_CACHED_PRICES = 2_048
MAX_FALLBACKS = 32
MAX_HOLD_NANOUSD = MAX_NANOUSD // 1_000
LEAST_HOLD_NANOUSD = 1
"""Held for a batch of which nothing is known: so that a budget which is used up stops it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What to hold for a call: nano-USD, the model it was reckoned for, and whether that model's price is known."""

    worst_nanousd: int
    model: str
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueInfo:
    """Which prices these are: catalogue version and date, overlays in force.

    ``date`` is None when the installed catalogue is not the one this release was reviewed with.
    """

    version: str
    date: date | None
    warn_after_days: int
    loud_after_days: int
    overlays: tuple[str, ...] = ()

    def age_days(self, at: int) -> int | None:
        """Days since the catalogue's date, at ``at`` (UTC microseconds)."""
        if self.date is None:
            return None
        return (datetime.fromtimestamp(at // 1_000_000, UTC).date() - self.date).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One model of the catalogue or an overlay, for listings. Rates are USD per million tokens as text, None when there is none."""

    provider: str
    model: str
    input_mtok: str | None
    output_mtok: str | None
    source: str
    tiered: bool = False


class PriceBook:
    """See the module. Build it with :meth:`load`."""

    def __init__(
        self, catalogue: "Catalogue", resolver: "Resolver", overlays: tuple[Overlay, ...], ceilings: Ceilings, pin: Pin
    ) -> None:
        self._catalogue = catalogue
        self._resolver = resolver
        self._overlays = overlays
        self._ceilings = ceilings
        self._families: Families = load_families()
        hours = {minute for overlay in overlays for rule in overlay.prices if rule.hours for minute in rule.hours.boundaries}
        self._slots = tuple(sorted({*catalogue.boundaries, *hours}))
        self._price = lru_cache(maxsize=_CACHED_PRICES)(self._price_uncached)
        self.catalogue = CatalogueInfo(
            version=catalogue.version,
            date=pin.date if pin.version == catalogue.version else None,
            warn_after_days=pin.warn_after_days,
            loud_after_days=pin.loud_after_days,
            overlays=tuple(overlay.source for overlay in overlays),
        )

    @classmethod
    def load(cls, overlay: Path | None = None) -> "PriceBook":
        """Read catalogue, shipped data and, when given, the user's overlay. Takes about half a second; nothing is fetched.

        Raises ``ConfigError`` (file, line, nearest key) for an overlay that cannot be used as it stands.
        """
        own = (load_overlay(overlay),) if overlay is not None else ()
        from .catalogue import Catalogue
        from .resolver import Resolver

        catalogue, overlays, ceilings = Catalogue(), (*own, load_gaps()), load_ceilings()
        return cls(catalogue, Resolver(catalogue, overlays, ceilings), overlays, ceilings, load_pin())

    def bill(self, call: Call, reading: Reading) -> Bill:
        """What an exchange costs, line by line, at the prices of the moment it started.

        A free endpoint, or a reading that says nothing was billed, gives an empty bill; one that cannot be read gives an empty
        bill flagged ``unmetered``: its cost is unknown, not 0.
        """
        if call.endpoint.metering is Metering.FREE:
            return Bill()
        if not reading.calls and reading.provider_cost_usd is None:
            nothing = reading.source is UsageSource.NONE
            return Bill(flags=() if nothing else ("unmetered",))
        terms = bounded(reading.terms, call.ask.service_tier)
        lines = [line(self._item(usage, call, reading, terms), reading, self._ceilings) for usage in reading.calls]
        return assemble(lines, reading)

    def hold(self, call: Call, model: str | None = None, *, cap: int | None = None, alone: bool = False) -> Quote:
        """The most ``call`` may cost, or would if it asked for ``model``: what to set aside before it leaves, rounded up.

        ``cap`` is the most output tokens that its answer would be given, instead of what it asks for; ``alone`` leaves out the
        models that it names besides.
        """
        endpoint, ask = call.endpoint, call.ask
        name = model or call.model
        if endpoint.metering is not Metering.METERED:
            return Quote(worst_nanousd=0, model=name or "", known=endpoint.metering is Metering.FREE)
        if endpoint.operation == RETRIEVE or (endpoint.operation == UPLOAD and not ask.parts):
            return Quote(worst_nanousd=0, model=name or "", known=True)
        if endpoint.operation in {BATCH, UPLOAD}:
            return self._batch(call, name)
        # Whichever of them answers, only one does (``fallback_models``): the dearest is held.
        worst, known = self._worst(call, name, cap)
        if ask.fallback_models and not alone:
            worsts = [self._worst(call, one, cap) for one in ask.fallback_models[:MAX_FALLBACKS]]
            worst, known = max(worst, *(one for one, _ in worsts)), known and all(known for _, known in worsts)
        return Quote(worst_nanousd=worst, model=name or "", known=known)

    def warm_nanousd(self, call: Call, cap: int) -> int:
        """About what ``call`` costs as asked when its conversation is in the provider's prompt cache and it answers ``cap`` tokens.

        A bound at the rate of a cache read; at the full rate where nothing is cached: Anthropic caches what the request marks only.
        """
        marks = call.endpoint.dialect != MESSAGES or call.ask.cache_write_ttl is not None
        return self._worst(call, call.model, cap, warm=marks)[0]

    def _batch(self, call: Call, name: str | None) -> Quote:
        """The sum over a batch's requests, at the batch price. Of a file that never passed here nothing is known but that it costs."""
        worst, known = 0, True
        for part in call.ask.parts:
            endpoint = replace(call.endpoint, operation=part.operation or "chat")
            one, is_known = self._worst(replace(call, ask=part, endpoint=endpoint), part.model or name)
            worst, known = worst + one * part.requests, known and is_known
        return Quote(worst_nanousd=min(worst, MAX_HOLD_NANOUSD) or LEAST_HOLD_NANOUSD, model=name or "", known=known)

    def _worst(self, call: Call, name: str | None, cap: int | None = None, *, warm: bool = False) -> tuple[int, bool]:
        endpoint, ask = call.endpoint, call.ask
        provider, served = upstream(endpoint.provider, endpoint.path, name)
        cleaned = clean(served)
        price = self._at(
            provider, pricing_host(endpoint), (cleaned,) if cleaned else (), call.started_at, bounded(ask.terms, ask.service_tier)
        )
        limits = bound(ask, endpoint.operation, cleaned, self._families, cap)
        return worst_nanousd(price, self._ceilings, provider, cleaned, ask, limits, warm=warm), price.kind != CEILING

    def price_of(
        self, provider: str, model: str, at: int, *, host: str = "", terms: Mapping[str, str] | None = None
    ) -> Price | None:
        """The price of a provider's model at ``at`` (UTC microseconds), None when it has none."""
        served, name = upstream(provider, "", model)
        cleaned = clean(name)
        price = self._at(served, host.lower(), (cleaned,) if cleaned else (), at, bounded(terms or {}, None))
        return None if price.kind == CEILING else price

    def models(self, at: int) -> Iterator[Listed]:
        """Every model with an entry of its own, catalogue first, at the prices of ``at`` (UTC microseconds)."""
        moment = datetime.fromtimestamp(at // 1_000_000, UTC)
        for entry in self._catalogue.entries():
            quote = self._catalogue.quote(entry, moment, {})
            rates = [quote.quoted.get(key) for key in ("input_mtok", "output_mtok")]
            shown = [None if rate is None else format(rate[0].normalize(), "f") for rate in rates]
            yield Listed(
                provider=quote.provider,
                model=quote.model,
                input_mtok=shown[0],
                output_mtok=shown[1],
                source="catalogue",
                tiered=any(rate is not None and bool(rate[2]) for rate in rates),
            )
        for overlay in self._overlays:
            for rule in overlay.prices:
                if rule.name and not rule.fills:
                    rates = [rule.quoted.get(key) for key in ("input_mtok", "output_mtok")]
                    shown = [None if rate is None else format(rate[0].normalize(), "f") for rate in rates]
                    where = rule.scope.provider or rule.scope.host or ""
                    yield Listed(
                        provider=where, model=rule.name, input_mtok=shown[0], output_mtok=shown[1], source=overlay.source
                    )

    def _item(self, usage: Usage, call: Call, reading: Reading, terms: tuple[tuple[str, str], ...]) -> Item:
        """The answer's own model first, then the one asked for; a call billed at a model of its own never falls back to another."""
        endpoint = call.endpoint
        said = usage.model or reading.model
        asked = call.model if usage.model is None or usage.model == reading.model else None
        gateway_path = endpoint.path[:200] if endpoint.provider in GATEWAYS else ""
        provider, names = _names(endpoint.provider, gateway_path, clean(said), clean(asked))
        price = self._at(provider, pricing_host(endpoint), names, call.started_at, terms)
        return Item(
            usage=usage,
            provider=endpoint.provider,
            model=clean(said or call.model) or "unknown",
            lookup_provider=provider,
            lookup_model=names[0] if names else "",
            price=price,
            notional=bool(call.plan) or SUBSCRIPTION in endpoint.traits,
            counts=call.plan_counts,
        )

    def _at(self, provider: str, host: str, names: tuple[str, ...], at: int, terms: tuple[tuple[str, str], ...]) -> Price:
        """Prices change at midnight UTC and at the catalogue's minutes of the day: between two of these one resolution holds."""
        day, rest = divmod(at, _US_PER_DAY)
        return self._price(provider, host, names, day, bisect_right(self._slots, rest // _US_PER_MINUTE), terms)

    def _price_uncached(
        self, provider: str, host: str, names: tuple[str, ...], day: int, slot: int, terms: tuple[tuple[str, str], ...]
    ) -> Price:
        from .resolver import Question

        minute = self._slots[slot - 1] if slot else 0
        at = day * _US_PER_DAY + minute * _US_PER_MINUTE
        return self._resolver.resolve(Question(provider=provider, host=host, names=names, at=at, terms=terms))


@lru_cache(maxsize=2_048)
def _names(provider: str, path: str, said: str, asked: str) -> tuple[str, tuple[str, ...]]:
    """Who really serves a call, and the names to look its model up by: the answer's, then the request's."""
    names, server = [], provider
    for model in (asked, said):
        # The request names the vendor behind a gateway more often than the answer does.
        served, name = upstream(provider, path, model or None)
        if served != provider:
            server = served
        if name:
            names.append(name)
    return server, tuple(dict.fromkeys(reversed(names)))


def pricing_host(endpoint: Endpoint) -> str:
    """The host that decides about regional premiums: Vertex's global host also serves regions, named in the path."""
    host = endpoint.host
    if endpoint.provider == "vertex" and host == "aiplatform.googleapis.com" and "/locations/" in endpoint.path:
        location = endpoint.path.partition("/locations/")[2].partition("/")[0][:40].lower()
        return host if location in {"", "global"} else f"{location}-{host}"
    return host


__all__ = ["CatalogueInfo", "Listed", "Price", "PriceBook", "Quote", "pricing_host", "reprice_from"]
