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

_WILD = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[(.)\]")


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
    """The positions in an entry and the values they must have, when no pattern is wild; else None."""
    values = []
    if len({column for column, _ in scope}) < len(scope):
        return None
    for _, pattern in scope:
        literal = _CLASS.sub(lambda match: "" if match[1] in "*?[" else "*", pattern)
        if _WILD.search(literal):
            return None
        values.append(_CLASS.sub(r"\1", pattern))
    return tuple(INDEX[column] for column, _ in scope), tuple(values)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """SQLite's GLOB as a regular expression (https://sqlite.org/lang_expr.html#glob)."""
    out, position = [], 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "*":
            out.append(".*")
        elif letter == "?":
            out.append(".")
        elif letter == "[" and (end := pattern.find("]", position + 1)) > 0:
            inside = pattern[position:end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[{'^' + inside[1:] if inside.startswith('^') else inside}]")
            position = end + 1
        else:
            out.append(re.escape(letter))
    return re.compile("".join(out), re.DOTALL)


def matcher(scope: Scope) -> Matcher:
    """A test of one entry, given as its columns in order."""
    check(scope)
    tests = [
        (INDEX[column], [_compiled(pattern).fullmatch for pattern in patterns]) for column, patterns in _by_column(scope).items()
    ]

    def matches(entry: Sequence[object]) -> bool:
        return all(any(test(str(entry[position])) for test in alternatives) for position, alternatives in tests)

    return matches
