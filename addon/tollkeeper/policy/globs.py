"""Patterns with ``*``: one meaning here and in the ledger's ``GLOB``, matched in linear time whatever a client sends."""

from collections.abc import Callable
from dataclasses import dataclass

MAX_PATTERN_CHARS = 256

_SPECIAL = str.maketrans({"[": "[[]", "?": "[?]", "*": "[*]"})


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in which ``*`` stands for any run of characters, also none, also with ``/``; everything else is itself.

    Case counts. The empty (unknown) value is matched by ``*`` alone.
    """

    pattern: str

    @property
    def is_any(self) -> bool:
        """Only stars: matches everything, the unknown included."""
        return not self.pattern.strip("*")

    @property
    def is_exact(self) -> bool:
        """Matches one value."""
        return "*" not in self.pattern

    def matches(self, value: str) -> bool:
        """Whether ``value`` fits."""
        return any_of((self,))(value)

    @property
    def sqlite(self) -> str:
        """The same pattern for SQLite's ``GLOB`` (https://sqlite.org/lang_expr.html#glob)."""
        return self.pattern.replace("[", "[[]").replace("?", "[?]")


def exactly(value: str) -> str:
    """The SQLite ``GLOB`` pattern that matches ``value`` and nothing else."""
    return value.translate(_SPECIAL)


def any_of(globs: tuple[Glob, ...]) -> Callable[[str], bool]:
    """A test whether a value fits one of ``globs``. Its time is linear in the value for each piece between stars."""
    values = frozenset(glob.pattern for glob in globs if glob.is_exact)
    tests = [_wild(glob.pattern) for glob in globs if not glob.is_exact]
    if not tests:
        return values.__contains__
    if len(tests) == 1 and not values:
        return tests[0]
    return lambda value: value in values or any(test(value) for test in tests)


def _wild(pattern: str) -> Callable[[str], bool]:
    first, *middle, last = pattern.split("*")
    least = len(first) + len(last)

    def matches(value: str) -> bool:
        if not value.startswith(first) or not value.endswith(last) or len(value) < least:
            return False
        at, end = len(first), len(value) - len(last)
        for piece in middle:  # the first place that fits is as good as any later one: no backtracking
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return matches
