"""The sums beside a large ledger say what the entries say, whatever was added since, and are made anew when they are not this ledger's."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.samples import DAY, HOUR, NOW, ODD, FakeClock, ask_for, bill_of, change, day_limit, make_call, nothing_billed, settled
from tollkeeper.core.call import Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.entry import Settlement
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger import rollup, rollup_sums
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report, reports
from tollkeeper.ledger.reprice import reprice
from tollkeeper.ledger.rollup import rollup_path
from tollkeeper.ledger.rows import Report

MILLION = 1_000_000
GROUPED = [
    *[(), ("model",), ("principal", "model"), ("day",), ("hour", "provider"), ("day", "team"), ("plan", "refusal")],
    *[("session",), ("agent", "model"), ("outcome", "usage"), ("day", "tags"), ("verdict", "hour")],
    ("branch", "principal", "conversation"),
]


class Book:
    """A price book that knows every model now."""

    def bill(self, call: Call, reading: Reading) -> Bill:
        return bill_of(7 * MILLION, model=call.model or "gpt-5")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


type Fill = Callable[[Path, int], None]


@pytest.fixture
def fill(clock: FakeClock) -> Fill:
    """Adds ``count`` calls of every kind, an hour and a bit apart."""

    def run(path: Path, count: int) -> None:
        ledger = Ledger.open(path, clock)
        for number in range(count):
            clock.now += HOUR + 7 * 60 * MILLION
            call = make_call(
                clock.now, subject=f"p{number % 3}", model=("gpt-5", "new-model")[number % 2], project=f"x{number % 2}"
            )
            where = replace(call.attribution, session=f"s{number // 4}", agent=f"a{number % 7}", tags=(("n", str(number % 5)),))
            call = replace(call, attribution=where)
            kind = number % 5
            ledger.admit_now(ask_for(call, MILLION, day_limit(10**12, clock.now)))
            if kind == 3:
                ledger.settle_now(nothing_billed(call))
            elif kind == 4:
                odd = replace(call, endpoint=ODD)
                ledger.settle_now(Settlement(call=odd, reading=Reading(source=UsageSource.UNMETERED)))
            else:
                source = UsageSource.COUNTED if kind == 2 else UsageSource.REPORTED
                ledger.settle_now(settled(call, number * 1_000_003, known=call.model == "gpt-5", source=source))
        ledger.close_now()

    return run


@pytest.fixture
def rolled(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Turn the sums on for ledgers of any size, or off."""
    return lambda on: monkeypatch.setattr(rollup, "WORTH_IT_ENTRIES", 0 if on else 10**9)


type Switch = Callable[[bool], None]


def both(rolled: Switch, read: Callable[[], tuple[Report, ...]]) -> tuple[tuple[Report, ...], tuple[Report, ...]]:
    rolled(False)
    direct = read()
    rolled(True)
    return direct, read()


def test_the_sums_say_what_the_entries_say(tmp_path: Path, fill: Fill, rolled: Switch) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 60)
    direct, summed = both(rolled, lambda: reports(path, GROUPED, zone="Europe/Rome"))
    assert summed == direct
    assert rollup_path(path).stat().st_mode & 0o077 == 0
    assert direct[0].total.calls == 60


def test_what_was_added_since_is_in_and_nothing_twice(tmp_path: Path, fill: Fill, rolled: Switch) -> None:
    path = tmp_path / "ledger.db"
    for _ in range(4):
        fill(path, 9)
        direct, summed = both(rolled, lambda: reports(path, GROUPED, zone="UTC"))
        assert summed == direct


