"""Which budgets stand over a caller whatever it may ask next, and how one is told to machines."""

from collections.abc import Iterator
from typing import Any, Final

from tollkeeper.core.admission import Limit
from tollkeeper.core.amounts import format_amount
from tollkeeper.core.call import Call
from tollkeeper.core.clock import to_datetime
from tollkeeper.core.decision import Standing
from tollkeeper.core.principal import Assurance

from .buckets import shares
from .facts import LABELS, values_of
from .index import covers
from .matching import Slot, matcher_of
from .message import moment_in_words, spent_in_words
from .model import Budget, Field, Policy, Scope
from .windows import WindowClock

OF_THE_REQUEST: Final = frozenset({Field.MODEL, Field.PROVIDER, Field.OPERATION, Field.TOOL, Field.SESSION, Field.AGENT_CLASS})
"""What is not known of a caller before it asks."""
MAX_BUDGETS: Final = 200


def budgets_of(policy: Policy, call: Call, at: int) -> list[tuple[Budget, Limit]]:
    """The budgets over the caller of ``call``, with their present limits; ``call`` may name a model, and then those over it only."""
    if call.model is not None:
        return [(policy.by_rule[limit.budget], limit) for limit in matcher_of(policy).of(call, call.model).limits(at)][
            :MAX_BUDGETS
        ]
    return list(_anyhow(policy, call, at))[:MAX_BUDGETS]


def standing_as_json(standing: Standing, at: int) -> dict[str, Any]:
    """A budget as it stands; amounts are whole numbers of its unit (nano-dollars for dollars), times are UTC."""
    resets_at = standing.resets_at
    words = f"{spent_in_words(standing)}, {format_amount(standing.unit, standing.room_nanousd)} left"
    if resets_at is not None:
        words += f", resets {moment_in_words(resets_at, standing.zone, at)}"
    return {
        "rule": standing.named_rule,
        "unit": standing.unit.value,
        "amount": standing.amount_nanousd,
        "spent": standing.spent_nanousd,
        "held": standing.held_nanousd,
        "left": standing.room_nanousd,
        "used_percent": standing.used_percent,
        "granted": standing.granted,
        "carried": standing.carried,
        "window": standing.window,
        "resets_at": None if resets_at is None else f"{to_datetime(resets_at):%Y-%m-%dT%H:%M:%SZ}",
        "text": words,
    }


def covers_only(budget: Budget) -> dict[str, list[str]]:
    """What of a request decides whether the budget covers it: ``{"model": ["*opus*"]}``."""
    return {name.value: [glob.pattern for glob in globs] for name, globs in budget.scope if name in OF_THE_REQUEST}


def _anyhow(policy: Policy, call: Call, at: int) -> Iterator[tuple[Budget, Limit]]:
    facts = values_of(call, None)
    for budget in policy.budgets:
        known = tuple((name, globs) for name, globs in budget.scope if name not in OF_THE_REQUEST)
        if budget.amount_nanousd is None or OF_THE_REQUEST & set(budget.per):
            continue
        if budget.min_assurance is not None and call.principal.assurance is Assurance.NONE:
            continue
        if not covers(Scope(fields=known, labels=budget.labels, when=budget.when), facts, undecided=True):
            continue
        clock = WindowClock(budget.window)
        for share in shares(budget, (*facts[:LABELS], facts[LABELS])):
            yield budget, Slot(budget, clock, share).limit(at)
