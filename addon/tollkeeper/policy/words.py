"""What a policy means, in plain words: one sentence per budget, one per switch, and notes on what may surprise."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.decision import Target
from tollkeeper.core.toml_lines import nearest

from . import condition
from .alerting import AlertRule, Way
from .document import conditions_of
from .globs import Glob
from .message import moment_in_words
from .model import (
    CLAIMED,
    OF_PRINCIPAL,
    Budget,
    EgressRules,
    Field,
    FieldGlobs,
    Ladder,
    Mode,
    ModelRule,
    OnFailure,
    Others,
    Policy,
    Route,
    Scope,
    UnknownModel,
)
from .windows import ENDLESS, WindowKind, WindowSpec, length_in_words, window_at

_WAYS = {Way.WEBHOOK: "a webhook", Way.SLACK: "Slack", Way.DESKTOP: "the desktop", Way.COMMAND: "a command"}
_PLURAL = {field: f"{field.value.replace('_', ' ')}s" for field in Field} | {
    Field.BRANCH: "branches",
    Field.AGENT_CLASS: "agent classes",
    Field.OS_USER: "OS users",
    Field.PROCESS: "processes",
    Field.CONTAINER: "containers",
    Field.ASSURANCE: "assurance",
}

MODE_WORDS = {
    Mode.OBSERVE: "observe: nothing is blocked or changed; the report says what would have been",
    Mode.WARN: "warn: nothing is blocked or changed; clients are told what would have been",
    Mode.ENFORCE: "enforce: budgets act",
}
FAULT_WORDS = {
    OnFailure.OPEN: "calls go through unmetered, and the status says so",
    OnFailure.CLOSED: "calls are refused",
}
LEDGER_WORDS = {
    OnFailure.OPEN: "calls go through unrecorded, and the status says so",
    OnFailure.CLOSED: "calls are refused",
}
UNKNOWN_WORDS = {
    UnknownModel.CEILING: "its calls are held and counted at the ceiling rate",
    UnknownModel.REFUSE: "its calls are refused",
    UnknownModel.ALLOW: "its calls go through with nothing held; what they may have cost counts afterwards",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One budget in words. ``resets_at`` is UTC microseconds, None for a rolling window."""

    budget: Budget
    covers: str
    resets_at: int | None
    resets: str
    on_exceed: str
    acts: bool

    @property
    def sentence(self) -> str:
        """Who, how much, until when, and what then."""
        budget = self.budget
        amount = "no end" if budget.amount_nanousd is None else format_amount(budget.unit, budget.amount_nanousd)
        return f"{amount} {every_in_words(budget.window)} {self.covers}; {self.resets}; {self.on_exceed}"


def every_in_words(window: WindowSpec) -> str:
    """``a day``, ``in any 24 h``, ``a session``, ``in all``."""
    if window.length_us is not None:
        return f"in any {length_in_words(window.length_us)}"
    if window.kind is WindowKind.LIFETIME:
        return "in all"
    return "an hour" if window.kind is WindowKind.HOUR else f"a {window.label}"


def explain(policy: Policy, at: int) -> tuple[Explained, ...]:
    """Every budget of the policy in words, as it stands at ``at`` (UTC microseconds)."""
    return tuple(_explained(policy, budget, at) for budget in policy.budgets)


def notes(policy: Policy) -> tuple[str, ...]:
    """What is allowed but may not be what was meant."""
    return tuple(_notes(policy))


def rule_sentences(policy: Policy) -> tuple[str, ...]:
    """Every model rule, route and alert in words, and what else may leave, where the document restricts it."""
    egress = (_egress_in_words(policy),) if policy.egress != EgressRules() else ()
    return (
        *(_rule_in_words(rule) for rule in policy.models),
        *(_route_in_words(route) for route in policy.routes),
        *_groups_in_words(policy),
        *(_alert_in_words(alert) for alert in policy.alerts),
        *egress,
    )


def _groups_in_words(policy: Policy) -> Iterator[str]:
    sizes = Counter(group for groups in policy.groups.values() for group in groups)
    for group, members in sorted(sizes.items()):
        yield f"group {group}: {members:,} member{'s' if members > 1 else ''} by this document, besides whom an issuer names"


def _egress_in_words(policy: Policy) -> str:
    rules = policy.egress
    but = f" but {', '.join(rules.allow)}" if rules.allow else ""
    says = [f"hosts that are no AI hosts are refused{but}" if rules.others is Others.REFUSE else "other hosts are tunnelled"]
    if rules.strict:
        says.append("names decide where connections go, and only public addresses are dialled")
    if rules.internal:
        says.append(f"{', '.join(rules.internal)} may have private addresses")
    return f"egress: {'; '.join(says)}{'' if policy.enforces else ' (only where mode is enforce)'}"


