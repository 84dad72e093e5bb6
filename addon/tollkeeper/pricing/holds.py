"""What a call may cost at most, before it leaves: the amount that is set aside (the formula: docs/pricing.md).

The bound on input goes by the bytes of text in the request: tokenising every request would cost more than it saves.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil

from tollkeeper.core.call import Ask
from tollkeeper.core.money import NANO_PER_USD
from tollkeeper.core.usage import MAX_COUNT
from tollkeeper.core.value import dataclass

from .rates import CEILING, FREE, Price, Rate
from .shipped import Ceilings, Families
from .units import PARTS, is_measured_otherwise

BYTES_PER_TOKEN = Fraction(33, 10)
"""Bytes of o200k_base text per token at the dense end (minified JSON 3.54, Chinese 3.46); base64 runs are denser, 1.47."""
OVERHEAD_TOKENS = 700
"""Prompts that providers add unseen: 549 for tools at Anthropic, about 683 at grok-4."""
DEFAULT_OUTPUT_TOKENS = 16_384
"""Held when the client names no cap, as gateways do."""
MAX_CHOICES = 128
MAX_SEARCHES = 20
"""Beyond this, what searches add to the input is bounded by the context window rather than by their number."""

NO_TEXT_OUT = frozenset({"embeddings", "rerank", "moderation", "image_generation", "transcription", "speech", "video"})
"""Operations that are not billed by text: what else they are billed by stands in ``Ask.units``."""

_ALL_IN = ("input_tokens", *PARTS["input_tokens"])
_ALL_OUT = ("output_tokens", *PARTS["output_tokens"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Upper bounds on what a call may use."""

    input_tokens: int
    media_tokens: int
    output_tokens: int

    @property
    def total_input_tokens(self) -> int:
        """Text and media: what context tiers go by."""
        return self.input_tokens + self.media_tokens


def bound(ask: Ask, operation: str, model: str, families: Families, cap: int | None = None) -> Bound:
    """Bounds for an ask to a (cleaned) model name, in tokens; ``cap`` is the cap that its answer would get instead of its own."""
    family = families.of(model)
    above, below = _tokens_per_byte(family.upper)
    text = -(-max(0, ask.input_bytes) * above // below)
    most = families.max_output_tokens(model)
    asked = ask.max_output_tokens if cap is None else cap
    if operation in NO_TEXT_OUT:
        out = 0
    elif asked is None or asked <= 0:
        out = min(DEFAULT_OUTPUT_TOKENS, most)
    else:
        out = min(asked, most)
    choices = min(max(1, ask.choices), MAX_CHOICES)
    found = min(max(0, ask.server_tools), MAX_SEARCHES) * family.search_tokens
    return Bound(
        input_tokens=text + found + OVERHEAD_TOKENS,
        media_tokens=max(0, ask.media_parts) * family.media_tokens,
        output_tokens=out * choices,
    )


def worst_nanousd(
    price: Price, ceilings: Ceilings, provider: str, model: str, ask: Ask, limits: Bound, *, warm: bool = False
) -> int:
    """The most a call within ``limits`` may cost at ``price``, rounded up; a rate that is missing counts at the ceiling.

    ``warm``: all its text is read from the prompt cache, where the price has a rate for that.
    """
    if price.kind == FREE:
        return 0
    total, listed = limits.total_input_tokens, price.rates
    fallback = ceilings.of(provider, model).rates

    def dearest(units: Iterable[str], count: int) -> int:
        if not count:
            return 0
        rates: list[Rate] = [listed[unit] for unit in units if unit in listed]
        if not rates:
            rates = [fallback[unit] for unit in units if unit in fallback]
        if len(rates) == 1:
            return rates[0].at(total).cost_nanousd_up(count)
        return max([rate.at(total).cost_nanousd_up(count) for rate in rates], default=0)

    # A known model that is billed by its own units (pictures, seconds, characters) and lists no tokens bills no text.
    text_units = ("cache_read_tokens",) if warm and "cache_read_tokens" in listed else _text_units(ask, price)
    is_text_billed = price.kind == CEILING or not ask.units or any(unit in price.rates for unit in text_units)
    text = dearest(text_units, limits.input_tokens) if is_text_billed else 0
    media = dearest(_ALL_IN, limits.media_tokens) if is_text_billed else 0
    by_unit_only = bool(ask.units) and price.kind != CEILING and "output_tokens" not in price.rates
    out = 0 if by_unit_only else dearest(_ALL_OUT, limits.output_tokens)
    worst = text + media + out + _units_nanousd(price, ceilings, fallback, ask, total)
    if price.kind != CEILING and "input_characters" in price.rates and "input_characters" not in ask.units:
        worst += dearest(("input_characters",), min(max(0, ask.input_bytes), MAX_COUNT))
    if "requests" in price.rates:
        worst += price.rates["requests"].at(total).cost_nanousd_up(1)
    if ask.server_tools > 0:
        fees = ("web_search_requests", "file_search_requests", "code_execution_requests")
        worst += dearest(fees, min(ask.server_tools, 10_000))
    return worst if price.discount == 1 else ceil(worst * Fraction(price.discount))


@lru_cache(maxsize=256)
def _tokens_per_byte(upper: Decimal) -> tuple[int, int]:
    """The exact ratio as two whole numbers: a ``Fraction`` costs 10 µs a call."""
    return (Fraction(upper) / BYTES_PER_TOKEN).as_integer_ratio()


def _units_nanousd(price: Price, ceilings: Ceilings, fallback: Mapping[str, Rate], ask: Ask, total: int) -> int:
    """The most that ``ask.units`` may cost, rounded up; a unit without a rate counts at the ceiling."""
    worst = 0
    for unit, stated in ask.units.items():
        count = min(max(0, stated), MAX_COUNT)
        if not count or is_measured_otherwise(unit, ask.units, price.rates):
            continue
        whole = next((whole for whole, parts in PARTS.items() if unit in parts), unit)
        rates = [price.rates[one] for one in (unit, whole) if one in price.rates] or [
            fallback[one] for one in (unit, whole) if one in fallback
        ]
        other = ceil(ceilings.other_unit_usd * NANO_PER_USD * count)
        worst += max((rate.at(total).cost_nanousd_up(count) for rate in rates), default=other)
    return worst


def _text_units(ask: Ask, price: Price) -> tuple[str, ...]:
    """A cache hit is never counted on; a cache write is, when it is asked for, or when the provider writes unasked (OpenAI)."""
    if ask.cache_write_ttl == "1h":
        return ("input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
    if ask.cache_write_ttl is not None or price.provider in {"openai", "azure"}:
        return ("input_tokens", "cache_write_5m_tokens")
    return ("input_tokens",)
