"""What readers get: figures that add up, and every gap by name."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.samples import (
    DAY,
    HOUR,
    NOW,
    ODD,
    FakeClock,
    ask_for,
    day_limit,
    make_call,
    nothing_billed,
    settled,
)
from tollkeeper.core.admission import Candidate
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.entry import Settlement
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import GROUPINGS, report, show, summary, tail, unmetered, unpriced


@pytest.fixture
def filled(path: Path, clock: FakeClock) -> Path:
    """A day and a half of everything that can happen."""
    ledger = Ledger.open(path, clock)
    limit = day_limit(10**6)

    def run(at: int, settlement: Settlement, hold: int = 100) -> None:
        ledger.admit_now(ask_for(settlement.call, hold, limit))
        ledger.settle_now(settlement)

    run(NOW, settled(make_call(NOW, project="web", session="s1"), 30))
    run(NOW, settled(make_call(NOW, project="web", session="s1", subject="bob"), 50, source=UsageSource.COUNTED))
    run(NOW + HOUR, settled(make_call(NOW + HOUR, model="new", session="s2"), 70, known=False))
    run(NOW + 2 * HOUR, nothing_billed(make_call(NOW + 2 * HOUR)))
    run(
        NOW + 14 * HOUR,
        Settlement(call=make_call(NOW + 14 * HOUR, endpoint=ODD, model=""), reading=Reading(source=UsageSource.UNMETERED)),
        5,
    )
    ledger.admit_now(ask_for(make_call(NOW + 15 * HOUR), 10**7, limit))
    observed = make_call(NOW + 16 * HOUR)
    ledger.admit_now(ask_for(observed, 10**7, limit, enforce=False))
    ledger.settle_now(settled(observed, 11))
    rewritten = make_call(NOW + 17 * HOUR)
    ledger.admit_now(ask_for(rewritten, 10**7, limit, cheaper=Candidate(model="gpt-5-mini", hold_nanousd=1, limits=(limit,))))
    decision = Decision(verdict=Verdict.REWRITE, would=Verdict.REWRITE, rule="daily", model="gpt-5-mini")
    settlement = settled(rewritten, 1, decision=decision)
    ledger.settle_now(replace(settlement, reading=replace(settlement.reading, model="gpt-5-mini-2025")))
    ledger.admit_now(ask_for(make_call(NOW + 18 * HOUR), 44, limit))
    ledger.close_now()
    return path


def test_a_report_adds_up(filled: Path) -> None:
    found = report(filled)
    total = found.total

    assert (total.calls, total.billed_calls, total.refused, total.rewritten) == (8, 6, 1, 1)
    assert (total.would_refuse, total.would_rewrite) == (1, 0)
    assert (total.reported, total.counted, total.partial, total.unmetered, total.estimated_calls) == (4, 1, 0, 1, 1)
    assert (total.unpriced_calls, total.unpriced_exposure_nanousd) == (2, 75)
    assert (total.cost_nanousd, total.exposure_nanousd) == (30 + 50 + 11 + 1, 30 + 50 + 70 + 5 + 11 + 1)
    assert (found.open_calls, found.open_nanousd) == (1, 44)
    assert found.price_sources == ("catalogue 1",)


@pytest.mark.parametrize("by", [*((name,) for name in GROUPINGS), ("day", "model"), ("principal", "project", "hour"), ()])
def test_groups_add_up_to_the_total(filled: Path, by: tuple[str, ...]) -> None:
    found = report(filled, by=by, zone="Europe/Rome")

    assert sum(group.calls for group in found.groups) == found.total.calls
    assert sum(group.cost_nanousd or 0 for group in found.groups) == found.total.cost_nanousd
    assert sum(group.exposure_nanousd for group in found.groups) == found.total.exposure_nanousd
    assert sum(group.tokens.output_tokens for group in found.groups) == found.total.tokens.output_tokens == 100
    assert all(len(group.keys) == len(by) for group in found.groups)


def test_unknown_is_not_zero(filled: Path) -> None:
    groups = {group.keys[0]: group for group in report(filled).groups}

    assert groups["new"].cost_nanousd is None
    assert groups["new"].exposure_nanousd == 70
    assert "gpt-5-mini-2025" in groups


def test_days_are_those_of_the_zone(filled: Path) -> None:
    def days(zone: str) -> list[tuple[str, int]]:
        return [(group.keys[0], group.calls) for group in report(filled, by=("day",), zone=zone).groups]

    assert days("UTC") == [("2026-11-22", 4), ("2026-11-23", 4)]
    assert days("Pacific/Apia") == [("2026-11-22", 2), ("2026-11-23", 6)]
    assert days("America/Los_Angeles") == [("2026-11-22", 8)]


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(filled: Path) -> None:
    assert report(filled, since=NOW, until=NOW + 1).total.calls == 2
    assert report(filled, since=NOW + 1, until=NOW + HOUR).total.calls == 0
    assert report(filled, since=NOW + DAY).total.calls == 0


def test_gaps_are_named(filled: Path) -> None:
    (new,) = unpriced(filled)
    (odd,) = unmetered(filled)

    assert (new.provider, new.model, new.calls, new.exposure_nanousd, new.units) == ("openai", "new", 1, 70, ("input_tokens",))
    assert (new.first_at, new.last_at) == (NOW + HOUR, NOW + HOUR)
    assert (odd.host, odd.operation, odd.reason, odd.calls, odd.exposure_nanousd) == ("api.openai.com", "x", "unknown path", 1, 5)


def test_a_summary_is_of_one_session(filled: Path) -> None:
    assert summary(filled, session="s1").total.calls == 2
    assert summary(filled, session="s2").total.cost_nanousd is None
    assert summary(filled, session="none").total.calls == 0


def test_tail_gives_the_last_calls_in_order_and_then_the_next_ones(filled: Path) -> None:
    last = tail(filled, last=3)
    denied = tail(filled, denied=True)

    assert [row.kind for row in last] == ["refuse", "settle", "settle"]
    assert [row.seq for row in last] == sorted(row.seq for row in last)
    assert [row.call_id for row in tail(filled, after_seq=last[0].seq)] == [row.call_id for row in last[1:]]
    assert tail(filled, last=0) == []
    assert [row.would for row in denied] == ["refuse", "refuse"]


def test_a_call_is_found_by_its_beginning_or_its_end(filled: Path) -> None:
    call_id = tail(filled, last=1)[0].call_id

    detail = show(filled, call_id[-8:].lower())

    assert detail.call_id == show(filled, call_id).call_id == call_id
    assert [entry["kind"] for entry in detail.entries] == ["hold", "settle"]
    assert [line["output_tokens"] for line in detail.lines[detail.entries[1]["seq"]]] == [20]
    assert [price["source"] for price in detail.prices.values()] == ["catalogue 1"]


@pytest.mark.parametrize(
    ("name", "words"), [("01", "4 characters"), ("'; --", "not a call"), ("ZZZZZZ", "no call"), ("01M8", "several")]
)
def test_a_call_that_cannot_be_told_is_an_error(filled: Path, name: str, words: str) -> None:
    common = tail(filled, last=1)[0].call_id[:4]

    with pytest.raises(LedgerError, match=words):
        show(filled, common if words == "several" else name)


def test_an_unknown_grouping_is_an_error(filled: Path) -> None:
    with pytest.raises(LedgerError, match="known: day, hour"):
        report(filled, by=("price; DROP TABLE entry",))


def test_reading_leaves_the_file_as_it_is(filled: Path) -> None:
    before = filled.read_bytes()

    report(filled)
    tail(filled)

    assert filled.read_bytes() == before


@settings(max_examples=15, deadline=None)
@given(costs=st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_the_sum_is_exact(tmp_path_factory: pytest.TempPathFactory, costs: list[int]) -> None:
    path = tmp_path_factory.mktemp("sum") / "ledger.db"
    ledger = Ledger.open(path, FakeClock())
    for index, cost in enumerate(costs):
        ledger.settle_now(settled(make_call(NOW + index), cost))
    ledger.close_now()

    assert report(path).total.cost_nanousd == sum(costs)
