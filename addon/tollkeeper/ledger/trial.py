"""Trying a policy on what happened: the calls of the past, admitted and settled again under a draft, in memory.

Figures that the past cannot give are taken as it was: the draft's holds are those of then, a call refused then is not tried again,
and nobody behaves otherwise because of a refusal.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tollkeeper.core.admission import Admission
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.policy.candidates import Pen
from tollkeeper.policy.decide import decide
from tollkeeper.policy.estimate import Estimates
from tollkeeper.policy.group_table import in_groups
from tollkeeper.policy.model import HoldSize, Mode, Policy
from tollkeeper.policy.plan import plan_with

from .history import Past
from .rehearsal import Rehearsal

type Pricer = Callable[[Past, str | None, int | None], int | None]
"""What a past call costs with another model and so many output tokens (None: as they were); None when nobody knows."""

MAX_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Amount:
    """The most a call may cost, as a pen quotes it."""

    worst_nanousd: int
    known: bool


@dataclass(slots=True)
class Tally:
    """What the draft would have done to the calls of one principal, or by one rule."""

    calls: int = 0
    warned: int = 0
    clamped: int = 0
    moved: int = 0
    refused: int = 0
    first_at: int | None = None
    spent_nanousd: int = 0
    would_spend_nanousd: int = 0

    @property
    def saved_nanousd(self) -> int:
        """What would not have been spent."""
        return self.spent_nanousd - self.would_spend_nanousd


@dataclass(slots=True)
class Trial:
    """The answer: in all, by principal, by rule, and the first calls that would not have left as they did."""

    total: Tally = field(default_factory=Tally)
    by_principal: dict[str, Tally] = field(default_factory=dict)
    by_rule: dict[str, Tally] = field(default_factory=dict)
    examples: list[tuple[int, str, str, Decision]] = field(default_factory=list)
    refused_then: int = 0
    first_at: int | None = None
    last_at: int | None = None


def rehearse(policy: Policy, past: Iterable[Past], price: Pricer) -> Trial:
    """Admit every call of ``past`` (oldest first) under ``policy`` as if it enforced, and tell what would have come of it."""
    acting = replace(policy, mode=Mode.ENFORCE)
    trial, estimates = Trial(), Estimates()
    under_way: list[tuple[int, int, Admission, int, Past]] = []
    with Rehearsal() as ledger:

        def settle_until(at: int) -> None:
            while under_way and under_way[0][0] <= at:
                ended_at, _, admission, cost, one = heapq.heappop(under_way)
                ledger.settle(admission, ended_at, cost, one.usages)

        for number, one in enumerate(past):
            at = one.call.started_at
            trial.first_at, trial.last_at = trial.first_at if trial.first_at is not None else at, at
            if one.kind == "refuse":
                trial.refused_then += 1
                continue
            settle_until(at)
            call = replace(one.call, principal=in_groups(acting, one.call.principal))
            planned = plan_with(acting, call, _pen(one, price, estimates, acting.hold), at)
            if isinstance(planned, Decision):
                decision = planned
            else:
                admitted = ledger.admit(planned)
                decision = decide(planned, admitted, acting)
            cost = _cost(one, decision, price)
            if isinstance(planned, Admission) and decision.verdict is not Verdict.REFUSE:
                heapq.heappush(under_way, (max(at, one.ended_at), number, planned, cost, one))
            _count(trial, one, decision, cost)
            output = sum(usage.output_tokens for usage in one.usages)
            if output:
                estimates.note(one.model, one.call.principal.subject, one.call.attribution.client, output)
    return trial


def _pen(one: Past, price: Pricer, estimates: Estimates, hold: HoldSize) -> Pen:
    call = one.call

    def quote(model: str | None) -> Amount:
        if model == call.model:
            return Amount(one.hold_nanousd, True)
        actual, other = one.exposure_nanousd, price(one, model, None)
        if other is None:
            return Amount(one.hold_nanousd, False)
        return Amount(one.hold_nanousd * other // actual if actual else other, True)

    def capped(model: str | None, cap: int) -> Amount:
        found = price(one, model, cap)
        return quote(model) if found is None else Amount(min(found, quote(model).worst_nanousd), True)

    def expected(model: str | None) -> int | None:
        return estimates.output_tokens(model, call.principal.subject, call.attribution.client)

    return Pen(quote=quote, capped=capped, expected=expected, rewritable=not call.plan, hold=hold)


def _cost(one: Past, decision: Decision, price: Pricer) -> int:
    if decision.verdict is Verdict.REFUSE:
        return 0
    if decision.verdict is Verdict.ALLOW:
        return one.exposure_nanousd
    output, cap = sum(usage.output_tokens for usage in one.usages), decision.clamp_output_tokens
    is_cut = cap is not None and output > cap
    if decision.model_asked is None and not is_cut:
        return one.exposure_nanousd
    found = price(one, decision.model, min(output, cap) if cap is not None else None)
    if found is None:
        return one.exposure_nanousd
    return found if decision.model_asked is not None else min(found, one.exposure_nanousd)


def _count(trial: Trial, one: Past, decision: Decision, cost: int) -> None:
    who = one.call.principal.subject
    tallies = [trial.total, trial.by_principal.setdefault(who, Tally())]
    changed = decision.verdict is not Verdict.ALLOW
    rules = {decision.rule} if changed and decision.rule else set()
    rules |= {warned.standing.named_rule for warned in decision.warnings}
    tallies += [trial.by_rule.setdefault(rule, Tally()) for rule in sorted(rules)]
    for tally in tallies:
        tally.calls += 1
        tally.warned += bool(decision.warnings)
        tally.refused += decision.verdict is Verdict.REFUSE
        tally.moved += decision.verdict is Verdict.REWRITE and decision.model_asked is not None
        tally.clamped += decision.verdict is Verdict.REWRITE and decision.clamp_output_tokens is not None
        if (changed or decision.warnings) and tally.first_at is None:
            tally.first_at = one.call.started_at
        tally.spent_nanousd += one.exposure_nanousd
        tally.would_spend_nanousd += cost
    if changed and len(trial.examples) < MAX_EXAMPLES:
        trial.examples.append((one.call.started_at, who, one.call.model or "", decision))
