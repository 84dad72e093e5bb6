"""What a policy means, in plain words: one sentence per budget, one per switch, and notes on what may surprise."""

from collections.abc import Iterator
from dataclasses import dataclass

from tollkeeper.core.money import format_usd

from .globs import Glob
from .message import moment_in_words
from .model import Budget, Field, Mode, OnFailure, Policy, UnknownModel
from .windows import WindowKind, length_in_words, window_at

_PLURAL = {Field.PRINCIPAL: "principals", Field.PROJECT: "projects", Field.MODEL: "models", Field.PROVIDER: "providers"}

MODE_WORDS = {
    Mode.OBSERVE: "observe: nothing is blocked or changed; the report says what would have been",
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
        length_us, kind = budget.window.length_us, budget.window.kind
        if length_us is not None:
            every = f"in any {length_in_words(length_us)}"
        else:
            every = "an hour" if kind is WindowKind.HOUR else f"a {kind.value}"
        return f"{format_usd(budget.amount_nanousd)} {every} {self.covers}; {self.resets}; {self.on_exceed}"


def explain(policy: Policy, at: int) -> tuple[Explained, ...]:
    """Every budget of the policy in words, as it stands at ``at`` (UTC microseconds)."""
    return tuple(_explained(policy, budget, at) for budget in policy.budgets)


def notes(policy: Policy) -> tuple[str, ...]:
    """What is allowed but may not be what was meant."""
    return tuple(_notes(policy))


def _explained(policy: Policy, budget: Budget, at: int) -> Explained:
    window = window_at(budget.window, at)
    acts = policy.enforces and budget.mode is Mode.ENFORCE
    if window.end_at is None:
        resets = "room comes back as spending grows older than that"
    else:
        resets = f"resets {moment_in_words(window.end_at, budget.window.zone, at)}"
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
    if budget.per:
        words = "for each " + " and ".join(field.value for field in budget.per)
    elif Field.PRINCIPAL in scope:
        words = f"for {_either(scope.pop(Field.PRINCIPAL))} together"
    else:
        words = "for everybody together"
    if scope:
        words += ", only " + " and ".join(f"{_PLURAL[field]} {_either(globs)}" for field, globs in scope.items())
    return words


def _either(globs: tuple[Glob, ...]) -> str:
    return " or ".join(glob.pattern for glob in globs)


def _then(budget: Budget, acts: bool) -> str:
    if budget.rewrite:
        then = f"a call without room is moved to {' or else '.join(budget.rewrite)} where that fits, else refused"
    else:
        then = "a call without room is refused"
    return then if acts else f"only watched: nothing happens, the report says where {then}"


def _notes(policy: Policy) -> Iterator[str]:
    if not policy.budgets:
        yield "there are no budgets: everything is metered and nothing can be blocked"
    elif not policy.enforces:
        yield 'nothing is blocked until mode = "enforce"'
    seen: dict[object, str] = {}
    for budget in policy.budgets:
        counted = (budget.window.key, budget.scope, budget.per, budget.mode)
        if (other := seen.setdefault(counted, budget.name)) != budget.name:
            yield f'budgets "{other}" and "{budget.name}" count the same calls over the same window: the lower amount decides'
        if policy.unknown_model is UnknownModel.ALLOW and budget.amount_nanousd == 0:
            yield f'budget "{budget.name}" allows nothing, yet unknown_model = "allow" lets models without a price through'
        if covered := [model for model in budget.rewrite if _covers_model(budget, model)]:
            yield (
                f'budget "{budget.name}" also covers {" and ".join(covered)}: calls moved there count in it too, and are refused'
                " once they do not fit either; scope the budget by model to let them go on"
            )


def _covers_model(budget: Budget, model: str) -> bool:
    """Whether calls moved to ``model`` still count under the same bucket."""
    globs = dict(budget.scope).get(Field.MODEL)
    return Field.MODEL not in budget.per and (globs is None or any(glob.matches(model) for glob in globs))
