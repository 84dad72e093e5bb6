"""Which way of serving a call fits its budgets: the decision about money, made inside the transaction that holds it."""

from dataclasses import replace
from typing import Protocol

from tollkeeper.core.admission import Admission, Admitted, Bucket, Candidate, Limit
from tollkeeper.core.amounts import Unit
from tollkeeper.core.decision import Standing, Verdict, Warned

from .window import Window


class Balances(Protocol):
    """What stands against budgets: the ledger's own figures, to be held against or only to be read."""

    def window(self, limit: Limit, now: int) -> Window:
        """The window of a budget."""

    def totals(self, window: Window, bucket: Bucket) -> tuple[int, int]:
        """Posted and held in it."""

    def amount_of(self, limit: Limit, at: int) -> tuple[int, int, int]:
        """What may be used in all; of it what is granted, and what is carried over."""

    def standing(self, limit: Limit, window: Window, at: int) -> Standing:
        """The budget as it stands."""


type Pairs = list[tuple[Limit, Window]]


class _Fit:
    """Whether one candidate fits: really (budgets that act), and if all were enforced. ``cap`` is what it is cut to."""

    __slots__ = ("cap", "hold_nanousd", "hold_tokens", "over", "really", "wholly")

    def __init__(self, candidate: Candidate, pairs: Pairs, windows: Balances, at: int) -> None:
        self.over: Pairs = []
        self.really = self.wholly = True
        self.hold_nanousd, self.hold_tokens = candidate.hold_nanousd, candidate.hold_tokens
        self.cap = candidate.clamp_output_tokens
        shrink = candidate.shrink
        least_nanousd, least_tokens = candidate.hold_nanousd, candidate.hold_tokens
        if shrink is not None:
            least_nanousd, least_tokens = shrink.least_nanousd, shrink.hold_tokens(shrink.least_tokens, least_tokens)
        room_nanousd, room_tokens = candidate.hold_nanousd, candidate.hold_tokens
        for limit, window in pairs:
            if limit.is_soft:
                continue
            posted, held = windows.totals(window, limit.bucket)
            free = windows.amount_of(limit, at)[0] - posted - held
            if limit.unit is Unit.USD:
                need = least_nanousd
                if limit.enforced:
                    need *= candidate.headroom
                    room_nanousd = min(room_nanousd, free)
            elif limit.unit is Unit.TOKENS:
                need = least_tokens
                if limit.enforced:
                    need *= candidate.headroom
                    room_tokens = min(room_tokens, free)
            else:
                need = candidate.requests if limit.unit is Unit.REQUESTS else 1
            if need > free:
                self.over.append((limit, window))
                self.wholly = False
                self.really = self.really and not limit.enforced
        if shrink is not None and self.really:
            self.cap = shrink.cap_within(room_nanousd, candidate.hold_nanousd)
            if self.cap is not None:
                self.cap = min(self.cap, shrink.cap_within_tokens(room_tokens, candidate.hold_tokens))
                self.hold_tokens = shrink.hold_tokens(self.cap, candidate.hold_tokens)
                self.hold_nanousd = shrink.cost_nanousd(self.cap, candidate.hold_nanousd)


def choose(admission: Admission, windows: Balances, at: int) -> tuple[Admitted, Pairs]:
    """Try the candidates in order; ``at`` is the ledger's clock. Real and would-be answers differ where a budget only observes.

    Returns the answer and the windows the chosen candidate counts in, by name.
    """
    chosen = 0 if not admission.enforce else None
    would: int | None = None
    blockers: list[Standing] = []
    kept: Pairs = []
    taken: _Fit | None = None
    for index, candidate in enumerate(admission.candidates):
        pairs = [(limit, windows.window(limit, at)) for limit in candidate.limits]
        fit = _Fit(candidate, pairs, windows, at)
        if would is None:
            blockers.extend(windows.standing(limit, window, at) for limit, window in fit.over)
        if chosen is None and fit.really:
            chosen = index
        if index == chosen:
            kept, taken = pairs, fit
        if would is None and fit.wholly:
            would = index
        if chosen is not None and would is not None:
            break
    if chosen is None or taken is None:
        refused = Admitted(verdict=Verdict.REFUSE, would=_verdict(admission, would), chosen=None, blockers=tuple(blockers))
        return refused, kept
    candidate = admission.candidates[chosen]
    verdict = _verdict(admission, chosen)
    admitted = Admitted(
        verdict=verdict,
        would=_verdict(admission, would),
        chosen=chosen,
        hold_nanousd=taken.hold_nanousd,
        blockers=tuple(blockers),
        clamp_output_tokens=taken.cap if verdict is Verdict.REWRITE else None,
        hold_tokens=taken.hold_tokens,
    )
    if not any(limit.warn_at for limit, _ in kept):
        return admitted, kept
    warned = _warned(candidate, taken, kept, windows, at)
    return (replace(admitted, warned=warned) if warned else admitted), kept


def _warned(candidate: Candidate, taken: _Fit, pairs: Pairs, windows: Balances, at: int) -> tuple[Warned, ...]:
    """The budgets that this call, once held, takes past a threshold: the highest one each."""
    found: list[Warned] = []
    for limit, window in pairs:
        if not limit.warn_at:
            continue
        posted, held = windows.totals(window, limit.bucket)
        amount = windows.amount_of(limit, at)[0]
        need = _need(candidate, taken, limit.unit)
        used = (posted + held + need) * 100
        if used < amount * limit.warn_at[0]:
            continue
        passed = [percent for percent in limit.warn_at if used >= amount * percent]
        if passed[-1] == 100 and used == amount * 100 and len(passed) > 1:
            passed.pop()  # full is not over
        standing = windows.standing(limit, window, at)
        found.append(Warned(standing=replace(standing, held_nanousd=standing.held_nanousd + need), percent=passed[-1]))
    return tuple(found)


def _need(candidate: Candidate, taken: _Fit, unit: Unit) -> int:
    """What a candidate that is taken so holds in a budget of a unit."""
    if unit is Unit.USD:
        return taken.hold_nanousd
    if unit is Unit.TOKENS:
        return taken.hold_tokens
    return candidate.requests if unit is Unit.REQUESTS else 1


def _verdict(admission: Admission, index: int | None) -> Verdict:
    if index is None:
        return Verdict.REFUSE
    candidate = admission.candidates[index]
    return Verdict.REWRITE if index or candidate.is_changed or candidate.rule else Verdict.ALLOW
