"""Budgets of every kind on a real file: units, windows without an end, sessions, rollover, grants, holds near the end."""

import multiprocessing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from ledger.samples import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    FakeClock,
    Turns,
    ask_for,
    change,
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
from tollkeeper.core.decision import Target, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.balances import standings, would_admit
from tollkeeper.ledger.grants import Grant, give, read_grants, take_back
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify

TOKENS = 120
"""What ``samples.settled`` uses."""


def limit_of(unit: Unit, amount: int, key: str = "day", **about: Any) -> Limit:
    """A day's budget in a unit."""
    base = day_limit(amount)
    return replace(base, unit=unit, budget=unit.value, bucket=replace(base.bucket, key=unit.prefix + key), **about)


def endless(amount: int, key: str, scope: tuple[tuple[str, str], ...] = ()) -> Limit:
    bucket = Bucket(key=key, start_at=0, scope=scope)
    return Limit(budget=key, bucket=bucket, amount_nanousd=amount, window="lifetime", resets_at=None, zone="UTC")


def ask(call: Call, hold: int, *limits: Limit, tokens: int = 0, requests: int = 1, **about: Any) -> Admission:
    first = Candidate(model=call.model, hold_nanousd=hold, hold_tokens=tokens, requests=requests, limits=limits, **about)
    return Admission(call=call, candidates=(first,), enforce=True, at=call.started_at, policy="abc")


# -- units ---------------------------------------------------------------------------------------------------------


def test_a_budget_in_tokens_holds_the_bound_and_posts_what_was_used(ledger: Ledger, path: Path) -> None:
    limit, call = limit_of(Unit.TOKENS, 1_000), make_call()
    assert ledger.admit_now(ask(call, 5, limit, tokens=900)).chosen == 0
    assert ledger.admit_now(ask(make_call(), 5, limit, tokens=101)).chosen is None
    ledger.settle_now(settled(call, 5))
    standing = ledger.standing(limit)
    assert (standing.spent_nanousd, standing.held_nanousd, standing.unit) == (TOKENS, 0, Unit.TOKENS)
    assert verify(path).problem == ""


def test_a_budget_in_requests_counts_each_request_of_a_batch_and_none_that_was_not_billed(ledger: Ledger) -> None:
    limit, batch, failed = limit_of(Unit.REQUESTS, 10), make_call(), make_call()
    assert ledger.admit_now(ask(batch, 5, limit, requests=8)).chosen == 0
    assert ledger.admit_now(ask(failed, 5, limit)).chosen == 0
    ledger.settle_now(settled(batch, 5))
    ledger.settle_now(nothing_billed(failed))
    assert (ledger.standing(limit).spent_nanousd, ledger.standing(limit).held_nanousd) == (8, 0)


def test_calls_at_once_are_held_while_they_last_and_never_spent(ledger: Ledger, path: Path) -> None:
    limit = limit_of(Unit.PARALLEL, 2)
    first, second = make_call(), make_call()
    assert ledger.admit_now(ask(first, 0, limit)).chosen == ledger.admit_now(ask(second, 0, limit)).chosen == 0
    assert ledger.admit_now(ask(make_call(), 0, limit)).chosen is None
    ledger.settle_now(settled(first, 5))
    assert ledger.admit_now(ask(make_call(), 0, limit)).chosen == 0
    assert (ledger.standing(limit).spent_nanousd, ledger.standing(limit).held_nanousd) == (0, 2)
    assert verify(path).problem == ""


def test_an_answer_nobody_could_read_counts_the_tokens_held_for_it(ledger: Ledger) -> None:
    limit, call = limit_of(Unit.TOKENS, 1_000), make_call()
    ledger.admit_now(ask(call, 5, limit, tokens=400))
    ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.PARTIAL), outcome=Outcome.CUT))
    assert ledger.standing(limit).spent_nanousd == 400


def test_tokens_and_requests_are_summed_from_entries_that_nobody_counted_for(ledger: Ledger, path: Path) -> None:
    done, held = make_call(), make_call()
    ledger.admit_now(ask(done, 5, tokens=900))
    ledger.settle_now(settled(done, 5))
    ledger.admit_now(ask(held, 5, tokens=300, requests=4))
    tokens, requests, parallel = limit_of(Unit.TOKENS, 9_999), limit_of(Unit.REQUESTS, 99), limit_of(Unit.PARALLEL, 9)
    found = standings(path, [tokens, requests, parallel], NOW)
    assert [(one.spent_nanousd, one.held_nanousd) for one in found] == [(TOKENS, 300), (1, 4), (0, 1)]
    ledger.admit_now(ask(make_call(), 1, tokens, requests, parallel))
    assert [ledger.standing(one).held_nanousd for one in (tokens, requests, parallel)] == [300, 5, 2]
    ledger.settle_now(settled(held, 5))
    assert [ledger.standing(one).spent_nanousd for one in (tokens, requests, parallel)] == [2 * TOKENS, 5, 0]
    assert verify(path).problem == ""


