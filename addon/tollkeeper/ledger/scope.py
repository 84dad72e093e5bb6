"""Which entries a budget counts, in SQL and in memory alike.

A scope is (column, GLOB pattern) pairs: pairs of one column are alternatives, and every column named must match. Besides columns of
the entry it may name what is worked out from them: ``group`` (any group of the principal), ``any_session`` (our own session, else
``client:`` and the client's), ``label:NAME`` (a label), and ``when``, whose pattern is a CEL condition.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tollkeeper.core.errors import LedgerError
from tollkeeper.policy import condition

from .columns import INDEX, SCOPES

type Scope = tuple[tuple[str, str], ...]
type Matcher = Callable[[Sequence[object]], bool]
type _Values = Callable[[Sequence[Any]], Sequence[str]]

_LITERAL = re.compile(r"\[([*?\[])\]")
"""How a pattern says one of its own special letters."""

_NEVER = r"(?!)"

LABEL = "label:"
WHEN = "when"
_SESSION = (
    "CASE WHEN {0}.session <> '' THEN {0}.session WHEN {0}.client_session <> '' THEN 'client:' || {0}.client_session ELSE '' END"
)
_GROUPS, _TAGS = INDEX["groups"], INDEX["tags"]
_OWN, _CLAIMED = INDEX["session"], INDEX["client_session"]
_VARIABLES = {
    "principal": "subject", "issuer": "issuer", "assurance": "assurance", "project": "project", "branch": "branch", "tool": "client",
    "run": "run", "agent_class": "agent_class", "provider": "provider", "operation": "operation", "model": "model",
    "os_user": "os_user", "process": "process", "container": "container",
}  # fmt: skip
"""Columns that a condition sees as they are."""


def check(scope: Scope) -> None:
    """Raise ``LedgerError`` when a scope names a column that budgets cannot be scoped by."""
    for column, _ in scope:
        if column not in SCOPES and column not in {"group", "any_session", WHEN} and not column.startswith(LABEL):
            raise LedgerError(f'a budget is scoped by "{column}"; the ledger counts by {", ".join(sorted(SCOPES))}')


def _by_column(scope: Scope) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for column, pattern in scope:
        columns.setdefault(column, []).append(pattern)
    return columns


def sql(scope: Scope, table: str = "entry") -> tuple[str, list[str]]:
    """`` AND (… GLOB ? OR …)`` for each column, and the parameters. Column names come from a fixed list.

    What SQL cannot tell (see ``is_told_by_sql``) is left out: the rows are then tested with ``matcher`` besides.
    """
    check(scope)
    clauses, values = [], []
    for column, patterns in _by_column(scope).items():
        if column in {"group", WHEN} or column.startswith(LABEL):
            continue
        name = _SESSION.format(table) if column == "any_session" else f"{table}.{column}"
        tests = []
        for pattern in patterns:
            literal = _literal(pattern)
            tests.append(f"{name} GLOB ?" if literal is None else f"{name} = ?")
            values.append(pattern if literal is None else literal)
            if literal and column in {"session", "client_session", "run"}:  # so that the partial indexes may serve
                tests[-1] += f" AND {name} <> ''"
        clauses.append(f" AND ({' OR '.join(tests)})")
    return "".join(clauses), values


def is_told_by_sql(scope: Scope) -> bool:
    """Whether ``sql`` says all of the scope."""
    return not any(column in {"group", WHEN} or column.startswith(LABEL) for column, _ in scope)


def _literal(pattern: str) -> str | None:
    """The one value that a pattern matches; None when it matches several."""
    if any(letter in "*?[" for letter in _LITERAL.sub("", pattern)):
        return None
    return _LITERAL.sub(r"\1", pattern)


def exact(scope: Scope) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """The positions in an entry and the values they must have, when each column has one value; else None."""
    found = exact_part(scope)
    return found if found is not None and len(found[0]) == len(scope) else None


def exact_part(scope: Scope) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """The same of those columns of the entry that have one value, whatever else the scope says; None when all have one or none has."""
    by_column = _by_column(scope)
    found = {
        column: literal
        for column, patterns in by_column.items()
        if column in INDEX and len(patterns) == 1 and (literal := _literal(patterns[0])) is not None
    }
    if not found and scope:
        return None
    return tuple(INDEX[column] for column in found), tuple(found.values())


def positions(scope: Scope) -> frozenset[int]:
    """The places in an entry that a scope looks at."""
    found: set[int] = set()
    for column, _ in scope:
        if column == "group":
            found.add(_GROUPS)
        elif column == "any_session":
            found.update((_OWN, _CLAIMED))
        elif column.startswith(LABEL):
            found.add(_TAGS)
        elif column == WHEN:
            found.update((_GROUPS, _TAGS, _OWN, _CLAIMED, *(INDEX[name] for name in _VARIABLES.values())))
        else:
            found.add(INDEX[column])
    return frozenset(found)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """SQLite's GLOB as a regular expression (https://sqlite.org/lang_expr.html#glob)."""
    out, position = [], 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "[":
            found, position = _class(pattern, position)
            out.append(found)
        else:
            out.append({"*": ".*", "?": "."}.get(letter) or re.escape(letter))
    return re.compile("".join(out), re.DOTALL)


