"""A blocked agent that asks all day: a few entries a minute, and every refusal in the sums."""

from pathlib import Path

import pytest

from ledger.samples import NOW, SECOND, FakeClock, ask_for, day_limit, make_call, rows
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger import journal
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import summary, tail
from tollkeeper.ledger.repeats import MAX_KINDS, MOST_EACH, WITHIN_US, Repeats, more_like_it
from tollkeeper.ledger.row import blank_row
from tollkeeper.ledger.verify import verify

STORM = 57


def refuse(ledger: Ledger, count: int, **who: str) -> None:
    for _ in range(count):
        call = make_call(**who)
        assert ledger.admit_now(ask_for(call, 10, day_limit(0))).verdict is Verdict.REFUSE


def actions(path: Path) -> list[str]:
    return [row[0] for row in rows(path, "SELECT actions FROM entry WHERE kind = 'refuse' ORDER BY seq")]


def test_of_many_refusals_alike_a_few_stand_each_and_the_rest_in_one_entry(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    refuse(ledger, STORM)
    assert len(actions(path)) == MOST_EACH
    clock.now += WITHIN_US
    refuse(ledger, 1)
    found = actions(path)
    assert [more_like_it(one) for one in found] == [0] * MOST_EACH + [STORM - MOST_EACH - 1, 0]
    report = summary(path)
    assert (report.total.refused, report.total.calls) == (STORM + 1, STORM + 1)
    assert verify(path).is_sound
    (_, told, *_) = tail(path, last=2)[::-1]
    assert told.reason == f"{STORM - MOST_EACH - 1} more like it within a minute"


def test_refusals_that_differ_are_not_taken_together(ledger: Ledger, path: Path) -> None:
    for number in range(MOST_EACH + 5):
        refuse(ledger, 1, subject=f"person-{number}")
    assert len(actions(path)) == MOST_EACH + 5


def test_refusals_that_no_money_was_asked_for_are_counted_too(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    no = Decision(verdict=Verdict.REFUSE, would=Verdict.REFUSE, rule="model.interns", reason="not allowed")
    for _ in range(STORM):
        assert ledger.settle_now(Settlement(call=make_call(), decision=no, outcome=Outcome.REFUSED, ended_at=NOW))
    clock.now += WITHIN_US
    ledger.do(journal.Journal.write_repeats)
    assert len(actions(path)) == MOST_EACH + 1
    assert summary(path).total.refused == STORM
    assert tail(path, last=1)[0].reason == f"not allowed; {STORM - MOST_EACH - 1} more like it within a minute"


def test_what_was_counted_is_written_when_the_ledger_is_closed(clock: FakeClock, path: Path) -> None:
    ledger = Ledger.open(path, clock)
    refuse(ledger, STORM)
    ledger.close_now()
    ledger.close_now()
    assert summary(path).total.refused == STORM
    assert len(actions(path)) == MOST_EACH + 1


def test_one_more_than_the_most_is_an_entry_like_the_others(clock: FakeClock, path: Path) -> None:
    ledger = Ledger.open(path, clock)
    refuse(ledger, MOST_EACH + 1)
    ledger.close_now()
    assert actions(path) == [""] * (MOST_EACH + 1)


def test_what_a_rolled_back_transaction_counted_is_counted_once(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    refuse(ledger, MOST_EACH)

    def fails(book: journal.Journal) -> None:
        for _ in range(5):
            book.admit(ask_for(make_call(), 10, day_limit(0)))
        raise LedgerError("no")

    for _ in range(3):
        with pytest.raises(LedgerError):
            ledger.do(fails)
    refuse(ledger, 2)
    clock.now += WITHIN_US
    with pytest.raises(LedgerError):
        ledger.do(fails)
    ledger.do(journal.Journal.write_repeats)
    assert summary(path).total.refused == MOST_EACH + 2


def test_kinds_are_bounded() -> None:
    repeats = Repeats()
    for number in range(MAX_KINDS + 500):
        row = blank_row()
        row[7] = f"person-{number}"
        assert repeats.due(NOW) == []
        assert not repeats.counts(row, NOW + number * SECOND // 1_000)
    assert len(repeats._runs) <= MAX_KINDS + 1
