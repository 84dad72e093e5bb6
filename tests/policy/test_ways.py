"""How much is held, and what may be written into a request: worst case, estimate, cut, downgrade, route."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import at, call, policy
from tollkeeper.core.admission import Admission, Candidate, Shrink
from tollkeeper.core.call import Ask, Call
from tollkeeper.core.decision import Decision, Target, Verdict
from tollkeeper.policy.candidates import HEADROOM, UNLEARNED_OUTPUT_TOKENS, Pen
from tollkeeper.policy.estimate import ENOUGH, Estimates
from tollkeeper.policy.model import HoldSize
from tollkeeper.policy.plan import plan_with
from tollkeeper.policy.routes import way_of
from tollkeeper.pricing.holds import OVERHEAD_TOKENS

NOW = at("2026-11-22T10:00")
ENFORCE = 'mode = "enforce"\n'
DAY = '[budget.day]\namount = "5 USD"\nwindow = "day"\n'
TOKENS = '[budget.t]\namount = "5M tokens"\nwindow = "day"\n'
PER_TOKEN = {"self-hosted": 0, "claude-opus-5": 25_000, "claude-sonnet-5": 15_000, "claude-haiku-4-5": 5_000, "gpt-5-mini": 2_000}


@dataclass(frozen=True)
class Priced:
    worst_nanousd: int
    known: bool = True


def pen(asked: Call, *, learned: int | None = None, hold: HoldSize = HoldSize.ESTIMATE, rewritable: bool = True) -> Pen:
    """Prices linear in the output: the input costs as much as 1,000 tokens of output."""

    def capped(model: str | None, cap: int) -> Priced:
        bound = min(cap, asked.ask.max_output_tokens or 16_384)
        return Priced((1_000 + bound) * PER_TOKEN.get(model or "", 99_000), model in PER_TOKEN)

    return Pen(
        quote=lambda model: capped(model, 10**9),
        capped=capped,
        expected=lambda _: learned,
        elsewhere=lambda target: Priced(7_000_000 if target.provider != "dear" else 10**12),
        hold=hold,
        rewritable=rewritable,
    )


def chat(model: str = "claude-opus-5", *, cap: int | None = 32_000, fresh: bool = True, effort: str | None = None) -> Call:
    asked = call(model, fresh=fresh)
    return replace(asked, ask=Ask(model=model, max_output_tokens=cap, fresh=fresh, effort=effort))


def ways(text: str, asked: Call, **how: object) -> tuple[Candidate, ...]:
    found = plan_with(policy(ENFORCE + text), asked, pen(asked, **how), NOW)  # type: ignore[arg-type]
    assert isinstance(found, Admission), found
    return found.candidates


def test_the_worst_case_is_held_while_four_fit_and_then_what_such_calls_take() -> None:
    worst, usual = ways(DAY, chat(), learned=2_000)
    assert (worst.hold_nanousd, worst.headroom, worst.clamp_output_tokens) == (33_000 * 25_000, HEADROOM, None)
    assert (usual.hold_nanousd, usual.headroom, usual.clamp_output_tokens) == (3_000 * 25_000, 1, 2_000)


def test_what_nobody_has_seen_yet_is_taken_to_need_four_thousand_tokens() -> None:
    assert ways(DAY, chat())[-1].clamp_output_tokens == UNLEARNED_OUTPUT_TOKENS


@pytest.mark.parametrize(
    ("asked", "how", "why"),
    [
        (chat(cap=500), {}, "the client's own cap is below the estimate"),
        (chat(), {"hold": HoldSize.WORST}, "the policy holds the worst case always"),
        (chat(), {"rewritable": False}, "a signed body cannot be capped"),
        (replace(chat(), endpoint=replace(chat().endpoint, operation="embeddings")), {}, "an embedding has no answer to cap"),
    ],
)
def test_one_way_only_where_an_answer_cannot_or_need_not_be_capped(asked: Call, how: dict[str, object], why: str) -> None:
    assert [(way.headroom, way.clamp_output_tokens) for way in ways(DAY, asked, **how)] == [(1, None)], why


def test_without_a_budget_that_acts_on_what_an_answer_takes_nothing_is_capped() -> None:
    assert len(ways(DAY + 'mode = "observe"', chat())) == 1
    assert len(ways(TOKENS + 'mode = "observe"', chat())) == 1
    assert len(ways('[budget.r]\namount = "5 requests"\nwindow = "day"\n', chat())) == 1


@pytest.mark.parametrize("model", ["claude-opus-5", "self-hosted"], ids=["with a price", "for nothing"])
def test_tokens_are_held_as_dollars_are_the_worst_case_while_four_fit_and_then_what_such_calls_take(model: str) -> None:
    worst, usual = ways(TOKENS, chat(model), learned=2_000)
    assert (worst.hold_tokens, worst.headroom, worst.clamp_output_tokens) == (OVERHEAD_TOKENS + 32_000, HEADROOM, None)
    assert (usual.hold_tokens, usual.headroom, usual.clamp_output_tokens) == (OVERHEAD_TOKENS + 2_000, 1, 2_000)


def test_a_ladder_that_cuts_ends_in_what_is_left_down_to_the_least_useful_answer() -> None:
    text = DAY + 'on_exceed = ["warn", { clamp = { min_output_tokens = 600, effort = "low" } }, "refuse"]'
    cut = ways(text, chat(), learned=2_000)[-1]
    assert cut.shrink == Shrink(least_tokens=600, least_nanousd=1_600 * 25_000, most_tokens=2_000)
    assert (cut.hold_nanousd, cut.effort) == (3_000 * 25_000, "low")


@pytest.mark.parametrize("choices", [1, 3])
def test_an_answer_is_cut_to_the_tokens_that_are_left_and_to_the_dollars_that_are_left(choices: int) -> None:
    text = '[budget.t]\namount = "5M tokens"\nwindow = "day"\non_exceed = [{ clamp = { min_output_tokens = 600 } }, "refuse"]\n'
    asked = chat()
    cut = ways(text, replace(asked, ask=replace(asked.ask, choices=choices)), learned=2_000)[-1]
    assert cut.shrink is not None
    assert (cut.shrink.least_tokens, cut.shrink.most_tokens, cut.hold_tokens) == (600, 2_000, OVERHEAD_TOKENS + choices * 2_000)
    assert cut.shrink.hold_tokens(600, cut.hold_tokens) == OVERHEAD_TOKENS + choices * 600
    for room in (OVERHEAD_TOKENS + choices * 600, OVERHEAD_TOKENS + choices * 1_000 + 1, 10**9):
        cap = cut.shrink.cap_within_tokens(room, cut.hold_tokens)
        assert cut.shrink.hold_tokens(cap, cut.hold_tokens) <= room
        assert cap == min(2_000, (room - OVERHEAD_TOKENS) // choices)


@pytest.mark.parametrize(("first", "second"), [("high", "medium"), ("medium", "high")])
@pytest.mark.parametrize(("most", "expected"), [("low", "low"), ("xhigh", "medium")])
def test_of_all_rules_and_ladders_over_a_call_the_least_effort_holds(first: str, second: str, most: str, expected: str) -> None:
    text = f'[model.m]\nmax_effort = "{most}"\n' + "".join(
        f'[budget.{name}]\namount = "5 USD"\nwindow = "{name}"\non_exceed = [{{ clamp = {{ effort = "{effort}" }} }}, "refuse"]\n'
        for name, effort in (("day", first), ("week", second))
    )
    cut = ways(text, chat(effort="max"), learned=2_000)[-1]
    assert cut.shrink is not None
    assert cut.effort == expected


def test_the_ladder_goes_on_to_the_cheaper_models_in_the_order_of_the_document() -> None:
    text = DAY + 'on_exceed = ["clamp", { downgrade = ["claude-sonnet-5", "claude-haiku-4-5"] }]'
    found = [(way.model, way.clamp_output_tokens, way.shrink is not None) for way in ways(text, chat(), learned=2_000)]
    assert found == [
        ("claude-opus-5", None, False), ("claude-opus-5", 2_000, False), ("claude-opus-5", 2_000, True),
        ("claude-sonnet-5", None, False), ("claude-sonnet-5", 2_000, False), ("claude-sonnet-5", 2_000, True),
        ("claude-haiku-4-5", None, False), ("claude-haiku-4-5", 2_000, False), ("claude-haiku-4-5", 2_000, True),
    ]  # fmt: skip


def test_a_conversation_under_way_is_moved_only_where_the_policy_says_so() -> None:
    text = DAY + 'on_exceed = { downgrade = "claude-haiku-4-5" }'
    assert {way.model for way in ways(text, chat(fresh=False))} == {"claude-opus-5"}
    assert {way.model for way in ways(text.replace(" }", ", anytime = true }"), chat(fresh=False))} == {
        "claude-opus-5",
        "claude-haiku-4-5",
    }


@pytest.mark.parametrize(("warm_nanousd", "moved"), [(4_999_999, False), (15_000_000, False), (15_000_001, True)])
def test_no_conversation_is_moved_that_would_cost_more_without_its_prompt_cache(warm_nanousd: int, moved: bool) -> None:
    text = DAY + 'on_exceed = { downgrade = "claude-haiku-4-5", anytime = true }\n'
    asked: list[int] = []

    def models(fresh: bool) -> list[str | None]:
        going = chat(fresh=fresh)

        def warm(output_tokens: int) -> int:
            asked.append(output_tokens)
            return warm_nanousd

        found = plan_with(policy(ENFORCE + text), going, replace(pen(going, learned=2_000), warm=warm), NOW)
        assert isinstance(found, Admission)
        return [candidate.model for candidate in found.candidates]

    assert ("claude-haiku-4-5" in models(fresh=False)) is moved
    assert asked == [2_000], "both are compared at what such calls usually answer"
    assert "claude-haiku-4-5" in models(fresh=True), "a fresh conversation has nothing to lose"


def test_another_provider_is_named_with_its_key_s_place_and_only_when_it_costs_less() -> None:
    text = (
        DAY
        + 'on_exceed = { downgrade = [{ provider = "dear" }, { model = "claude-haiku-4-5", provider = "bedrock", key = "env:K" }] }'
    )
    (other,) = [way for way in ways(text, chat()) if way.target is not None]
    assert other.target == Target(model="claude-haiku-4-5", provider="bedrock", key="env:K")
    assert other.hold_nanousd == 7_000_000


# -- caps of one request -------------------------------------------------------------------------------------------


def test_a_request_over_a_cap_is_cut_to_it_and_says_by_which_rule() -> None:
    (capped,) = ways("[model.a]\nmax_output_tokens = 1000\n[model.b]\nmax_output_tokens = 900", chat())
    assert (capped.clamp_output_tokens, capped.hold_nanousd, capped.rule) == (900, 1_900 * 25_000, "model.b")
    assert capped.is_changed


@given(st.integers(1, 60))
def test_a_highest_cost_gives_the_longest_answer_within_it(cents: int) -> None:
    asked = chat()
    text = f'[model.a]\nmax_cost = "{cents / 100:.2f} USD"'
    found = plan_with(policy(ENFORCE + text), asked, pen(asked), NOW)
    least = (1_000 + 1_024) * 25_000
    if cents * 10_000_000 < least:
        assert isinstance(found, Decision)
        assert found.rule == "model.a"
        return
    assert isinstance(found, Admission)
    (way,) = found.candidates
    assert way.hold_nanousd <= cents * 10_000_000 < way.hold_nanousd + 2 * 25_000


def test_a_rule_that_refuses_says_what_the_request_may_cost() -> None:
    asked = chat()
    found = plan_with(policy(ENFORCE + '[model.a]\nmax_cost = "0.10 USD"\non_exceed = "refuse"'), asked, pen(asked), NOW)
    assert isinstance(found, Decision)
    assert found.reason == "one request may cost $0.1000 at most, and this one may cost up to $0.8250"


def test_what_nobody_may_change_is_refused_over_a_cap() -> None:
    asked = chat(effort="high")
    for text in ("[model.a]\nmax_output_tokens = 900", '[model.a]\nmax_effort = "low"'):
        found = plan_with(policy(ENFORCE + text), asked, pen(asked, rewritable=False), NOW)
        assert isinstance(found, Decision)
        assert found.verdict is Verdict.REFUSE


def test_effort_is_lowered_only_when_more_was_asked() -> None:
    text = '[model.a]\nmax_effort = "medium"'
    assert [way.effort for way in ways(text, chat(effort="xhigh"))] == ["medium"]
    assert [way.effort for way in ways(text, chat(effort="low"))] == [None]
    assert [way.effort for way in ways(text, chat())] == [None]


def test_a_call_over_a_cap_may_be_moved_instead_of_refused() -> None:
    text = '[model.a]\nmodel = "*opus*"\nmax_cost = "0.10 USD"\non_exceed = { downgrade = "claude-haiku-4-5" }'
    (moved,) = ways(text, chat(cap=8_000))
    assert (moved.model, moved.rule) == ("claude-haiku-4-5", "model.a")


def test_observing_changes_nothing_and_says_what_enforcing_would_have_done() -> None:
    asked = chat()
    for mode in ('mode = "observe"\n', 'mode = "warn"\n'):
        found = plan_with(policy(mode + DAY + "[model.a]\nmax_output_tokens = 900"), asked, pen(asked), NOW)
        assert isinstance(found, Admission)
        assert not found.candidates[0].is_changed
        assert found.objection is not None
        assert (found.objection.would, found.objection.rule) == (Verdict.REWRITE, "model.a")


def test_a_rule_that_only_watches_a_cap_tells_of_it() -> None:
    asked = chat()
    found = plan_with(policy(ENFORCE + '[model.a]\nmax_output_tokens = 900\nmode = "observe"'), asked, pen(asked), NOW)
    assert isinstance(found, Admission)
    assert found.candidates[0].clamp_output_tokens is None
    assert found.objection is not None
    assert (found.objection.verdict, found.objection.would) == (Verdict.ALLOW, Verdict.REWRITE)


# -- shrinking, estimates, routes ------------------------------------------------------------------------------------


@given(st.integers(1, 5_000), st.integers(0, 10**9), st.integers(0, 60_000), st.integers(0, 10**9), st.integers(0, 2 * 10**9))
def test_a_cap_within_the_room_never_costs_more_than_the_room(least: int, base: int, spread: int, more: int, room: int) -> None:
    shrink = Shrink(least_tokens=least, least_nanousd=base, most_tokens=least + spread)
    cap = shrink.cap_within(room, base + more)
    if cap is None:
        assert room < base or (spread == 0 and room < base + more)
        return
    assert least <= cap <= least + spread
    assert shrink.cost_nanousd(cap, base + more) <= max(room, base)


def test_an_estimate_is_the_95th_percentile_and_a_quarter_more_once_enough_was_seen() -> None:
    estimates = Estimates()
    for number in range(ENOUGH - 1):
        estimates.note("m", "ada", "codex", 100 + number)
    assert estimates.output_tokens("m", "ada", "codex") is None
    for _ in range(20):
        estimates.note("m", "ada", "codex", 1_000)
    assert estimates.output_tokens("m", "ada", "codex") == 1_280
    assert estimates.output_tokens("m", "bob", "codex") == 1_280, "another person with the same client"
    assert estimates.output_tokens("m", "bob", "aider") == 1_280, "any call to the model"
    assert estimates.output_tokens("other", "ada", "codex") is None


def test_what_was_cut_at_its_cap_is_taken_to_have_wanted_more() -> None:
    from ledger.samples import make_call, settled

    estimates = Estimates()
    done = settled(make_call(), 1)
    capped = replace(done, decision=Decision(verdict=Verdict.REWRITE, would=Verdict.REWRITE, clamp_output_tokens=20))
    for _ in range(ENOUGH):
        estimates.learn(done)
    assert estimates.output_tokens("gpt-5", "alice", "") == 256
    big = Estimates()
    for _ in range(ENOUGH):
        big.learn(capped)
    assert big._seen["gpt-5", "", ""][0] == 40


def test_what_is_learned_is_bounded_whatever_names_clients_choose() -> None:
    estimates = Estimates()
    for number in range(3_000):
        estimates.note(f"m{number}", "ada", "x", 10)
    assert len(estimates._seen) <= 4_096


ROUTE = '[route.try]\nto = [{ model = "claude-sonnet-5", percent = 30 }, { model = "claude-haiku-4-5", percent = 20 }]\n'


def test_a_route_splits_sessions_by_its_shares_and_keeps_each_where_it_went() -> None:
    (route,) = policy(ROUTE).routes
    found: dict[str | None, int] = {}
    for number in range(2_000):
        asked = replace(chat(), attribution=replace(chat().attribution, session=f"s{number}"))
        way = way_of(route, asked)
        assert way == way_of(route, replace(asked, id="another call of it"))
        found[way.model if way else None] = found.get(way.model if way else None, 0) + 1
    assert 500 < found["claude-sonnet-5"] < 700
    assert 320 < found["claude-haiku-4-5"] < 480
    assert 900 < found[None] < 1_100


def test_a_routed_call_is_offered_there_first_and_as_asked_where_that_has_no_room() -> None:
    text = DAY + '[route.all]\nto = "claude-sonnet-5"\nfallback = [{ model = "claude-haiku-4-5", timeout = "20s" }]\n'
    found = ways(text, chat(cap=1_000))
    assert [(way.model, way.rule) for way in found] == [("claude-sonnet-5", "route.all"), ("claude-opus-5", "")]
    assert found[0].fallbacks == (Target(model="claude-haiku-4-5", timeout_ms=20_000),)


def test_a_route_s_condition_that_cannot_be_decided_sends_nothing_anywhere() -> None:
    text = DAY + '[route.all]\nto = "claude-sonnet-5"\nwhen = \'labels["x"] == "y"\'\n'
    assert {way.model for way in ways(text, chat(cap=1_000))} == {"claude-opus-5"}
