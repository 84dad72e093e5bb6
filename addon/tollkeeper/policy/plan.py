"""From a call and a policy to the question put to the ledger: the ways to serve the call, and the budgets each must fit."""

from dataclasses import replace
from typing import NamedTuple

from tollkeeper.core.admission import Admission, Candidate, Limit
from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.call import Call, Metering
from tollkeeper.core.decision import Decision, Target, Verdict
from tollkeeper.core.principal import Assurance
from tollkeeper.wire.traits import FIXED_MODEL

from . import candidates
from .candidates import CappedQuoter, Expected, Pen, Quote, Quoter
from .families import speaks
from .matching import Match, Matcher, Offer, kept, matcher_of
from .model import Ladder, Mode, Policy, UnknownModel
from .routes import way_of
from .rules import caps_of, effort_rank

UNKNOWN_MODEL_RULE = "unknown_model"
NO_IDENTITY_RULE = "on_no_identity"
IDENTITY_RULE = "identity"
UNMETERED_HOLD_NANOUSD = 1
"""What cannot be read may cost something: the least amount, so that a used-up budget stops it as well."""
NOT_ASKING = frozenset({"retrieve", "upload", "batch", "other"})
"""Operations that may name no model, or name those of their parts; ``other`` is a path that nobody knows."""

__all__ = ["CappedQuoter", "Expected", "Pen", "Quote", "Quoter", "plan", "plan_with"]


def plan(policy: Policy, call: Call, quote: Quoter, at: int, *, rewritable: bool = True) -> Admission | Decision:
    """``plan_with`` for a sender that can put another model into a request, and nothing else."""
    return plan_with(policy, call, Pen(quote=quote, rewritable=rewritable, hold=policy.hold), at)


def plan_with(policy: Policy, call: Call, pen: Pen, at: int) -> Admission | Decision:
    """What to ask the ledger before ``call`` leaves, or a refusal that needs no money to be reached.

    ``pen`` prices the call and says what may be written into it; ``pen.rewritable`` is False for traffic whose body nobody may
    change: signed requests, and plans (a changed body breaks the signature or the contract). ``at`` is UTC microseconds. Total and
    deterministic: the same values give the same answer, and nothing is raised but what the pen raises.
    """
    endpoint, model = call.endpoint, call.model
    if endpoint.metering is Metering.FREE:
        free = Candidate(model=model, hold_nanousd=0, requests=0)
        return Admission(call=call, candidates=(free,), enforce=policy.enforces, at=at, policy=policy.digest)
    matcher = matcher_of(policy)
    match = matcher.of(call, model)
    objections = _objections(policy, call, match, matcher)
    acting = next((one for one in objections if one.verdict is Verdict.REFUSE), None)
    if acting is not None and policy.enforces:
        return acting
    watched = acting or next(iter(objections), None)
    limits = match.limits(at)
    if call.ask.parts:
        limits = _with_parts(limits, call, matcher, at)
    if call.plan and not call.plan_counts:
        limits = tuple(limit for limit in limits if limit.unit is not Unit.USD)
        asked = _asked(call, 0, limits)
        return Admission(call=call, candidates=(asked,), enforce=policy.enforces, at=at, objection=watched, policy=policy.digest)
    if endpoint.metering is Metering.UNMETERED and model is None:
        asked = _asked(call, UNMETERED_HOLD_NANOUSD, limits)
        return Admission(call=call, candidates=(asked,), enforce=policy.enforces, at=at, objection=watched, policy=policy.digest)
    planned = _Planned(policy, call, pen, at, matcher, match, limits, watched)
    return _priced(planned)


def plan_target(policy: Policy, call: Call, pen: Pen, at: int, target: Target) -> Admission | None:
    """The question whether ``call`` may go to the ``target`` that its route falls back to; None where it cannot go there at all."""
    matcher = matcher_of(policy)
    match = matcher.of(call, call.model)
    route = match.route
    if route is None or not pen.rewritable:
        return None
    quoted = _quoted(_Planned(policy, call, pen, at, matcher, match, match.limits(at), None), target, route.anytime)
    if quoted is None:
        return None
    reason = f"the provider failed, so it is sent to {target.model or target.provider or target.host}"
    served = replace(quoted[0], target=target, rule=f"route.{route.name}", reason=reason)
    return Admission(call=call, candidates=(served,), enforce=policy.enforces, at=at, policy=policy.digest)


class _Planned(NamedTuple):
    """What is known of a call before its price."""

    policy: Policy
    call: Call
    pen: Pen
    at: int
    matcher: Matcher
    match: Match
    limits: tuple[Limit, ...]
    objection: Decision | None


