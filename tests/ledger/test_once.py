"""Billed once: what a provider states again, what is only submitted, and what its results release."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ledger.samples import CHAT, DAY, NOW, USD, FakeClock, ask_for, bill_of, change, day_limit, make_call, rows, settled
from tollkeeper.core.admission import Admission
from tollkeeper.core.call import Ask, Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.usage import PlanWindow, Reading, Usage, UsageSource
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.once import read_upload
from tollkeeper.ledger.queries import report, tail
from tollkeeper.ledger.verify import verify
from tollkeeper.report.notes import notes

RETRIEVE = replace(CHAT, operation="retrieve", path="/v1/responses/resp_1")


def again(call: Call, response_id: str | None, cost: int = 5 * USD, **changes: Any) -> Settlement:
    """A call whose answer states what ``response_id`` used."""
    found = settled(call, cost)
    return replace(found, reading=replace(found.reading, response_id=response_id, is_repeatable=True, **changes))


def batch(call: Call, ids: Iterable[str], cost: int = USD, **changes: Any) -> Settlement:
    """Results of a batch: one line each."""
    one = bill_of(cost).lines[0]
    lines = tuple(replace(one, usage=replace(one.usage, response_id=name, custom_id=f"c-{name}")) for name in ids)
    reading = Reading(
        source=UsageSource.REPORTED,
        calls=tuple(line.usage for line in lines),
        is_repeatable=True,
        response_id="file-out",
        **changes,
    )
    return Settlement(call=call, reading=reading, bill=Bill(lines=lines), status=200, ended_at=call.started_at)


def submitted(call: Call, response_id: str | None) -> Settlement:
    """A submission: nothing is known of its cost yet."""
    return Settlement(call=call, reading=Reading(source=UsageSource.DEFERRED, response_id=response_id), status=200)


def held(ledger: Ledger, amount: int, limit_amount: int = 100 * USD, **about: Any) -> Call:
    call = make_call(**about)
    admission: Admission = ask_for(call, amount, day_limit(limit_amount))
    assert ledger.admit_now(admission).chosen == 0
    return call


def spent(ledger: Ledger) -> int:
    return ledger.standing(day_limit(100 * USD)).spent_nanousd


# -- read again --------------------------------------------------------------------------------------------------------


def test_the_second_reading_of_a_response_costs_nothing_and_says_so(ledger: Ledger, path: Path) -> None:
    assert ledger.settle_now(again(make_call(endpoint=RETRIEVE), "resp_1"))
    assert ledger.settle_now(again(make_call(endpoint=RETRIEVE), "resp_1"))
    assert rows(path, "SELECT kind, cost_nanousd, exposure_nanousd, flags, response_id FROM entry ORDER BY seq") == [
        ("settle", 5 * USD, 5 * USD, '["no-hold"]', "resp_1"),
        ("void", 0, 0, '["repeat","no-hold"]', "resp_1"),
    ]
    assert report(path).total.cost_nanousd == 5 * USD
    assert verify(path).is_sound


def test_it_is_remembered_across_restarts(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    ledger.settle_now(again(make_call(), "resp_1"))
    ledger.close_now()
    reopened = Ledger.open(path, clock)
    reopened.settle_now(again(make_call(), "resp_1"))
    reopened.close_now()
    assert rows(path, "SELECT sum(cost_nanousd), count(*) FROM entry") == [(5 * USD, 2)]


def test_two_processes_that_read_the_same_response_bill_it_once(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    other = Ledger.open(path, clock)

    async def both() -> None:
        await asyncio.gather(
            *(one.settle(again(make_call(), f"resp_{number}")) for number in range(40) for one in (ledger, other))
        )

    asyncio.run(both())
    other.close_now()
    assert rows(path, "SELECT sum(cost_nanousd), count(*) FROM entry WHERE kind = 'settle'") == [(40 * 5 * USD, 40)]
    assert verify(path).is_sound


def test_the_same_id_at_another_provider_is_another_call(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(again(make_call(), "resp_1"))
    ledger.settle_now(again(make_call(endpoint=replace(RETRIEVE, provider="azure")), "resp_1"))
    assert report(path).total.cost_nanousd == 10 * USD


def test_an_answer_without_an_id_is_billed(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(again(make_call(), None))
    ledger.settle_now(again(make_call(), None))
    assert report(path).total.cost_nanousd == 10 * USD


def test_ordinary_calls_leave_no_trace_among_the_ids(ledger: Ledger, path: Path) -> None:
    found = settled(make_call(), USD)
    ledger.settle_now(replace(found, reading=replace(found.reading, response_id="chatcmpl-1")))
    assert rows(path, "SELECT count(*) FROM billed") == [(0,)]


def test_a_repeat_releases_its_own_hold(ledger: Ledger) -> None:
    ledger.settle_now(again(held(ledger, 9 * USD), "resp_1"))
    ledger.settle_now(again(held(ledger, 9 * USD), "resp_1"))
    standing = ledger.standing(day_limit(100 * USD))
    assert (standing.spent_nanousd, standing.held_nanousd) == (5 * USD, 0)


def test_billed_ids_can_be_neither_changed_nor_removed(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(again(make_call(), "resp_1"))
    for statement in ("DELETE FROM billed", "UPDATE billed SET response_id = 'x'"):
        with pytest.raises(Exception, match="only grows"):
            ledger.do(lambda journal, statement=statement: journal.connection.execute(statement))


# -- batches -----------------------------------------------------------------------------------------------------------


def test_each_line_of_a_batch_is_billed_once_under_its_own_id(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(batch(make_call(), ["a", "b"]))
    ledger.settle_now(batch(make_call(), ["a", "b"]))
    assert rows(path, "SELECT response_id, custom_id FROM line") == [("a", "c-a"), ("b", "c-b")]
    assert report(path).total.cost_nanousd == 2 * USD


def test_after_a_reading_that_broke_off_only_the_rest_is_billed(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(batch(make_call(), ["a", "b"]))
    ledger.settle_now(batch(make_call(), ["a", "b", "c"]))
    assert rows(path, "SELECT cost_nanousd, flags FROM entry ORDER BY seq") == [
        (2 * USD, '["no-hold"]'),
        (USD, '["partly-repeat","no-hold"]'),
    ]
    assert verify(path).is_sound


def test_a_line_twice_in_one_file_is_two_calls(ledger: Ledger, path: Path) -> None:
    """Calls that one answer bills together (Anthropic iterations) share its id: they are billed together."""
    ledger.settle_now(batch(make_call(), ["a", "a"]))
    assert report(path).total.cost_nanousd == 2 * USD


def test_a_submission_counts_at_its_estimate_until_its_results_are_read(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(submitted(held(ledger, 30 * USD), "batch_1"))
    assert spent(ledger) == 30 * USD
    open_total = report(path).total
    assert (open_total.deferred_calls, open_total.deferred_exposure_nanousd, open_total.unpriced_calls) == (1, 30 * USD, 0)
    assert any("only submitted" in line and "$30.00" in line for line in notes(report(path)))
    ledger.settle_now(batch(make_call(), ["a", "b"], 4 * USD, results_of=("batch_1",)))
    assert spent(ledger) == 8 * USD
    total = report(path).total
    assert (total.deferred_calls, total.cost_nanousd, total.exposure_nanousd) == (0, 8 * USD, 8 * USD)
    assert rows(path, "SELECT kind, exposure_nanousd, cost_nanousd, flags FROM entry WHERE kind = 'adjust'") == [
        ("adjust", -30 * USD, 0, '["results-read"]')
    ]
    assert rows(path, "SELECT count(*) FROM deferred") == [(0,)]
    assert verify(path).is_sound


def test_submissions_that_do_not_fit_together_are_refused_before_any_is_billed(ledger: Ledger) -> None:
    ledger.settle_now(submitted(held(ledger, 60 * USD), "batch_1"))
    assert ledger.admit_now(ask_for(make_call(), 60 * USD, day_limit(100 * USD))).chosen is None


def test_results_in_a_file_find_their_batch_by_what_the_batch_said(ledger: Ledger) -> None:
    ledger.settle_now(submitted(held(ledger, 30 * USD), "batch_1"))
    look = Reading(source=UsageSource.NONE, response_id="batch_1", links=MappingProxyType({"file-out": "batch_1"}))
    for _ in range(3):
        ledger.settle_now(Settlement(call=make_call(endpoint=RETRIEVE), reading=look, status=200))
    ledger.settle_now(batch(make_call(), ["a"], results_of=("file-out",)))
    ledger.settle_now(batch(make_call(), ["a"], results_of=("file-out",)))
    assert spent(ledger) == USD


def test_a_batch_that_ended_without_an_answer_releases_its_estimate(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(submitted(held(ledger, 30 * USD), "batch_1"))
    failed = Reading(source=UsageSource.NONE, response_id="batch_1", results_of=("batch_1",))
    ledger.settle_now(Settlement(call=make_call(endpoint=RETRIEVE), reading=failed, status=200))
    assert spent(ledger) == 0
    assert report(path).total.deferred_calls == 0
    assert verify(path).is_sound


def test_a_run_that_was_asked_for_twice_releases_both_estimates(ledger: Ledger) -> None:
    for _ in range(2):  # the run, and the outputs of its tools
        ledger.settle_now(submitted(held(ledger, 10 * USD), "run_1"))
    ledger.settle_now(again(make_call(), "run_1", 3 * USD, results_of=("run_1",)))
    assert spent(ledger) == 3 * USD


def test_the_estimate_is_released_in_the_day_it_counted_in(ledger: Ledger, clock: FakeClock) -> None:
    ledger.settle_now(submitted(held(ledger, 30 * USD), "batch_1"))
    clock.now = NOW + DAY
    ledger.settle_now(batch(make_call(clock.now), ["a"], results_of=("batch_1",)))
    assert spent(ledger) == 0
    assert ledger.standing(day_limit(100 * USD, clock.now)).spent_nanousd == USD


def test_a_budget_asked_for_only_later_counts_the_same(ledger: Ledger) -> None:
    ledger.settle_now(submitted(held(ledger, 30 * USD), "batch_1"))
    ledger.settle_now(batch(make_call(), ["a"], results_of=("batch_1",)))
    by_model = day_limit(100 * USD, scope=(("model", "gpt-5*"),))
    assert ledger.standing(by_model).spent_nanousd == USD
    ledger.admit_now(ask_for(make_call(), 1, by_model))
    assert ledger.standing(by_model).spent_nanousd == USD


def test_what_an_uploaded_file_asks_is_there_when_a_batch_is_made_of_it(ledger: Ledger, path: Path) -> None:
    parts = (
        Ask(model="gpt-5", requests=3, input_bytes=10, max_output_tokens=50, service_tier="batch"),
        Ask(model="m", operation="embeddings"),
    )
    upload = replace(make_call(), ask=Ask(parts=parts), endpoint=replace(CHAT, operation="upload"))
    ledger.admit_now(ask_for(upload, USD, day_limit(100 * USD)))
    ledger.settle_now(Settlement(call=upload, reading=Reading(source=UsageSource.NONE, response_id="file-1"), status=200))
    assert read_upload(path, "openai", "file-1") == parts
    assert read_upload(path, "openai", "file-2") == read_upload(path, "azure", "file-1") == ()
    assert (ledger.standing(day_limit(100 * USD)).held_nanousd, spent(ledger)) == (0, 0)


def test_fifty_thousand_lines_settle_in_one_go(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(batch(make_call(), [f"req_{number}" for number in range(50_000)], 1000))
    ledger.settle_now(batch(make_call(), [f"req_{number}" for number in range(50_000)], 1000))
    assert rows(path, "SELECT count(*) FROM line") == [(50_000,)]
    assert report(path).total.cost_nanousd == 50_000_000


# -- what else an answer says ------------------------------------------------------------------------------------------


def test_plan_windows_are_kept_at_their_newest_and_shown(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    def told(*windows: PlanWindow) -> None:
        call = replace(make_call(clock.now), plan="claude")
        ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.NONE, plan_windows=windows), status=200))

    told(PlanWindow(name="5h", used_ppm=230_000, resets_at=NOW + 60_000_000), PlanWindow(name="7d", used_ppm=10_000))
    clock.now += 1_000_000
    told(PlanWindow(name="5h", used_ppm=240_000, resets_after_s=50))
    found = {window.name: window for window in report(path).plan_windows}
    assert (found["5h"].used_ppm, found["5h"].resets_at, found["5h"].at) == (240_000, clock.now + 50_000_000, clock.now)
    assert (found["7d"].used_ppm, found["7d"].plan, found["7d"].subject) == (10_000, "claude", "alice")
    assert verify(path).is_sound


def test_a_plans_call_shows_its_list_price_and_owes_nothing(ledger: Ledger, path: Path) -> None:
    call = replace(make_call(), plan="claude")
    found = settled(call, 7 * USD)
    line = replace(found.bill.lines[0], cost_nanousd=0, exposure_nanousd=0, flags=("notional",))
    ledger.settle_now(replace(found, bill=Bill(lines=(line,))))
    total = report(path, by=("plan",)).groups[0]
    assert (total.keys, total.list_cost_nanousd, total.cost_nanousd, total.exposure_nanousd, total.plan_calls) == (
        ("claude",),
        7 * USD,
        0,
        0,
        1,
    )


def test_a_providers_refusal_is_a_column(ledger: Ledger, path: Path) -> None:
    found = settled(make_call(), USD)
    ledger.settle_now(replace(found, reading=replace(found.reading, refusal="content_filter")))
    ledger.settle_now(replace(settled(make_call(), USD), outcome=Outcome.ERROR))
    groups = report(path, by=("refusal",)).groups
    assert [(group.keys, group.declined, group.cost_nanousd) for group in groups] == [
        (("",), 0, USD),
        (("content_filter",), 1, USD),
    ]


def test_claims_are_columns_that_reports_divide_by(ledger: Ledger, path: Path) -> None:
    call = make_call(client_session="conv-1", agent="a1", parent_agent="a0", agent_class="review", end_user="u1", account="acct")
    call = replace(call, attribution=replace(call.attribution, tags=(("team", "brand"),)))
    ledger.settle_now(settled(call, USD))
    for by, value in {
        "session": "conv-1", "conversation": "conv-1", "agent": "a1", "parent-agent": "a0", "agent-class": "review", "user": "u1",
        "account": "acct", "tags": '{"team":"brand"}', "plan": "",
    }.items():  # fmt: skip
        assert report(path, by=(by,)).groups[0].keys == (value,), by
    row = tail(path)[0]
    assert (row.client_session, row.agent_class, row.refusal) == ("conv-1", "review", "")


def test_a_claimed_session_never_hides_the_sidecars_own(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(settled(make_call(session="run-1", client_session="conv-1"), USD))
    assert report(path, by=("session",)).groups[0].keys == ("run-1",)
    assert report(path, session="run-1").total.calls == 1
    assert report(path, session="conv-1").total.calls == 0


def test_who_was_billed_cannot_be_rewritten_behind_the_chain(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(batch(make_call(end_user="u1"), ["a"]))
    ledger.close_now()
    for statement in ("UPDATE entry SET end_user = 'u2'", "UPDATE entry SET format = 1", "UPDATE line SET response_id = 'b'"):
        copy = path.with_name(f"{abs(hash(statement))}.db")
        copy.write_bytes(path.read_bytes())
        change(copy, statement)
        assert "its hash differs" in verify(copy).problem, statement


def test_usage_of_a_line_without_its_own_id_goes_by_the_answers(ledger: Ledger, path: Path) -> None:
    two = (Usage(model="gpt-5", input_tokens=1), Usage(model="gpt-5", output_tokens=1))
    one = bill_of(USD).lines[0]
    reading = Reading(source=UsageSource.REPORTED, calls=two, is_repeatable=True, response_id="resp_1")
    bill = Bill(lines=tuple(replace(one, usage=usage) for usage in two))
    for _ in range(2):
        ledger.settle_now(Settlement(call=make_call(), reading=reading, bill=bill, status=200))
    assert report(path).total.cost_nanousd == 2 * USD


def test_work_that_is_polled_under_its_own_id_releases_its_estimate(ledger: Ledger, path: Path) -> None:
    ledger.settle_now(submitted(held(ledger, 10 * USD), "prediction_1"))
    waiting = Reading(source=UsageSource.NONE, response_id="prediction_1", is_repeatable=True)
    ledger.settle_now(Settlement(call=make_call(endpoint=RETRIEVE), reading=waiting, status=200))
    assert spent(ledger) == 10 * USD
    for _ in range(2):
        ledger.settle_now(again(make_call(), "prediction_1", 3 * USD))
    assert spent(ledger) == 3 * USD
    assert report(path).total.deferred_calls == 0