def _rule_in_words(rule: ModelRule) -> str:
    says = []
    if rule.allow:
        says.append(f"only {_either(rule.allow)} may be asked")
    if rule.deny:
        says.append(f"{_either(rule.deny)} may not be asked")
    if rule.max_cost_nanousd is not None:
        says.append(f"one request costs {format_amount(Unit.USD, rule.max_cost_nanousd)} at most")
    if rule.max_output_tokens:
        says.append(f"one answer has {rule.max_output_tokens:,} tokens at most")
    if rule.max_effort:
        says.append(f"effort is {rule.max_effort} at most")
    for rate in rule.rates:
        many = format_amount(rate.unit, rate.amount_nanousd or 0)
        often = "" if rate.unit is Unit.PARALLEL else f" {every_in_words(rate.window)}"
        each = f" for each {' and '.join([*rate.per, *rate.per_labels])}" if rate.per or rate.per_labels else " for all together"
        says.append(f"{many}{often}{each}")
    whom = only_in_words(rule.scope).removeprefix(", only ").removeprefix(", ") or "everybody"
    free = f", except {' and '.join(only_in_words(scope).removeprefix(', only ').removeprefix(', ') for scope in rule.exempt)}"
    mode = "" if rule.mode is Mode.ENFORCE else f" (only {'watched' if rule.mode is Mode.OBSERVE else 'warned of'})"
    return f"rule {rule.name} for {whom}{free if rule.exempt else ''}: {'; '.join(says)}{mode}"


def _route_in_words(route: Route) -> str:
    whom = only_in_words(route.scope).removeprefix(", only ").removeprefix(", ") or "everything"
    ways = [f"{split.percent}% of sessions to {_place(split.target)}" for split in route.splits]
    ways += [f"{_place(target)} when the provider fails" for target in route.fallback]
    return f"route {route.name} for {whom}: {', '.join(ways)}"


def _alert_in_words(alert: AlertRule) -> str:
    """Without the address, which is a secret."""
    way = f"the command {alert.command[0]}" if alert.way is Way.COMMAND and alert.command else _WAYS[alert.way]
    whose = f" of {_either(alert.budgets)}" if alert.budgets else ""
    return f"alert {alert.name}: {way} is told of {', '.join(reason.value for reason in alert.on)}{whose}"


def _place(target: Target) -> str:
    return " at ".join(part for part in (target.model, target.provider or target.host) if part)


def _explained(policy: Policy, budget: Budget, at: int) -> Explained:
    window = window_at(budget.window, at)
    acts = policy.enforces and budget.mode is Mode.ENFORCE
    if budget.window.kind in ENDLESS:
        resets = "it does not reset"
    elif window.end_at is None:
        resets = "room comes back as spending grows older than that"
    else:
        resets = f"resets {moment_in_words(window.end_at, budget.window.zone, at)}"
    if budget.rollover_most:
        resets += f", and up to {format_amount(budget.unit, budget.rollover_most)} of what is left is carried over"
    return Explained(
        budget=budget,
        covers=_covers(budget),
        resets_at=window.end_at,
        resets=resets,
        on_exceed=_then(budget, acts),
        acts=acts,
    )


def _covers(budget: Budget) -> str:
    scope = {field: globs for field, globs in budget.scope if not any(glob.is_any for glob in globs)}
    divided = [field.value.replace("_", " ") for field in budget.per] + list(budget.per_labels)
    if divided:
        words = "for each " + " and ".join(divided)
    elif Field.PRINCIPAL in scope:
        words = f"for {_either(scope.pop(Field.PRINCIPAL))} together"
    else:
        words = "for everybody together"
    return words + only_in_words(Scope(fields=tuple(scope.items()), labels=budget.labels, when=budget.when))


def only_in_words(scope: Scope) -> str:
    """``, only models *opus* and label team ml*, when …``; empty for a scope that covers everything."""
    parts = [f"{_PLURAL[field]} {_either(globs)}" for field, globs in scope.fields if not any(glob.is_any for glob in globs)]
    parts += [f"label {name} {_either(globs)}" for name, globs in scope.labels]
    words = ", only " + " and ".join(parts) if parts else ""
    return f"{words}, when {scope.when}" if scope.when else words


def _either(globs: tuple[Glob, ...]) -> str:
    return " or ".join(glob.pattern for glob in globs)


