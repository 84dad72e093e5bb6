"""From a provider's model name, a moment and terms to one resolved price: overlays first, then the catalogue, then a ceiling."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from .catalogue import Catalogue
from .names import VENDORS, catalogues, spellings
from .overlay import Factor, Overlay, PriceRule
from .rates import FREE, LIST, Price, RawRate, make_price
from .shipped import Ceilings
from .terms import Mapped, map_terms

_ZERO: RawRate = (Decimal(0), 1, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be priced. ``names`` are cleaned model names, the answer's own first, then the one asked for; ``at`` is UTC µs."""

    provider: str
    host: str
    names: tuple[str, ...]
    at: int
    terms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A price before multipliers and discount. ``quoted`` empty and not free: listed without any price."""

    provider: str
    model: str
    source: str
    quoted: Mapping[str, RawRate]
    since: str | None = None
    used: tuple[tuple[str, str], ...] = ()
    free: bool = False
    flags: tuple[str, ...] = ()


class Resolver:
    """Immutable after construction. ``overlays`` are in order of authority: the user's own before the shipped one."""

    def __init__(self, catalogue: Catalogue, overlays: Sequence[Overlay], ceilings: Ceilings) -> None:
        self._catalogue = catalogue
        self._overlays = tuple(overlays)
        self._ceilings = ceilings

    def resolve(self, question: Question) -> Price:
        """The price in force. A price of kind ``ceiling`` means that none is known; its flags say why."""
        price, reason = self._look(question)
        if price is None and question.provider == "openrouter":
            # It passes on its vendors' prices (openrouter.ai/docs/faq): a model that its own list lacks is looked up there.
            for name in question.names:
                vendor = VENDORS.get(name.partition("/")[0])
                if vendor is not None and vendor != question.provider:
                    price, _ = self._look(replace(question, provider=vendor, names=(name,)), ("priced-at-vendor",))
                    if price is not None:
                        break
        if price is not None:
            return price
        ceiling = self._ceilings.of(question.provider, question.names[0] if question.names else "")
        return replace(ceiling, flags=(reason,))

    def _look(self, question: Question, flags: tuple[str, ...] = ()) -> tuple[Price | None, str]:
        """The price, or None and why there is none."""
        mapped = map_terms(question.provider, question.terms)
        moment = datetime.fromtimestamp(question.at // 1_000_000, UTC)
        reason = "unknown-model" if question.names else "no-model"
        for position, name in enumerate(question.names):
            for spelling in self._spellings(question, name, moment.date()):
                found = self._find(question, spelling, moment, mapped)
                if found is None:
                    continue
                if not found.quoted and not found.free:
                    reason = "no-list-price"
                    break
                odd = (*flags, *found.flags, *(("priced-as-requested",) if position else ()))
                return self._finish(question, spelling, moment.date(), mapped, replace(found, flags=odd)), ""
        return None, reason

    def _spellings(self, question: Question, name: str, day: date) -> Iterator[str]:
        seen: set[str] = set()
        for spelling in spellings(name):
            for overlay in self._overlays:
                for scope, model, target in overlay.aliases:
                    if model == spelling and scope.covers(question.provider, question.host, model, day):
                        yield from (one for one in spellings(target) if one not in seen)
            if spelling not in seen:
                seen.add(spelling)
                yield spelling

    def _find(self, question: Question, name: str, moment: datetime, mapped: Mapped) -> _Found | None:
        day = moment.date()
        for overlay in self._overlays:
            if (rule := self._rule(overlay, question, name, day, mapped)) is not None:
                since = rule.scope.start.isoformat() if rule.scope.start else None
                return _Found(
                    provider=question.provider,
                    model=rule.name or name,
                    source=overlay.source,
                    quoted=rule.quoted,
                    since=since,
                    used=rule.terms,
                )
            for scope, unit in overlay.free:
                if unit is None and scope.covers(question.provider, question.host, name, day):
                    return _Found(provider=question.provider, model=name, source=overlay.source, quoted={}, free=True)
        for provider_id in catalogues(question.provider):
            entry = self._catalogue.find(provider_id, name)
            if entry is not None:
                return self._listed(entry, question, name, moment, mapped)
        return None

    def _listed(self, entry: object, question: Question, name: str, moment: datetime, mapped: Mapped) -> _Found:
        quote = self._catalogue.quote(entry, moment, dict(mapped.context))  # type: ignore[arg-type]
        flags = ("terms-of-another-provider",) if quote.borrowed else ()
        quoted, sources = dict(quote.quoted), [f"genai-prices {self._catalogue.version}"]
        if quoted:
            for overlay in self._overlays:
                for rule in overlay.prices:
                    lacking = rule.quoted.keys() - quoted.keys()
                    if rule.fills and lacking and rule.scope.covers(question.provider, question.host, name, moment.date()):
                        quoted |= {key: rule.quoted[key] for key in lacking}
                        sources.append(overlay.source)
        return _Found(
            provider=quote.provider,
            model=quote.model,
            source=" + ".join(dict.fromkeys(sources)),
            quoted=quoted,
            since=quote.since,
            used=quote.used,
            flags=flags,
        )

    @staticmethod
    def _rule(overlay: Overlay, question: Question, name: str, day: date, mapped: Mapped) -> PriceRule | None:
        """The newest rule that covers the call; of equals, the one that asks more (terms, hours), then the later in the file."""
        best: tuple[tuple[date, int, int, int], PriceRule] | None = None
        context = dict(mapped.context)
        for position, rule in enumerate(overlay.prices):
            if rule.fills or not rule.scope.covers(question.provider, question.host, name, day):
                continue
            if any(context.get(key) != value for key, value in rule.terms):
                continue
            if rule.hours is not None and not rule.hours.holds(question.at):
                continue
            rank = (rule.scope.start or date.min, len(rule.terms), int(rule.hours is not None), position)
            if best is None or rank > best[0]:
                best = (rank, rule)
        return best[1] if best else None

    def _finish(self, question: Question, name: str, day: date, mapped: Mapped, found: _Found) -> Price:
        used = set(found.used)
        multipliers: list[tuple[str, Decimal]] = []
        for overlay in self._overlays:
            for factor in overlay.multipliers:
                if factor.terms and used.issuperset(factor.terms):
                    continue  # the rates found are those of these very terms already
                if self._applies(factor, question, name, day, mapped):
                    multipliers.append((factor.name, factor.factor))
                    used.update(factor.terms)
        unused = [key for key, value in (*mapped.context, *mapped.marks) if (key, value) not in used]
        flags = (*mapped.flags, *(f"term-unpriced:{key[:32]}" for key in unused), *found.flags)
        discount = self._discount(question, name, day)
        return make_price(
            kind=FREE if found.free else LIST,
            provider=found.provider,
            model=found.model,
            source=found.source,
            quoted=found.quoted,
            extra=self._free_units(question, name, day),
            since=found.since,
            terms=tuple(sorted(used)),
            multipliers=tuple(multipliers),
            discount=discount,
            flags=flags,
        )

    @staticmethod
    def _applies(factor: Factor, question: Question, name: str, day: date, mapped: Mapped) -> bool:
        if not factor.scope.covers(question.provider, question.host, name, day) or factor.not_host == question.host:
            return False
        said = {*mapped.context, *mapped.marks}
        return all(term in said for term in factor.terms)

    def _discount(self, question: Question, name: str, day: date) -> Decimal:
        """The newest discount that covers the call, the user's own overlay first; discounts never add up."""
        for overlay in self._overlays:
            fitting = [one for one in overlay.discounts if one.scope.covers(question.provider, question.host, name, day)]
            if fitting:
                newest = max(one.scope.start or date.min for one in fitting)
                return next(one.factor for one in reversed(fitting) if (one.scope.start or date.min) == newest)
        return Decimal(1)

    def _free_units(self, question: Question, name: str, day: date) -> dict[str, RawRate]:
        return {
            unit: _ZERO
            for overlay in self._overlays
            for scope, unit in overlay.free
            if unit is not None and scope.covers(question.provider, question.host, name, day)
        }
