"""The question put to the ledger before a call leaves, and its answer: one transaction, so no burst can overspend."""

from .amounts import Unit
from .call import Call
from .decision import Decision, Standing, Target, Verdict, Warned
from .value import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What a budget counts under, in one window.

    ``key`` names the unit, the scope and the kind of window, never the amount or the budget's name: an edited amount keeps what was
    spent. ``start_at`` is where the window starts (UTC microseconds; 0 for a session, a run, a lifetime). A rolling window has
    ``length_us`` set, is ``start_at`` = now − length, and is summed over slots by the ledger. ``scope`` restricts which entries
    count, as (entry column, GLOB pattern) pairs, so that a balance the ledger has never kept can be derived from its entries:
    pairs that name one column twice are alternatives (either pattern), different columns must all match.
    """

    key: str
    start_at: int
    length_us: int | None = None
    scope: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One budget that a candidate must have room in. ``enforced`` is False for budgets that only observe or warn.

    ``amount_nanousd`` is in ``unit``. The ledger adds what was granted to ``whose`` and, from the window that began at
    ``carries_from``, what was left of the amount, ``carries_most`` at most.
    """

    budget: str
    bucket: Bucket
    amount_nanousd: int
    window: str
    """For people: ``day``, ``month``, ``rolling 24 h``."""
    resets_at: int | None
    zone: str
    enforced: bool = True
    unit: Unit = Unit.USD
    rule: str = ""
    """The rule that set it; ``budget.NAME`` when empty."""
    whose: str = ""
    """The account (``core.principal.account``) whose call it is, for grants; empty for everybody's."""
    carries_from: int | None = None
    carries_most: int = 0
    warn_at: tuple[int, ...] = ()
    """Thresholds in percent, ascending."""
    is_soft: bool = False
    """It warns and never blocks, enforced or not: its ladder ends in a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """How far the answer of a candidate may be cut to what is left: from ``most_tokens`` (its hold) down to ``least_tokens``.

    What a cap of n tokens costs at most is ``least_nanousd`` plus the same share of the rest, rounded up: prices are linear in
    the output once the request is known. ``choices`` is how many answers a cap is given to.
    """

    least_tokens: int
    least_nanousd: int
    most_tokens: int
    choices: int = 1

    def cap_within(self, room_nanousd: int, most_nanousd: int) -> int | None:
        """The largest cap whose cost fits ``room_nanousd``; ``most_nanousd`` is the cost of ``most_tokens``. None when none does."""
        if room_nanousd < self.least_nanousd:
            return None
        spread_tokens, spread_nanousd = self.most_tokens - self.least_tokens, most_nanousd - self.least_nanousd
        if room_nanousd >= most_nanousd or spread_nanousd <= 0:
            return self.most_tokens
        if spread_tokens <= 0:
            return None
        return self.least_tokens + (room_nanousd - self.least_nanousd) * spread_tokens // spread_nanousd

    def cap_within_tokens(self, room_tokens: int, most_hold_tokens: int) -> int:
        """The largest cap whose tokens fit ``room_tokens``; ``most_hold_tokens`` is what ``most_tokens`` takes, with all that goes in."""
        over = max(0, most_hold_tokens - room_tokens)
        return self.most_tokens - -(-over // self.choices)

    def hold_tokens(self, cap_tokens: int, most_hold_tokens: int) -> int:
        """The most tokens a call may take under that cap."""
        return max(0, most_hold_tokens - (self.most_tokens - cap_tokens) * self.choices)

    def cost_nanousd(self, cap_tokens: int, most_nanousd: int) -> int:
        """The most a call may cost under that cap, rounded up."""
        if cap_tokens >= self.most_tokens:
            return most_nanousd
        spread_tokens = self.most_tokens - self.least_tokens
        over = (cap_tokens - self.least_tokens) * (most_nanousd - self.least_nanousd)
        return self.least_nanousd + -(-over // max(1, spread_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to serve a call: a model, what to hold for it, and the budgets it must fit.

    ``hold_tokens`` and ``requests`` are held in budgets of those units. ``headroom`` is how many such holds must fit for it to be
    taken: above 1 for a worst case that a learned estimate follows, so that the last of a budget is not given to one call.
    With ``shrink`` the ledger cuts the hold, and with it the answer, to what is left. ``target``, ``clamp_output_tokens``,
    ``effort`` and ``fallbacks`` are for whoever sends it; ``rule`` and ``reason`` say why it is not the call as asked, where no
    budget does.
    """

    model: str | None
    hold_nanousd: int
    limits: tuple[Limit, ...] = ()
    hold_tokens: int = 0
    requests: int = 1
    headroom: int = 1
    shrink: Shrink | None = None
    target: Target | None = None
    clamp_output_tokens: int | None = None
    effort: str | None = None
    fallbacks: tuple[Target, ...] = ()
    rule: str = ""
    reason: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether sending it means changing the request."""
        return (
            self.target is not None or self.clamp_output_tokens is not None or self.effort is not None or self.shrink is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A call and the ways to serve it, best first: the call as asked, then what it may be rewritten to.

    When no candidate has room and ``enforce`` is False, the first is admitted all the same and the answer says what would
    have happened. ``objection`` is then a refusal that enforce would have reached without money (a model with no known price).
    ``policy`` is the digest of the document that asks.
    """

    call: Call
    candidates: tuple[Candidate, ...]
    enforce: bool
    at: int
    objection: Decision | None = None
    policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The ledger's answer: ``chosen`` indexes the candidates, None when the call is refused (nothing is held then).

    ``would`` is what enforce would have said (equal to the verdict when enforcing). ``blockers`` are the standings of every
    budget that had no room, for each candidate tried before ``chosen``, in order. ``clamp_output_tokens`` is the cap that the hold
    was worked out for, where the chosen candidate has one. ``warned`` are the budgets that this call took past a threshold.
    """

    verdict: Verdict
    would: Verdict
    chosen: int | None
    hold_nanousd: int = 0
    blockers: tuple[Standing, ...] = ()
    clamp_output_tokens: int | None = None
    hold_tokens: int = 0
    warned: tuple[Warned, ...] = ()