def _priced(planned: _Planned) -> Admission | Decision:
    policy, call, pen, at = planned.policy, planned.call, planned.pen, planned.at
    objection = planned.objection
    quoted = pen.quote(call.model)
    hold_nanousd = quoted.worst_nanousd
    if call.endpoint.metering is Metering.UNMETERED:
        hold_nanousd = max(hold_nanousd, UNMETERED_HOLD_NANOUSD)
    if not quoted.known and policy.unknown_model is not UnknownModel.CEILING:
        if policy.unknown_model is UnknownModel.ALLOW:
            hold_nanousd = 0
        else:
            objection = _unknown_model(policy, call.model)
            if policy.enforces:
                return objection
    asked = _asked(call, hold_nanousd, planned.limits)
    if objection is not None and objection.rule == UNKNOWN_MODEL_RULE:
        return Admission(
            call=call, candidates=(asked,), enforce=policy.enforces, at=at, objection=objection, policy=policy.digest
        )
    offers = _routed(planned) if pen.rewritable else ()
    route = planned.match.route
    if policy.enforces and route is not None and route.mode is Mode.ENFORCE and pen.rewritable:
        asked = replace(asked, fallbacks=route.fallback)
    capped = _capped(planned, asked)
    if isinstance(capped, Decision):
        others = _others(planned, asked, planned.match.offers + _rule_offers(planned.match), quoted.worst_nanousd)
        if policy.enforces and not others:
            return capped
        if policy.enforces:
            moved = replace(others[0], rule=capped.rule, reason=capped.reason)
            return Admission(
                call=call, candidates=(moved, *others[1:]), enforce=True, at=at, objection=objection, policy=policy.digest
            )
        objection, capped = objection or capped, asked
    objection = objection or _watched(planned, asked)
    first = _ways(planned, capped, planned.match)
    found = (*first, *_others(planned, asked, planned.match.offers, quoted.worst_nanousd))
    if offers:
        found = (*offers, *found)
    if policy.enforces or found[0] == asked:
        return Admission(call=call, candidates=found, enforce=policy.enforces, at=at, objection=objection, policy=policy.digest)
    # Watching changes nothing: the call leaves as asked, and what enforcing would have done to it is told.
    would = Decision(verdict=Verdict.ALLOW, would=Verdict.REWRITE, rule=found[0].rule, reason=found[0].reason, model=call.model)
    objection = objection or (would if found[0].rule else None)
    rest = tuple(candidate for candidate in found if not candidate.rule)
    return Admission(call=call, candidates=(asked, *rest), enforce=False, at=at, objection=objection, policy=policy.digest)


def _asked(call: Call, hold_nanousd: int, limits: tuple[Limit, ...]) -> Candidate:
    tokens = candidates.hold_tokens(call, candidates.output_bound(call.ask, None))
    return Candidate(
        model=call.model, hold_nanousd=hold_nanousd, limits=limits, hold_tokens=tokens, requests=candidates.requests_of(call)
    )


def identity_objection(policy: Policy, call: Call) -> Decision | None:
    """What speaks against a call because of who makes it: a proof that is wrong, or none where the policy wants one."""
    if call.identity_fault:
        rule, reason, remedy = IDENTITY_RULE, call.identity_fault, call.identity_remedy
    elif policy.on_no_identity.refuses and call.principal.assurance is Assurance.NONE:
        rule, reason = NO_IDENTITY_RULE, "nothing proves who is calling"
        remedy = (
            "Log in with `tollkeeper login` and start the client with `tollkeeper run`, or send a token (docs/identity.md); "
            f'{policy.name} says on_no_identity = "{policy.on_no_identity.value}".'
        )
    else:
        return None
    return Decision(verdict=Verdict.REFUSE, would=Verdict.REFUSE, rule=rule, reason=reason, model=call.model, remedy=remedy)


def _objections(policy: Policy, call: Call, match: Match, matcher: Matcher) -> list[Decision]:
    """What speaks against the call whatever it costs, those that act first."""
    nobody = identity_objection(policy, call)
    found = [] if nobody is None else [nobody]
    matches = [match]
    if call.ask.parts:
        matches = [matcher.of(call, model) for model in dict.fromkeys(part.model or call.model for part in call.ask.parts)]
    elif call.ask.fallback_models:  # any of them may answer, so none may be one that is not allowed
        matches = [match, *(matcher.of(call, model) for model in dict.fromkeys(call.ask.fallback_models))]
    elif call.model is None and call.endpoint.operation in NOT_ASKING:
        matches = []
    refusals = list(dict.fromkeys(refusal for one in matches for refusal in one.refusals))
    found += [
        Decision(
            verdict=Verdict.REFUSE if refusal.acts else Verdict.ALLOW,
            would=Verdict.REFUSE,
            rule=refusal.rule,
            reason=refusal.reason,
            model=call.model,
            remedy=refusal.message or f"Ask for another model, or change [{refusal.rule}] in {policy.name}.",
        )
        for refusal in sorted(refusals, key=lambda refusal: not refusal.acts)
    ]
    return found


