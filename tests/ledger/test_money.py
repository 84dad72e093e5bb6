"""The law of the ledger, against a model, on a real file: money is neither made nor lost, whatever happens in whatever order."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from ledger.samples import (
    DAY,
    HOUR,
    SECOND,
    FakeClock,
    day_limit,
    make_call,
    nothing_billed,
    rolling_limit,
    rows,
    settled,
)
from tollkeeper.core.admission import Admission, Bucket, Candidate, Limit, Shrink
from tollkeeper.core.amounts import Unit
from tollkeeper.core.call import Call
from tollkeeper.ledger import journal, recovery, windows, writer
from tollkeeper.ledger.grants import Grant, give, take_back
from tollkeeper.ledger.journal import HOLD_LIFETIME_US
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.process import this_process
from tollkeeper.ledger.quantities import Amounts
from tollkeeper.ledger.verify import verify
from tollkeeper.ledger.windows import CLOCK_SKEW_US

AMOUNT = 1000
SUBJECTS = ("alice", "bob")
TOKENS = 120
"""What every answer of ``samples.settled`` uses."""
TOKEN_AMOUNT, REQUEST_AMOUNT, PARALLEL_AMOUNT, SESSION_AMOUNT = 3_000, 20, 4, 600


@pytest.fixture(autouse=True)
def no_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds are let go when the machine says so: an example that takes seconds of the real clock must be the same as a quick one."""
    monkeypatch.setattr(writer, "HOUSEKEEP_S", 86_400.0)


@dataclass(frozen=True)
class Part:
    """What one call holds or has spent, in every unit, and the moment it counts at."""

    subject: str
    at: int
    amounts: Amounts

    def in_unit(self, limit: Limit) -> int:
        return self.amounts.within(limit.bucket.key)


def in_unit(limit: Limit, unit: Unit, amount: int) -> Limit:
    bucket = replace(limit.bucket, key=unit.prefix + limit.bucket.key)
    return replace(limit, unit=unit, budget=unit.value, bucket=bucket, amount_nanousd=amount)


