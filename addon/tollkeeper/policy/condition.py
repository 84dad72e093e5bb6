"""Conditions in CEL (https://cel.dev): compiled once, tried once when the document is loaded, then run on the facts of a call.

A condition sees ``principal``, ``groups``, ``issuer``, ``assurance``, ``project``, ``branch``, ``tool``, ``session``, ``run``,
``agent_class``, ``provider``, ``operation``, ``model``, ``labels``, ``os_user``, ``process`` and ``container``; what is unknown is
the empty text, list or map. One that cannot be decided for a call (it asks for a label that is not there) is true for what
restricts and false for what frees.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tollkeeper.core.toml_lines import nearest

from .sides import bound_in, equals, sides

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

_TYPES = frozenset(
    {"bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "type", "uint"}
)
"""Names of the language's own types, for ``type(…) == string``."""
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"), (str, "text"), ((int, float), "a number"), (list, "a list"), (dict, "a map"),
)  # fmt: skip
_OTHER_WORDS = {"user": "principal", "team": "groups", "repo": "project", "client": "tool", "tag": "labels", "tags": "labels"}


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
    _check_names(text, program)
    for side in dict.fromkeys(sides(text)):
        _check_side(side)
    note = ""
    for facts in _TRIALS:
        try:
            answer = program.execute(dict(facts))
        except KeyError as missing:
            note = f"a call without the label {missing} counts as meant; to leave it out, begin with {missing} in labels &&"
            continue
        except RuntimeError as error:
            raise ConditionError(f"cannot be run: {_first_line(error)}; try it on the facts of a call") from None
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


def _check_names(text: str, program: Any) -> None:
    """Every name must be one that conditions see, also where the language would not look it up."""
    known = {*VARIABLES, *_TYPES, *bound_in(text)}
    for name in program.variables():
        if name not in known:
            meant = _OTHER_WORDS.get(name) or nearest(name, VARIABLES)
            hint = f'did you mean "{meant}"?' if meant else f"known: {', '.join(VARIABLES)}"
            raise ConditionError(f"cannot be run: Undefined variable or function: '{name}'. {hint[:1].upper()}{hint[1:]}")


def _check_side(side: str) -> None:
    """One side by itself: what fails whatever the call is a fault, and so are two kinds of value that can never be equal."""
    if all((fault := _fault(side, facts)) for facts in _TRIALS):
        raise ConditionError(f"cannot be run: {side}: {fault}")
    if (pair := equals(side)) is not None:
        left, right = (_kind(part) for part in pair)
        if left and right and left != right:
            raise ConditionError(f"compares {left} with {right}, which are never equal: {side}")


def _fault(side: str, facts: Mapping[str, Any]) -> str:
    """Why a side cannot be run on any call like this; empty where it can, or where that hangs on what the call says."""
    try:
        compiled(side).execute(dict(facts))
    except TypeError as error:
        return _first_line(error)
    except RuntimeError as error:
        return _first_line(error) if "Undefined" in str(error) else ""
    except Exception:
        return ""
    return ""


def _kind(part: str) -> str:
    """What kind of value a part has, by its trial; empty where that hangs on what a call says."""
    try:
        value = compiled(part.strip()).execute(dict(_TRIALS[-1]))
    except Exception:
        return ""
    return next((word for kind, word in _KINDS if isinstance(value, kind)), "")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
