"""Which budgets and rules a call falls under, and the bucket each counts it in: worked out once per kind of call, then remembered."""

from collections.abc import Iterable
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from tollkeeper.core.admission import Bucket, Limit
from tollkeeper.core.call import Call
from tollkeeper.core.decision import Target
from tollkeeper.core.principal import Assurance, account

from .buckets import bucket_key, bucket_scope, scope_of, shares
from .facts import INDEX, MAX_VALUE_CHARS, Values, kept, used_by, values, values_of
from .index import Conditions, Index
from .index import covers as scope_covers
from .model import Budget, Field, Mode, ModelRule, Policy, Route
from .rules import Caps, Objection, caps_of, objection_of
from .windows import WindowClock, window_before

MAX_REMEMBERED = 20_000
"""Slots kept before the memory is emptied: names come from clients, so it must be bounded."""
MAX_REWRITES = 16
"""Models offered for one call at most, over all its budgets: each costs a price quote."""

_STRENGTH: Final = {assurance: position for position, assurance in enumerate(reversed(Assurance))}
_PRINCIPAL, _ISSUER, _ASSURANCE = INDEX[Field.PRINCIPAL], INDEX[Field.ISSUER], INDEX[Field.ASSURANCE]


class Offer(NamedTuple):
    """A way to serve a call that has no room, and whether a conversation under way may take it."""

    target: Target
    anytime: bool


class Slot:
    """One budget for one set of values: everything about its limit but the present window."""

    __slots__ = ("_current", "_label", "_length_us", "_whose", "budget", "clock", "key", "scope")

    def __init__(self, budget: Budget, clock: WindowClock, facts: Values, key: str = "") -> None:
        self.budget = budget
        self.clock = clock
        self.key = key or bucket_key(budget, facts)
        self.scope = bucket_scope(budget, facts)
        self._whose = account(facts[_PRINCIPAL], facts[_ISSUER]) if facts[_PRINCIPAL] else ""
        self._label = budget.window.label
        self._length_us = budget.window.length_us
        # One tuple, replaced whole: another thread sees the old limit or the new one, never half of each.
        self._current: tuple[int, int, Limit] = (0, 0, self._limit(0, None, None))

    def limit(self, at: int) -> Limit:
        """The limit at ``at``; the same value for as long as its calendar window lasts."""
        start_at, end_at, limit = self._current
        if start_at <= at < end_at:
            return limit
        if self._length_us is not None:
            return self._limit(at - self._length_us, None, None)
        window = self.clock.at(at)
        before = window_before(self.budget.window, window) if self.budget.rollover_most else None
        limit = self._limit(window.start_at, window.end_at, before.start_at if before else None)
        self._current = (window.start_at, window.end_at or 2**63, limit)
        return limit

    def _limit(self, start_at: int, end_at: int | None, carries_from: int | None) -> Limit:
        budget = self.budget
        warns = budget.mode is not Mode.OBSERVE
        acts = budget.mode is Mode.ENFORCE and not budget.on_exceed.is_soft
        return Limit(
            budget=budget.name,
            bucket=Bucket(key=self.key, start_at=start_at, length_us=self._length_us, scope=self.scope),
            amount_nanousd=budget.amount_nanousd or 0,
            window=self._label,
            resets_at=end_at,
            zone=budget.window.zone,
            enforced=acts,
            unit=budget.unit,
            rule=budget.rule,
            whose=self._whose,
            carries_from=carries_from,
            carries_most=budget.rollover_most,
            warn_at=() if not warns else budget.warn_at if acts else tuple(sorted({*budget.warn_at, 100})),
            is_soft=budget.on_exceed.is_soft,
        )


class Match(NamedTuple):
    """What stands over one set of values: budgets, models offered instead, in the order of the document, and model rules.

    ``refusals`` are objections to the call whatever it costs: the first that acts decides.
    """

    slots: tuple[Slot, ...]
    offers: tuple[Offer, ...] = ()
    refusals: tuple[Objection, ...] = ()
    caps: Caps = Caps()
    route: Route | None = None

    @property
    def rewrites(self) -> tuple[str, ...]:
        """The models offered instead."""
        return tuple(offer.target.model for offer in self.offers if offer.target.model)

    def limits(self, at: int) -> tuple[Limit, ...]:
        """The limits at ``at``."""
        return tuple([slot.limit(at) for slot in self.slots])


