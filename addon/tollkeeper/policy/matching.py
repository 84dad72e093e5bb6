"""Which budgets a call falls under, and the bucket each counts it in: worked out once per kind of call, then remembered."""

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote as percent_encode
from weakref import WeakKeyDictionary

from tollkeeper.core.admission import Bucket, Limit
from tollkeeper.core.call import Call

from .globs import any_of, exactly
from .model import Budget, Field, Mode, Policy
from .windows import WindowClock

MAX_REMEMBERED = 20_000
"""Slots kept before the memory is emptied: names come from clients, so it must be bounded."""
MAX_REWRITES = 16
"""Models offered for one call at most, over all its budgets: each costs a price quote."""

COLUMNS: Final = {
    Field.PRINCIPAL: "subject",
    Field.PROJECT: "project",
    Field.MODEL: "model",
    Field.PROVIDER: "provider",
}
"""The ledger's column for each field; ``model`` is the one really asked, so a rewritten call counts under its new model."""

MAX_VALUE_CHARS = 512
"""What the ledger keeps of a name: buckets and entries must cut it alike. Clients choose model names."""

type Values = tuple[str, str, str, str]
"""Principal, project, model, provider of a call, in the order of ``Field``; empty means unknown."""

type Test = tuple[int, Callable[[str], bool]]
"""Which of the values, and whether it will do."""

_FIELDS = tuple(Field)
_INDEX = {name: index for index, name in enumerate(_FIELDS)}
_SAFE = "@*/+ "


class Slot:
    """One budget for one set of values: everything about its limit but the present window."""

    __slots__ = ("_current", "_label", "_length_us", "budget", "clock", "key", "scope")

    def __init__(self, budget: Budget, clock: WindowClock, values: Values) -> None:
        self.budget = budget
        self.clock = clock
        self.key = bucket_key(budget, values)
        self.scope = bucket_scope(budget, values)
        self._label = budget.window.label
        self._length_us = budget.window.length_us
        # One tuple, replaced whole: another thread sees the old limit or the new one, never half of each.
        self._current: tuple[int, int, Limit] = (0, 0, self._limit(0, None))

    def limit(self, at: int) -> Limit:
        """The limit at ``at``; the same value for as long as its calendar window lasts."""
        start_at, end_at, limit = self._current
        if start_at <= at < end_at:
            return limit
        if self._length_us is not None:
            return self._limit(at - self._length_us, None)
        window = self.clock.at(at)
        limit = self._limit(window.start_at, window.end_at)
        self._current = (window.start_at, window.end_at or 0, limit)
        return limit

    def _limit(self, start_at: int, end_at: int | None) -> Limit:
        budget = self.budget
        return Limit(
            budget=budget.name,
            bucket=Bucket(key=self.key, start_at=start_at, length_us=self._length_us, scope=self.scope),
            amount_nanousd=budget.amount_nanousd,
            window=self._label,
            resets_at=end_at,
            zone=budget.window.zone,
            enforced=budget.mode is Mode.ENFORCE,
        )


class Match(NamedTuple):
    """The budgets over one set of values, and the models they offer instead, in the order of the document."""

    slots: tuple[Slot, ...]
    rewrites: tuple[str, ...]

    def limits(self, at: int) -> tuple[Limit, ...]:
        """The limits at ``at``."""
        return tuple([slot.limit(at) for slot in self.slots])


