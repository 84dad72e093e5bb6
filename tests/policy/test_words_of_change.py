"""What an edit changes, where a budget is heading, what the past suggests, and why a rule does not speak of a call."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import HOUR, USD, at, call, policy
from tollkeeper.core.amounts import Unit, format_amount, parse_amount
from tollkeeper.core.decision import Standing
from tollkeeper.core.errors import ConfigError
from tollkeeper.policy.diff import differences, reloaded
from tollkeeper.policy.document import load_policy, parse_policy
from tollkeeper.policy.explain import explain_call
from tollkeeper.policy.facts import values_of
from tollkeeper.policy.forecast import forecast
from tollkeeper.policy.suggest import Spent, rounded_up, suggest

NOW = at("2026-11-22T12:00")
OLD = '[budget.day]\namount = "5 USD"\nwindow = "day"\n[model.a]\ndeny = "*opus*"\nmax_parallel = 4\n'


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (OLD, []),
        ("# only words\n" + OLD.replace("= ", " =  "), []),
        (OLD.replace("5 USD", "9 USD"), ["budget.day amount: $5.00 -> $9.00"]),
        (OLD.replace("budget.day", "budget.today"), ["budget.day: renamed to today; what was spent stays"]),
        (
            OLD.replace('"day"', '"week"'),
            [
                "budget.day window: day in UTC -> week in UTC",
                "budget.day: counts other calls now; its balance is summed anew from the ledger",
            ],
        ),
        (OLD.replace("*opus*", "*pro*"), ["model.a deny: *opus* -> *pro*"]),
        (OLD.replace("= 4", "= 8"), ["model.a rates: max_parallel 4 -> max_parallel 8"]),
        ('mode = "enforce"\n' + OLD, ["mode: observe -> enforce", "on_ledger_error: open -> closed"]),
        (OLD + '[budget.b]\namount = "2M tokens"\nwindow = "hour"', ["budget.b: added (2,000,000 tokens an hour)"]),
        ("", ["budget.day: removed ($5.00 a day)", "model.a: removed (deny *opus*, max_parallel 4)"]),
        (
            OLD + '[egress]\nothers = "refuse"\nallow = ["a.example", "b.example"]\nstrict = true',
            ["egress.others: tunnel -> refuse", "egress.allow: none -> a.example, b.example", "egress.strict: false -> true"],
        ),
        (OLD + '[route.r]\nto = "m"', ["route.r: added (100% to m)"]),
    ],
)  # fmt: skip
def test_a_difference_is_told_by_what_it_means(new: str, said: list[str]) -> None:
    assert list(differences(policy(OLD), policy(new))) == said


def test_a_reload_swaps_all_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(OLD, "utf-8")
    first = load_policy(file)
    assert reloaded(file, first) == (first, ())
    file.write_text(OLD.replace("5 USD", "6 USD"), "utf-8")
    second, changes = reloaded(file, first)
    assert (second.budgets[0].amount_nanousd, changes) == (6 * USD, ("budget.day amount: $5.00 -> $6.00",))
    file.write_text(OLD + "[budget.x]\namount = 5\n", "utf-8")
    with pytest.raises(ConfigError, match="has no currency"):
        reloaded(file, second)


def standing(spent: int, amount: int = 100, hours: int = 24) -> Standing:
    start = at("2026-11-22T00:00")
    return Standing(
        budget="day", bucket="b", amount_nanousd=amount, spent_nanousd=spent, held_nanousd=0, window="day",
        resets_at=start + hours * HOUR, zone="UTC",
    )  # fmt: skip


def test_a_pace_is_carried_to_the_end_of_the_window() -> None:
    start = at("2026-11-22T00:00")
    assert forecast(standing(40), start, NOW).projected == 80
    over = forecast(standing(80), start, NOW)
    assert (over.projected, over.crosses_at) == (160, at("2026-11-22T15:00"))
    assert over.is_over(standing(80))


def test_nothing_is_foretold_too_early_nor_for_a_window_without_an_end() -> None:
    start = at("2026-11-22T00:00")
    assert forecast(standing(40), start, start + HOUR // 10).projected is None
    assert forecast(standing(100), start, NOW).crosses_at == NOW, "it is over already"


@given(st.integers(0, 10**13))
def test_a_suggested_amount_is_never_below_what_was_seen(nanousd: int) -> None:
    assert rounded_up(nanousd) * USD >= nanousd


def test_a_suggestion_is_a_policy_with_the_figures_behind_it() -> None:
    calls = [
        Spent(NOW - day * 24 * HOUR, who, f"p{who}", f"s{day}{who}", "m", USD * (day + 1))
        for day in range(5)
        for who in ("ada", "bob")
    ]
    text = suggest(calls, "Europe/Rome", "since 7d")
    read = parse_policy(text, "s.toml")
    amounts = {budget.name: (budget.amount_nanousd or 0) // USD for budget in read.budgets}
    assert amounts == {"all": 20, "person": 8, "project": 30, "session": 8}
    assert "# The dearest day of everybody together cost $10.00." in text
    assert parse_policy(suggest([], "UTC", "since 7d"), "s.toml").budgets == ()


def test_every_rule_says_why_it_does_not_speak_of_a_call() -> None:
    rules = policy("""
        [budget.ml]
        amount = "1 USD"
        window = "day"
        group = "ml"
        share = "pool"
        [budget.person]
        amount = "1 USD"
        window = "day"
        share = "each"
        per = "principal"
        [budget.raised]
        amount = "5 USD"
        window = "day"
        principal = "ada@example.com"
        [budget.label]
        amount = "1 USD"
        window = "day"
        label = { team = "x" }
        share = "pool"
        [budget.when]
        amount = "1 USD"
        window = "day"
        when = 'model == "x"'
        share = "pool"
        [model.a]
        deny = "*opus*"
        except = { project = "billing" }
        [route.r]
        provider = "openai"
        to = "m"
    """)
    told = {one.rule: (one.covers, one.why) for one in explain_call(rules, values_of(call(), "claude-opus-5"))}
    assert told == {
        "budget.ml": (False, "its group is unknown, not ml"),
        "budget.person": (True, "another budget gives the same share more, or lifts it: that one decides"),
        "budget.raised": (True, ""),
        "budget.label": (False, "its label team is unknown, not x"),
        "budget.when": (False, 'its condition is false: model == "x"'),
        "model.a": (False, "the call is among its exceptions"),
        "route.r": (False, "its provider is anthropic, not openai"),
    }


@pytest.mark.parametrize(
    ("text", "unit", "amount", "shown"),
    [
        ("5 USD", Unit.USD, 5 * USD, "$5.00"),
        ("2.5M tokens", Unit.TOKENS, 2_500_000, "2,500,000 tokens"),
        ("1 request", Unit.REQUESTS, 1, "1 request"),
        ("3k calls", Unit.REQUESTS, 3_000, "3,000 requests"),
    ],
)
def test_an_amount_is_read_and_shown_in_its_unit(text: str, unit: Unit, amount: int, shown: str) -> None:
    assert parse_amount(text) == (unit, amount)
    assert format_amount(unit, amount) == shown


@pytest.mark.parametrize(
    "text", ["5", "x tokens", "1.23k tokens extra", "0.0001k tokens", "999999999999999G tokens", "-5 tokens"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    if text == "5":
        assert parse_amount(text) == (Unit.USD, 5 * USD)
        return
    with pytest.raises(ValueError, match="is "):
        parse_amount(text)
