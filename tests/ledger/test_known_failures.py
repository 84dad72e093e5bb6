"""Ways in which other gateways' budgets are known to fail, each tried here: the reports are named beside the tests."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ledger.samples import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    FakeClock,
    ask_for,
    bill_of,
    day_limit,
    make_call,
    nothing_billed,
    rolling_limit,
    rows,
    settled,
)
from tollkeeper.core.admission import Admission, Candidate, Limit
from tollkeeper.core.call import Call
from tollkeeper.core.clock import from_datetime
from tollkeeper.core.decision import Decision
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.balances import standings
from tollkeeper.ledger.journal import HOLD_LIFETIME_US
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify
from tollkeeper.policy.decide import decide
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.message import refusal_message
from tollkeeper.policy.model import Policy
from tollkeeper.policy.plan import plan


class Flat:
    """A price list on which everything costs the same."""

    def __init__(self, nanousd: int) -> None:
        self.worst_nanousd, self.known = nanousd, True


def admission(policy: Policy, call: Call, nanousd: int) -> Admission:
    found = plan(policy, call, lambda _: Flat(nanousd), call.started_at)
    assert isinstance(found, Admission)
    return found


def instant(local: str, zone: str, fold: int = 0) -> int:
    return from_datetime(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC))


def test_a_concurrent_burst_does_not_pass_a_budget(ledger: Ledger) -> None:
    """Check and record apart: LiteLLM #34732, #26672, #40095; documented at Cloudflare, Kong, Envoy #2394. Pain 1."""
    limit, chosen = day_limit(100), []

    def one() -> None:
        chosen.append(ledger.admit_now(ask_for(make_call(), 7, limit)).chosen)

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chosen.count(0) == 14
    assert ledger.standing(limit).held_nanousd == 98


@pytest.mark.parametrize("way", ["settled", "nothing billed", "cut before any usage", "expired", "crashed", "closed"])
def test_a_hold_is_released_on_every_way_out(path: Path, clock: FakeClock, way: str) -> None:
    """Leaked reservations: LiteLLM #27639, #36592, #35569, #40050, opt-outs in #29493. Pain 2."""
    ledger, limit, call = Ledger.open(path, clock), day_limit(1_000), make_call()
    ledger.admit_now(ask_for(call, 100, limit))
    if way == "settled":
        ledger.settle_now(settled(call, 30))
    elif way == "nothing billed":
        ledger.settle_now(nothing_billed(call))
    elif way == "cut before any usage":
        ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.PARTIAL), outcome=Outcome.CUT))
    elif way == "expired":
        clock.now = NOW + HOLD_LIFETIME_US
        ledger.expire_now()
    elif way == "crashed":
        ledger.do(lambda journal: journal.connection.execute("UPDATE hold SET process = 'gone/1/1/x'"))
        ledger.close_now()
        ledger = Ledger.open(path, clock)
    else:
        ledger.settle_now(settled(call, 30))
        ledger.close_now()
        ledger = Ledger.open(path, clock)
    standing = ledger.standing(limit)
    ledger.close_now()
    assert standing.held_nanousd == 0
    assert standing.spent_nanousd == {"settled": 30, "nothing billed": 0, "expired": 0, "closed": 30}.get(way, 100)
    assert verify(path).problem == ""


def test_a_window_that_ends_while_a_call_is_under_way_goes_neither_negative_nor_wrong(ledger: Ledger, clock: FakeClock) -> None:
    """A reset while in flight: LiteLLM #30330."""
    call = make_call()
    ledger.admit_now(ask_for(call, 100, day_limit(1_000)))
    clock.now = NOW + DAY
    tomorrow = day_limit(1_000, clock.now)
    ledger.admit_now(ask_for(make_call(clock.now), 1, tomorrow))
    ledger.settle_now(settled(call, 60))
    found = [ledger.standing(limit) for limit in (day_limit(1_000), tomorrow)]
    assert [(one.spent_nanousd, one.held_nanousd) for one in found] == [(60, 0), (0, 1)]


