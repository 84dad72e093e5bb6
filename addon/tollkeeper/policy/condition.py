"""Conditions in CEL (https://cel.dev): compiled once, tried once when the document is loaded, then run on the facts of a call.

A condition sees ``principal``, ``groups``, ``issuer``, ``assurance``, ``project``, ``branch``, ``tool``, ``session``, ``run``,
``agent_class``, ``provider``, ``operation``, ``model``, ``labels``, ``os_user``, ``process`` and ``container``; what is unknown is
the empty text, list or map. One that cannot be decided for a call (it asks for a label that is not there) is true for what
restricts and false for what frees.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MAX_CONDITION_CHARS = 1_000
VARIABLES = (
    "principal", "groups", "issuer", "assurance", "project", "branch", "tool", "session", "run", "agent_class", "provider",
    "operation", "model", "labels", "os_user", "process", "container",
)  # fmt: skip

EMPTY: Mapping[str, Any] = {name: [] if name == "groups" else {} if name == "labels" else "" for name in VARIABLES}
_TRIALS: tuple[Mapping[str, Any], ...] = (
    EMPTY,
    {name: ["x"] if name == "groups" else {} if name == "labels" else "x" for name in VARIABLES},
)


class ConditionError(ValueError):
    """Not a condition; the message says why."""


@lru_cache(maxsize=2_048)
def compiled(text: str) -> Any:
    """The program of a condition; raises ``ConditionError``. The library is loaded for the first one only."""
    from cel import compile as compile_cel

    try:
        return compile_cel(text)
    except Exception as error:
        raise ConditionError(f"is not CEL: {_first_line(error)}") from None


def check(text: str) -> str:
    """Compile and try a condition. The answer is a note on what may surprise, or empty; raises ``ConditionError``."""
    if len(text) > MAX_CONDITION_CHARS:
        raise ConditionError(f"is longer than {MAX_CONDITION_CHARS:,} characters")
    program = compiled(text)
    note = ""
    for facts in _TRIALS:
        try:
            answer = program.execute(dict(facts))
        except KeyError as missing:
            note = f"a call without the label {missing} counts as meant; to leave it out, begin with {missing} in labels &&"
            continue
        except RuntimeError as error:
            known = f"known: {', '.join(VARIABLES)}" if "Undefined" in str(error) else "try it on the facts of a call"
            raise ConditionError(f"cannot be run: {_first_line(error)}; {known}") from None
        except Exception as error:
            raise ConditionError(f"cannot be run: {_first_line(error)}") from None
        if not isinstance(answer, bool):
            raise ConditionError("is neither true nor false; write a comparison")
    return note


def decide(text: str, facts: Mapping[str, Any]) -> bool | None:
    """Whether the condition is true of the facts; None where it cannot be said."""
    try:
        answer = compiled(text).execute(facts)
    except Exception:
        return None
    return answer if isinstance(answer, bool) else None


def holds(text: str, facts: Mapping[str, Any], *, undecided: bool) -> bool:
    """Whether the condition is true of the facts; ``undecided`` where it cannot be said."""
    answer = decide(text, facts)
    return undecided if answer is None else answer


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