def test_a_crash_counts_what_was_held_in_every_unit(path: Path, clock: FakeClock) -> None:
    ledger = Ledger.open(path, clock)
    limits = (day_limit(100), limit_of(Unit.TOKENS, 1_000), limit_of(Unit.REQUESTS, 9), limit_of(Unit.PARALLEL, 9))
    ledger.admit_now(ask(make_call(), 40, *limits, tokens=300, requests=2))
    ledger.do(lambda journal: journal.connection.execute("UPDATE hold SET process = 'gone/1/1/x'"))
    ledger.close_now()
    ledger = Ledger.open(path, clock)
    found = [(ledger.standing(limit).spent_nanousd, ledger.standing(limit).held_nanousd) for limit in limits]
    ledger.close_now()
    assert found == [(40, 0), (300, 0), (2, 0), (0, 0)]
    assert verify(path).problem == ""


# -- windows and scopes ----------------------------------------------------------------------------------------------


def test_a_lifetime_counts_everything_there_ever_was(ledger: Ledger, clock: FakeClock) -> None:
    for day in range(3):
        clock.now = NOW + day * 40 * DAY
        call = make_call(clock.now)
        ledger.admit_now(ask_for(call, 10))
        ledger.settle_now(settled(call, 10))
    limit = endless(35, "lifetime")
    assert ledger.admit_now(ask_for(make_call(clock.now), 6, limit)).chosen is None
    assert ledger.admit_now(ask_for(make_call(clock.now), 5, limit)).chosen == 0
    assert ledger.standing(limit).spent_nanousd == 30


def test_a_session_nobody_asks_about_is_forgotten_and_summed_again_when_it_comes_back(
    ledger: Ledger, clock: FakeClock, path: Path
) -> None:
    limit, call = endless(100, "session;session=s1", (("session", "s1"),)), make_call(session="s1")
    ledger.admit_now(ask_for(call, 10, limit))
    ledger.settle_now(settled(call, 10))
    clock.now = NOW + 40 * DAY
    ledger.do(lambda journal: (journal.flush(), journal.windows.prune(journal.at), journal.windows.load(journal.at)))
    assert rows(path, "SELECT count(*) FROM bucket") == [(0,)]
    assert ledger.admit_now(ask_for(make_call(clock.now, session="s1"), 91, limit)).chosen is None
    assert verify(path).problem == ""


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ((("group", "ml"),), 1),
        ((("group", "m*"),), 1),
        ((("group", "l"),), 0),
        ((("group", "a*f"),), 0),
        ((("group", ""),), 0),
        ((("any_session", "client:c9"),), 1),
        ((("any_session", "c9"),), 0),
        ((("label:team", "bill*"),), 1),
        ((("label:nope", ""),), 1),
        ((("label:team", "x"), ("subject", "alice")), 0),
        ((("when", 'model == "gpt-5" && "ml" in groups'),), 1),
        ((("when", 'branch == "main"'),), 0),
        ((("when", 'labels["nope"] == "x"'),), 1),
        ((("branch", "release/*"), ("run", "7")), 1),
        ((("agent_class", "subagent"),), 1),
    ],
)
def test_a_scope_of_any_kind_means_the_same_when_derived_and_when_kept(
    ledger: Ledger, path: Path, scope: tuple[tuple[str, str], ...], counts: int
) -> None:
    where = {"branch": "release/1", "run": "7", "agent_class": "subagent", "client_session": "c9"}
    who = Principal(subject="alice", groups=frozenset({"all", "staff", "ml"}))

    def one() -> Call:
        call = make_call(**where)
        return replace(call, principal=who, attribution=replace(call.attribution, tags=(("team", "billing"),)))

    limit = day_limit(1_000, scope=scope)
    ledger.admit_now(ask_for(one(), 10))
    derived = ledger.standing(limit).held_nanousd
    ledger.admit_now(ask_for(make_call(subject="zoe"), 0, limit))
    ledger.admit_now(ask_for(one(), 10))
    assert derived == 10 * counts
    assert ledger.standing(limit).held_nanousd == 20 * counts
    assert verify(path).problem == ""