def test_a_hold_is_refused_and_not_quietly_made_smaller_where_there_is_no_room(ledger: Ledger) -> None:
    """A hold capped to the headroom: LiteLLM #26845; priced at the wrong tier: #40002."""
    limit = day_limit(100)
    refused = ledger.admit_now(ask_for(make_call(), 305, limit))
    assert (refused.chosen, refused.hold_nanousd, ledger.standing(limit).held_nanousd) == (None, 0, 0)


def test_a_store_that_fails_is_an_error_and_never_room(ledger: Ledger, path: Path) -> None:
    """Fails open despite the flag: LiteLLM #33923, #35529. Pain 19. What an error means is the policy's to say."""
    ledger.do(lambda journal: journal.connection.execute("PRAGMA query_only=ON"))
    with pytest.raises(LedgerError):
        ledger.admit_now(ask_for(make_call(), 1, day_limit(100)))
    assert standings(path, [day_limit(100)], NOW)[0].held_nanousd == 0


def test_one_process_sees_what_another_has_just_spent(path: Path, clock: FakeClock) -> None:
    """Per-replica counters and old snapshots: Bifrost #3547, #3548; LiteLLM #30684."""
    one, other, limit = Ledger.open(path, clock), Ledger.open(path, clock), day_limit(100)
    for number in range(10):
        writer, reader = (one, other) if number % 2 else (other, one)
        assert writer.admit_now(ask_for(make_call(), 10, limit)).chosen == 0
        assert reader.standing(limit).held_nanousd == 10 * (number + 1)
    assert one.admit_now(ask_for(make_call(), 1, limit)).chosen is None
    one.close_now()
    other.close_now()


def test_nothing_is_lost_by_a_restart_at_any_moment(path: Path, clock: FakeClock) -> None:
    """Usage zeroed by a restart, flushes lost at shutdown: Bifrost #5925."""
    limit = day_limit(1_000)
    for number in range(5):
        ledger, call = Ledger.open(path, clock), make_call()
        ledger.admit_now(ask_for(call, 10, limit))
        ledger.settle_now(settled(call, 10))
        ledger.close_now()
        assert standings(path, [limit], NOW)[0].spent_nanousd == 10 * (number + 1)


def test_windows_end_without_a_job_and_leave_each_other_alone(ledger: Ledger, clock: FakeClock) -> None:
    """Resets that do not happen, or reset other windows too: LiteLLM #7129, #24675, #38686; Bifrost #5770. Pain 12."""
    week = rolling_limit(1_000, length=7 * DAY)
    call = make_call()
    ledger.admit_now(ask_for(call, 100, day_limit(100), week))
    ledger.settle_now(settled(call, 100))
    assert ledger.admit_now(ask_for(make_call(), 1, day_limit(100))).chosen is None
    clock.now = NOW + DAY
    assert ledger.admit_now(ask_for(make_call(clock.now), 100, day_limit(100, clock.now))).chosen == 0
    assert ledger.standing(rolling_limit(1_000, clock.now, length=7 * DAY)).spent_nanousd == 100


DAYS = [
    ("Europe/Rome", "2026-03-29", "2026-03-29T00:00", "2026-03-30T00:00", 23),
    ("Europe/Rome", "2026-10-25", "2026-10-25T00:00", "2026-10-26T00:00", 25),
    ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T00:00", "2026-10-05T00:00", 23.5),
    ("America/Santiago", "2026-09-06", "2026-09-06T01:00", "2026-09-07T00:00", 23),
    ("Asia/Beirut", "2026-03-29", "2026-03-29T01:00", "2026-03-30T00:00", 23),
    ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00", "2026-04-25T00:00", 23),
]


@pytest.mark.parametrize(("zone", "day", "first", "next_first", "hours"), DAYS, ids=[f"{row[0]} {row[1]}" for row in DAYS])
def test_a_day_of_odd_length_counts_every_instant_in_one_day(
    path: Path, zone: str, day: str, first: str, next_first: str, hours: float
) -> None:
    """Wrong reset times: LiteLLM #10288, #9098, #41211; langwatch #6255. Pain 13."""
    rules = parse_policy(f'mode = "enforce"\nzone = "{zone}"\n[budget.day]\namount = "1 USD"\nwindow = "day"', "policy.toml")
    start, end = instant(first, zone), instant(next_first, zone)
    assert (end - start) / HOUR == hours, day
    clock = FakeClock(start - 1)
    ledger = Ledger.open(path, clock)
    verdicts = []
    for moment in (start - 1, start, end - 1, end):
        clock.now = moment
        for _ in range(2):
            call = make_call(moment)
            answer = ledger.admit_now(admission(rules, call, 600_000_000))
            verdicts.append(answer.chosen)
            if answer.chosen is not None:
                ledger.settle_now(settled(call, 600_000_000))
    ledger.close_now()
    assert verdicts == [0, None, 0, None, None, None, 0, None]


