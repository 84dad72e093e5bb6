"""Price overlays: TOML documents that add to, correct and discount the catalogue (``pricing/overrides.example.toml``).

Every mistake is refused with file, line and the nearest known key: a price that is silently ignored is a wrong bill.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import LineFinder, load_toml, nearest

from .clauses import Clause, Hours, parse_clause, parse_hours
from .rates import RawRate
from .units import PER, RATE_KEYS

SCHEMA = 1
_SCOPE = ("provider", "host", "match")
_SPAN = ("from", "to")
_KEYS: Mapping[str, frozenset[str]] = {
    "price": frozenset({*_SCOPE, *_SPAN, "when", "terms", "tiers", "name", "variants", *RATE_KEYS}),
    "gap": frozenset({*_SCOPE, *_SPAN, "terms", "tiers", "name", *RATE_KEYS}),
    "discount": frozenset({*_SCOPE, *_SPAN, "factor", "name"}),
    "multiplier": frozenset({*_SCOPE, *_SPAN, "not_host", "terms", "factor", "name"}),
    "alias": frozenset({"provider", "host", "model", "is"}),
    "free": frozenset({*_SCOPE, "not_host", "unit", "name"}),
}
_MAX_ENTRIES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an entry is about: a provider (or host) and model names, between two UTC dates (both included)."""

    provider: str | None = None
    host: str | None = None
    not_host: str | None = None
    clause: Clause | None = field(default=None, repr=False)
    start: date | None = None
    end: date | None = None

    def covers(self, provider: str, host: str, model: str, day: date) -> bool:
        """Whether a call to ``model`` on that day is meant."""
        if (self.start and day < self.start) or (self.end and day > self.end):
            return False
        if self.provider is not None and self.provider != provider:
            return False
        if self.host is not None and not host_matches(self.host, host):
            return False
        if self.not_host is not None and host_matches(self.not_host, host):
            return False
        return self.clause is None or self.clause(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRule:
    """Rates of an entry. ``fills``: only the rates the catalogue lacks (``[[gap]]``); else they replace its price."""

    scope: Scope
    name: str
    quoted: Mapping[str, RawRate]
    hours: Hours | None = None
    terms: tuple[tuple[str, str], ...] = ()
    fills: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A discount or a multiplier. ``not_host`` excludes a host (a premium on every endpoint but the global one)."""

    scope: Scope
    name: str
    factor: Decimal
    terms: tuple[tuple[str, str], ...] = ()
    not_host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One parsed document. ``source`` names it in price documents: file name and content hash."""

    path: Path
    source: str
    prices: tuple[PriceRule, ...] = ()
    discounts: tuple[Factor, ...] = ()
    multipliers: tuple[Factor, ...] = ()
    aliases: tuple[tuple[Scope, str, str], ...] = ()
    free: tuple[tuple[Scope, str | None], ...] = ()


def host_matches(pattern: str, host: str) -> bool:
    """``api.x.ai``, ``*.api.x.ai`` (one or more labels before it) or ``*.eu-west-2.*`` (also behind it: a region of AWS)."""
    if pattern.startswith("*.") and pattern.endswith(".*"):
        return pattern[1:-1] in host
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern


def load_overlay(path: Path, text: str | None = None) -> Overlay:
    """Read and check an overlay; raises ``ConfigError`` naming file, line and the nearest known key."""
    document, lines = load_toml(path, text)
    return _Reader(path, lines).read(document, sha256(repr(document).encode()).hexdigest()[:16])


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) and value else [value]


