"""A reader that stays: it sees what is committed, says what is new, waits for nobody and makes nobody wait."""

import sqlite3
from pathlib import Path

import pytest

from ledger.samples import DAY, NOW, FakeClock, ask_for, day_limit, make_call, settled
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.live import Follower
from tollkeeper.ledger.queries import report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "live.db"
    Ledger.open(path, FakeClock()).close_now()
    return path


def test_it_tells_when_something_was_written(path: Path) -> None:
    follower, ledger = Follower(path), Ledger.open(path, FakeClock())
    follower.has_changed()
    assert not follower.has_changed()
    ledger.admit_now(ask_for(make_call(), 5))
    assert follower.has_changed()
    assert not follower.has_changed()
    ledger.close_now()


def test_a_call_is_open_until_it_is_closed_and_then_it_is_news(path: Path) -> None:
    follower, ledger = Follower(path), Ledger.open(path, FakeClock())
    call = make_call(project="web")
    ledger.admit_now(ask_for(call, 5, day_limit(100)))
    (flying,) = follower.open_calls()
    assert (flying.call_id, flying.project, flying.hold_nanousd) == (call.id, "web", 5)
    rows, head, anew = follower.news(0)
    assert (rows, head, anew) == ([], 1, False)
    ledger.settle_now(settled(call, 3))
    assert follower.open_calls() == ()
    rows, head, anew = follower.news(head)
    assert [(row.call_id, row.cost_nanousd) for row in rows] == [(call.id, 3)]
    assert (head, anew) == (2, False)
    detail = follower.detail(call.id)
    assert detail is not None
    assert [entry["kind"] for entry in detail.entries] == ["hold", "settle"]
    assert follower.detail("01ZZ") is None
    ledger.close_now()


def test_figures_are_those_of_a_report_up_to_the_entry_named(path: Path) -> None:
    follower, ledger = Follower(path), Ledger.open(path, FakeClock())
    for cost in (1, 2):
        call = make_call()
        ledger.admit_now(ask_for(call, 5))
        ledger.settle_now(settled(call, cost))
    known = report(path, by=("model",), since=NOW - DAY)
    late = make_call()
    ledger.admit_now(ask_for(late, 5))
    ledger.settle_now(settled(late, 9))
    found = follower.figures(("model",), NOW - DAY, known.head_seq, 100)
    assert found == (list(known.groups), known.total)
    assert follower.spend(NOW - DAY, DAY, known.head_seq, 100) == {NOW // DAY: 3}
    assert follower.figures(("model",), NOW - DAY, known.head_seq, 5) is None
    assert follower.spend(NOW - DAY, DAY, known.head_seq, 5) is None
    ledger.close_now()


def test_a_budget_nobody_asked_for_is_summed_only_when_that_is_wanted(path: Path) -> None:
    follower, ledger = Follower(path), Ledger.open(path, FakeClock())
    call = make_call()
    ledger.admit_now(ask_for(call, 5))
    ledger.settle_now(settled(call, 3))
    limit = day_limit(100)
    assert follower.standings([limit], derive=False) == [None]
    (standing,) = follower.standings([limit], derive=True)
    assert standing is not None
    assert standing.spent_nanousd == 3
    assert follower.buckets() == ()
    ledger.admit_now(ask_for(make_call(), 5, limit))
    assert [bucket.key for bucket in follower.buckets()] == [limit.bucket.key]
    (kept,) = follower.standings([limit], derive=False)
    assert kept is not None
    assert (kept.spent_nanousd, kept.held_nanousd) == (3, 5)
    ledger.close_now()


def test_it_holds_no_transaction_between_questions_and_cannot_write(path: Path) -> None:
    follower = Follower(path)
    follower.last_calls(5, 10)
    follower.decided_calls(None, 5)
    assert not follower._connection.in_transaction
    with pytest.raises(sqlite3.OperationalError):
        follower._connection.execute("DELETE FROM hold")
    follower.close()
    follower.close()
    with pytest.raises(LedgerError):
        follower.head()


def test_there_must_be_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger"):
        Follower(tmp_path / "no.db")
