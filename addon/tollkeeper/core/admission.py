"""The question put to the ledger before a call leaves, and its answer: one transaction, so no burst can overspend."""

from dataclasses import dataclass

from .call import Call
from .decision import Decision, Standing, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What a budget counts under, in one window.

    ``key`` names the scope and the kind of window, never the amount or the budget's name: an edited amount keeps what was
    spent. ``start_at`` is where the window starts (UTC microseconds). A rolling window has ``length_us`` set, is ``start_at``
    = now − length, and is summed over slots by the ledger. ``scope`` restricts which entries count, as (entry column, GLOB
    pattern) pairs, so that a balance the ledger has never kept can be derived from its entries: pairs that name one column
    twice are alternatives (either pattern), different columns must all match.
    """

    key: str
    start_at: int
    length_us: int | None = None
    scope: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One budget that a candidate must have room in. ``enforced`` is False for budgets that only observe."""

    budget: str
    bucket: Bucket
    amount_nanousd: int
    window: str
    """For people: ``day``, ``month``, ``rolling 24 h``."""
    resets_at: int | None
    zone: str
    enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to serve a call: a model, what to hold for it, and the budgets it must fit."""

    model: str | None
    hold_nanousd: int
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A call and the ways to serve it, best first: the call as asked, then what it may be rewritten to.

    When no candidate has room and ``enforce`` is False, the first is admitted all the same and the answer says what would
    have happened. ``objection`` is then a refusal that enforce would have reached without money (a model with no known price).
    """

    call: Call
    candidates: tuple[Candidate, ...]
    enforce: bool
    at: int
    objection: Decision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The ledger's answer: ``chosen`` indexes the candidates, None when the call is refused (nothing is held then).

    ``would`` is what enforce would have said (equal to the verdict when enforcing). ``blockers`` are the standings of every
    budget that had no room, for each candidate tried before ``chosen``, in order.
    """

    verdict: Verdict
    would: Verdict
    chosen: int | None
    hold_nanousd: int = 0
    blockers: tuple[Standing, ...] = ()
