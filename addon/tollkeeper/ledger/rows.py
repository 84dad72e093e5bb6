"""What readers of the ledger get: plain values, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .plan_windows import PlanStanding


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Disjoint token counts; ``reasoning_tokens`` is a part of ``output_tokens``."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_input_tokens(self) -> int:
        """All that went in, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Calls that share the values of ``keys``. ``cost_nanousd`` and ``list_cost_nanousd`` sum what is known, None when nothing is.

    ``exposure_nanousd`` is what counts against budgets: known costs, and ceilings for the ``unpriced_calls``. ``billed_calls`` are
    those whose provider billed or may have billed something; of them some were ``reported``, ``counted`` or ``partial``.
    """

    keys: tuple[str, ...] = ()
    calls: int = 0
    billed_calls: int = 0
    refused: int = 0
    rewritten: int = 0
    would_refuse: int = 0
    would_rewrite: int = 0
    failed: int = 0
    reported: int = 0
    partial: int = 0
    counted: int = 0
    unmetered: int = 0
    crashed: int = 0
    estimated_calls: int = 0
    unpriced_calls: int = 0
    unpriced_exposure_nanousd: int = 0
    list_cost_nanousd: int | None = None
    cost_nanousd: int | None = None
    exposure_nanousd: int = 0
    deferred_calls: int = 0
    """Only submitted so far (batches, background responses): counted at what was held, billed when their results are read."""
    deferred_exposure_nanousd: int = 0
    plan_calls: int = 0
    """Paid for by a subscription: their list cost is what they would have cost."""
    declined: int = 0
    """Refused or filtered by the provider inside a good answer."""
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Calls of one kind whose cost or usage is not known. ``units`` are what has no price; ``reason`` why it was not metered."""

    provider: str
    model: str
    calls: int
    exposure_nanousd: int
    first_at: int
    last_at: int
    units: tuple[str, ...] = ()
    host: str = ""
    operation: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Groups in order, their total, and everything a reader must know to trust the figures."""

    by: tuple[str, ...]
    since: int | None
    until: int | None
    zone: str
    groups: tuple[Group, ...]
    total: Group
    first_at: int | None
    last_at: int | None
    price_sources: tuple[str, ...]
    unpriced: tuple[Gap, ...]
    unmetered: tuple[Gap, ...]
    open_calls: int
    open_nanousd: int
    expired_calls: int
    plan_windows: tuple[PlanStanding, ...] = ()
    head_seq: int = 0
    """The last entry these figures know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One closed call with its corrections. ``at`` is when it closed, ``counted_at`` the moment budgets count it at."""

    seq: int
    call_id: str
    kind: str
    at: int
    counted_at: int
    principal: str
    groups: str
    project: str
    client: str
    session: str
    agent: str
    provider: str
    operation: str
    model_requested: str
    model: str
    streamed: bool
    verdict: str
    would: str
    rule: str
    budget: str
    reason: str
    status: int | None
    outcome: str
    usage_source: str
    cost_source: str
    unmetered: str
    hold_nanousd: int
    list_cost_nanousd: int | None
    cost_nanousd: int | None
    exposure_nanousd: int
    error: str
    duration_ms: int | None
    first_byte_ms: int | None
    plan: str
    client_session: str
    client_project: str
    account: str
    end_user: str
    parent_agent: str
    agent_class: str
    initiator: str
    interaction: str
    tags: str
    refusal: str
    branch: str = ""
    repeats: int = 0
    """How many refusals like it the entry stands for besides its own (``repeats``)."""
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call under way: money is held for it, and nothing is known of its cost but that it should be at most the hold."""

    call_id: str
    principal: str
    groups: str
    project: str
    client: str
    session: str
    client_session: str
    agent: str
    provider: str
    operation: str
    model: str
    model_requested: str
    streamed: bool
    verdict: str
    would: str
    rule: str
    budget: str
    plan: str
    started_at: int
    expires_at: int
    hold_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBucket:
    """A bucket the ledger keeps a balance of, in its present window."""

    key: str
    start_at: int
    length_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDetail:
    """Everything the ledger knows of one call: its entries in order as stored, their lines, and the prices used, by id."""

    call_id: str
    entries: tuple[Mapping[str, Any], ...]
    lines: Mapping[int, tuple[Mapping[str, Any], ...]]
    prices: Mapping[str, Mapping[str, Any]]
