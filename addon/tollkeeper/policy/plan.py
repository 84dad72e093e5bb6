"""From a call and a policy to the question put to the ledger: the ways to serve the call, and the budgets each must fit."""

from collections.abc import Callable
from typing import Protocol

from tollkeeper.core.admission import Admission, Candidate
from tollkeeper.core.call import Call, Metering
from tollkeeper.core.decision import Decision, Verdict

from .families import speaks
from .matching import Match, Matcher, kept, matcher_of, values_of
from .model import Policy, UnknownModel

UNKNOWN_MODEL_RULE = "unknown_model"
UNMETERED_HOLD_NANOUSD = 1
"""What cannot be read may cost something: the least amount, so that a used-up budget stops it as well."""


class Quote(Protocol):
    """The most a call may cost with one model, as the price book sees it before the call leaves."""

    @property
    def worst_nanousd(self) -> int:
        """What to hold; at the ceiling rate when the model is not ``known``."""

    @property
    def known(self) -> bool:
        """Whether the model has a price."""


type Quoter = Callable[[str | None], Quote]


def plan(policy: Policy, call: Call, quote: Quoter, at: int, *, rewritable: bool = True) -> Admission | Decision:
    """What to ask the ledger before ``call`` leaves, or a refusal that needs no money to be reached.

    ``quote`` prices the call for a model on the call's own provider; ``at`` is UTC microseconds. ``rewritable`` is False for
    traffic whose body nobody may change: signed requests, and plans (a changed body breaks the signature or the contract).
    Total and deterministic: the same values give the same answer, and nothing is raised but what ``quote`` raises.
    """
    endpoint = call.endpoint
    if endpoint.metering is Metering.FREE:
        return Admission(call=call, candidates=(Candidate(model=call.model, hold_nanousd=0),), enforce=policy.enforces, at=at)
    model = call.model
    matcher = matcher_of(policy)
    match = matcher.match(values_of(call, model))
    if endpoint.metering is Metering.UNMETERED and model is None:
        asked = Candidate(model=None, hold_nanousd=UNMETERED_HOLD_NANOUSD, limits=match.limits(at))
        return Admission(call=call, candidates=(asked,), enforce=policy.enforces, at=at)
    quoted = quote(model)
    objection: Decision | None = None
    hold_nanousd = quoted.worst_nanousd
    if endpoint.metering is Metering.UNMETERED:
        hold_nanousd = max(hold_nanousd, UNMETERED_HOLD_NANOUSD)
    if not quoted.known and policy.unknown_model is not UnknownModel.CEILING:
        if policy.unknown_model is UnknownModel.ALLOW:
            hold_nanousd = 0
        else:
            objection = _unknown_model(policy, model)
            if policy.enforces:
                return objection
    asked = Candidate(model=model, hold_nanousd=hold_nanousd, limits=match.limits(at))
    others: tuple[Candidate, ...] = ()
    if match.rewrites and rewritable and objection is None and _may_rewrite(call):
        others = _cheaper(call, match, matcher, quote, quoted.worst_nanousd, at)
    return Admission(call=call, candidates=(asked, *others), enforce=policy.enforces, at=at, objection=objection)


def _may_rewrite(call: Call) -> bool:
    """A fresh conversation in a dialect that we read: anything else would break it (signatures, history kept by the provider)."""
    return call.ask.fresh and call.endpoint.metering is Metering.METERED and call.endpoint.dialect is not None


def _cheaper(call: Call, match: Match, matcher: Matcher, quote: Quoter, asked_nanousd: int, at: int) -> tuple[Candidate, ...]:
    """The models offered instead that speak the call's dialect, have a price, and cost less; each under its own budgets."""
    dialect = call.endpoint.dialect or ""
    found: list[Candidate] = []
    for model in match.rewrites:
        if model == call.model or not speaks(dialect, model):
            continue
        quoted = quote(model)
        if not quoted.known or quoted.worst_nanousd >= asked_nanousd:
            continue
        limits = matcher.match(values_of(call, model)).limits(at)
        found.append(Candidate(model=model, hold_nanousd=quoted.worst_nanousd, limits=limits))
    return tuple(found)


def _unknown_model(policy: Policy, model: str | None) -> Decision:
    return Decision(
        verdict=Verdict.REFUSE,
        would=Verdict.REFUSE,
        rule=UNKNOWN_MODEL_RULE,
        reason=f'model "{kept(model)[:100]}" has no known price' if model else "the call names no model, so its price is unknown",
        model=model,
        remedy=f'Give the model a price in prices.toml, or set unknown_model = "ceiling" in {policy.name}.',
    )
