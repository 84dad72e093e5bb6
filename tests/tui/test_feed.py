"""The feed reads everything once and then only what is new; its numbers are those of a report at every moment."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger.samples import ODD, FakeClock, ask_for, change, day_limit, make_call, nothing_billed, settled
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.rows import Group
from tollkeeper.report.fold import KEYS, fold
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.snapshot import DIMENSIONS, PERIODS
from tollkeeper.tui.views import saved_line
from tui.samples import NOW, ZONE, moment, refuse, spend

USD = 10**9


def same_as_a_report(feed: Feed) -> None:
    shown = feed.shown
    found = report(feed.path, by=shown.by, since=shown.since, zone=ZONE)
    assert shown.total == found.total
    assert shown.groups == found.groups


def test_the_first_snapshot_has_calls_budgets_and_what_is_in_flight(feed: Feed) -> None:
    shown = feed.first()
    assert not shown.fault
    assert shown.calls[0].seq > shown.calls[-1].seq
    assert [call.hold_nanousd for call in shown.open_calls] == [200_000_000] * len(shown.open_calls) != []
    assert {line.budget.name for line in shown.budgets} == {"company", "person", "research"}
    assert all(line.standing is not None for line in shown.budgets if not line.who)
    same_as_a_report(feed)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_period_and_dimension_shows_the_numbers_of_a_report(seeded: Path, period: str, dimension: str) -> None:
    feed = Feed(seeded / "ledger.db", zone=ZONE, clock=lambda: NOW)
    feed.choose(period=period, dimension=dimension)
    same_as_a_report(feed)
    feed.close()


def test_a_long_period_has_its_sums_before_the_whole_report_is_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollkeeper.tui.feed.DIRECT_ENTRIES", 5)
    feed = Feed(home / "ledger.db", zone=ZONE, clock=lambda: NOW)
    shown = feed.first()
    assert (shown.total, shown.groups, shown.spend) == (None, None, None)
    spend(feed.path, USD)
    polled = feed.poll()
    assert polled is not None
    assert polled.total is None
    assert polled.calls[0].cost_nanousd == USD
    assert feed.sums().spend is not None
    same_as_a_report(feed)
    feed.load()
    same_as_a_report(feed)


def test_new_calls_are_added_to_what_is_known(feed: Feed, home: Path) -> None:
    feed.load()
    before = feed.shown
    assert not feed.has_news()
    calls = spend(feed.path, 5 * USD, 7 * USD)
    assert feed.has_news()
    shown = feed.poll()
    assert shown is not None
    assert before.total is not None
    assert shown.total is not None
    assert shown.total.calls == before.total.calls + 2
    assert [row.call_id for row in shown.calls[:2]] == [call.id for call in reversed(calls)]
    assert shown.burn_nanousd_h == (before.burn_nanousd_h or 0) + 12 * USD
    same_as_a_report(feed)
    assert not feed.has_news()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 10**10), st.booleans(), st.sampled_from(["gpt-5", "new", "gpt-5-mini"])), max_size=4))
def test_caught_up_is_the_same_as_read_anew(feed: Feed, costs: list[tuple[int, bool, str]]) -> None:
    feed.load()
    for cost, known, model in costs:
        spend(feed.path, cost, known=known, model=model)
    feed.poll()
    same_as_a_report(feed)
    again = Feed(feed.path, zone=ZONE, clock=lambda: NOW).load()
    assert replace(feed.shown, policy=again.policy, budgets=()) == replace(again, budgets=())
    assert [line.standing for line in feed.shown.budgets] == [line.standing for line in again.budgets]


NAMES = st.sampled_from(["", "main", "b c", "b"])
WHERE = st.fixed_dictionaries(
    dict.fromkeys(("project", "branch", "client", "session", "client_session", "agent", "parent_agent"), NAMES)
)
KINDS = ("refused", "unmetered", "failed", "deferred", "rewritten", "observed", "cut", *UsageSource)
EVENT = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 10**9),
    st.booleans(),
    WHERE,
    st.sampled_from([(), (("branch", "of a label"),), (("other", "x"),)]),
    st.frozensets(st.sampled_from(["web", "ops"]), max_size=2),
    st.sampled_from(["", "claude"]),
)


def write(ledger: Ledger, event: tuple[Any, ...]) -> None:
    """One call of a kind; a refusal is asked for so often that those after the tenth stand in one entry."""
    kind, cost, known, where, tags, groups, plan = event
    call = make_call(NOW, endpoint=ODD if kind == "unmetered" else make_call().endpoint, **where)
    call = replace(
        call, attribution=replace(call.attribution, tags=tags), principal=Principal(subject="ada", groups=groups), plan=plan
    )
    if kind == "refused":
        for number in range(25):
            ledger.admit_now(ask_for(replace(call, id=f"{call.id[:-2]}{number:02}"), 10**9, day_limit(1, NOW)))
        return
    ledger.admit_now(
        ask_for(call, max(1, cost), day_limit(1, NOW), enforce=False) if kind == "observed" else ask_for(call, cost + 1)
    )
    if kind == "unmetered":
        ledger.settle_now(Settlement(call=call, reading=Reading(source=UsageSource.UNMETERED)))
    elif kind == "failed":
        ledger.settle_now(nothing_billed(call))
    elif kind == "rewritten":
        moved = Decision(verdict=Verdict.REWRITE, would=Verdict.REWRITE, model="gpt-5-mini")
        ledger.settle_now(settled(call, cost, known=known, decision=moved))
    elif kind in set(UsageSource):
        ledger.settle_now(settled(call, cost, known=known, source=UsageSource(kind)))
    else:
        ledger.settle_now(settled(call, cost, known=known, outcome=Outcome.CUT if kind == "cut" else Outcome.OK))


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))  # smaller examples would take minutes
@given(st.lists(EVENT, min_size=1, max_size=6), st.lists(EVENT, min_size=1, max_size=6))
def test_whatever_comes_in_is_counted_live_as_a_report_counts_it_in_every_dimension(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        feeds: list[Feed] = []
        for number, events in enumerate((before, after)):
            ledger = Ledger.open(path, FakeClock(NOW))
            for event in events:
                write(ledger, event)
            ledger.close_now()
            if not number:
                feeds = [Feed(path, zone=ZONE, clock=lambda: NOW) for _ in DIMENSIONS]
                for feed, dimension in zip(feeds, DIMENSIONS, strict=True):
                    feed.first()
                    feed.choose(dimension=dimension)
        for feed, dimension in zip(feeds, DIMENSIONS, strict=True):
            shown = feed.poll()
            assert shown is not None
            assert shown.dimension == dimension
            same_as_a_report(feed)
            feed.close()


def test_a_call_of_another_day_is_in_the_feed_and_not_in_the_total_of_today(feed: Feed) -> None:
    feed.load()
    spend(feed.path, USD, at=moment("2026-11-19T10:00+00:00"))
    feed.poll()
    same_as_a_report(feed)
    assert feed.shown.calls[0].exposure_nanousd == USD


def test_midnight_begins_a_new_today(home: Path) -> None:
    now = [NOW]
    feed = Feed(home / "ledger.db", zone=ZONE, clock=lambda: now[0])
    feed.load()
    now[0] = moment("2026-11-21T00:00:01+01:00")
    assert feed.has_news()
    shown = feed.poll()
    assert shown is not None
    assert shown.total is not None
    assert shown.total.calls == 0
    assert not [line for line in shown.budgets if line.budget.name == "person"]


def test_a_correction_makes_everything_be_read_anew(feed: Feed) -> None:
    feed.load()
    (call,) = spend(feed.path, USD, known=False)
    feed.poll()
    assert feed.shown.unpriced
    copied = "revision, 'adjust', call_id"
    columns = "revision, kind, call_id"
    rest = (
        "at, counted_at, started_at, subject, issuer, channel, assurance, groups, project, client, session, agent, provider, host,"
        " operation, unmetered, model_requested, streamed, model, model_billed, verdict, would, rule, budget, reason, status, outcome,"
        " usage_source, cost_source, hold_nanousd, list_cost_nanousd, cost_nanousd, exposure_nanousd, provider_cost_nanousd,"
        " response_id, terms, usage, flags, error, duration_ms, first_byte_ms, buckets, openings, prev, hash"
    )
    values = rest.replace("list_cost_nanousd, cost_nanousd, exposure_nanousd", "5, 5, 0")
    change(
        feed.path,
        f"INSERT INTO entry ({columns}, {rest}) SELECT {copied}, {values} FROM entry WHERE call_id = '{call.id}' AND kind = 'settle'",
    )
    feed.poll()
    same_as_a_report(feed)
    assert feed.shown.total is not None
    assert next(row for row in feed.shown.calls if row.call_id == call.id).cost_nanousd == 5


def test_refusals_come_with_what_they_did_not_spend(feed: Feed) -> None:
    feed.load()
    feed.decide()
    refuse(feed.path)
    shown = feed.poll()
    assert shown is not None
    assert shown.decided is not None
    assert shown.decided[0].kind == "refuse"
    assert shown.decided[0].hold_nanousd == USD


def test_refusals_that_stand_in_one_entry_are_all_counted_live(feed: Feed) -> None:
    feed.load()
    before = feed.shown.total
    assert before is not None
    ledger = Ledger.open(feed.path, FakeClock(NOW))
    for _ in range(101):
        ledger.admit_now(ask_for(make_call(NOW), 10**9, day_limit(1, NOW)))
    ledger.close_now()
    shown = feed.poll()
    assert shown is not None
    assert shown.total is not None
    assert (shown.total.calls - before.calls, shown.total.refused - before.refused) == (101, 101)
    assert saved_line(feed.decide()).split(": ")[1].startswith(f"{shown.total.refused} refused, ≤ $")


def test_without_a_ledger_there_is_nothing_yet_and_it_appears_when_it_is_made(tmp_path: Path) -> None:
    """Nothing, not "not known yet": nobody reads a ledger that is not there, so a screen would wait for ever."""
    feed = Feed(tmp_path / "ledger.db", zone=ZONE, clock=lambda: NOW)
    for shown in (feed.first(), feed.load(), feed.choose(period="7d"), feed.choose(period="today")):
        assert (shown.calls, shown.total, shown.groups, shown.burn_nanousd_h, shown.fault) == ((), Group(), (), 0, "")
    assert feed.poll() is None
    spend(feed.path, USD)
    assert feed.has_news()
    feed.poll()
    same_as_a_report(feed)
    feed.poll()
    assert feed.shown.total is not None
    assert feed.shown.total.cost_nanousd == USD


def test_a_file_that_is_no_ledger_is_a_line_on_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("not a database, but long enough to look at" * 100)
    assert "ledger.db" in Feed(path, clock=lambda: NOW).first().fault


def test_a_broken_policy_is_a_line_on_the_screen(feed: Feed, home: Path) -> None:
    (home / "policy.toml").write_text("mode = 7")
    assert "policy.toml:1" in feed.first().fault


def test_the_policy_of_a_running_proxy_is_the_one_shown(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('mode = "enforce"\n[budget.mine]\namount = "1 USD"\nwindow = "day"\nshare = "pool"\n')
    feed = Feed(home / "ledger.db", zone=ZONE, clock=lambda: NOW, ask_proxies=lambda: ({"policy": str(other)},))
    feed.load()
    assert feed.shown.policy.name == "policy.toml"
    shown = feed.ask()
    assert shown.policy.name == "other.toml"
    assert [line.budget.name for line in shown.budgets] == ["mine"]


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        Feed(Path("x"), zone="Mars/Olympus")


def test_nothing_is_ever_written_to_the_ledger(feed: Feed) -> None:
    def entries() -> tuple[int, bytes]:
        return feed.path.stat().st_size, feed.path.read_bytes()

    before = entries()
    for step in (feed.first, feed.load, feed.poll, feed.decide, feed.ask):
        step()
    feed.choose(period="all", dimension="agents")
    feed.close()
    assert entries() == before


def test_the_fold_of_all_calls_is_the_report_of_all_calls(feed: Feed) -> None:
    feed.choose(period="all")
    calls = feed.shown.calls
    assert feed.shown.total is not None
    assert len(calls) == feed.shown.total.calls
    for name in KEYS:
        assert fold((), calls, (name,)) == report(feed.path, by=(name,)).groups, name