class Matcher:
    """Finds the ``Match`` of a call's values in one policy, remembering those it has met."""

    def __init__(self, policy: Policy) -> None:
        rates = [rate for rule in policy.models for rate in rule.rates]
        self._clocks = {budget.window: WindowClock(budget.window) for budget in (*policy.budgets, *rates)}
        self._budgets = Index((scope_of(budget), budget) for budget in policy.budgets)
        self._rules = Index((rule.scope, rule) for rule in policy.models)
        self._routes = Index((route.scope, route) for route in policy.routes)
        self.used = used_by(policy)
        self._known: dict[Values, Match] = {}
        self._remembered = 0

    def of(self, call: Call, model: str | None) -> Match:
        """The match of a call served with ``model``."""
        return self.match(values_of(call, model, self.used))

    def match(self, facts: Values) -> Match:
        """The budgets for ``facts``. After the first time: one dictionary look-up, however many budgets there are."""
        found = self._known.get(facts)
        return found if found is not None else self._match(facts)

    def _match(self, facts: Values) -> Match:
        memory = Conditions(facts)
        budgets = self._budgets.covering(facts, memory, undecided=True)
        rules = [
            rule
            for rule in self._rules.covering(facts, memory, undecided=True)
            if not any(scope_covers(scope, facts, undecided=False) for scope in rule.exempt)
        ]
        slots, counted, weak = self._slots((*budgets, *(rate for rule in rules for rate in rule.rates)), facts)
        # A budget that only watches changes nothing, so in an enforcing document it offers no rewrite either.
        ladders = [budget.on_exceed for budget in budgets if budget.mode is Mode.ENFORCE and budget.name in counted]
        offers = dict.fromkeys(Offer(target, ladder.anytime) for ladder in ladders for target in ladder.downgrade)
        strength = _strength(facts)
        match = Match(
            slots=slots,
            offers=tuple(offers)[:MAX_REWRITES],
            refusals=(
                *(weak_objection(budget) for budget in weak),
                *(objection for rule in rules if (objection := objection_of(rule, facts, is_weak=_is_weak(rule, strength)))),
            ),
            caps=caps_of(rules),
            route=next(iter(self._routes.covering(facts, memory, undecided=False)), None),
        )
        self._remembered += 1 + len(slots)
        if self._remembered > MAX_REMEMBERED:
            self._known, self._remembered = {}, 0
        self._known[facts] = match
        return match

    def _slots(self, budgets: Iterable[Budget], facts: Values) -> tuple[tuple[Slot, ...], set[str], list[Budget]]:
        """Of several amounts for one bucket the highest, none where it is unlimited.

        Besides, the names of all budgets that count in those buckets, and the budgets that nobody this weak may use.
        """
        strength = _strength(facts)
        best: dict[tuple[str, str], tuple[Budget, Values, str]] = {}
        lifted: set[tuple[str, str]] = set()
        weak: dict[tuple[str, str], Budget] = {}
        counting: dict[tuple[str, str], list[str]] = {}
        for budget in budgets:
            kind = "acts" if budget.mode is Mode.ENFORCE and not budget.on_exceed.is_soft else f"{budget.mode}/{budget.name}"
            for share in shares(budget, facts):
                key = bucket_key(budget, share)
                place = (key, kind)
                if _is_weak(budget, strength):
                    weak.setdefault(place, budget)
                    continue
                counting.setdefault(place, []).append(budget.name)
                if budget.amount_nanousd is None:
                    lifted.add(place)
                elif (old := best.get(place)) is None or budget.amount_nanousd > (old[0].amount_nanousd or 0):
                    best[place] = (budget, share, key)
        slots = [
            Slot(budget, self._clocks[budget.window], share, key)
            for place, (budget, share, key) in best.items()
            if place not in lifted
        ]
        counted = {name for place, names in counting.items() if place not in lifted for name in names}
        return tuple(slots), counted, [budget for place, budget in weak.items() if place not in best and place not in lifted]


def weak_objection(budget: Budget) -> Objection:
    """Why a caller who is not sure enough for a budget is refused."""
    return Objection(
        rule=budget.named_rule,
        reason=f'budget "{budget.name}" is for {budget.min_assurance} identities',
        acts=budget.mode is Mode.ENFORCE,
        message=budget.message,
    )


def covers(budget: Budget, facts: Values) -> bool:
    """Whether the budget counts such a call. An unknown value is covered by ``*`` only."""
    return scope_covers(scope_of(budget), facts, undecided=True)


def _strength(facts: Values) -> int:
    return _STRENGTH.get(facts[_ASSURANCE], 0)


def _is_weak(rule: Budget | ModelRule, strength: int) -> bool:
    return rule.min_assurance is not None and strength < _STRENGTH[rule.min_assurance]


def matcher_of(policy: Policy) -> Matcher:
    """The matcher of this policy value; made once, dropped with it."""
    matcher = _MATCHERS.get(policy)
    if matcher is None:
        matcher = _MATCHERS[policy] = Matcher(policy)
    return matcher


_MATCHERS: WeakKeyDictionary[Policy, Matcher] = WeakKeyDictionary()

__all__ = [
    "MAX_REMEMBERED", "MAX_VALUE_CHARS", "Match", "Matcher", "Offer", "Slot", "Values", "bucket_key", "bucket_scope", "covers", "kept",
    "matcher_of", "values", "values_of",
]  # fmt: skip