WIDE = (("subject", "alice"),)
NARROW = (*WIDE, ("issuer", ""), ("issuer", "local"))


@pytest.mark.parametrize("rolling", [False, True], ids=["day", "rolling"])
def test_a_balance_that_an_older_version_scoped_too_widely_is_summed_anew_once_nothing_is_held_under_it(
    ledger: Ledger, path: Path, rolling: bool
) -> None:
    """The same key and fewer conditions: an issuer's alice counted in the share of the alice of this machine."""

    def limit(scope: tuple[tuple[str, str], ...]) -> Limit:
        whole = rolling_limit(1_000) if rolling else day_limit(1_000)
        return replace(whole, bucket=replace(whole.bucket, key="of alice", scope=scope))

    def of(issuer: str) -> Call:
        return replace(make_call(), principal=Principal(subject="alice", issuer=issuer))

    theirs, ours = of("https://okta.example"), of("local")
    ledger.admit_now(ask_for(theirs, 70, limit(WIDE)))
    ledger.admit_now(ask_for(ours, 20, limit(NARROW)))
    assert ledger.standing(limit(WIDE)).held_nanousd == 90, "a hold is released where it was taken"
    ledger.settle_now(settled(theirs, 70))
    ledger.settle_now(settled(ours, 20))
    last = of("local")
    ledger.admit_now(ask_for(last, 5, limit(NARROW)))
    assert (ledger.standing(limit(NARROW)).spent_nanousd, ledger.standing(limit(NARROW)).held_nanousd) == (20, 5)
    other = of("https://okta.example")
    ledger.admit_now(ask_for(other, 300))
    ledger.settle_now(settled(other, 300))
    ledger.settle_now(settled(last, 5))
    assert ledger.admit_now(ask_for(of("local"), 1, limit(WIDE))).chosen == 0, "an older version that still runs changes nothing"
    assert ledger.standing(limit(NARROW)).spent_nanousd == 25
    assert verify(path).problem == ""


def test_what_is_left_of_a_day_is_carried_into_the_next_one_once(ledger: Ledger, clock: FakeClock) -> None:
    def today(day: int) -> Limit:
        base = day_limit(100, NOW + day * DAY)
        return replace(base, carries_from=base.bucket.start_at - DAY, carries_most=60)

    def spend(day: int, cost: int) -> int | None:
        clock.now = NOW + day * DAY
        call = make_call(clock.now)
        chosen = ledger.admit_now(ask_for(call, cost, today(day))).chosen
        if chosen is not None:
            ledger.settle_now(settled(call, cost))
        return chosen

    assert spend(0, 101) is None, "the first day has its own amount: nothing was left of a day that nobody counted"
    assert spend(0, 70) == 0
    assert ledger.standing(today(0)).amount_nanousd == 100
    assert spend(1, 131) is None
    assert spend(1, 130) == 0
    assert (ledger.standing(today(1)).amount_nanousd, ledger.standing(today(1)).carried) == (130, 30)
    assert spend(2, 1) == 0
    assert ledger.standing(today(2)).carried == 0, "what was carried over is not carried again"
    clock.now = NOW + 3 * DAY
    assert ledger.standing(today(3)).carried == 60, "and never more than the most"


# -- holds near the end ----------------------------------------------------------------------------------------------


def near(call: Call, limit: Limit, *, worst: int = 100, usual: int = 20, shrink: Shrink | None = None) -> Admission:
    candidates = [
        Candidate(model=call.model, hold_nanousd=worst, limits=(limit,), headroom=4),
        Candidate(model=call.model, hold_nanousd=usual, limits=(limit,), clamp_output_tokens=usual * 10),
    ]
    if shrink is not None:
        candidates.append(
            Candidate(model=call.model, hold_nanousd=usual, limits=(limit,), shrink=shrink, clamp_output_tokens=usual * 10)
        )
    return Admission(call=call, candidates=tuple(candidates), enforce=True, at=call.started_at)