def _capped(planned: _Planned, asked: Candidate) -> Candidate | Decision:
    """The call within the caps of the model rules, or the refusal where it cannot be brought within them."""
    caps, call, pen = planned.match.caps, planned.call, planned.pen
    if caps.is_none:
        return asked
    may_cap = pen.may_cap(call)
    found = asked
    if caps.effort is not None and call.ask.effort and effort_rank(call.ask.effort) > effort_rank(caps.effort.max_effort):
        rule = f"model.{caps.effort.name}"
        if not pen.rewritable:
            return _over(
                planned, rule, f'thinking effort "{call.ask.effort[:20]}" is over {caps.effort.max_effort}', caps.effort.message
            )
        found = replace(
            found, effort=caps.effort.max_effort, rule=rule, reason=f"thinking effort is {caps.effort.max_effort} at most"
        )
    if caps.output is not None and call.endpoint.operation in candidates.ANSWERING:
        most = caps.output.max_output_tokens or 0
        if call.ask.max_output_tokens is None or call.ask.max_output_tokens > most:
            rule, reason = f"model.{caps.output.name}", f"an answer has {most:,} tokens at most"
            if not (may_cap and caps.output.on_exceed.clamp):
                return _over(planned, rule, reason, caps.output.message)
            held = pen.priced(found.model, found.target, most).worst_nanousd
            tokens = candidates.hold_tokens(call, most)
            found = replace(found, hold_nanousd=held, hold_tokens=tokens, clamp_output_tokens=most, rule=rule, reason=reason)
    if caps.cost is not None and found.hold_nanousd > (most_nanousd := caps.cost.max_cost_nanousd or 0):
        rule = f"model.{caps.cost.name}"
        reason = f"one request may cost {format_amount(Unit.USD, most_nanousd)} at most"
        cap = _cap_for(planned, found, most_nanousd, caps.cost.on_exceed) if may_cap and caps.cost.on_exceed.clamp else None
        if cap is None:
            may_cost = format_amount(Unit.USD, found.hold_nanousd)
            return _over(planned, rule, f"{reason}, and this one may cost up to {may_cost}", caps.cost.message)
        held = pen.priced(found.model, found.target, cap).worst_nanousd
        tokens = candidates.hold_tokens(call, cap)
        found = replace(found, hold_nanousd=held, hold_tokens=tokens, clamp_output_tokens=cap, rule=rule, reason=reason)
    return found


def _watched(planned: _Planned, asked: Candidate) -> Decision | None:
    """What the caps of rules that only watch would have done."""
    watched = planned.match.caps.watched
    if not watched:
        return None
    acting = caps_of(replace(rule, mode=Mode.ENFORCE) for rule in watched)
    capped = _capped(planned._replace(match=planned.match._replace(caps=acting)), asked)
    if isinstance(capped, Decision):
        return replace(capped, verdict=Verdict.ALLOW)
    if not capped.rule:
        return None
    return Decision(verdict=Verdict.ALLOW, would=Verdict.REWRITE, rule=capped.rule, reason=capped.reason, model=asked.model)


def _cap_for(planned: _Planned, candidate: Candidate, most_nanousd: int, ladder: Ladder) -> int | None:
    """The longest answer that keeps a request within ``most_nanousd``; None when even the shortest useful one does not."""
    bound = candidates.output_bound(planned.call.ask, candidate.clamp_output_tokens)
    low, high = min(ladder.least_output_tokens, bound), bound
    if planned.pen.priced(candidate.model, candidate.target, low).worst_nanousd > most_nanousd:
        return None
    while high - low > 1:  # costs rise with the cap, whatever tiers there are: twenty quotes find it
        middle = (low + high) // 2
        if planned.pen.priced(candidate.model, candidate.target, middle).worst_nanousd <= most_nanousd:
            low = middle
        else:
            high = middle
    return low


def _over(planned: _Planned, rule: str, reason: str, message: str) -> Decision:
    return Decision(
        verdict=Verdict.REFUSE,
        would=Verdict.REFUSE,
        rule=rule,
        reason=reason,
        model=planned.call.model,
        remedy=message or f"Ask for less, or change [{rule}] in {planned.policy.name}.",
    )


