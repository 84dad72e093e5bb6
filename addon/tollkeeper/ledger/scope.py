"""Which entries a budget counts, in SQL and in memory alike.

A scope is (column, GLOB pattern) pairs: pairs of one column are alternatives, and every column named must match.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache

from tollkeeper.core.errors import LedgerError

from .columns import INDEX, SCOPES

type Scope = tuple[tuple[str, str], ...]
type Matcher = Callable[[Sequence[object]], bool]

_LITERAL = re.compile(r"\[([*?\[])\]")
"""How a pattern says one of its own special letters."""

_NEVER = r"(?!)"


def check(scope: Scope) -> None:
    """Raise ``LedgerError`` when a scope names a column that budgets cannot be scoped by."""
    for column, _ in scope:
        if column not in SCOPES:
            raise LedgerError(f'a budget is scoped by "{column}"; the ledger counts by {", ".join(sorted(SCOPES))}')


def _by_column(scope: Scope) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for column, pattern in scope:
        columns.setdefault(column, []).append(pattern)
    return columns


def sql(scope: Scope, table: str = "entry") -> tuple[str, list[str]]:
    """`` AND (… GLOB ? OR …)`` for each column, and the parameters. Column names come from a fixed list."""
    check(scope)
    clauses, values = [], []
    for column, patterns in _by_column(scope).items():
        clauses.append(f" AND ({' OR '.join([f'{table}.{column} GLOB ?'] * len(patterns))})")
        values.extend(patterns)
    return "".join(clauses), values


def exact(scope: Scope) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """The positions in an entry and the values they must have, when each column has one value; else None."""
    if len({column for column, _ in scope}) < len(scope):
        return None
    for _, pattern in scope:
        if any(letter in "*?[" for letter in _LITERAL.sub("", pattern)):
            return None
    return tuple(INDEX[column] for column, _ in scope), tuple(_LITERAL.sub(r"\1", pattern) for _, pattern in scope)


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
    tests = [
        (INDEX[column], [_compiled(pattern).fullmatch for pattern in patterns]) for column, patterns in _by_column(scope).items()
    ]

    def matches(entry: Sequence[object]) -> bool:
        return all(any(test(str(entry[position])) for test in alternatives) for position, alternatives in tests)

    return matches
