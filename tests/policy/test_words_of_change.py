"""What an edit changes, where a budget is heading, what the past suggests, and why a rule does not speak of a call."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import HOUR, USD, at, call, policy
from tollkeeper.core.amounts import Unit, format_amount, parse_amount
from tollkeeper.core.decision import Standing, Target
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.policy.alerting import AlertRule, Reason, Way
from tollkeeper.policy.diff import differences, reloaded
from tollkeeper.policy.document import load_policy, parse_policy
from tollkeeper.policy.explain import explain_call
from tollkeeper.policy.facts import values_of
from tollkeeper.policy.forecast import forecast
from tollkeeper.policy.globs import Glob
from tollkeeper.policy.model import Budget, EgressRules, Field, Ladder, ModelRule, Policy, Route, Scope, Split
from tollkeeper.policy.suggest import Spent, rounded_up, suggest
from tollkeeper.policy.windows import WindowKind, WindowSpec

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
        (OLD + 'share = "pool"\n', ["model.a rates: max_parallel 4 -> max_parallel 4 for all together"]),
        (OLD + 'mode = "observe"\n', ["model.a mode: enforce -> observe"]),
        (
            'refusal = "message"\nsteering = true\nmid_stream_stop = true\non_rewrite_error = "resend"\n' + OLD,
            [
                "on_rewrite_error: surface -> resend", "refusal: error -> message", "mid_stream_stop: false -> true",
                "steering: false -> true",
            ],
        ),
        (OLD + '[alert.x]\nto = "desktop"\non = "used-up"\n', ["alert.x: added (desktop on used-up)"]),
    ],
)  # fmt: skip
def test_a_difference_is_told_by_what_it_means(new: str, said: list[str]) -> None:
    assert list(differences(policy(OLD), policy(new))) == said


def test_the_address_of_an_alert_is_a_secret_that_no_difference_tells() -> None:
    alert = '[alert.a]\nto = "slack"\nurl = "https://hooks.example/%s"\n'
    assert differences(policy(alert % "S3CRET"), policy(alert % "T0KEN")) == ("alert.a url: another of the same kind",)
    kept = '[alert.a]\nto = "slack"\nurl = "env:HOOK"\n'
    assert differences(policy(alert % "S3CRET"), policy(kept)) == ("alert.a url: an address -> env:HOOK",)


def test_the_order_of_routes_is_told_since_the_first_takes_a_call() -> None:
    routes = ['[route.a]\nto = "m"\n', '[route.b]\nto = "n"\n']
    said = differences(policy("".join(routes)), policy("".join(reversed(routes))))
    assert said == ("order of routes: a, b -> b, a",)


def whole_policy() -> Policy:
    """A policy in which every field of every part says something."""
    target = Target(model="m", provider="openai", host="h.example", key="env:K", timeout_ms=500)
    globs = (Glob("a*"),)
    ladder = Ladder(clamp=True, effort="low", downgrade=(target,))
    scope = Scope(fields=((Field.MODEL, globs),), labels=(("team", globs),), when='model == "x"')
    budget = Budget(
        name="b", amount_nanousd=USD, window=WindowSpec(kind=WindowKind.WEEK, length_us=HOUR), scope=scope.fields,
        per=(Field.PROJECT,), message="m", labels=scope.labels, when=scope.when, per_labels=("team",), on_exceed=ladder,
        warn_at=(80,), rollover_most=USD, min_assurance=Assurance.STATIC,
    )  # fmt: skip
    rule = ModelRule(
        name="r", scope=scope, exempt=(scope,), allow=globs, deny=globs, max_cost_nanousd=USD, max_output_tokens=9, max_effort="low",
        rates=(replace(budget, name="model.r/max_parallel", unit=Unit.PARALLEL, rule="model.r"),), on_exceed=ladder,
        min_assurance=Assurance.STATIC, message="m",
    )  # fmt: skip
    route = Route(name="t", scope=scope, splits=(Split(target=target, percent=60),), fallback=(target,))
    alert = AlertRule(
        name="a", way=Way.WEBHOOK, url="env:U", secret="env:S", command=("c", "d"), on=(Reason.USED_UP,), budgets=globs
    )
    return Policy(
        egress=EgressRules(allow=("h",), internal=("i",)), groups={"ada": frozenset({"ml"})}, budgets=(budget,), models=(rule,),
        routes=(route,), alerts=(alert,),
    )  # fmt: skip


DERIVED = {(Policy, "name"), (Policy, "digest"), (Policy, "headers"), (Budget, "rule")}
"""Made of the file's name and text, or of the other fields."""


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value that differs from this one in one place, and where that is."""
    if isinstance(value, Glob):
        yield "", Glob(value.pattern + "?")
    elif is_dataclass(value):
        for field in fields(value):
            if field.init and (type(value), field.name) not in DERIVED:
                for place, other in changed(getattr(value, field.name)):
                    yield f"{field.name} {place}", replace(value, **{field.name: other})  # type: ignore[type-var]
    elif isinstance(value, Enum):
        yield "", next(one for one in type(value) if one is not value)
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, int):
        yield "", value + 1
    elif isinstance(value, str):
        yield "", value + "2"
    elif isinstance(value, tuple):
        if not (len(value) == 2 and isinstance(value[1], tuple)):  # a name and its patterns
            yield "all", ()
        for position, one in enumerate(value):
            for place, other in changed(one):
                yield f"{position} {place}", (*value[:position], other, *value[position + 1 :])
    else:
        assert isinstance(value, dict), f"say here how a {type(value).__name__} can change"
        yield "all", {}


def test_a_change_of_any_field_of_any_part_of_a_policy_is_told() -> None:
    """Found by walking through the dataclasses, so that a field which is added later cannot be forgotten."""
    old = whole_policy()
    places = []
    for place, new in changed(old):
        said = differences(old, new)
        assert said, f"nothing is told of {place}"
        for line in said:
            before, arrow, after = line.partition(": ")[2].partition(" -> ")
            assert not arrow or before != after, f"{place}: {line}"
        assert not differences(new, new)
        places.append(place)
    assert any(place.startswith("models 0 rates 0 per ") for place in places)
    assert any(place.startswith("routes 0 splits 0 target timeout_ms") for place in places)
    silent = [field.name for field in fields(Policy) if field.init and not any(place.startswith(field.name) for place in places)]
    assert silent == ["name", "digest", "headers"]


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


def test_a_reason_is_the_one_that_decided() -> None:
    rules = policy("""
        mode = "enforce"
        [budget.a]
        amount = "5 USD"
        window = "day"
        min_assurance = "verified"
        [model.m]
        min_assurance = "static"
        allow = "*"
        [route.x]
        to = "m"
        when = 'labels.team == "ml"'
        [route.y]
        to = "m"
        when = 'model == "other"'
    """)
    asked = replace(call(), principal=Principal(subject="ada", assurance=Assurance.LOCAL_LOGIN))
    told = {one.rule: (one.covers, one.why) for one in explain_call(rules, values_of(asked, "claude-opus-5"))}
    assert told["budget.a"] == (True, "it is for verified identities, and this one is local-login")
    assert told["model.m"][1].startswith("it is for static identities, and this one is local-login")
    assert told["route.x"] == (False, 'its condition cannot be decided of this call: labels.team == "ml"')
    assert told["route.y"] == (False, 'its condition is false: model == "other"')
    sure = replace(asked, principal=replace(asked.principal, assurance=Assurance.VERIFIED))
    assert {one.rule: one.why for one in explain_call(rules, values_of(sure, "m"))}["budget.a"] == ""


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
