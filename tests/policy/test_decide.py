"""From the ledger's answer to the decision."""

from dataclasses import replace

import pytest

from policy.samples import HOUR, USD, at, call, policy, quote
from tollkeeper.core.admission import Admission, Admitted
from tollkeeper.core.decision import ALLOWED, Standing, Verdict
from tollkeeper.policy.decide import decide
from tollkeeper.policy.model import Policy
from tollkeeper.policy.plan import plan

NOW = at("2026-11-22T10:00")
RULES = policy("""
    mode = "enforce"
    [budget.hour]
    amount = "1 USD"
    window = "hour"
    [budget.month]
    amount = "50 USD"
    window = "month"
    message = "Ask #ai-budgets."
    on_exceed = { rewrite = "claude-haiku-4-5" }
    [budget.roll]
    amount = "2 USD"
    window = "rolling 7d"
    [budget.mine]
    amount = "2 USD"
    window = "day"
    share = "each"
    per = ["principal", "project"]
    [budget.watch]
    amount = "2 USD"
    window = "quarter"
    mode = "observe"
    [budget.haiku]
    amount = "2 USD"
    window = "quarter"
    model = "*haiku*"
    [budget.prepaid]
    amount = "50 USD"
    window = "lifetime"
    [budget.session]
    amount = "5 USD"
    window = "session"
    [model.rates]
    max_parallel = 4
    max_per_minute = 60
""")


def admission(rules: Policy = RULES, project: str = "billing") -> Admission:
    found = plan(rules, call(project=project), quote, NOW)
    assert isinstance(found, Admission)
    return found


def standing(name: str, *, spent: int = 0, held: int = 0) -> Standing:
    for candidate in admission().candidates:
        for limit in candidate.limits:
            if limit.budget == name:
                return Standing(
                    budget=name,
                    bucket=limit.bucket.key,
                    amount_nanousd=limit.amount_nanousd,
                    spent_nanousd=spent,
                    held_nanousd=held,
                    window=limit.window,
                    resets_at=limit.resets_at,
                    zone=limit.zone,
                    unit=limit.unit,
                    rule=limit.rule,
                )
    raise AssertionError(name)


def refused(*blockers: Standing) -> Admitted:
    return Admitted(verdict=Verdict.REFUSE, would=Verdict.REFUSE, chosen=None, blockers=blockers)


def test_a_call_with_room_is_allowed_with_its_model_and_hold() -> None:
    admitted = Admitted(verdict=Verdict.ALLOW, would=Verdict.ALLOW, chosen=0, hold_nanousd=7)
    assert decide(admission(), admitted, RULES) == replace(ALLOWED, model="claude-opus-5", hold_nanousd=7)


@pytest.mark.parametrize(
    ("over", "named"),
    [
        (["hour", "month"], "month"),
        (["month", "hour"], "month"),
        (["hour", "roll"], "roll"),
        (["month", "roll"], "month"),
        (["mine", "hour"], "mine"),
        (["watch", "hour"], "hour"),
        (["hour", "haiku"], "hour"),
        (["haiku"], "haiku"),
        (["month", "prepaid"], "prepaid"),
        (["prepaid", "month"], "prepaid"),
        (["roll", "session", "hour"], "session"),
        (["rates/max_parallel", "hour"], "hour"),
        (["rates/max_parallel", "prepaid"], "prepaid"),
        (["rates/max_parallel", "rates/max_per_minute"], "rates/max_per_minute"),
    ],
)
def test_of_several_the_one_that_resets_last_is_named(over: list[str], named: str) -> None:
    """Month ends on 1 December, the rolling week lets room back by 29 November, a lifetime or a session never does, and a call under
    way may end at once; a watching budget never refuses, and a budget of the rewrite alone did not stop the call as asked."""
    decision = decide(admission(), refused(*(standing(name) for name in over)), RULES)
    assert decision.rule == ("model.rates" if "/" in named else f"budget.{named}")
    assert decision.standing is not None
    assert decision.standing.budget == named


def test_the_remedy_is_the_budget_s_message_or_the_key_to_raise() -> None:
    assert decide(admission(), refused(standing("month")), RULES).remedy == "Ask #ai-budgets."
    assert decide(admission(), refused(standing("hour")), RULES).remedy == "Raise it in policy.toml: [budget.hour] amount."


def test_the_reason_says_what_is_left_and_what_the_call_may_cost() -> None:
    decision = decide(admission(), refused(standing("hour", spent=700_000_000, held=100_000_000)), RULES)
    assert decision.reason == 'budget "hour" has $0.2000 left, and this call may cost up to $0.5000'
    assert decide(admission(), refused(standing("hour", spent=2 * USD)), RULES).reason == 'budget "hour" is used up'


def test_the_reason_names_whose_share_is_used_up() -> None:
    reason = decide(admission(), refused(standing("mine", spent=3 * USD)), RULES).reason
    assert reason == 'budget "mine" of ada@example.com, project billing is used up'
    assert "an unknown project" in decide(admission(project=""), refused(standing("mine", spent=3 * USD)), RULES).reason


def test_a_rewrite_says_both_models_and_why() -> None:
    admitted = Admitted(verdict=Verdict.REWRITE, would=Verdict.REWRITE, chosen=1, hold_nanousd=5, blockers=(standing("month"),))
    decision = decide(admission(), admitted, RULES)
    assert (decision.verdict, decision.model, decision.model_asked) == (Verdict.REWRITE, "claude-haiku-4-5", "claude-opus-5")
    assert (decision.hold_nanousd, decision.rule) == (5, "budget.month")


def test_a_watching_budget_without_room_allows_and_says_what_would_have_been() -> None:
    admitted = Admitted(verdict=Verdict.ALLOW, would=Verdict.REFUSE, chosen=0, hold_nanousd=5, blockers=(standing("watch"),))
    decision = decide(admission(), admitted, RULES)
    assert (decision.verdict, decision.would, decision.rule) == (Verdict.ALLOW, Verdict.REFUSE, "budget.watch")
    assert (decision.model, decision.model_asked) == ("claude-opus-5", None)


def test_observing_an_unknown_model_reports_the_refusal_that_would_have_been() -> None:
    rules = policy('unknown_model = "refuse"')
    asked = plan(rules, call("unheard-of"), quote, NOW)
    assert isinstance(asked, Admission)
    admitted = Admitted(verdict=Verdict.ALLOW, would=Verdict.ALLOW, chosen=0, hold_nanousd=2 * USD)
    decision = decide(asked, admitted, rules)
    assert (decision.verdict, decision.would, decision.rule) == (Verdict.ALLOW, Verdict.REFUSE, "unknown_model")
    assert decision.hold_nanousd == 2 * USD


def test_a_budget_that_the_policy_no_longer_has_can_still_be_named() -> None:
    gone = replace(standing("hour"), budget="gone", resets_at=NOW + HOUR)
    assert decide(admission(), refused(gone), RULES).remedy == "Raise it in policy.toml: [budget.gone] amount."
