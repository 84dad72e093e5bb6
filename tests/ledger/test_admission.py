"""Who gets in: holds, refusals, rewrites, observation."""

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.samples import DAY, HOUR, NOW, SECOND, FakeClock, ask_for, day_limit, make_call, rolling_limit, rows, settled
from tollkeeper.core.admission import Admission, Candidate
from tollkeeper.core.decision import Verdict
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify


def test_a_call_with_room_is_held(ledger: Ledger) -> None:
    limit = day_limit(100)

    answer = ledger.admit_now(ask_for(make_call(), 40, limit))

    assert (answer.verdict, answer.would, answer.chosen, answer.hold_nanousd) == (Verdict.ALLOW, Verdict.ALLOW, 0, 40)
    assert ledger.standing(limit).held_nanousd == 40
    assert ledger.standing(limit).room_nanousd == 60


def test_a_hold_may_fill_a_budget_to_the_last_nano_dollar_and_no_further(ledger: Ledger) -> None:
    limit = day_limit(100)

    assert ledger.admit_now(ask_for(make_call(), 100, limit)).chosen == 0
    refused = ledger.admit_now(ask_for(make_call(), 1, limit))

    assert refused.verdict is Verdict.REFUSE
    assert refused.chosen is None
    assert [(one.budget, one.spent_nanousd, one.held_nanousd) for one in refused.blockers] == [("daily", 0, 100)]


def test_a_refusal_is_recorded_with_what_the_call_would_have_held(ledger: Ledger, path: Path) -> None:
    call = make_call()

    ledger.admit_now(ask_for(call, 500, day_limit(100)))

    assert rows(path, "SELECT kind, verdict, budget, hold_nanousd, exposure_nanousd, cost_nanousd FROM entry") == [
        ("refuse", "refuse", "daily", 500, 0, 0)
    ]
    assert rows(path, "SELECT count(*) FROM hold") == [(0,)]


def test_a_budget_of_nothing_admits_only_what_costs_nothing(ledger: Ledger) -> None:
    assert ledger.admit_now(ask_for(make_call(), 0, day_limit(0))).chosen == 0
    assert ledger.admit_now(ask_for(make_call(), 1, day_limit(0))).chosen is None


def test_the_first_candidate_with_room_is_taken(ledger: Ledger, path: Path) -> None:
    limit = day_limit(100)
    cheaper = Candidate(model="gpt-5-mini", hold_nanousd=10, limits=(limit,))

    answer = ledger.admit_now(ask_for(make_call(), 500, limit, cheaper=cheaper))

    assert (answer.verdict, answer.would, answer.chosen, answer.hold_nanousd) == (Verdict.REWRITE, Verdict.REWRITE, 1, 10)
    assert len(answer.blockers) == 1
    assert rows(path, "SELECT model, model_requested FROM entry") == [("gpt-5-mini", "gpt-5")]


def test_observing_holds_the_call_as_asked_and_tells_what_would_have_happened(ledger: Ledger, path: Path) -> None:
    limit = day_limit(100)
    cheaper = Candidate(model="gpt-5-mini", hold_nanousd=10, limits=(limit,))

    rewritten = ledger.admit_now(ask_for(make_call(), 500, limit, enforce=False, cheaper=cheaper))
    refused = ledger.admit_now(ask_for(make_call(), 500, limit, enforce=False))

    assert (rewritten.verdict, rewritten.would, rewritten.chosen) == (Verdict.ALLOW, Verdict.REWRITE, 0)
    assert (refused.verdict, refused.would, refused.chosen) == (Verdict.ALLOW, Verdict.REFUSE, 0)
    assert refused.blockers[0].held_nanousd == 500
    assert rows(path, "SELECT kind, would FROM entry ORDER BY seq") == [("hold", "rewrite"), ("hold", "refuse")]


def test_a_budget_that_only_observes_never_blocks_an_enforcing_policy(ledger: Ledger) -> None:
    watching = day_limit(1, enforced=False)

    answer = ledger.admit_now(ask_for(make_call(), 50, watching))

    assert (answer.verdict, answer.would, answer.chosen) == (Verdict.ALLOW, Verdict.REFUSE, 0)
    assert ledger.standing(watching).held_nanousd == 50