class _Reader:
    def __init__(self, path: Path, lines: LineFinder) -> None:
        self._path = path
        self._lines = lines

    def read(self, document: Mapping[str, Any], digest: str) -> Overlay:
        self._known(document, {"schema", *_KEYS}, ())
        if document.get("schema") != SCHEMA:
            raise self._error(("schema",), f"schema is {document.get('schema')!r}; write schema = {SCHEMA}")
        tables: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for table, keys in _KEYS.items():
            entries = document.get(table, [])
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise self._error((table,), f"write each entry as a table of its own: [[{table}]]")
            if len(entries) > _MAX_ENTRIES:
                raise self._error((table,), f"{len(entries):,} entries; the most is {_MAX_ENTRIES:,}")
            tables[table] = []
            for index, entry in enumerate(entries):
                self._known(entry, keys, (table, index))
                tables[table].extend((index, one) for one in self._expanded((table, index), entry))
        return Overlay(
            path=self._path,
            source=f"{self._path.name} {digest}",
            prices=tuple(self._price(table, index, entry) for table in ("price", "gap") for index, entry in tables[table]),
            discounts=tuple(self._factor("discount", index, entry) for index, entry in tables["discount"]),
            multipliers=tuple(self._factor("multiplier", index, entry) for index, entry in tables["multiplier"]),
            aliases=tuple(self._alias(index, entry) for index, entry in tables["alias"]),
            free=tuple(self._free(index, entry) for index, entry in tables["free"]),
        )

    def _expanded(self, at: tuple[str, int], entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """One entry for each of its providers and hosts, and for each of its ``variants``: the same under more terms, with other rates."""
        variants = entry.get("variants", [])
        if not isinstance(variants, list) or not all(
            isinstance(one, dict) and isinstance(one.get("terms"), dict) for one in variants
        ):
            raise self._error((*at, "variants"), 'variants is a list such as [{ terms = { image_size = "1024x1024" }, … }]')
        base = {key: value for key, value in entry.items() if key != "variants"}
        for scope in product(*([(key, one) for one in _each(entry[key])] for key in ("provider", "host") if key in entry)):
            one = {**base, **dict(scope)}
            yield one
            for variant in variants:
                self._known(variant, {"terms", *RATE_KEYS}, (*at, "variants"))
                terms = entry.get("terms", {})
                yield {**one, **variant, "terms": {**(terms if isinstance(terms, dict) else {}), **variant["terms"]}}

    def _price(self, table: str, index: int, entry: Mapping[str, Any]) -> PriceRule:
        at = (table, index)
        quoted = self._quoted(entry, at)
        if not quoted:
            raise self._error(at, f"[[{table}]] has no rate; add one such as input_mtok, or list the model under [[free]]")
        scope = self._scope(at, entry)
        if scope.clause is None:
            raise self._error(at, f'[[{table}]] says no model; add match = {{ equals = "…" }}')
        return PriceRule(
            scope=scope,
            name=str(entry.get("name", "")),
            quoted=quoted,
            hours=self._parsed((*at, "when"), parse_hours, entry["when"]) if "when" in entry else None,
            terms=self._terms(at, entry),
            fills=table == "gap",
        )

    def _quoted(self, entry: Mapping[str, Any], at: tuple[str, int]) -> dict[str, RawRate]:
        tiers: dict[str, list[tuple[int, Decimal]]] = {}
        raw_tiers = entry.get("tiers", [])
        if not isinstance(raw_tiers, list):
            raise self._error((*at, "tiers"), 'tiers is a list such as [{ above = 200000, input_mtok = "6" }]')
        for tier in raw_tiers:
            if not isinstance(tier, dict) or not isinstance(tier.get("above"), int) or tier["above"] <= 0:
                raise self._error(
                    (*at, "tiers"), "each tier needs above (a whole number of tokens), such as { above = 200000, … }"
                )
            self._known(tier, {"above", *RATE_KEYS}, (*at, "tiers"))
            for key in tier.keys() & RATE_KEYS:
                if key not in entry:
                    raise self._error((*at, "tiers"), f"{key} has a tier but no base rate")
                tiers.setdefault(key, []).append((tier["above"], self._decimal((*at, "tiers"), key, tier[key])))
        return {
            key: (self._decimal((*at, key), key, entry[key]), PER[key], tuple(sorted(tiers.get(key, ()))))
            for key in sorted(entry.keys() & RATE_KEYS)
        }

    def _factor(self, table: str, index: int, entry: Mapping[str, Any]) -> Factor:
        at = (table, index)
        if "factor" not in entry:
            raise self._error(at, f'[[{table}]] has no factor; write factor = "0.85"')
        factor = self._decimal((*at, "factor"), "factor", entry["factor"])
        highest = 1 if table == "discount" else 100
        if not 0 <= factor <= highest:
            raise self._error((*at, "factor"), f"factor {factor} is not between 0 and {highest}")
        return Factor(
            scope=self._scope(at, entry),
            name=str(entry.get("name", f"{table} {index + 1}")),
            factor=factor,
            terms=self._terms(at, entry),
            not_host=self._text((*at, "not_host"), "not_host", entry["not_host"]) if "not_host" in entry else None,
        )

    def _alias(self, index: int, entry: Mapping[str, Any]) -> tuple[Scope, str, str]:
        at = ("alias", index)
        for key in ("model", "is"):
            if key not in entry:
                raise self._error(at, f"[[alias]] has no {key}")
        model = self._text((*at, "model"), "model", entry["model"]).lower()
        return self._scope(at, entry), model, self._text((*at, "is"), "is", entry["is"]).lower()

    def _free(self, index: int, entry: Mapping[str, Any]) -> tuple[Scope, str | None]:
        at = ("free", index)
        scope = self._scope(at, entry)
        if "not_host" in entry:
            scope = replace(scope, not_host=self._text((*at, "not_host"), "not_host", entry["not_host"]).lower())
        unit = self._text((*at, "unit"), "unit", entry["unit"]) if "unit" in entry else None
        if scope.clause is None and unit is None:
            raise self._error(at, "[[free]] says neither a model (match) nor a unit: that would make everything free")
        return scope, unit

    def _scope(self, at: tuple[str, int], entry: Mapping[str, Any]) -> Scope:
        if "provider" not in entry and "host" not in entry:
            raise self._error(at, f'[[{at[0]}]] names no provider; add provider = "openai", or host = "llm.example.com"')
        start, end = (self._date((*at, key), key, entry[key]) if key in entry else None for key in _SPAN)
        if start and end and end < start:
            raise self._error((*at, "to"), f"to ({end}) is before from ({start})")
        return Scope(
            provider=self._text((*at, "provider"), "provider", entry["provider"]).lower() if "provider" in entry else None,
            host=self._text((*at, "host"), "host", entry["host"]).lower() if "host" in entry else None,
            clause=self._parsed((*at, "match"), parse_clause, entry["match"]) if "match" in entry else None,
            start=start,
            end=end,
        )

    def _terms(self, at: tuple[str, int], entry: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        terms = entry.get("terms", {})
        if not isinstance(terms, dict) or not all(isinstance(value, str) for value in terms.values()):
            raise self._error((*at, "terms"), 'terms is a table of strings, such as { service_tier = "flex" }')
        return tuple(sorted(terms.items()))

    def _decimal(self, at: tuple[str | int, ...], key: str, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self._error(at, f'{key} must be a string, such as {key} = "0.20": binary fractions lose money')
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise self._error(at, f'{key} is "{value}", which is not a number') from None
        if not number.is_finite() or number < 0 or number > 1_000_000:
            raise self._error(at, f"{key} is {value}; it must be between 0 and 1,000,000")
        return number

    def _date(self, at: tuple[str | int, ...], key: str, value: object) -> date:
        if isinstance(value, datetime) or not isinstance(value, date):
            raise self._error(at, f"{key} is a plain date (UTC), such as {key} = 2026-12-01")
        return value

    def _text(self, at: tuple[str | int, ...], key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(at, f"{key} must be a non-empty string")
        return value.strip()

    def _parsed[T](self, at: tuple[str | int, ...], parse: Callable[[object], T], value: object) -> T:
        try:
            return parse(value)
        except ValueError as error:
            raise self._error(at, str(error)) from None

    def _known(self, table: Mapping[str, Any], known: Iterable[str], at: tuple[str | int, ...]) -> None:
        for key in table:
            if key not in known:
                close = nearest(key, known)
                hint = f'; did you mean "{close}"?' if close else ""
                raise self._error((*at, key), f'unknown key "{key}"{hint}')

    def _error(self, at: tuple[str | int, ...], message: str) -> ConfigError:
        return ConfigError(f"{self._path}:{self._lines.line_of(at)}: {message}")
