"""From the ledger's answer to the decision: which rule spoke, why, and what to do about it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tollkeeper.core.admission import Admission, Admitted, Candidate, Limit
from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.call import Call
from tollkeeper.core.decision import Decision, Standing, Verdict

from .facts import INDEX, LABELS, values_of
from .model import Budget, Field, Policy

_WORDS: Final = {Field.PRINCIPAL: ""}
"""How a share is named before its value, where its field's own name would be odd."""

NEVER: Final = 2**63
MAX_NAME_CHARS = 100
"""Names that clients choose are cut to this in texts for people."""


def decide(admission: Admission, admitted: Admitted, policy: Policy) -> Decision:
    """The decision for ``admission``, as the ledger ``admitted`` it under ``policy``.

    Of several budgets without room, the one that resets last is named: waiting for an earlier one would not help.
    """
    asked = admission.candidates[0]
    chosen = asked if admitted.chosen is None else admission.candidates[admitted.chosen]
    found = Decision(
        verdict=admitted.verdict,
        would=admitted.would,
        model=chosen.model,
        hold_nanousd=admitted.hold_nanousd,
        warnings=admitted.warned,
        fallbacks=() if admitted.verdict is Verdict.REFUSE else chosen.fallbacks,
    )
    if admitted.verdict is Verdict.REWRITE:
        target = chosen.target
        found = replace(
            found,
            target=target,
            provider=target.provider or None if target is not None else None,
            clamp_output_tokens=admitted.clamp_output_tokens,
            effort=chosen.effort,
            model_asked=admission.call.model if chosen.model != admission.call.model else None,
            keeps_conversation=not admission.call.ask.fresh and (chosen.model != admission.call.model or target is not None),
            rule=chosen.rule,
            reason=chosen.reason,
        )
    if admitted.verdict is not Verdict.REFUSE and (objection := admission.objection) is not None:
        return replace(found, would=objection.would, rule=objection.rule, reason=objection.reason, remedy=objection.remedy)
    if not admitted.blockers:
        return found
    standing = last_to_reset(admission, admitted.blockers)
    budget = policy.by_rule.get(standing.budget)
    return replace(
        found,
        rule=standing.named_rule,
        reason=_reason(standing, asked, chosen, admitted, _whose(budget, admission.call)),
        standing=standing,
        remedy=_remedy(policy, standing, budget),
    )


def last_to_reset(admission: Admission, blockers: Sequence[Standing]) -> Standing:
    """Of the budgets that stopped the call as asked, those that act before those that watch, the one that resets last.

    One that never resets (a lifetime, a session, a run) is later than all; calls at once may end at any moment.
    """
    limits: dict[str, Limit] = {limit.budget: limit for limit in admission.candidates[0].limits}
    over_asked = [standing for standing in blockers if standing.budget in limits] or list(blockers)
    acting = [standing for standing in over_asked if standing.budget in limits and limits[standing.budget].enforced]
    lengths_us = {limit.budget: limit.bucket.length_us for candidate in admission.candidates for limit in candidate.limits}

    def resets(standing: Standing) -> int:
        if standing.resets_at is not None:
            return standing.resets_at
        if standing.unit is Unit.PARALLEL:
            return admission.at
        return admission.at + (lengths_us.get(standing.budget) or NEVER)

    return max(acting or over_asked, key=resets)


def _reason(standing: Standing, asked: Candidate, chosen: Candidate, admitted: Admitted, whose: str) -> str:
    if standing.unit is Unit.PARALLEL:
        return f'rule "{_rule_name(standing)}"{whose} allows {format_amount(standing.unit, standing.amount_nanousd)}'
    named = f'rule "{_rule_name(standing)}"{whose}' if standing.rule else f'budget "{standing.budget}"{whose}'
    if standing.rule:
        return f"{named} allows {format_amount(standing.unit, standing.amount_nanousd)} in {standing.window.removeprefix('rolling ')}"
    room, cap = standing.room_nanousd, admitted.clamp_output_tokens
    if admitted.verdict is Verdict.REWRITE and chosen.model == asked.model and cap is not None:
        left = format_amount(standing.unit, room)
        return f"{named} is nearly used up ({left} left): the answer has {cap:,} tokens at most"
    if room == 0 and standing.held_nanousd == 0:
        return f"{named} is used up"
    need = {Unit.USD: asked.hold_nanousd, Unit.TOKENS: asked.hold_tokens}.get(standing.unit, asked.requests)
    verb = "cost" if standing.unit is Unit.USD else "take"
    return f"{named} has {format_amount(standing.unit, room)} left, and this call may {verb} up to {format_amount(standing.unit, need)}"


def _rule_name(standing: Standing) -> str:
    return standing.rule.partition(".")[2] or standing.budget


def _whose(budget: Budget | None, call: Call) -> str:
    """`` of ada@example.com in project billing``: which share of a divided budget."""
    if budget is None or not (budget.per or budget.per_labels):
        return ""
    facts = values_of(call, call.model)
    named = []
    for field in budget.per:
        value = facts[INDEX[field]]
        word = _WORDS.get(field, f"{field.value.replace('_', ' ')} ")
        if isinstance(value, frozenset):
            named.append(f"{word}{', '.join(sorted(value))[:MAX_NAME_CHARS] or 'unknown'}")
        else:
            named.append(f"{word}{value[:MAX_NAME_CHARS]}" if value else f"an unknown {field.value.replace('_', ' ')}")
    labels = dict(facts[LABELS])
    named += [
        f"{name} {labels[name][:MAX_NAME_CHARS]}" if labels.get(name) else f"an unknown {name}" for name in budget.per_labels
    ]
    return f" of {', '.join(named)}"


def _remedy(policy: Policy, standing: Standing, budget: Budget | None) -> str:
    if budget is not None and budget.message:
        return budget.message
    if standing.rule:
        return f"Wait for calls under way, or raise it in {policy.name}: [{standing.rule}]."
    return f"Raise it in {policy.name}: [budget.{standing.budget}] amount."