def test_every_budget_of_a_call_must_have_room(ledger: Ledger) -> None:
    mine = day_limit(30, scope=(("subject", "alice"),))
    all_of_us = day_limit(1000)

    answer = ledger.admit_now(ask_for(make_call(), 40, all_of_us, mine))

    assert answer.chosen is None
    assert [one.amount_nanousd for one in answer.blockers] == [30]
    assert ledger.standing(all_of_us).held_nanousd == 0


def test_two_budgets_over_one_bucket_count_a_call_once(ledger: Ledger) -> None:
    small, large = day_limit(100), day_limit(200)

    ledger.admit_now(ask_for(make_call(), 40, small, large))

    assert ledger.standing(small).held_nanousd == 40
    assert ledger.standing(large).room_nanousd == 160


def test_a_call_is_admitted_once(ledger: Ledger) -> None:
    admission = ask_for(make_call(), 10, day_limit(100))
    ledger.admit_now(admission)

    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.admit_now(admission)

    assert ledger.standing(day_limit(100)).held_nanousd == 10


@pytest.mark.parametrize(
    "admission",
    [
        pytest.param(replace(ask_for(make_call(), 1), candidates=()), id="no candidate"),
        pytest.param(ask_for(make_call(), -1, day_limit(1)), id="negative hold"),
        pytest.param(ask_for(make_call(), 1, day_limit(1, scope=(("hash", "x"),))), id="unknown column"),
    ],
)
def test_an_admission_that_makes_no_sense_is_an_error(ledger: Ledger, admission: Admission) -> None:
    with pytest.raises(LedgerError):
        ledger.admit_now(admission)


def test_a_new_day_starts_empty_without_any_reset(ledger: Ledger, clock: FakeClock) -> None:
    ledger.admit_now(ask_for(make_call(), 100, day_limit(100)))
    clock.now = NOW + DAY
    tomorrow = day_limit(100, NOW + DAY)

    assert ledger.admit_now(ask_for(make_call(NOW + DAY), 100, tomorrow)).chosen == 0
    assert ledger.standing(day_limit(100)).held_nanousd == 100


def test_a_call_that_spans_midnight_counts_where_it_was_held(ledger: Ledger, clock: FakeClock) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 50, day_limit(100)))
    clock.now = NOW + DAY
    ledger.admit_now(ask_for(make_call(NOW + DAY), 1, day_limit(100, NOW + DAY)))

    ledger.settle_now(settled(call, 30))

    assert ledger.standing(day_limit(100)).spent_nanousd == 30
    assert ledger.standing(day_limit(100, NOW + DAY)).spent_nanousd == 0