def _class(pattern: str, position: int) -> tuple[str, int]:
    """The class that begins at ``position``, and where the pattern goes on. A class that is never closed matches nothing."""
    sign = "^" if pattern[position : position + 1] == "^" else ""
    position += len(sign)
    end = pattern.find("]", position + 1)
    if end < 0:
        return _NEVER, len(pattern)
    parts, previous = [], ""
    while position < end:
        letter = pattern[position]
        position += 1
        if letter == "-" and previous and position < end:
            if previous <= pattern[position]:
                parts.append(f"{re.escape(previous)}-{re.escape(pattern[position])}")
            position, previous = position + 1, ""
        else:
            parts.append(re.escape(letter))
            previous = letter
    return f"[{sign}{''.join(parts)}]", end + 1


def matcher(scope: Scope) -> Matcher:
    """A test of one entry, given as its columns in order."""
    check(scope)
    conditions = [pattern for column, pattern in scope if column == WHEN]
    by_column = _by_column(scope)
    literals = {column: [_literal(pattern) for pattern in patterns] for column, patterns in by_column.items() if column in INDEX}
    # Nearly all of nearly every scope: a look-up costs a tenth of a pattern, and every entry is tested.
    plain = [(INDEX[column], frozenset(values)) for column, values in literals.items() if None not in values]
    tests = [
        (_values(column), [_compiled(pattern).fullmatch for pattern in patterns])
        for column, patterns in by_column.items()
        if column != WHEN and None in literals.get(column, [None])
    ]

    def matches(entry: Sequence[Any]) -> bool:
        for position, allowed in plain:
            if entry[position] not in allowed:
                return False
        for values, alternatives in tests:
            if not any(test(value) for value in values(entry) for test in alternatives):
                return False
        return all(condition.holds(text, _facts(entry), undecided=True) for text in conditions)

    return matches


def _values(column: str) -> _Values:
    """What an entry has under a column: one text, or of the groups each."""
    if column == "group":
        return lambda entry: [group for group in entry[_GROUPS].split(",") if group] or [""]
    if column == "any_session":
        return lambda entry: (_session(entry),)
    if column.startswith(LABEL):
        name = column.removeprefix(LABEL)
        return lambda entry: (str(json.loads(entry[_TAGS] or "{}").get(name, "")),)
    position = INDEX[column]
    return lambda entry: (str(entry[position]),)


def _session(entry: Sequence[Any]) -> str:
    return str(entry[_OWN] or (f"client:{entry[_CLAIMED]}" if entry[_CLAIMED] else ""))


def _facts(entry: Sequence[Any]) -> dict[str, Any]:
    """An entry as a condition sees it."""
    facts: dict[str, Any] = {name: entry[INDEX[column]] for name, column in _VARIABLES.items()}
    facts["groups"] = sorted(group for group in entry[_GROUPS].split(",") if group)
    facts["session"] = _session(entry)
    facts["labels"] = json.loads(entry[_TAGS] or "{}")
    return facts