def test_a_clock_set_back_gives_no_room_a_second_time(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    call = make_call()
    ledger.admit_now(ask_for(call, 100, day_limit(100)))
    ledger.settle_now(settled(call, 100))
    clock.now = NOW - 2 * DAY
    back = make_call(clock.now)
    refused = ledger.admit_now(ask_for(back, 1, day_limit(100, clock.now)))
    assert refused.chosen is None
    assert refused.blockers[0].spent_nanousd == 100
    other = replace(day_limit(500, clock.now), budget="new")
    assert ledger.admit_now(ask_for(make_call(clock.now), 1, other, enforce=False)).chosen == 0
    flagged = rows(path, "SELECT counted_at, flags FROM entry WHERE kind = 'hold' ORDER BY seq DESC LIMIT 1")
    assert flagged == [(NOW, '["clock-back"]')]
    assert verify(path).problem == ""


def test_a_clock_that_is_a_little_behind_counts_where_its_call_belongs(ledger: Ledger, clock: FakeClock) -> None:
    midnight = NOW - NOW % DAY + DAY
    clock.now = midnight + 60 * SECOND
    ledger.admit_now(ask_for(make_call(clock.now), 5, day_limit(100, clock.now)))
    late = make_call(midnight - SECOND)
    ledger.admit_now(ask_for(late, 7, day_limit(100, midnight - SECOND)))
    assert ledger.standing(day_limit(100, midnight - SECOND)).held_nanousd == 7


def test_an_amount_edited_in_mid_window_keeps_what_was_spent(ledger: Ledger) -> None:
    """Edits that start the count again, or apply late: discussion #202703. Pain 21."""

    def rules(amount: str, name: str = "day") -> Policy:
        return parse_policy(f'mode = "enforce"\n[budget.{name}]\namount = "{amount}"\nwindow = "day"', "policy.toml")

    call = make_call()
    ledger.admit_now(admission(rules("1 USD"), call, 900_000_000))
    ledger.settle_now(settled(call, 900_000_000))
    for amount, name, chosen in (("1 USD", "day", None), ("2 USD", "renamed", 0), ("1 USD", "day", None)):
        assert ledger.admit_now(admission(rules(amount, name), make_call(), 200_000_000)).chosen == chosen


def test_enforcement_message_and_screen_say_the_same_number(ledger: Ledger, path: Path) -> None:
    """A UI that says another figure or day than what is enforced: LiteLLM #41211, #37454. Pain 13."""
    rules = parse_policy('mode = "enforce"\nzone = "Europe/Rome"\n[budget.day]\namount = "1 USD"\nwindow = "day"', "policy.toml")
    call = make_call()
    ledger.admit_now(admission(rules, call, 700_000_000))
    asked = admission(rules, make_call(), 400_000_000)
    decision = decide(asked, ledger.admit_now(asked), rules)
    limit: Limit = asked.candidates[0].limits[0]
    assert decision.standing == ledger.standing(limit) == standings(path, [limit], NOW)[0]
    assert "$0.00 of $1.00 spent, $0.7000 held for calls under way" in refusal_message(decision, NOW)


def test_a_client_that_leaves_pays_for_what_was_used(ledger: Ledger) -> None:
    """Disconnects for free: LiteLLM PR #33736, #37558, #36008. Pain 4."""
    limit, call = day_limit(1_000), make_call()
    ledger.admit_now(ask_for(call, 100, limit))
    ledger.settle_now(settled(call, 60, source=UsageSource.PARTIAL, outcome=Outcome.ABORTED))
    assert ledger.standing(limit).spent_nanousd == 60


def test_a_retry_is_a_call_of_its_own_and_a_repeated_settlement_is_not(ledger: Ledger) -> None:
    """Retries paid twice or not at all: better-ccflare PR #465. Pain 27."""
    limit, first, retry = day_limit(1_000), make_call(), make_call()
    for call in (first, retry):
        ledger.admit_now(ask_for(call, 100, limit))
        ledger.settle_now(settled(call, 40))
        assert ledger.settle_now(settled(call, 40)) is False
    assert ledger.standing(limit).spent_nanousd == 80


def test_a_model_without_a_price_still_counts(ledger: Ledger) -> None:
    """Unknown models at $0, so that caps never fire: LiteLLM PR #36561, vigil #964, iterion #473. Pain 8."""
    limit, call = day_limit(1_000), make_call()
    ledger.admit_now(ask_for(call, 500, limit))
    ledger.settle_now(replace(settled(call, 1), bill=bill_of(450, known=False)))
    assert ledger.standing(limit).spent_nanousd == 450


def test_a_writer_that_waits_never_fails_a_call_and_nobody_prunes_in_the_road(path: Path, clock: FakeClock) -> None:
    """ "database is locked" in the middle of work: powercontext #1679, one-api PR #818. Pain 28."""
    ledger = Ledger.open(path, clock)
    ledger.admit_now(ask_for(make_call(), 1, day_limit(100)))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done: list[int | None] = []
        waiting = threading.Thread(target=lambda: done.append(ledger.admit_now(ask_for(make_call(), 1, day_limit(100))).chosen))
        waiting.start()
        waiting.join(0.2)
        other.execute("COMMIT")
        waiting.join(60)
    ledger.close_now()
    assert done == [0]


def test_a_budget_reroutes_neither_early_nor_late(ledger: Ledger) -> None:
    """Reroutes far too early, or never: Bifrost #5770, #5673. Pain 18."""
    text = 'mode = "enforce"\n[budget.day]\namount = "1 USD"\nwindow = "day"\nmodel = "gpt-5"\non_exceed = { rewrite = "gpt-5-mini" }'
    rules = parse_policy(text, "policy.toml")
    chosen = []
    for _ in range(12):
        call = replace(make_call(), endpoint=replace(make_call().endpoint, dialect="openai_chat"))
        found = plan(rules, call, lambda model: Flat(100_000_000 if model == "gpt-5" else 1_000_000), NOW)
        assert isinstance(found, Admission)
        chosen.append(ledger.admit_now(found).chosen)
        ledger.settle_now(settled(call, 100_000_000 if chosen[-1] == 0 else 1_000_000))
    assert chosen == [0] * 10 + [1, 1]


def test_what_is_refused_before_money_is_asked_is_recorded_too(ledger: Ledger, path: Path) -> None:
    """Decisions nobody can look up afterwards. Pain 15, and ``observe`` records every would-have-been decision."""
    call = make_call()
    rules = parse_policy('mode = "enforce"\n[model.a]\ndeny = "gpt*"', "policy.toml")
    found = plan(rules, call, lambda _: Flat(1), NOW)
    assert isinstance(found, Decision)
    ledger.settle_now(Settlement(call=call, decision=found, outcome=Outcome.REFUSED, ended_at=NOW))
    watching = parse_policy('[model.a]\ndeny = "gpt*"', "policy.toml")
    ledger.admit_now(admission(watching, make_call(), 1))
    assert rows(path, "SELECT kind, verdict, would, rule FROM entry ORDER BY seq") == [
        ("refuse", "refuse", "refuse", "model.a"),
        ("hold", "allow", "refuse", "model.a"),
    ]


def test_a_candidate_that_nobody_enforces_is_never_an_overdraft_of_another(ledger: Ledger) -> None:
    """Aliases that ran two limiters over one counter: LiteLLM #27381."""
    watch, act = replace(day_limit(10), enforced=False, budget="watch"), replace(day_limit(100), budget="act")
    first = Candidate(model="gpt-5", hold_nanousd=60, limits=(watch, act))
    answers = [
        ledger.admit_now(Admission(call=(call := make_call()), candidates=(first,), enforce=True, at=call.started_at))
        for _ in range(2)
    ]
    assert [(answer.chosen, answer.would.value) for answer in answers] == [(0, "refuse"), (None, "refuse")]
