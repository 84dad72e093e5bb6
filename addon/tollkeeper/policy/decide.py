"""From the ledger's answer to the decision: which rule spoke, why, and what to do about it."""

from collections.abc import Sequence

from tollkeeper.core.admission import Admission, Admitted, Limit
from tollkeeper.core.call import Call
from tollkeeper.core.decision import Decision, Standing, Verdict
from tollkeeper.core.money import format_usd

from .matching import kept
from .model import Budget, Field, Policy

MAX_NAME_CHARS = 100
"""Names that clients choose are cut to this in texts for people."""


def decide(admission: Admission, admitted: Admitted, policy: Policy) -> Decision:
    """The decision for ``admission``, as the ledger ``admitted`` it under ``policy``.

    Of several budgets without room, the one that resets last is named: waiting for an earlier one would not help.
    """
    asked = admission.candidates[0]
    chosen = asked if admitted.chosen is None else admission.candidates[admitted.chosen]
    if (objection := admission.objection) is not None:
        return Decision(
            verdict=admitted.verdict,
            would=objection.would,
            rule=objection.rule,
            reason=objection.reason,
            model=chosen.model,
            hold_nanousd=admitted.hold_nanousd,
            remedy=objection.remedy,
        )
    if not admitted.blockers:
        return Decision(verdict=admitted.verdict, would=admitted.would, model=chosen.model, hold_nanousd=admitted.hold_nanousd)
    standing = _named(admission, admitted.blockers)
    budget = policy.by_name.get(standing.budget)
    return Decision(
        verdict=admitted.verdict,
        would=admitted.would,
        rule=f"budget.{standing.budget}",
        reason=_reason(standing, asked.hold_nanousd, _whose(budget, admission.call)),
        model=chosen.model,
        hold_nanousd=admitted.hold_nanousd,
        standing=standing,
        remedy=_remedy(policy, standing.budget, budget),
        model_asked=asked.model if admitted.verdict is Verdict.REWRITE else None,
    )


def _named(admission: Admission, blockers: Sequence[Standing]) -> Standing:
    """Of the budgets that stopped the call as asked, those that act before those that watch, the one that resets last."""
    limits: dict[str, Limit] = {limit.budget: limit for limit in admission.candidates[0].limits}
    over_asked = [standing for standing in blockers if standing.budget in limits] or list(blockers)
    acting = [standing for standing in over_asked if standing.budget in limits and limits[standing.budget].enforced]

    def resets(standing: Standing) -> int:
        if standing.resets_at is not None:
            return standing.resets_at
        limit = limits.get(standing.budget)
        return admission.at + (limit.bucket.length_us or 0 if limit is not None else 0)

    return max(acting or over_asked, key=resets)


def _reason(standing: Standing, hold_nanousd: int, whose: str) -> str:
    named = f'budget "{standing.budget}"{whose}'
    room = standing.room_nanousd
    if room == 0 and standing.held_nanousd == 0:
        return f"{named} is used up"
    return f"{named} has {format_usd(room)} left, and this call may cost up to {format_usd(hold_nanousd)}"


def _whose(budget: Budget | None, call: Call) -> str:
    """`` of ada@example.com in project billing``: which share of a divided budget."""
    if budget is None or not budget.per:
        return ""
    values = {
        Field.PRINCIPAL: ("", call.principal.subject),
        Field.PROJECT: ("project ", call.attribution.project),
        Field.MODEL: ("model ", call.model or ""),
        Field.PROVIDER: ("provider ", call.endpoint.provider),
    }
    named = [
        f"{kind}{kept(value)[:MAX_NAME_CHARS]}" if value else f"an unknown {name.value}"
        for name, (kind, value) in values.items()
        if name in budget.per
    ]
    return f" of {', '.join(named)}"


def _remedy(policy: Policy, name: str, budget: Budget | None) -> str:
    if budget is not None and budget.message:
        return budget.message
    return f"Raise it in {policy.name}: [budget.{name}] amount."