def _then(budget: Budget, acts: bool) -> str:
    if budget.amount_nanousd is None:
        return "it lifts every other amount for the same share"
    then = ladder_in_words(budget.on_exceed)
    if acts:
        return then
    if budget.mode is Mode.WARN:
        return f"only warned of: nothing happens, the client is told where {then}"
    return f"only watched: nothing happens, the report says where {then}"


def ladder_in_words(ladder: Ladder) -> str:
    """``a call without room is moved to a or else b where that fits, else refused``."""
    steps = []
    if ladder.clamp:
        steps.append(f"answered in fewer tokens (down to {ladder.least_output_tokens:,})")
    if ladder.downgrade:
        ways = (target.model or target.provider or target.host for target in ladder.downgrade)
        steps.append(f"moved to {' or else '.join(ways)} where that fits")
    steps.append("let through with a warning" if ladder.is_soft else "refused")
    return f"a call without room is {', else '.join(steps)}"


def _notes(policy: Policy) -> Iterator[str]:
    if not (policy.budgets or policy.models):
        yield "there are no budgets: everything is metered and nothing can be blocked"
    elif not policy.enforces:
        yield 'nothing is blocked until mode = "enforce"'
    yield from _overlaps(policy)
    for budget in policy.budgets:
        if policy.unknown_model is UnknownModel.ALLOW and budget.amount_nanousd == 0:
            yield f'budget "{budget.name}" allows nothing, yet unknown_model = "allow" lets models without a price through'
        if covered := [model for model in budget.rewrite if _covers_model(budget, model)]:
            yield (
                f'budget "{budget.name}" also covers {" and ".join(covered)}: calls moved there count in it too, and are refused'
                " once they do not fit either; scope the budget by model to let them go on"
            )
        if budget.amount_nanousd is None and (claimed := _claimed(budget.scope)):
            yield f'budget "{budget.name}" lifts others by {claimed}, which any client can say of itself'
    for rule in policy.models:
        if claimed := next((one for scope in rule.exempt if (one := _claimed(scope.fields) or (scope.labels and "label"))), ""):
            yield f'rule "{rule.name}" excepts by {claimed}, which any client can say of itself'
    yield from _alerts_of_nothing(policy)
    for text in conditions_of(policy):
        if note := condition.check(text):
            yield f"condition {text[:80]}: {note}"


def _alerts_of_nothing(policy: Policy) -> Iterator[str]:
    for alert in policy.alerts:
        for glob in alert.budgets:
            if not any(map(glob.matches, policy.by_name)):
                found = nearest(glob.pattern, policy.by_name)
                hint = f'; did you mean "{found}"?' if found else ""
                yield f'alert "{alert.name}" speaks of the budget "{glob.pattern}", and there is none of that name{hint}'


def _claimed(scope: FieldGlobs) -> str:
    return next((field.value.replace("_", " ") for field, _ in scope if field in CLAIMED), "")


def _overlaps(policy: Policy) -> Iterator[str]:
    """Budgets of one bucket, of which the highest amount wins: same calls, or a lower amount that never binds."""
    seen: dict[object, Budget] = {}
    for budget in policy.budgets:
        counted = (
            budget.unit,
            budget.window.key,
            budget.scope,
            budget.labels,
            budget.when,
            budget.per,
            budget.per_labels,
            budget.mode,
        )
        if (other := seen.setdefault(counted, budget)) is not budget:
            yield (
                f'budgets "{other.name}" and "{budget.name}" count the same calls over the same window: the highest amount wins'
            )
    for budget in policy.budgets:
        if not budget.per or budget.amount_nanousd is None:
            continue
        general = seen.get(
            (
                budget.unit,
                budget.window.key,
                _without_who(budget),
                budget.labels,
                budget.when,
                budget.per,
                budget.per_labels,
                budget.mode,
            )
        )
        if general is None or general is budget or general.scope == budget.scope:
            continue
        if general.amount_nanousd is None or general.amount_nanousd > budget.amount_nanousd:
            yield (
                f'budget "{budget.name}" never binds: "{general.name}" gives the same {budget.per[0].value} more, and the highest'
                " amount wins; give it another window, or leave those it is for out of the other"
            )


def _without_who(budget: Budget) -> FieldGlobs:
    """The scope without what only chooses among the shares."""
    chooses = {*budget.per, *(OF_PRINCIPAL if Field.PRINCIPAL in budget.per else ())}
    return tuple((field, globs) for field, globs in budget.scope if field not in chooses)


def _covers_model(budget: Budget, model: str) -> bool:
    """Whether calls moved to ``model`` still count under the same bucket."""
    globs = dict(budget.scope).get(Field.MODEL)
    return Field.MODEL not in budget.per and (globs is None or any(glob.matches(model) for glob in globs))
