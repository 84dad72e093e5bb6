"""Why each rule of a policy speaks of a call, or does not: the facts it asked for and what the call has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.principal import Assurance

from . import condition
from .buckets import scope_of
from .facts import INDEX, LABELS, Values, variables
from .globs import any_of
from .index import covers
from .matching import Slot, matcher_of
from .model import Budget, Field, Mode, ModelRule, Policy, Route, Scope

_WORD: Final = {Field.AGENT_CLASS: "agent class", Field.OS_USER: "OS user"}
_MODES: Final = {Mode.OBSERVE: "watches", Mode.WARN: "warns"}


@dataclass(frozen=True, slots=True)
class Told:
    """One rule and the call: whether it covers it, why (not), and for a budget its limits, one for each share it counts in."""

    rule: str
    covers: bool
    why: str
    slots: tuple[Slot, ...] = ()


def explain_call(policy: Policy, facts: Values) -> tuple[Told, ...]:
    """Every rule of ``policy`` and whether it speaks of a call with such ``facts`` (all of them, not only those used)."""
    match = matcher_of(policy).match(facts)
    return (
        *(_budget(budget, facts, match.slots) for budget in policy.budgets),
        *(_rule(rule, facts, match.slots) for rule in policy.models),
        *(_route(route, facts, match.route) for route in policy.routes),
    )


def why_not(scope: Scope, facts: Values, *, undecided: bool = True) -> str:
    """The first thing that keeps a scope from covering the call; empty when it does.

    ``undecided`` is what a condition is taken for that the facts do not decide.
    """
    for name, globs in scope.fields:
        if not covers(Scope(fields=((name, globs),)), facts, undecided=True):
            value = facts[INDEX[name]]
            has = ", ".join(sorted(value)) if isinstance(value, frozenset) else value
            wanted = " or ".join(glob.pattern for glob in globs)
            return f"its {_WORD.get(name, name.value)} is {has or 'unknown'}, not {wanted}"
    labels = dict(facts[LABELS])
    for label, globs in scope.labels:
        if not any_of(globs)(labels.get(label, "")):
            return f"its label {label} is {labels.get(label) or 'unknown'}, not {' or '.join(glob.pattern for glob in globs)}"
    if scope.when and not condition.holds(scope.when, variables(facts), undecided=undecided):
        is_false = not condition.holds(scope.when, variables(facts), undecided=True)
        return f"its condition {'is false' if is_false else 'cannot be decided of this call'}: {scope.when}"
    return ""


def _budget(budget: Budget, facts: Values, slots: tuple[Slot, ...]) -> Told:
    rule = f"budget.{budget.name}"
    if reason := why_not(scope_of(budget), facts):
        return Told(rule, False, reason)
    mine = tuple(slot for slot in slots if slot.budget is budget)
    if budget.amount_nanousd is None:
        return Told(rule, True, "it lifts every other amount for the same share")
    if not mine and _is_weak(budget.min_assurance, facts):
        return Told(rule, True, _weakness(budget.min_assurance, facts))
    if not mine:
        return Told(rule, True, "another budget gives the same share more, or lifts it: that one decides")
    return Told(rule, True, "" if budget.mode is Mode.ENFORCE else f"it only {_MODES[budget.mode]}", mine)


def _rule(rule: ModelRule, facts: Values, slots: tuple[Slot, ...]) -> Told:
    named = f"model.{rule.name}"
    if reason := why_not(rule.scope, facts):
        return Told(named, False, reason)
    if any(covers(scope, facts, undecided=False) for scope in rule.exempt):
        return Told(named, False, "the call is among its exceptions")
    mine = tuple(slot for slot in slots if slot.budget.rule == named)
    return Told(named, True, "; ".join(_says(rule, facts)), mine)


def _is_weak(least: Assurance | None, facts: Values) -> bool:
    """Whether the caller is less sure than ``least``. ``Assurance`` names the surest first; what is not known is the least sure."""
    order = [assurance.value for assurance in Assurance]
    known = facts[INDEX[Field.ASSURANCE]]
    return least is not None and (known not in order or order.index(known) > order.index(least.value))


def _weakness(least: Assurance | None, facts: Values) -> str:
    return f"it is for {least} identities, and this one is {facts[INDEX[Field.ASSURANCE]] or 'unknown'}"


def _says(rule: ModelRule, facts: Values) -> Iterator[str]:
    model = facts[INDEX[Field.MODEL]]
    if _is_weak(rule.min_assurance, facts):
        yield _weakness(rule.min_assurance, facts)
    if rule.deny:
        yield f"{model or 'an unnamed model'} is {'denied' if not model or any_of(rule.deny)(model) else 'not denied'}"
    if rule.allow:
        yield f"{model or 'an unnamed model'} is {'allowed' if any_of(rule.allow)(model) else 'not among those allowed'}"
    if rule.max_output_tokens:
        yield f"an answer has {rule.max_output_tokens:,} tokens at most"
    if rule.max_effort:
        yield f"effort is {rule.max_effort} at most"
    if rule.max_cost_nanousd is not None:
        yield f"one request costs {format_amount(Unit.USD, rule.max_cost_nanousd)} at most"
    if rule.mode is not Mode.ENFORCE:
        yield f"it only {_MODES[rule.mode]}"


def _route(route: Route, facts: Values, taken: Route | None) -> Told:
    if reason := why_not(route.scope, facts, undecided=False):
        return Told(f"route.{route.name}", False, reason)
    if taken is not route:
        return Told(f"route.{route.name}", False, "an earlier route takes it")
    return Told(f"route.{route.name}", True, "")