def test_a_correction_of_a_call_already_summed_is_in(tmp_path: Path, fill: Fill, rolled: Switch, clock: FakeClock) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 20)
    rolled(True)
    before = report(path)
    assert before.total.unpriced_calls > 0
    clock.now += DAY
    assert reprice(path, Book(), clock).priced > 0
    direct, summed = both(rolled, lambda: reports(path, GROUPED))
    assert summed == direct
    assert summed[0].total.unpriced_calls < before.total.unpriced_calls


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(since=st.integers(-3 * HOUR, 70 * HOUR), length=st.integers(0, 90 * HOUR))
def test_any_range_is_the_same_from_sums_and_from_entries(
    tmp_path_factory: pytest.TempPathFactory, rolled: Switch, since: int, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges" / "ledger.db"
    if not path.exists():
        path.parent.mkdir()
        clock = FakeClock()
        ledger = Ledger.open(path, clock)
        for number in range(60):
            clock.now += HOUR + 7 * 60 * MILLION
            call = make_call(clock.now, subject=f"p{number % 3}")
            ledger.admit_now(ask_for(call, MILLION))
            ledger.settle_now(settled(call, number * 1_000_003, known=number % 4 > 0))
        ledger.close_now()
    window = {"since": NOW + since, "until": NOW + since + length}
    direct, summed = both(rolled, lambda: reports(path, GROUPED, zone="America/New_York", **window))
    assert summed == direct


def test_too_many_sessions_are_read_from_the_entries_and_the_rest_from_sums(
    tmp_path: Path, fill: Fill, rolled: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    monkeypatch.setattr(rollup_sums, "MAX_THINGS", 10)
    fill(path, 30)
    direct, summed = both(rolled, lambda: reports(path, GROUPED))
    assert summed == direct
    fill(path, 5)
    direct, summed = both(rolled, lambda: reports(path, [("model",), ("session",)]))
    assert summed == direct
    with closing(sqlite3.connect(rollup_path(path))) as cache:
        assert cache.execute("SELECT count(*) FROM thing").fetchone() == (0,)
        assert cache.execute("SELECT count(*) FROM crowded").fetchone() == (1,)


def test_zones_that_are_not_whole_hours_are_read_from_the_entries(tmp_path: Path, fill: Fill, rolled: Switch) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 30)
    direct, summed = both(rolled, lambda: reports(path, [("day",)], zone="Asia/Kathmandu"))
    assert summed == direct


def test_sums_of_another_ledger_or_damaged_ones_are_made_anew(tmp_path: Path, fill: Fill, rolled: Switch) -> None:
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    fill(path, 12)
    fill(other, 8)
    rolled(True)
    report(other)
    rollup_path(other).replace(rollup_path(path))
    assert report(path).total.calls == 12
    rollup_path(path).write_bytes(b"no database" * 1000)
    assert report(path).total.calls == 12
    change(rollup_path(path), "UPDATE state SET version = 0")
    assert report(path).total.calls == 12


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, fill: Fill, rolled: Switch) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 12)
    rolled(True)
    rollup_path(path).mkdir()
    assert report(path).total.calls == 12


def test_a_cache_that_somebody_else_holds_is_done_without(
    tmp_path: Path, fill: Fill, rolled: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "LOCK_WAIT_MS", 10)
    path = tmp_path / "ledger.db"
    fill(path, 12)
    rolled(True)
    report(path)
    fill(path, 3)
    with closing(sqlite3.connect(rollup_path(path), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert report(path).total.calls == 15


def test_small_ledgers_have_no_cache(tmp_path: Path, fill: Fill) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 5)
    report(path)
    assert not rollup_path(path).exists()


def test_progress_is_told_of_long_work_only(tmp_path: Path, fill: Fill, rolled: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 12)
    rolled(True)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(rollup, "BATCH_ENTRIES", 10)
    report(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == 24
    told.clear()
    report(path, progress=lambda done, total: told.append((done, total)))
    assert told == []


def test_what_is_written_after_the_sums_is_left_out_whole_and_said_so(
    tmp_path: Path, fill: Fill, rolled: Switch, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 10)
    rolled(True)
    real = rollup.bring_up_to_date

    def and_then_somebody_writes(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        fill(path, 2)

    monkeypatch.setattr(rollup, "bring_up_to_date", and_then_somebody_writes)
    found = report(path, since=NOW + HOUR // 2)
    assert (found.total.calls, found.head_seq) == (10, 20)
