"""What the model rules over a call say together: may it be asked at all, and how large may the request be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from .facts import INDEX, Values
from .globs import any_of
from .model import EFFORTS, Field, Mode, ModelRule

MAX_NAME_CHARS = 100
_MODEL: Final = INDEX[Field.MODEL]


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a call may not leave as it is, whatever it costs; ``acts`` is False for a rule that only watches."""

    rule: str
    reason: str
    acts: bool
    message: str = ""


class Caps(NamedTuple):
    """The smallest of each cap over a call, with its rule; None where there is none. Rules that only watch stand in ``watched``."""

    cost: ModelRule | None = None
    output: ModelRule | None = None
    effort: ModelRule | None = None
    watched: tuple[ModelRule, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether nothing is capped."""
        return self.cost is None and self.output is None and self.effort is None and not self.watched


def objection_of(rule: ModelRule, facts: Values, *, is_weak: bool) -> Objection | None:
    """What a rule over the call says against its model or its caller; None when it lets it pass.

    What is not known never frees: a call that names no model is refused by every rule that allows or denies any.
    """
    model = facts[_MODEL]
    shown = f'model "{model[:MAX_NAME_CHARS]}"' if model else "a model that is not named"
    reason = ""
    if is_weak:
        reason = f"it serves {rule.min_assurance} identities, and this caller is less sure"
    elif rule.deny and (not model or any_of(rule.deny)(model)):
        reason = f"{shown} is denied"
    elif rule.allow and not any_of(rule.allow)(model):
        allowed = ", ".join(glob.pattern for glob in rule.allow[:5]) + (", …" if len(rule.allow) > 5 else "")
        reason = f"{shown} is not among those allowed ({allowed})"
    if not reason:
        return None
    return Objection(
        f"model.{rule.name}",
        f'{reason} by rule "{rule.name}"' if not is_weak else f'rule "{rule.name}": {reason}',
        rule.mode is Mode.ENFORCE,
        rule.message,
    )


def caps_of(rules: Iterable[ModelRule]) -> Caps:
    """The smallest of each cap; of equal ones the first."""
    capped = [
        rule for rule in rules if rule.max_cost_nanousd is not None or rule.max_output_tokens is not None or rule.max_effort
    ]
    acting = [rule for rule in capped if rule.mode is Mode.ENFORCE]
    return Caps(
        cost=min(
            (rule for rule in acting if rule.max_cost_nanousd is not None),
            key=lambda rule: rule.max_cost_nanousd or 0,
            default=None,
        ),
        output=min(
            (rule for rule in acting if rule.max_output_tokens), key=lambda rule: rule.max_output_tokens or 0, default=None
        ),
        effort=min((rule for rule in acting if rule.max_effort), key=lambda rule: effort_rank(rule.max_effort), default=None),
        watched=tuple(rule for rule in capped if rule.mode is not Mode.ENFORCE),
    )


def effort_rank(word: str) -> int:
    """How much thinking a word asks for; a word nobody knows is the most."""
    return EFFORTS.index(word) if word in EFFORTS else len(EFFORTS)