def test_honest_calls_are_not_refused_for_holds_and_no_burst_overspends(ledger: Ledger) -> None:
    """$0.14 of $2,000: a hundred agents with huge caps hold the budget full while almost nothing is spent."""
    limit, admitted, refused = day_limit(2_000), [], 0
    for _ in range(80):
        call = make_call()
        answer = ledger.admit_now(near(call, limit))
        if answer.chosen is None:
            refused += 1
        else:
            admitted.append((call, answer))
    worst = [answer for _, answer in admitted if answer.chosen == 0]
    usual = [answer for _, answer in admitted if answer.chosen == 1]
    assert (len(worst), len(usual), refused) == (17, 15, 48)
    assert {answer.verdict for answer in worst} == {Verdict.ALLOW}
    assert {(answer.verdict, answer.clamp_output_tokens) for answer in usual} == {(Verdict.REWRITE, 200)}
    for call, answer in admitted:
        ledger.settle_now(settled(call, answer.hold_nanousd))
    assert ledger.standing(limit).spent_nanousd == 2_000


def test_the_last_of_a_budget_is_given_as_a_shorter_answer(ledger: Ledger) -> None:
    limit = day_limit(32)
    shrink = Shrink(least_tokens=50, least_nanousd=6, most_tokens=200)
    first = ledger.admit_now(near(make_call(), limit, shrink=shrink))
    second = ledger.admit_now(near(make_call(), limit, shrink=shrink))
    third = ledger.admit_now(near(make_call(), limit, shrink=shrink))
    assert (first.chosen, first.hold_nanousd) == (1, 20)
    assert (second.chosen, second.clamp_output_tokens) == (2, 114)
    assert 6 <= second.hold_nanousd <= 12
    assert third.chosen is None
    assert ledger.standing(limit).held_nanousd <= 32


def test_a_soft_budget_warns_and_never_blocks_nor_counts_as_would_block(ledger: Ledger) -> None:
    soft = replace(day_limit(10), is_soft=True, enforced=False, warn_at=(75, 100))
    answer = ledger.admit_now(ask_for(make_call(), 50, soft))
    assert (answer.verdict, answer.would) == (Verdict.ALLOW, Verdict.ALLOW)
    assert [(one.standing.budget, one.percent) for one in answer.warned] == [("daily", 100)]


def test_a_threshold_is_told_once_it_is_reached_with_the_figures_after_the_hold(ledger: Ledger) -> None:
    limit = replace(day_limit(100), warn_at=(75, 90))
    assert ledger.admit_now(ask_for(make_call(), 74, limit)).warned == ()
    assert [one.percent for one in ledger.admit_now(ask_for(make_call(), 1, limit)).warned] == [75]
    last = ledger.admit_now(ask_for(make_call(), 25, limit)).warned
    assert [(one.percent, one.standing.held_nanousd, one.standing.used_percent) for one in last] == [(90, 100, 100)]


def test_what_was_done_to_a_call_stands_in_its_entries(ledger: Ledger, path: Path) -> None:
    call = make_call()
    target = Target(model="m", provider="bedrock", key="env:KEY")
    ledger.admit_now(
        ask(
            call,
            5,
            day_limit(100),
            target=target,
            clamp_output_tokens=900,
            effort="low",
            rule="route.r",
            reason="it is sent to m",
        )
    )
    ledger.settle_now(settled(call, 5))
    found = rows(path, "SELECT DISTINCT verdict, rule, policy, actions FROM entry WHERE kind = 'hold'")
    assert found == [("rewrite", "route.r", "abc", '{"max_output_tokens":900,"effort":"low","provider":"bedrock"}')]
    assert rows(path, "SELECT policy, actions FROM entry WHERE kind = 'settle'") == [(found[0][2], found[0][3])]
    assert "KEY" not in str(rows(path, "SELECT * FROM entry"))


# -- grants ----------------------------------------------------------------------------------------------------------


def grant(amount: int = 50, whose: str = "*", *, budget: str = "daily", hours: int = 2, at: int = NOW) -> Grant:
    return Grant(
        id=make_call(at).id, budget=budget, whose=whose, unit=Unit.USD, amount=amount, from_at=at, until_at=at + hours * HOUR,
        why="release night", granted_by="root",
    )  # fmt: skip