def test_a_call_held_just_before_midnight_may_be_written_just_after_it(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    midnight = NOW - NOW % DAY + DAY
    clock.now = midnight
    ledger.admit_now(ask_for(make_call(midnight), 5, day_limit(100, midnight)))

    ledger.admit_now(ask_for(make_call(midnight - 1), 7, day_limit(100, midnight - 1)))

    assert ledger.standing(day_limit(100, midnight)).held_nanousd == 5
    assert ledger.standing(day_limit(100, midnight - 1)).held_nanousd == 7
    assert verify(path).problem == ""


def test_a_budget_met_for_the_first_time_counts_what_was_spent_before(ledger: Ledger) -> None:
    spent, held = make_call(), make_call(NOW + SECOND)
    ledger.admit_now(ask_for(spent, 30))
    ledger.settle_now(settled(spent, 25))
    ledger.admit_now(ask_for(held, 40))
    new = day_limit(100)

    refused = ledger.admit_now(ask_for(make_call(), 36, new))
    admitted = ledger.admit_now(ask_for(make_call(), 35, new))

    assert refused.chosen is None
    assert (refused.blockers[0].spent_nanousd, refused.blockers[0].held_nanousd) == (25, 40)
    assert admitted.chosen == 0
    ledger.settle_now(settled(held, 40))
    assert (ledger.standing(new).spent_nanousd, ledger.standing(new).held_nanousd) == (65, 35)


def test_calls_under_another_policy_count_too(ledger: Ledger, path: Path) -> None:
    """Two processes with different policies share a ledger: neither budget may miss the other's spending."""
    mine = day_limit(100, scope=(("subject", "alice"),))
    ledger.admit_now(ask_for(make_call(), 10, mine))

    ledger.admit_now(ask_for(make_call(), 20, day_limit(1000)))
    ledger.admit_now(ask_for(make_call(subject="bob"), 40, day_limit(1000)))

    assert ledger.standing(mine).held_nanousd == 30
    assert verify(path).problem == ""


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ((("subject", "alice"),), 1),
        ((("subject", "al*"),), 1),
        ((("subject", "bob"), ("subject", "alice")), 1),
        ((("subject", "alice"), ("project", "web")), 1),
        ((("subject", "alice"), ("project", "")), 0),
        ((("model", "gpt-5"),), 1),
        ((("model", "gpt-[^5]"),), 0),
        ((("model", "gpt-[!5]"),), 1),
        ((("model", "gpt-?"),), 1),
        ((("model", "gpt-[[]"),), 0),
        ((("provider", "anthropic"),), 0),
    ],
)
def test_a_scope_means_the_same_when_derived_and_when_kept(
    ledger: Ledger, scope: tuple[tuple[str, str], ...], counts: int
) -> None:
    limit = day_limit(1000, scope=scope)
    ledger.admit_now(ask_for(make_call(project="web"), 10))
    derived = ledger.standing(limit).held_nanousd

    ledger.admit_now(ask_for(make_call(subject="zoe", model="o9", project="none"), 0, limit))
    ledger.admit_now(ask_for(make_call(project="web"), 10))

    assert derived == 10 * counts
    assert ledger.standing(limit).held_nanousd == 20 * counts


def test_a_rolling_window_forgets_only_what_has_left_it(ledger: Ledger, clock: FakeClock) -> None:
    def at(now: int, hold: int) -> int | None:
        clock.now = now
        return ledger.admit_now(ask_for(make_call(now), hold, rolling_limit(100, now))).chosen

    first = NOW + 200 * SECOND
    """Inside a slot of six minutes, so that the window's start and the call share a slot at the end."""
    assert at(first, 60) == 0
    assert at(first + 12 * HOUR, 40) == 0
    assert at(first + 24 * HOUR - 1, 1) is None
    assert at(first + 24 * HOUR + DAY // 240, 60) == 0
    assert at(first + 25 * HOUR, 1) is None


def test_holds_and_costs_count_in_a_rolling_window_as_they_come(ledger: Ledger) -> None:
    limit = rolling_limit(100)
    first, second = make_call(), make_call()

    assert ledger.admit_now(ask_for(first, 60, limit)).chosen == 0
    assert ledger.admit_now(ask_for(second, 40, limit)).chosen == 0
    ledger.settle_now(settled(first, 50))
    assert ledger.admit_now(ask_for(make_call(), 11, limit)).chosen is None
    ledger.settle_now(settled(second, 45))
    assert ledger.admit_now(ask_for(make_call(), 6, limit)).chosen is None
    assert ledger.admit_now(ask_for(make_call(), 5, limit)).chosen == 0


def test_a_rolling_budget_nobody_asks_for_is_derived_again_later(path: Path, clock: FakeClock) -> None:
    ledger = Ledger.open(path, clock)
    ledger.admit_now(ask_for(make_call(), 10, rolling_limit(100, length=HOUR)))
    held = make_call(NOW)
    ledger.admit_now(ask_for(held, 0))
    for step in range(1, 40):
        clock.now = NOW + step * HOUR // 4
        ledger.admit_now(ask_for(make_call(clock.now), 1))
    ledger.close_now()
    ledger = Ledger.open(path, clock)

    standing = ledger.standing(rolling_limit(100, clock.now, length=HOUR))

    answer = ledger.admit_now(ask_for(make_call(clock.now), 96, rolling_limit(100, clock.now, length=HOUR)))
    ledger.close_now()
    assert standing.held_nanousd in {4, 5}
    assert answer.chosen == (0 if standing.held_nanousd == 4 else None)
    assert verify(path).problem == ""
