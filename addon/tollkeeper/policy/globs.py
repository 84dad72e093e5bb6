"""Patterns with ``*``: one meaning here and in the ledger's ``GLOB``, matched in linear time whatever a client sends."""

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
        """Whether ``value`` fits. Time is linear in the value for each piece between stars: no backtracking."""
        if "*" not in self.pattern:
            return value == self.pattern
        first, *middle, last = self.pattern.split("*")
        if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
            return False
        at, end = len(first), len(value) - len(last)
        for piece in middle:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    @property
    def sqlite(self) -> str:
        """The same pattern for SQLite's ``GLOB`` (https://sqlite.org/lang_expr.html#glob)."""
        return self.pattern.replace("[", "[[]").replace("?", "[?]")


def exactly(value: str) -> str:
    """The SQLite ``GLOB`` pattern that matches ``value`` and nothing else."""
    return value.translate(_SPECIAL)