def _ways(planned: _Planned, first: Candidate, match: Match) -> tuple[Candidate, ...]:
    ladders = tuple(slot.budget.on_exceed for slot in match.slots if slot.budget.mode is Mode.ENFORCE)
    return candidates.ways(planned.call, first, planned.pen, ladders, worst_nanousd=first.hold_nanousd)


def _rule_offers(match: Match) -> tuple[Offer, ...]:
    """What the rules that cap the call offer instead."""
    rules = [rule for rule in (match.caps.cost, match.caps.output, match.caps.effort) if rule is not None]
    return tuple(dict.fromkeys(Offer(target, rule.on_exceed.anytime) for rule in rules for target in rule.on_exceed.downgrade))


def _routed(planned: _Planned) -> tuple[Candidate, ...]:
    """The way a route sends the call, with all its forms; nothing where no route does, or where it cannot go there."""
    route = planned.match.route
    if route is None or route.mode is not Mode.ENFORCE:
        return ()
    target = way_of(route, planned.call)
    if target is None:
        return ()
    quoted = _quoted(planned, target, route.anytime)
    if quoted is None:
        return ()
    served, match = quoted
    reason = f"it is sent to {target.model or target.provider or target.host}"
    first = replace(served, rule=f"route.{route.name}", reason=reason, fallbacks=route.fallback)
    return _ways(planned, first, match)


def _others(planned: _Planned, asked: Candidate, offers: tuple[Offer, ...], asked_nanousd: int) -> tuple[Candidate, ...]:
    """The models offered instead that speak the call's dialect, have a price, and cost less; each under its own budgets."""
    if not planned.pen.rewritable or not offers:
        return ()
    found: list[Candidate] = []
    for offer in offers:
        if offer.target.model == asked.model and not offer.target.is_elsewhere:
            continue
        quoted = _quoted(planned, offer.target, offer.anytime)
        if quoted is None or quoted[0].hold_nanousd >= asked_nanousd:
            continue
        if not candidates.loses_by_moving(planned.call, planned.pen, quoted[0].model, offer.target):
            found.extend(_ways(planned, *quoted))
    return tuple(found)


def _quoted(planned: _Planned, target: Target, anytime: bool) -> tuple[Candidate, Match] | None:
    """The call as the target would serve it; None where it cannot be moved there, has no price there, or is not allowed there."""
    call, pen = planned.call, planned.pen
    if not _may_move(call, anytime=anytime) or (target.is_elsewhere and pen.elsewhere is None):
        return None
    model = target.model or call.model
    # Whoever names a place says that it speaks the dialect; whoever prices it knows whether it does.
    if model is None or not (target.is_elsewhere or speaks(call.endpoint.dialect or "", model)):
        return None
    moved = call if not target.provider else replace(call, endpoint=replace(call.endpoint, provider=target.provider))
    match = planned.matcher.of(moved, model)
    if any(refusal.acts for refusal in match.refusals):
        return None
    quoted = pen.priced(model, target, None)
    if not quoted.known:
        return None
    candidate = replace(_asked(call, quoted.worst_nanousd, match.limits(planned.at)), model=model)
    if target.is_elsewhere or target.key or target.timeout_ms is not None:
        candidate = replace(candidate, target=target)
    capped = _capped(planned._replace(match=match), candidate)
    return None if isinstance(capped, Decision) else (replace(capped, rule="", reason=""), match)


def _may_move(call: Call, *, anytime: bool) -> bool:
    """A fresh conversation in a dialect that we read: anything else would break it (signatures, history kept by the provider)."""
    if FIXED_MODEL in call.endpoint.traits:
        return False
    return (call.ask.fresh or anytime) and call.endpoint.metering is Metering.METERED and call.endpoint.dialect is not None


def _with_parts(limits: tuple[Limit, ...], call: Call, matcher: Matcher, at: int) -> tuple[Limit, ...]:
    """The budgets over any model that a batch asks: it must fit them all whole, since nobody can hold back a part of it."""
    found = {(limit.budget, limit.bucket.key): limit for limit in limits}
    for model in {part.model or call.model for part in call.ask.parts}:
        for limit in matcher.of(call, model).limits(at):
            found.setdefault((limit.budget, limit.bucket.key), limit)
    return tuple(found.values())


def _unknown_model(policy: Policy, model: str | None) -> Decision:
    return Decision(
        verdict=Verdict.REFUSE,
        would=Verdict.REFUSE,
        rule=UNKNOWN_MODEL_RULE,
        reason=f'model "{kept(model)[:100]}" has no known price' if model else "the call names no model, so its price is unknown",
        model=model,
        remedy=f'Give the model a price in prices.toml, or set unknown_model = "ceiling" in {policy.name}.',
    )
