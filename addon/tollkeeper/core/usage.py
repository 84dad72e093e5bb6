"""What a provider says a call used: disjoint counts that add up to the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

MAX_COUNT = 10**9
"""The most tokens one count may claim; more is a broken report (a price library took ``prompt_tokens: 10**30``)."""

EMPTY: Mapping[str, int] = MappingProxyType({})


class UsageSource(StrEnum):
    """How we know the counts of an entry."""

    REPORTED = "reported"
    """The provider's final figures."""
    PARTIAL = "partial"
    """The stream was cut: the provider's figures up to there, the rest counted."""
    COUNTED = "counted"
    """The provider said nothing: counted by us."""
    NONE = "none"
    """Nothing was billed (an error, a free endpoint)."""
    UNMETERED = "unmetered"
    """Something may have been billed and we cannot read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Disjoint token counts of one billed model call.

    ``input + cache_read + cache_write_5m + cache_write_1h`` is all that went in, ``output`` all that came out, of which
    ``reasoning`` is told apart. ``units`` holds what else is billed, by name: ``audio_input_tokens``, ``image_input_tokens``
    (parts of ``input_tokens``), ``audio_cache_read_tokens`` (part of ``cache_read_tokens``), ``audio_output_tokens``,
    ``image_output_tokens`` (parts of ``output_tokens``), ``web_search_requests``, ``file_search_requests``, …
    """

    model: str | None = None
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    units: Mapping[str, int] = EMPTY

    @property
    def total_input_tokens(self) -> int:
        """All that went in, cached or not: what context tiers go by."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All a meter learned from one answer.

    ``calls`` has one ``Usage`` per billed model call (Anthropic ``iterations`` bill several). ``terms`` are what multiplies
    the price, in the provider's words: ``service_tier``, ``inference_geo``, ``speed``. ``raw`` keeps the provider's usage
    objects (counts only, never text) so that an entry can be computed again. ``flags`` name what looked wrong.
    """

    source: UsageSource
    calls: tuple[Usage, ...] = ()
    model: str | None = None
    response_id: str | None = None
    terms: Mapping[str, str] = MappingProxyType({})
    provider_cost_usd: Decimal | None = None
    error: str | None = None
    """The class of failure the provider named (``overloaded_error``), never its message."""
    complete: bool = True
    raw: tuple[Mapping[str, Any], ...] = ()
    flags: tuple[str, ...] = ()
    visible_output: str = field(default="", repr=False)
    """For counting a cut stream only: text the client saw. Never stored, never logged."""
    visible_output_scale: float = 1.0
    """Multiply a count of ``visible_output`` by this when the text was sampled."""