class LedgerMachine(RuleBasedStateMachine):
    """Holds, settlements, voids, expiry, late settlements, crashes, second processes, midnights, clocks set back, grants, edits."""

    calls: Bundle[Any] = Bundle("calls")
    grants: Bundle[Any] = Bundle("grants")

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder) / "ledger.db"
        self.clock = FakeClock()
        self.latest = self.clock.now
        self.ledger = Ledger.open(self.path, self.clock)
        self.spent: list[Part] = []
        """What was truly spent."""
        self.open: dict[str, Part] = {}
        self.closed: set[str] = set()
        self.known: dict[str, Part] = {}
        """Every call ever admitted, with what it held: an expired one may still come back."""
        self.given: dict[str, Grant] = {}
        self.amount = AMOUNT

    @property
    def now(self) -> int:
        """The moment that calls count at: the clock's, unless it was set back."""
        self.latest = max(self.latest, self.clock.now)
        return self.clock.now if self.latest - self.clock.now <= CLOCK_SKEW_US else self.latest

    def limits(self, subject: str, kinds: int, now: int) -> list[Limit]:
        scope = (("subject", subject),)
        session = Limit(
            budget="session", bucket=Bucket(key=f"session;{subject}", start_at=0, scope=(("session", subject),)),
            amount_nanousd=SESSION_AMOUNT, window="session", resets_at=None, zone="UTC",
        )  # fmt: skip
        every = [
            day_limit(self.amount, now),
            day_limit(self.amount // 2, now, scope=scope),
            rolling_limit(self.amount, now, length=6 * HOUR),
            rolling_limit(self.amount // 2, now, length=48 * HOUR, scope=scope),
            in_unit(day_limit(0, now), Unit.TOKENS, TOKEN_AMOUNT),
            in_unit(rolling_limit(0, now, length=6 * HOUR), Unit.REQUESTS, REQUEST_AMOUNT),
            in_unit(session, Unit.PARALLEL, PARALLEL_AMOUNT),
            session,
        ]
        return [replace(limit, whose=subject) for index, limit in enumerate(every) if kinds >> index & 1]

    def true_use(self, limit: Limit) -> tuple[int, int]:
        """Posted and held that this budget must not miss, from the model."""
        start, end = limit.bucket.start_at, limit.resets_at or 2**63
        scope = dict(limit.bucket.scope)
        wanted = scope.get("subject") or scope.get("session")
        posted = sum(one.in_unit(limit) for one in self.spent if wanted in {None, one.subject} and start <= one.at < end)
        held = sum(one.in_unit(limit) for one in self.open.values() if wanted in {None, one.subject} and start <= one.at < end)
        return posted, held

    def granted(self, limit: Limit) -> int:
        return sum(
            one.amount
            for one in self.given.values()
            if one.budget == limit.budget and one.from_at <= self.latest < one.until_at and one.whose in {"*", limit.whose}
        )

    def note(self, call: Call, hold: int, tokens: int, requests: int) -> None:
        self.known[call.id] = self.open[call.id] = Part(
            call.principal.subject, self.now, Amounts(hold, tokens, requests, 1 if requests else 0)
        )

    @rule(
        target=calls,
        subject=st.sampled_from(SUBJECTS),
        hold=st.integers(0, 900),
        kinds=st.integers(0, 255),
        enforce=st.sampled_from([True, True, True, False]),
        forms=st.integers(1, 3),
        requests=st.integers(1, 3),
    )
    def admit(self, subject: str, hold: int, kinds: int, enforce: bool, forms: int, requests: int) -> Any:
        self.clock.now += 1
        truly = self.limits(
            subject, kinds, self.now
        )  # the road's clock stands still when the machine's goes back (core/clock.py)
        call = make_call(self.clock.now, subject=subject, session=subject)
        before = [self.true_use(limit) for limit in truly]
        room = [limit.amount_nanousd + self.granted(limit) for limit in truly]
        tokens = hold * 2
        whole = Candidate(model="m", hold_nanousd=hold, hold_tokens=tokens, requests=requests, limits=tuple(truly))
        usual = replace(whole, hold_nanousd=hold // 3, hold_tokens=tokens // 3 + 50, clamp_output_tokens=50)
        cut = replace(usual, shrink=Shrink(least_tokens=5, least_nanousd=hold // 9, most_tokens=50))
        candidates = (replace(whole, headroom=4 if forms > 1 else 1), usual, cut)[:forms]
        answer = self.ledger.admit_now(Admission(call=call, candidates=candidates, enforce=enforce, at=self.now))
        if answer.chosen is None:
            assert enforce
            assert answer.blockers
            true = dict(zip((limit.bucket.key for limit in truly), before, strict=True))
            for standing in answer.blockers:
                if not standing.window.startswith("rolling"):
                    assert (standing.spent_nanousd, standing.held_nanousd) == true[standing.bucket]
            return multiple()
        most = candidates[answer.chosen].hold_tokens
        assert answer.hold_tokens == most if answer.chosen < 2 else most - 45 <= answer.hold_tokens <= most
        self.note(call, answer.hold_nanousd, answer.hold_tokens, requests)
        if enforce:
            for limit, amount, (posted, held) in zip(truly, room, before, strict=True):
                need = self.open[call.id].in_unit(limit)
                assert posted + held + need <= amount, f"{limit.bucket.key}: {posted} + {held} + {need} > {amount}"
        return call

    def count(self, call: Call, part: Part, amounts: Amounts) -> None:
        self.spent.append(replace(part, amounts=amounts))
        self.open.pop(call.id, None)
        self.closed.add(call.id)

    @rule(call=consumes(calls), cost=st.integers(0, 400), again=st.booleans())
    def settle(self, call: Call, cost: int, again: bool) -> None:
        first = call.id not in self.closed
        was_open = call.id in self.open
        assert self.ledger.settle_now(settled(call, cost)) is first
        if first:
            held = self.known[call.id]
            # A late settlement no longer knows how many requests were held for it: it is one.
            self.count(call, held, Amounts(cost, TOKENS, held.amounts.requests if was_open else 1))
        if again:
            assert self.ledger.settle_now(settled(call, 399)) is False

    @rule(call=consumes(calls))
    def void(self, call: Call) -> None:
        first = call.id not in self.closed
        assert self.ledger.settle_now(nothing_billed(call)) is first
        if first:
            self.count(call, self.known[call.id], Amounts())

    @rule(call=calls)
    def renew(self, call: Call) -> None:
        assert self.ledger.renew_now(call.id) is (call.id in self.open)

    @rule(step=st.sampled_from([HOUR, 5 * HOUR, DAY]))
    def wait_and_expire(self, step: int) -> None:
        """Every hold is past its time; what was held is free again, and a late settlement still counts."""
        assert step > HOLD_LIFETIME_US
        self.clock.now = self.latest + step
        assert self.ledger.expire_now() == len(self.open)
        self.open.clear()

    @rule(step=st.sampled_from([50 * SECOND, 10 * 60 * SECOND]))
    def wait(self, step: int) -> None:
        self.clock.now += step

    @rule(step=st.sampled_from([30 * SECOND, 2 * HOUR, 3 * DAY]))
    def set_the_clock_back(self, step: int) -> None:
        """A little: calls count where they belong. By more than an hour: nothing gets room a second time."""
        assert self.now
        call = make_call(self.clock.now)
        seen = Candidate(model="m", hold_nanousd=0, requests=0)
        self.ledger.admit_now(Admission(call=call, candidates=(seen,), enforce=True, at=call.started_at))
        self.ledger.settle_now(nothing_billed(call))  # so that the file knows what time it was
        self.clock.now -= step

    @rule(amount=st.sampled_from([AMOUNT // 2, AMOUNT, 2 * AMOUNT]))
    def edit_the_policy(self, amount: int) -> None:
        self.amount = amount

    @rule(
        target=grants,
        amount=st.integers(1, 500),
        whose=st.sampled_from(["*", *SUBJECTS]),
        budget=st.sampled_from(["daily", "rolling", "session"]),
        length=st.sampled_from([60 * SECOND, HOUR, 2 * DAY]),
    )
    def grant(self, amount: int, whose: str, budget: str, length: int) -> Grant:
        at = max(self.latest, self.clock.now)
        given = Grant(
            id=make_call(at).id, budget=budget, whose=whose, unit=Unit.USD, amount=amount, from_at=at, until_at=at + length, why="x",
            granted_by="root",
        )  # fmt: skip
        self.ledger.do(lambda journal: give(given, journal))
        self.given[given.id] = given
        return given

    @rule(given=consumes(grants))
    def take_a_grant_back(self, given: Grant) -> None:
        self.clock.now = max(self.latest, self.clock.now) + 1
        assert self.now
        if self.given[given.id].until_at > self.latest:
            self.ledger.do(lambda journal: take_back(given.id, "eve", journal))
            self.given[given.id] = replace(given, until_at=self.latest)

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
        for call_id, part in self.open.items():
            self.spent.append(replace(part, amounts=part.amounts._replace(calls=0)))
            self.closed.add(call_id)
        self.open.clear()

    @rule(subject=st.sampled_from(SUBJECTS), hold=st.integers(0, 100), kinds=st.integers(0, 255))
    def another_process_admits_and_settles(self, subject: str, hold: int, kinds: int) -> None:
        other = Ledger.open(self.path, self.clock)
        call = make_call(self.clock.now, subject=subject, session=subject)
        candidate = Candidate(
            model="m", hold_nanousd=hold, hold_tokens=hold, limits=tuple(self.limits(subject, kinds, self.clock.now))
        )
        answer = other.admit_now(Admission(call=call, candidates=(candidate,), enforce=True, at=call.started_at))
        if answer.chosen is not None:
            self.note(call, hold, hold, 1)
            other.settle_now(settled(call, hold // 2))
            self.count(call, self.known[call.id], Amounts(hold // 2, TOKENS, 1))
        other.close_now()

    @invariant()
    def standings_are_what_was_spent(self) -> None:
        """Exactly for a day or a session; for a rolling window never less, and never more than a slot's worth of older spending."""
        for subject in SUBJECTS:
            for limit in self.limits(subject, 255, self.now):
                standing = self.ledger.standing(limit)
                true_posted, true_held = self.true_use(limit)
                if limit.bucket.length_us is None:
                    assert (standing.spent_nanousd, standing.held_nanousd) == (true_posted, true_held), limit.bucket.key
                else:
                    assert standing.spent_nanousd >= true_posted
                    assert standing.held_nanousd >= true_held

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        try:
            self.ledger.close_now()
            assert verify(self.path).problem == ""
            kinds = dict(rows(self.path, "SELECT kind, count(*) FROM entry GROUP BY 1"))
            closed = kinds.get("settle", 0) + kinds.get("void", 0)
            assert kinds.get("hold", 0) <= closed + kinds.get("expire", 0) + len(self.open)
        finally:
            shutil.rmtree(self.folder)


TestMoney = LedgerMachine.TestCase
TestMoney.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Narrow(LedgerMachine):
    """The same with fewer things that can happen, so that a fault among these is met sooner."""

    grant = take_a_grant_back = another_process_admits_and_settles = crash = None  # type: ignore[assignment]
    reopen = edit_the_policy = renew = set_the_clock_back = wait = None  # type: ignore[assignment]


@contextmanager
def expiry_that_leaks_the_hold() -> Iterator[None]:
    """The row goes, the balance stays."""

    def expire(journal_: journal.Journal) -> int:
        found = [row for row in journal_.open_holds() if row[3] <= journal_.at]
        for call_id, *_ in found:
            hold = journal_._open_hold(call_id)
            assert hold is not None
            hold.touches = ()
        return recovery_expire(journal_)

    recovery_expire = recovery.expire
    with patch("tollkeeper.ledger.ledger.expire", expire):
        yield


@contextmanager
def late_settlement_that_counts_twice() -> Iterator[None]:
    post = journal.Journal._post_to

    def twice(self: journal.Journal, touches: Any, row: Any) -> None:
        post(self, touches, row)
        post(self, touches, row)

    with patch.object(journal.Journal, "_post_to", twice):
        yield


@contextmanager
def check_that_forgets_what_is_held() -> Iterator[None]:
    totals = windows.Windows.totals

    def posted_only(self: windows.Windows, window: Any, bucket: Bucket) -> tuple[int, int]:
        return totals(self, window, bucket)[0], 0

    with patch.object(windows.Windows, "totals", posted_only):
        yield


@contextmanager
def cut_that_is_a_little_too_generous() -> Iterator[None]:
    with patch.object(Shrink, "cap_within", lambda self, room, most: self.most_tokens):
        yield


@contextmanager
def tokens_posted_as_held() -> Iterator[None]:
    with patch("tollkeeper.ledger.row.tokens_of", lambda _: 119):
        yield


@pytest.mark.parametrize(
    "fault",
    [
        expiry_that_leaks_the_hold,
        late_settlement_that_counts_twice,
        check_that_forgets_what_is_held,
        cut_that_is_a_little_too_generous,
        tokens_posted_as_held,
    ],
)
def test_a_planted_fault_is_found(fault: Any) -> None:
    with fault(), pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(
            Narrow,
            settings=settings(
                max_examples=1_000,
                stateful_step_count=20,
                deadline=None,
                phases=[Phase.generate],
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
