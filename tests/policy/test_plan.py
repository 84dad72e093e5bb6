"""From a call to the question put to the ledger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import USD, at, call, policy, quote
from tollkeeper.core.admission import Admission
from tollkeeper.core.call import Metering
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.policy.document import OBSERVE_ALL
from tollkeeper.policy.families import speaks
from tollkeeper.policy.plan import plan

NOW = at("2026-11-22T10:00")
DAY = '[budget.day]\namount = "5 USD"\nwindow = "day"\n'
ENFORCE = 'mode = "enforce"\n'
DEAR = '[budget.dear]\namount = "1 USD"\nwindow = "day"\nmodel = "*opus*"\n' + (
    'on_exceed = { rewrite = ["claude-sonnet-5", "claude-haiku-4-5"] }\n'
)
MOVE = 'on_exceed = { rewrite = "gpt-5-mini" }'


def planned(text: str, **about: object) -> Admission:
    rewritable = bool(about.pop("rewritable", True))
    found = plan(policy(text), call(**about), quote, NOW, rewritable=rewritable)  # type: ignore[arg-type]
    assert isinstance(found, Admission)
    return found


def models(admission: Admission) -> list[str | None]:
    return [candidate.model for candidate in admission.candidates]


def test_without_a_policy_the_call_is_held_and_nothing_limits_it() -> None:
    found = plan(OBSERVE_ALL, call(), quote, NOW)
    assert isinstance(found, Admission)
    assert (found.enforce, found.at, found.objection) == (False, NOW, None)
    assert [(c.model, c.hold_nanousd, c.limits) for c in found.candidates] == [("claude-opus-5", USD // 2, ())]


def test_every_budget_that_covers_the_call_limits_it() -> None:
    text = ENFORCE + DAY + DEAR + '[budget.gpt]\namount = "1 USD"\nwindow = "day"\nmodel = "gpt*"\n'
    (asked, *_) = planned(text).candidates
    assert [limit.budget for limit in asked.limits] == ["day", "dear"]
    assert [limit.amount_nanousd for limit in asked.limits] == [5 * USD, USD]


def test_a_rewrite_has_its_own_hold_and_its_own_budgets() -> None:
    found = planned(ENFORCE + DAY + DEAR)
    assert [(c.model, c.hold_nanousd) for c in found.candidates] == [
        ("claude-opus-5", 500_000_000),
        ("claude-sonnet-5", 120_000_000),
        ("claude-haiku-4-5", 50_000_000),
    ]
    assert [[limit.budget for limit in c.limits] for c in found.candidates] == [["day", "dear"], ["day"], ["day"]]


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"fresh": False}, "a conversation under way is never moved"),
        ({"rewritable": False}, "signed or subscription traffic is never touched"),
        ({"dialect": None}, "a body that we cannot read cannot be changed"),
        ({"metering": Metering.UNMETERED}, "nor one on an endpoint that we cannot meter"),
        ({"dialect": "openai_chat"}, "claude is not asked for in the dialect of gpt"),
    ],
)
def test_a_rewrite_is_offered_only_where_it_is_safe(about: dict[str, object], why: str) -> None:
    assert models(planned(ENFORCE + DEAR, **about)) == ["claude-opus-5"], why


@pytest.mark.parametrize("target", ["claude-opus-5", "claude-unheard-of", "claude-small-unheard-of"])
def test_a_rewrite_to_the_same_or_an_unpriced_model_is_left_out(target: str) -> None:
    assert models(planned(ENFORCE + DEAR.replace("claude-sonnet-5", target))) == ["claude-opus-5", "claude-haiku-4-5"]


def test_a_rewrite_that_costs_as_much_or_more_is_left_out() -> None:
    text = ENFORCE + DAY + 'on_exceed = { rewrite = ["claude-opus-5", "claude-sonnet-twin", "claude-haiku-4-5"] }'
    assert models(planned(text, model="claude-sonnet-5")) == ["claude-sonnet-5", "claude-haiku-4-5"]


def test_one_list_serves_all_dialects() -> None:
    text = ENFORCE + DAY + 'on_exceed = { rewrite = ["gpt-5-mini", "claude-haiku-4-5"] }'
    assert models(planned(text)) == ["claude-opus-5", "claude-haiku-4-5"]
    assert models(planned(text, model="gpt-99", provider="openai", dialect="openai_chat")) == ["gpt-99", "gpt-5-mini"]


@pytest.mark.parametrize(
    ("dialect", "model", "meant"),
    [
        ("anthropic_messages", "claude-haiku-4-5", True),
        ("anthropic_messages", "gpt-5-mini", False),
        ("openai_responses", "gemini-2.5-flash", False),
        ("openai_chat", "o4-mini", True),
        ("openai_chat", "llama-local", True),
        ("openai_chat", "anthropic/claude-haiku-4-5", True),
        ("gemini", "gemini-2.5-flash", True),
        ("something_new", "claude-haiku-4-5", True),
    ],
)
def test_a_model_speaks_its_maker_s_dialect(dialect: str, model: str, meant: bool) -> None:
    assert speaks(dialect, model) is meant


def test_a_free_endpoint_is_never_limited() -> None:
    (asked,) = planned(ENFORCE + DAY, metering=Metering.FREE).candidates
    assert (asked.hold_nanousd, asked.limits) == (0, ())


def test_what_cannot_be_metered_must_have_some_room() -> None:
    (asked,) = planned(ENFORCE + DAY, model=None, metering=Metering.UNMETERED).candidates
    assert asked.hold_nanousd == 1
    assert [limit.budget for limit in asked.limits] == ["day"]


def test_what_cannot_be_metered_must_have_some_room_also_when_its_model_is_free() -> None:
    (asked,) = planned(ENFORCE + DAY, model="self-hosted", metering=Metering.UNMETERED).candidates
    assert asked.hold_nanousd == 1


def test_a_model_that_costs_nothing_holds_nothing() -> None:
    (asked,) = planned(ENFORCE + DAY, model="self-hosted").candidates
    assert asked.hold_nanousd == 0


def test_an_unknown_model_is_held_at_the_ceiling() -> None:
    (asked,) = planned(ENFORCE + DAY, model="claude-unheard-of").candidates
    assert asked.hold_nanousd == 2 * USD
    assert [limit.budget for limit in asked.limits] == ["day"]


def test_an_unknown_model_let_through_is_still_counted_where_its_budgets_count() -> None:
    (asked,) = planned(ENFORCE + 'unknown_model = "allow"\n' + DAY, model="claude-unheard-of").candidates
    assert asked.hold_nanousd == 0
    assert [limit.budget for limit in asked.limits] == ["day"]


def test_an_unknown_model_is_refused_without_asking_the_ledger() -> None:
    found = plan(policy(ENFORCE + 'unknown_model = "refuse"'), call("claude-unheard-of"), quote, NOW)
    assert isinstance(found, Decision)
    assert (found.verdict, found.would, found.rule) == (Verdict.REFUSE, Verdict.REFUSE, "unknown_model")
    assert found.reason == 'model "claude-unheard-of" has no known price'


def test_observing_lets_an_unknown_model_through_and_says_what_would_have_been() -> None:
    found = planned('unknown_model = "refuse"\n' + DAY + MOVE, model="unheard-of", dialect="openai_chat")
    assert not found.enforce
    assert [candidate.hold_nanousd for candidate in found.candidates] == [2 * USD]
    assert found.objection is not None
    assert found.objection.would is Verdict.REFUSE


def test_observing_plans_as_enforcing_does() -> None:
    watching, acting = planned(DAY + DEAR), planned(ENFORCE + DAY + DEAR)
    assert (watching.enforce, acting.enforce) == (False, True)
    assert watching.candidates == acting.candidates


def test_a_budget_that_only_watches_is_marked() -> None:
    (asked,) = planned(ENFORCE + DAY + 'mode = "observe"').candidates
    assert [limit.enforced for limit in asked.limits] == [False]


WORDS = st.sampled_from(["", "ada", "interns/bo", "claude-opus-5", "gpt-5-mini", "claude-haiku-4-5", "x" * 600, "a\x00b", "*"])
POLICIES = [
    policy(text)
    for text in (
        "",
        ENFORCE + DAY + DEAR,
        ENFORCE + 'unknown_model = "refuse"\n' + DAY + 'share = "each"\nper = ["principal", "model", "project"]',
        'unknown_model = "allow"\n[budget.r]\namount = "0 USD"\nwindow = "rolling 90min"\nmodel = "*o*"\n' + MOVE,
    )
]


@given(
    st.sampled_from(POLICIES),
    st.builds(
        call,
        st.none() | WORDS,
        who=WORDS,
        project=WORDS,
        provider=WORDS,
        dialect=st.sampled_from([None, "anthropic_messages", "openai_chat"]),
        metering=st.sampled_from(Metering),
        fresh=st.booleans(),
    ),
    st.integers(0, 4_000_000_000_000_000),
)
def test_any_call_has_one_plan_and_always_the_same(rules: object, asked: object, moment: int) -> None:
    first = plan(rules, asked, quote, moment)  # type: ignore[arg-type]
    assert plan(rules, asked, quote, moment) == first  # type: ignore[arg-type]
    if isinstance(first, Admission):
        assert first.candidates[0].model == first.call.model
        assert all(later.hold_nanousd < quote(first.call.model).worst_nanousd for later in first.candidates[1:])
        assert all(limit.bucket.start_at <= moment for c in first.candidates for limit in c.limits)
    else:
        assert first.verdict is Verdict.REFUSE
