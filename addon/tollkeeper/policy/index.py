"""Finding the rules that cover a call without asking each of ten thousand.

Every rule is filed under one field that it restricts to exact values or to patterns with a literal beginning; a call is looked up by
its own values and by their beginnings. Only what is filed nowhere is asked every time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import condition
from .facts import FIELDS, GROUPS, INDEX, LABELS, Values, variables
from .globs import Glob, any_of
from .model import Field, Scope

type Test = Callable[[Values], bool]


class Index[T]:
    """Rules by what they cover; answers come in the order in which the rules were given."""

    def __init__(self, rules: Iterable[tuple[Scope, T]]) -> None:
        given = list(rules)
        self._rules = [(_tests(scope), scope.when, rule) for scope, rule in given]
        self._exact: list[dict[str, list[int]]] = [{} for _ in FIELDS]
        self._begins: list[dict[str, list[int]]] = [{} for _ in FIELDS]
        self._anyway: list[int] = []
        crowd = Counter((name, glob.pattern) for scope, _ in given for name, globs in scope.fields for glob in globs)
        for position, (scope, _) in enumerate(given):
            self._file(position, scope, crowd)
        self._lengths = [sorted({len(beginning) for beginning in table}) for table in self._begins]
        self._filed = [index for index in range(len(FIELDS)) if self._exact[index] or self._begins[index]]

    def covering(self, facts: Values, memory: "Conditions", *, undecided: bool) -> list[T]:
        """The rules that cover such a call; a condition that cannot be decided is taken as ``undecided``."""
        found = []
        for position in self._candidates(facts):
            tests, when, rule = self._rules[position]
            for test in tests:
                if not test(facts):
                    break
            else:
                if not when or memory.holds(when, undecided=undecided):
                    found.append(rule)
        return found

    def _candidates(self, facts: Values) -> Sequence[int]:
        positions = set(self._anyway)
        for index in self._filed:
            exact, begins, lengths = self._exact[index], self._begins[index], self._lengths[index]
            for value in facts[index] if index == GROUPS else (facts[index],):
                positions.update(exact.get(value, ()))
                for length in lengths:
                    if length > len(value):
                        break
                    positions.update(begins.get(value[:length], ()))
        return sorted(positions)

    def _file(self, position: int, scope: Scope, crowd: Counter[tuple[Field, str]]) -> None:
        """Under the field that the fewest other rules restrict likewise."""
        best: tuple[int, Field, tuple[Glob, ...]] | None = None
        for name, globs in scope.fields:
            if all(not glob.pattern.startswith("*") for glob in globs):
                others = sum(crowd[name, glob.pattern] for glob in globs)
                if best is None or others < best[0]:
                    best = (others, name, globs)
        if best is None:
            self._anyway.append(position)
            return
        for glob in best[2]:
            beginning = glob.pattern.partition("*")[0]
            table = (self._exact if glob.is_exact else self._begins)[INDEX[best[1]]]
            table.setdefault(beginning, []).append(position)


class Conditions:
    """The conditions of one call, each run once."""

    def __init__(self, facts: Values) -> None:
        self._facts = facts
        self._variables: Any = None
        self._known: dict[str, bool | None] = {}

    def holds(self, text: str, *, undecided: bool) -> bool:
        """Whether the condition is true; ``undecided`` where it cannot be said."""
        if text not in self._known:
            if self._variables is None:
                self._variables = variables(self._facts)
            self._known[text] = condition.decide(text, self._variables)
        answer = self._known[text]
        return undecided if answer is None else answer


def covers(scope: Scope, facts: Values, *, undecided: bool) -> bool:
    """Whether a scope covers such a call. An unknown value is covered by ``*`` only."""
    return all(test(facts) for test in _tests(scope)) and (
        not scope.when or condition.holds(scope.when, variables(facts), undecided=undecided)
    )


def test_of(name: Field, globs: tuple[Glob, ...]) -> Test:
    """A test of one field; of the groups, any one will do."""
    index, matches = INDEX[name], any_of(globs)
    if name is Field.GROUP:
        return lambda facts: any(matches(group) for group in facts[GROUPS])
    return lambda facts: matches(facts[index])


def label_test(name: str, globs: tuple[Glob, ...]) -> Test:
    """A test of one label; one that is not there is the empty text."""
    matches = any_of(globs)
    return lambda facts: matches(dict(facts[LABELS]).get(name, ""))


def _tests(scope: Scope) -> tuple[Test, ...]:
    fields = (test_of(name, globs) for name, globs in scope.fields if not any(glob.is_any for glob in globs))
    labels = (label_test(name, globs) for name, globs in scope.labels if not any(glob.is_any for glob in globs))
    return (*fields, *labels)
