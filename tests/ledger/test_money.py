"""The law of the ledger, against a model, on a real file: money is neither made nor lost, whatever happens in whatever order."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from ledger.samples import (
    DAY,
    HOUR,
    SECOND,
    FakeClock,
    ask_for,
    day_limit,
    make_call,
    nothing_billed,
    rolling_limit,
    rows,
    settled,
)
from tollkeeper.core.admission import Limit
from tollkeeper.core.call import Call
from tollkeeper.ledger.journal import HOLD_LIFETIME_US
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.process import this_process
from tollkeeper.ledger.verify import verify

AMOUNT = 1000
SUBJECTS = ("alice", "bob")


class LedgerMachine(RuleBasedStateMachine):
    """Holds, settlements, voids, expiry, late settlements, crashes, second processes and midnights, in any order."""

    calls: Bundle[Any] = Bundle("calls")

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.clock = FakeClock()
        self.ledger = Ledger.open(self.path, self.clock)
        self.spent: dict[str, dict[int, int]] = {subject: {} for subject in SUBJECTS}
        """What was truly spent, by subject and the moment it counts at."""
        self.open: dict[str, tuple[str, int, int]] = {}
        self.closed: set[str] = set()

    def limits(self, subject: str, kinds: int) -> list[Limit]:
        now = self.clock.now
        scope = (("subject", subject),)
        every = [
            day_limit(AMOUNT, now),
            day_limit(AMOUNT // 2, now, scope=scope),
            rolling_limit(AMOUNT, now, length=6 * HOUR),
            rolling_limit(AMOUNT // 2, now, length=48 * HOUR, scope=scope),
        ]
        return [limit for index, limit in enumerate(every) if kinds >> index & 1]

    def true_use(self, limit: Limit) -> tuple[int, int]:
        """Posted and held that this budget must not miss, from the model."""
        start, end = limit.bucket.start_at, limit.resets_at or 2**63
        wanted = dict(limit.bucket.scope).get("subject")
        posted = sum(
            cost
            for subject, costs in self.spent.items()
            for at, cost in costs.items()
            if wanted in {None, subject} and start <= at < end
        )
        held = sum(hold for subject, at, hold in self.open.values() if wanted in {None, subject} and start <= at < end)
        return posted, held

    @rule(
        target=calls,
        subject=st.sampled_from(SUBJECTS),
        hold=st.integers(0, 300),
        kinds=st.integers(0, 15),
        enforce=st.sampled_from([True, True, True, False]),
    )
    def admit(self, subject: str, hold: int, kinds: int, enforce: bool) -> Any:
        self.clock.now += 1
        limits = self.limits(subject, kinds)
        call = make_call(self.clock.now, subject=subject)
        before = [self.true_use(limit) for limit in limits]
        answer = self.ledger.admit_now(ask_for(call, hold, *limits, enforce=enforce))
        if answer.chosen is None:
            assert enforce
            assert answer.blockers
            true = dict(zip((limit.bucket.key for limit in limits), before, strict=True))
            for standing in answer.blockers:
                if standing.resets_at is not None:
                    assert (standing.spent_nanousd, standing.held_nanousd) == true[standing.bucket]
                    assert standing.spent_nanousd + standing.held_nanousd + hold > standing.amount_nanousd
            return multiple()
        self.open[call.id] = (subject, call.started_at, hold)
        if enforce:
            for limit, (posted, held) in zip(limits, before, strict=True):
                assert posted + held + hold <= limit.amount_nanousd
        return call

    def count(self, call: Call, cost: int) -> None:
        costs = self.spent[call.principal.subject]
        costs[call.started_at] = costs.get(call.started_at, 0) + cost
        self.open.pop(call.id, None)
        self.closed.add(call.id)

    @rule(call=consumes(calls), cost=st.integers(0, 400), again=st.booleans())
    def settle(self, call: Call, cost: int, again: bool) -> None:
        first = call.id not in self.closed
        assert self.ledger.settle_now(settled(call, cost)) is first
        if first:
            self.count(call, cost)
        if again:
            assert self.ledger.settle_now(settled(call, 399)) is False

    @rule(call=consumes(calls))
    def void(self, call: Call) -> None:
        first = call.id not in self.closed
        assert self.ledger.settle_now(nothing_billed(call)) is first
        if first:
            self.count(call, 0)

    @rule(call=calls)
    def renew(self, call: Call) -> None:
        assert self.ledger.renew_now(call.id) is (call.id in self.open)

    @rule(step=st.sampled_from([HOUR, 5 * HOUR, DAY]))
    def wait_and_expire(self, step: int) -> None:
        """Every hold is past its time; what was held is free again, and a late settlement still counts."""
        assert step > HOLD_LIFETIME_US
        self.clock.now += step
        assert self.ledger.expire_now() == len(self.open)
        self.open.clear()

    @rule(step=st.sampled_from([50 * SECOND, 10 * 60 * SECOND]))
    def wait(self, step: int) -> None:
        self.clock.now += step

    @rule()
    def reopen(self) -> None:
        self.ledger.close_now()
        self.ledger = Ledger.open(self.path, self.clock)

    @rule()
    def crash(self) -> None:
        """The process dies: what it held counts as spent, and its calls are closed."""
        dead = f"another-boot{this_process().removeprefix(this_process().partition('/')[0])}"
        self.ledger.do(lambda journal: journal.connection.execute("UPDATE hold SET process = ?", (dead,)))
        self.ledger.close_now()
        self.ledger = Ledger.open(self.path, self.clock)
        for call_id, (subject, at, hold) in self.open.items():
            self.spent[subject][at] = self.spent[subject].get(at, 0) + hold
            self.closed.add(call_id)
        self.open.clear()

    @rule(subject=st.sampled_from(SUBJECTS), hold=st.integers(0, 100), kinds=st.integers(0, 15))
    def another_process_admits_and_settles(self, subject: str, hold: int, kinds: int) -> None:
        other = Ledger.open(self.path, self.clock)
        call = make_call(self.clock.now, subject=subject)
        if other.admit_now(ask_for(call, hold, *self.limits(subject, kinds))).chosen is not None:
            other.settle_now(settled(call, hold // 2))
            self.count(call, hold // 2)
        other.close_now()

    @invariant()
    def standings_are_what_was_spent(self) -> None:
        """Exactly for a day; for a rolling window never less, and never more than one slot's worth of older spending."""
        for subject in SUBJECTS:
            for limit in self.limits(subject, 15):
                standing = self.ledger.standing(limit)
                true_posted, true_held = self.true_use(limit)
                if limit.bucket.length_us is None:
                    assert (standing.spent_nanousd, standing.held_nanousd) == (true_posted, true_held)
                else:
                    assert standing.spent_nanousd >= true_posted
                    assert standing.held_nanousd >= true_held

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close_now()
            assert verify(self.path).problem == ""
            kinds = dict(rows(self.path, "SELECT kind, count(*) FROM entry GROUP BY 1"))
            closed = kinds.get("settle", 0) + kinds.get("void", 0)
            assert kinds.get("hold", 0) <= closed + kinds.get("expire", 0) + len(self.open)
            self.folder.cleanup()


TestMoney = LedgerMachine.TestCase
TestMoney.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
