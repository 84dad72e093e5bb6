"""What had no price gets one later: by a correction in the chain, never by a change."""

from pathlib import Path

from ledger.samples import NOW, ODD, FakeClock, ask_for, bill_of, day_limit, make_call, rows, settled
from tollkeeper.core.call import Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.entry import Settlement
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report, show, tail, unpriced
from tollkeeper.ledger.reprice import reprice
from tollkeeper.ledger.verify import verify


class Book:
    """A price book that knows one model."""

    def __init__(self, model: str, cost: int) -> None:
        self.model, self.cost = model, cost
        self.asked: list[tuple[Call, Reading]] = []

    def bill(self, call: Call, reading: Reading) -> Bill:
        self.asked.append((call, reading))
        return bill_of(self.cost, known=call.model == self.model, model=call.model or "")


LIMIT = day_limit(100_000)


def fill(path: Path) -> list[Call]:
    """Three calls: priced, not priced, of a model nobody knows; and one that could not be read."""
    ledger = Ledger.open(path, FakeClock())
    calls = [make_call(NOW + index, model=model) for index, model in enumerate(("gpt-5", "new", "odd"))]
    for call in calls:
        ledger.admit_now(ask_for(call, 500, LIMIT))
        ledger.settle_now(settled(call, 300, known=call.model == "gpt-5"))
    unread = make_call(endpoint=ODD)
    ledger.admit_now(ask_for(unread, 40, LIMIT))
    ledger.settle_now(Settlement(call=unread, reading=Reading(source=UsageSource.UNMETERED)))
    ledger.close_now()
    return calls


def test_a_correction_is_appended_and_balances_follow(path: Path) -> None:
    calls = fill(path)
    stored = rows(path, "SELECT * FROM entry")

    done = reprice(path, Book("new", 120), FakeClock())

    assert (done.looked_at, done.priced, done.still_unknown) == (2, 1, 1)
    assert (done.cost_nanousd, done.exposure_before_nanousd, done.exposure_after_nanousd) == (120, 300, 120)
    assert rows(path, "SELECT * FROM entry WHERE kind <> 'adjust'") == stored
    assert rows(path, "SELECT call_id, cost_nanousd, exposure_nanousd FROM entry WHERE kind = 'adjust'") == [
        (calls[1].id, 120, -180)
    ]
    assert rows(path, "SELECT posted, held FROM balance") == [(300 + 120 + 300 + 40, 0)]
    assert verify(path).problem == ""


def test_readers_see_the_corrected_cost_once(path: Path) -> None:
    calls = fill(path)
    reprice(path, Book("new", 120), FakeClock())

    groups = {group.keys[0]: group for group in report(path).groups}
    row = next(row for row in tail(path) if row.call_id == calls[1].id)

    assert (groups["new"].cost_nanousd, groups["new"].exposure_nanousd, groups["new"].unpriced_calls) == (120, 120, 0)
    assert (groups["new"].calls, groups["new"].tokens.input_tokens) == (1, 100)
    assert (row.cost_nanousd, row.exposure_nanousd) == (120, 120)
    assert [gap.model for gap in unpriced(path)] == ["odd"]
    assert [entry["kind"] for entry in show(path, calls[1].id).entries] == ["hold", "settle", "adjust"]


def test_pricing_again_twice_changes_nothing(path: Path) -> None:
    fill(path)
    reprice(path, Book("new", 120), FakeClock())

    done = reprice(path, Book("new", 999), FakeClock())

    assert (done.looked_at, done.priced) == (1, 0)
    assert verify(path).problem == ""


def test_the_book_is_asked_as_it_would_have_been_then(path: Path) -> None:
    calls = fill(path)
    book = Book("none", 1)

    reprice(path, book, FakeClock(NOW * 2))

    (call, reading), *_ = book.asked
    assert (call.id, call.started_at, call.model, call.endpoint.provider) == (calls[1].id, calls[1].started_at, "new", "openai")
    assert (reading.source, reading.model) == (UsageSource.REPORTED, "new")
    assert [(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) for usage in reading.calls] == [(100, 20, 5)]


def test_a_budget_opened_after_the_call_is_corrected_too(path: Path) -> None:
    fill(path)
    late = day_limit(100_000, scope=(("subject", "alice"),))
    ledger = Ledger.open(path, FakeClock())
    ledger.admit_now(ask_for(make_call(), 0, late))
    ledger.close_now()

    reprice(path, Book("new", 120), FakeClock())

    ledger = Ledger.open(path, FakeClock())
    spent = {ledger.standing(limit).spent_nanousd for limit in (LIMIT, late)}
    ledger.close_now()
    assert spent == {300 + 120 + 300 + 40}
    assert verify(path).problem == ""


def test_more_calls_than_one_transaction_takes_are_all_looked_at(path: Path) -> None:
    ledger = Ledger.open(path, FakeClock())
    for index in range(450):
        call = make_call(NOW + index, model="new")
        ledger.settle_now(settled(call, 10, known=False))
    ledger.close_now()
    told: list[int] = []

    done = reprice(path, Book("new", 7), FakeClock(), told.append)

    assert (done.looked_at, done.priced, told) == (450, 450, [200, 400, 450])
    assert report(path).total.cost_nanousd == 450 * 7
    assert verify(path).problem == ""