class Matcher:
    """Finds the ``Match`` of a call's values in one policy, remembering those it has met."""

    def __init__(self, policy: Policy) -> None:
        clocks = {budget.window: WindowClock(budget.window) for budget in policy.budgets}
        self._budgets = tuple((budget, clocks[budget.window], _tests(budget)) for budget in policy.budgets)
        self._known: dict[Values, Match] = {}
        self._remembered = 0

    def match(self, values: Values) -> Match:
        """The budgets for ``values``. After the first time: one dictionary look-up, however many budgets there are."""
        found = self._known.get(values)
        return found if found is not None else self._match(values)

    def _match(self, values: Values) -> Match:
        matching = [(budget, clock) for budget, clock, tests in self._budgets if _passes(tests, values)]
        # A budget that only observes changes nothing, so in an enforcing document it offers no rewrite either.
        offers = dict.fromkeys(model for budget, _ in matching if budget.mode is Mode.ENFORCE for model in budget.rewrite)
        match = Match(tuple(Slot(budget, clock, values) for budget, clock in matching), tuple(offers)[:MAX_REWRITES])
        self._remembered += 1 + len(matching)
        if self._remembered > MAX_REMEMBERED:
            self._known, self._remembered = {}, 0
        self._known[values] = match
        return match


def values_of(call: Call, model: str | None) -> Values:
    """What budgets go by, for ``call`` served with ``model``; each value as the ledger would keep it."""
    return (
        kept(call.principal.subject),
        kept(call.attribution.project),
        kept(model or ""),
        kept(call.endpoint.provider),
    )


def covers(budget: Budget, values: Values) -> bool:
    """Whether the budget counts such a call. An unknown value is covered by ``*`` only."""
    return _passes(_tests(budget), values)


def _tests(budget: Budget) -> tuple[Test, ...]:
    """One test for each field that the budget restricts."""
    return tuple((_INDEX[name], any_of(globs)) for name, globs in budget.scope if not any(glob.is_any for glob in globs))


def _passes(tests: tuple[Test, ...], values: Values) -> bool:
    for index, matches in tests:  # noqa: SIM110 — for every budget of a document: a generator takes three times as long
        if not matches(values[index]):
            return False
    return True


def bucket_key(budget: Budget, values: Values) -> str:
    """What the budget counts under: window and scope, never its name or amount, so that either may be edited mid-window.

    ``day@Europe/Rome;principal=ada%40…;model:*opus*``: ``=`` before an exact value, ``:`` before patterns.
    """
    parts = [budget.window.key]
    scope = dict(budget.scope)
    for index, name in enumerate(_FIELDS):
        if name in budget.per:
            parts.append(f"{name}={_safe(values[index])}")
        elif name in scope and not any(glob.is_any for glob in scope[name]):
            patterns = sorted({glob.pattern for glob in scope[name]})
            sign = "=" if len(patterns) == 1 and "*" not in patterns[0] else ":"
            parts.append(f"{name}{sign}{','.join(_safe(pattern) for pattern in patterns)}")
    return ";".join(parts)


def bucket_scope(budget: Budget, values: Values) -> tuple[tuple[str, str], ...]:
    """The entries that count, as (column, SQLite GLOB) pairs: pairs of one column are alternatives, columns must all match."""
    pairs: list[tuple[str, str]] = []
    scope = dict(budget.scope)
    for index, name in enumerate(_FIELDS):
        if name in budget.per:
            pairs.append((COLUMNS[name], exactly(values[index])))
        elif name in scope and not any(glob.is_any for glob in scope[name]):
            pairs.extend((COLUMNS[name], pattern) for pattern in sorted({glob.sqlite for glob in scope[name]}))
    return tuple(pairs)


def matcher_of(policy: Policy) -> Matcher:
    """The matcher of this policy value; made once, dropped with it."""
    matcher = _MATCHERS.get(policy)
    if matcher is None:
        matcher = _MATCHERS[policy] = Matcher(policy)
    return matcher


def kept(value: str) -> str:
    """A name as the ledger keeps it: cut, and printable."""
    if len(value) <= MAX_VALUE_CHARS and value.isprintable():
        return value
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:MAX_VALUE_CHARS])


def _safe(value: str) -> str:
    return percent_encode(value, safe=_SAFE, errors="replace")


_MATCHERS: WeakKeyDictionary[Policy, Matcher] = WeakKeyDictionary()
