"""Charges by day: every nano-dollar of a report is in exactly one row."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.samples import DAY, NOW, FakeClock, ask_for, bill_of, make_call, settled
from tollkeeper.core.call import Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.usage import Reading
from tollkeeper.ledger.charges import _divided, charges
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.reprice import reprice


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path, clock = tmp_path / "ledger.db", FakeClock()
    ledger = Ledger.open(path, clock)
    for number in range(12):
        clock.now = NOW + number * DAY // 4
        call = make_call(clock.now, subject=f"p{number % 2}", model="gpt-5" if number % 3 else "new-model")
        ledger.admit_now(ask_for(call, 10**9))
        ledger.settle_now(settled(call, 10**6 + number, known=number % 3 > 0))
    ledger.close_now()
    return path


def test_the_rows_add_up_to_the_report(path: Path) -> None:
    rows, total = charges(path), report(path).total
    assert sum(row.cost_nanousd or 0 for row in rows) == total.cost_nanousd
    assert sum(row.list_cost_nanousd or 0 for row in rows) == total.list_cost_nanousd
    assert sum(row.exposure_nanousd for row in rows) == total.exposure_nanousd
    assert len({row.day for row in rows}) == 4


def test_what_has_no_price_has_no_cost_and_says_what_was_used(path: Path) -> None:
    unknown = [row for row in charges(path) if row.model == "new-model"]
    assert {(row.unit, row.cost_nanousd, row.rate_usd) for row in unknown} == {("input_tokens", None, None)}
    assert sum(row.quantity for row in unknown) == 400


def test_a_call_priced_later_has_its_new_charges_only(path: Path) -> None:
    class Book:
        def bill(self, call: Call, reading: Reading) -> Bill:
            return bill_of(5_000_000, model=call.model or "")

    reprice(path, Book(), FakeClock(NOW + 30 * DAY))
    rows, total = charges(path), report(path).total
    assert sum(row.cost_nanousd or 0 for row in rows) == total.cost_nanousd
    assert sum(row.calls for row in rows if row.model == "new-model") == 4


def test_a_range_has_only_its_own_days(path: Path) -> None:
    assert {row.day for row in charges(path, since=NOW + DAY, until=NOW + 2 * DAY, zone="UTC")} == {"2026-11-23", "2026-11-24"}


@given(total=st.integers(-(10**15), 10**15), weights=st.lists(st.integers(0, 10**12), min_size=1, max_size=9))
def test_a_sum_divided_adds_up_again(total: int, weights: list[int]) -> None:
    assert sum(_divided(total, weights)) == total