def test_a_grant_raises_a_budget_from_the_next_call_on_and_ends_by_itself(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    limit = day_limit(100)
    assert ledger.admit_now(ask_for(make_call(), 120, limit)).chosen is None
    ledger.do(lambda journal: give(grant(), journal))
    answer = ledger.admit_now(ask_for(make_call(), 120, limit))
    assert answer.chosen == 0
    assert (ledger.standing(limit).amount_nanousd, ledger.standing(limit).granted) == (150, 50)
    clock.now = NOW + 2 * HOUR
    refused = ledger.admit_now(ask_for(make_call(clock.now), 1, limit))
    assert (refused.chosen, refused.blockers[0].amount_nanousd) == (None, 100)
    assert verify(path).problem == ""


def test_a_grant_is_for_whom_it_says(ledger: Ledger) -> None:
    ledger.do(lambda journal: give(grant(whose="alice"), journal))
    hers, his = replace(day_limit(10), whose="alice"), replace(day_limit(10), whose="bob")
    other = replace(hers, budget="weekly")
    assert [ledger.standing(limit).granted for limit in (hers, his, other)] == [50, 0, 0]


def test_a_grant_reaches_a_proxy_that_is_running_in_another_process(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    limit = day_limit(100)
    assert ledger.admit_now(ask_for(make_call(), 120, limit)).chosen is None
    other = Ledger.open(path, clock)
    other.do(lambda journal: give(grant(), journal))
    other.close_now()
    assert ledger.admit_now(ask_for(make_call(), 120, limit)).chosen == 0


def test_a_grant_is_audited_and_can_be_taken_back_by_the_end_of_its_id(ledger: Ledger, clock: FakeClock, path: Path) -> None:
    given = ledger.do(lambda journal: give(grant(), journal))
    assert [one.why for one in read_grants(path, NOW)] == ["release night"]
    clock.now = NOW + SECOND
    ledger.do(lambda journal: take_back(given.id[-6:].lower(), "eve", journal))
    assert read_grants(path, NOW + SECOND) == ()
    assert ledger.standing(day_limit(100)).granted == 0
    found = rows(path, "SELECT kind, revision, subject, issuer, budget, reason, exposure_nanousd FROM entry ORDER BY seq")
    assert found == [
        ("adjust", 1, "*", "root", "daily", "release night", 0),
        ("adjust", 2, "*", "eve", "daily", "release night", 0),
    ]
    assert verify(path).problem == ""
    with pytest.raises(LedgerError, match="no grant that holds"):
        ledger.do(lambda journal: take_back("nope", "eve", journal))


@pytest.mark.parametrize(
    "statement", ["UPDATE granted SET amount = 5000", "UPDATE granted SET until_at = until_at + 1", "DELETE FROM granted"]
)
def test_a_grant_that_was_changed_behind_the_ledger_s_back_is_found(path: Path, clock: FakeClock, statement: str) -> None:
    ledger = Ledger.open(path, clock)
    ledger.do(lambda journal: give(grant(), journal))
    ledger.close_now()
    change(path, statement)
    assert "is not what its entries say" in verify(path).problem


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_question_holds_nothing_and_is_answered_as_the_road_would(ledger: Ledger, path: Path) -> None:
    limit = day_limit(100)
    held = make_call()
    ledger.admit_now(ask_for(held, 60, limit))
    for hold in (40, 41):
        asked = ask_for(make_call(), hold, limit, rolling_limit(1_000))
        told, done = would_admit(path, asked), ledger.admit_now(asked)
        assert (told.chosen, told.blockers) == (done.chosen, done.blockers)
        if done.chosen is not None:
            ledger.settle_now(nothing_billed(asked.call))
    assert standings(path, [limit], NOW) == [ledger.standing(limit)]


STARVED = 5


def _burst(path: str, count: int, together: "Barrier", turns: Turns, results: "multiprocessing.Queue[int]") -> None:
    ledger = Ledger.open(Path(path), FakeClock())
    together.wait(300)
    limit, admitted = day_limit(1_000), 0
    for _ in range(count):
        call = make_call()
        answer = ledger.admit_now(near(call, limit, worst=90, usual=10))
        if answer.chosen is not None:
            admitted += 1
            ledger.settle_now(settled(call, min(answer.hold_nanousd, 7)))
            if admitted == STARVED + 1:
                turns.had(ledger)
    ledger.close_now()
    results.put(admitted)


def test_four_processes_on_one_file_never_pass_an_amount_and_use_it_up(path: Path, clock: FakeClock) -> None:
    Ledger.open(path, clock).close_now()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    together, turns = context.Barrier(4), Turns(context, 4)
    workers = [context.Process(target=_burst, args=(str(path), 60, together, turns, results), daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    admitted = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    spent = standings(path, [day_limit(1_000)], NOW)[0]
    assert spent.spent_nanousd == sum(admitted) * 7
    assert 950 <= spent.spent_nanousd <= 1_000
    assert min(admitted) > STARVED, "nobody starved"
    assert verify(path).problem == ""
