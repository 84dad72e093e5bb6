"""What a closed call leaves behind."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.samples import (
    FREE,
    NOW,
    ODD,
    SECOND,
    FakeClock,
    ask_for,
    bill_of,
    day_limit,
    make_call,
    nothing_billed,
    rows,
    settled,
)
from tollkeeper.core.charge import Bill
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.journal import HOLD_LIFETIME_US
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify

LIMIT = day_limit(1000)


def test_a_settlement_posts_the_cost_and_releases_the_hold(ledger: Ledger) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    assert ledger.settle_now(settled(call, 30))

    assert (ledger.standing(LIMIT).spent_nanousd, ledger.standing(LIMIT).held_nanousd) == (30, 0)


def test_a_second_settlement_is_ignored(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))
    ledger.settle_now(settled(call, 30))

    assert ledger.settle_now(settled(call, 99)) is False
    assert ledger.settle_now(nothing_billed(call)) is False

    assert ledger.standing(LIMIT).spent_nanousd == 30
    assert rows(path, "SELECT count(*) FROM entry") == [(2,)]


def test_a_cost_over_the_hold_is_posted_in_full_and_flagged(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(settled(call, 3000))

    assert ledger.standing(LIMIT).spent_nanousd == 3000
    assert rows(path, "SELECT flags FROM entry WHERE kind = 'settle'") == [('["over-hold"]',)]


@pytest.mark.parametrize("endpoint", [None, FREE])
def test_nothing_billed_is_a_void(ledger: Ledger, path: Path, endpoint: None) -> None:
    call = make_call(endpoint=endpoint) if endpoint else make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(nothing_billed(call) if endpoint is None else Settlement(call=call))

    assert rows(path, "SELECT kind, cost_nanousd, exposure_nanousd FROM entry ORDER BY seq DESC LIMIT 1") == [("void", 0, 0)]
    assert ledger.standing(LIMIT).room_nanousd == 1000


def test_what_cannot_be_read_has_no_known_cost_and_counts_at_its_hold(ledger: Ledger, path: Path) -> None:
    call = make_call(endpoint=ODD)
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.UNMETERED)))

    found = rows(path, "SELECT kind, cost_nanousd, exposure_nanousd, unmetered, cost_source, flags FROM entry WHERE seq = 2")
    assert found == [("settle", None, 100, "unknown path", "ceiling", '["at-hold"]')]
    assert ledger.standing(LIMIT).spent_nanousd == 100


def test_an_answer_cut_before_any_usage_counts_at_its_hold(ledger: Ledger) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.PARTIAL), outcome=Outcome.CUT))

    assert ledger.standing(LIMIT).spent_nanousd == 100


def test_unknown_is_stored_as_null_and_never_as_zero(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(settled(call, 70, known=False))

    assert rows(path, "SELECT cost_nanousd, list_cost_nanousd, exposure_nanousd FROM entry WHERE kind = 'settle'") == [
        (None, None, 70)
    ]
    assert rows(path, "SELECT cost_nanousd, exposure_nanousd, unpriced, price_id FROM line") == [
        (None, 70, '["input_tokens"]', None)
    ]


def test_an_expired_hold_is_released_and_a_late_settlement_still_posts_once(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))
    clock.now = NOW + HOLD_LIFETIME_US

    assert ledger.expire_now() == 1
    assert ledger.standing(LIMIT).room_nanousd == 1000

    assert ledger.settle_now(settled(call, 40)) is True
    assert ledger.settle_now(settled(call, 40)) is False
    assert ledger.standing(LIMIT).spent_nanousd == 40
    assert [kind for (kind,) in rows(path, "SELECT kind FROM entry ORDER BY seq")] == ["hold", "expire", "settle"]
    assert rows(path, "SELECT flags, counted_at FROM entry WHERE kind = 'settle'") == [('["late"]', NOW)]
    assert verify(path).is_sound


def test_a_renewed_hold_does_not_expire(ledger: Ledger, clock: FakeClock) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))
    clock.now = NOW + HOLD_LIFETIME_US - 1

    assert ledger.renew_now(call.id) is True
    clock.now += HOLD_LIFETIME_US - 1

    assert ledger.expire_now() == 0
    clock.now += 1
    assert ledger.expire_now() == 1
    assert ledger.renew_now(call.id) is False


def test_a_call_the_ledger_was_never_asked_about_counts_all_the_same(ledger: Ledger, path: Path) -> None:
    """The ledger failed at admission and the policy let the call pass: its money is spent."""
    ledger.admit_now(ask_for(make_call(), 10, LIMIT))

    assert ledger.settle_now(settled(make_call(), 55)) is True

    assert ledger.standing(LIMIT).spent_nanousd == 55
    assert verify(path).is_sound


def test_a_refused_call_is_closed_by_its_refusal(ledger: Ledger, path: Path) -> None:
    by_budget, by_rule = make_call(), make_call()
    ledger.admit_now(ask_for(by_budget, 5000, LIMIT))
    refused = Decision(verdict=Verdict.REFUSE, would=Verdict.REFUSE, rule="no-opus", reason="not on this laptop")

    assert ledger.settle_now(settled(by_budget, 0, outcome=Outcome.REFUSED)) is False
    assert ledger.settle_now(Settlement(call=by_rule, decision=refused, outcome=Outcome.REFUSED, status=400)) is True

    assert rows(path, "SELECT kind, rule, reason FROM entry ORDER BY seq") == [
        ("refuse", "budget.daily", ""),
        ("refuse", "no-opus", "not on this laptop"),
    ]


def test_a_providers_own_figure_wins_and_is_kept_apart(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(replace(settled(call, 30), bill=replace(bill_of(30), provider_cost_nanousd=31)))

    assert rows(path, "SELECT list_cost_nanousd, cost_nanousd, provider_cost_nanousd, cost_source FROM entry WHERE seq = 2") == [
        (30, 31, 31, "provider")
    ]
    assert ledger.standing(LIMIT).spent_nanousd == 31


def test_what_the_hold_decided_is_not_lost_when_the_settlement_does_not_say_it(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 5000, LIMIT, enforce=False))

    ledger.settle_now(settled(call, 30))

    assert rows(path, "SELECT verdict, would, budget FROM entry WHERE kind = 'settle'") == [("allow", "refuse", "daily")]


def test_the_price_of_a_line_is_stored_once(ledger: Ledger, path: Path) -> None:
    for _ in range(3):
        call = make_call()
        ledger.admit_now(ask_for(call, 100))
        ledger.settle_now(settled(call, 30))

    assert rows(path, "SELECT count(*) FROM price") == [(1,)]
    assert rows(path, "SELECT count(DISTINCT price_id), count(*) FROM line") == [(1, 3)]
    assert json.loads(rows(path, "SELECT charges FROM line")[0][0]) == [["input_tokens", 100, "0.00000125", 30]]


def test_entries_keep_their_order_when_the_clock_goes_back(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    ledger.admit_now(ask_for(make_call(), 1))
    clock.now = NOW - 3600 * SECOND
    ledger.admit_now(ask_for(make_call(clock.now), 1))

    assert rows(path, "SELECT at FROM entry ORDER BY seq") == [(NOW,), (NOW,)]


def test_an_empty_bill_of_a_reported_call_is_not_taken_for_free(ledger: Ledger, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))

    ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.REPORTED), bill=Bill()))

    assert rows(path, "SELECT cost_nanousd, exposure_nanousd FROM entry WHERE kind = 'settle'") == [(None, 100)]
