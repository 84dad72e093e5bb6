"""What a provider says a call used: disjoint counts that add up to the whole."""

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from .value import dataclass

MAX_COUNT = 10**9
"""The most tokens one count may claim; more is a broken report (a price library took ``prompt_tokens: 10**30``)."""

CHARGED_NOTHING = "charged-nothing"
"""The flag of an answer that says outright that its provider takes nothing for it: elsewhere a stated 0 may mean "not known"."""

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
    DEFERRED = "deferred"
    """Only submitted (a batch, a background response): billed when its results are read, counted at what was held until then."""


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
    response_id: str | None = None
    """The provider's id of this very call, where one answer holds many (the lines of a batch)."""
    custom_id: str | None = None
    """The client's own id of it there."""

    @property
    def total_input_tokens(self) -> int:
        """All that went in, cached or not: what context tiers go by."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWindow:
    """How much of a subscription's window is used, as an answer states it.

    ``used_ppm`` is in millionths of the window (1,000,000 is all of it), ``resets_at`` UTC microseconds; where the provider
    counts from the answer instead, ``resets_after_s`` is set. ``status`` is the provider's own word (``allowed``, ``rejected``).
    """

    name: str
    used_ppm: int | None = None
    resets_at: int | None = None
    resets_after_s: int | None = None
    status: str = ""


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
    refusal: str | None = None
    """The class of the provider's own refusal inside a good answer (``content_filter``, ``refusal``, ``SAFETY``)."""
    is_repeatable: bool = False
    """The provider states the same figures again whenever asked: they are billed once, by provider and response id."""
    links: Mapping[str, str] = MappingProxyType({})
    """Other ids under which the results of an earlier submission will come, each with that submission's id."""
    results_of: tuple[str, ...] = ()
    """Earlier submissions that these are the whole results of: their estimates are released."""
    plan_windows: tuple[PlanWindow, ...] = ()
