"""Which budgets cover a call, and the bucket each counts it in."""

import sqlite3
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import at, call, policy
from tollkeeper.policy.matching import MAX_REMEMBERED, Matcher, Values, bucket_key, bucket_scope, covers, values, values_of

NOW = at("2026-11-22T10:00")


def budget_text(extra: str = "", *, name: str = "b", amount: str = "5 USD", window: str = "day") -> str:
    return f'[budget.{name}]\namount = "{amount}"\nwindow = "{window}"\n{extra}\n'


def four(principal: str, project: str, model: str, provider: str) -> Values:
    return values(principal=principal, project=project, model=model, provider=provider)


def five(principal: str, project: str, model: str, provider: str, issuer: str) -> Values:
    return values(principal=principal, project=project, model=model, provider=provider, issuer=issuer)


ADA = four("ada", "billing", "claude-opus-5", "anthropic")


def key_of(text: str, facts: Values = ADA) -> str:
    return bucket_key(policy(text).budgets[0], facts)


def test_a_bucket_survives_an_edited_amount_and_a_new_name() -> None:
    assert key_of(budget_text()) == key_of(budget_text(name="other", amount="500 USD")) == "day@UTC"


def test_a_bucket_survives_an_edited_mode_action_and_message() -> None:
    edited = budget_text('mode = "observe"\non_exceed = { rewrite = "gpt-5-mini" }\nmessage = "Ask."')
    assert key_of(budget_text()) == key_of(edited)


def test_a_bucket_survives_patterns_in_another_order() -> None:
    assert key_of(budget_text('model = ["b*", "a*"]')) == key_of(budget_text('model = ["a*", "b*", "a*"]'))


def test_everything_that_changes_what_is_counted_changes_the_bucket() -> None:
    texts = [
        budget_text(),
        budget_text('zone = "Europe/Rome"'),
        budget_text(window="week"),
        budget_text('week_starts = "sunday"', window="week"),
        budget_text(window="rolling 24h"),
        budget_text(window="rolling 7d"),
        budget_text('model = "*opus*"'),
        budget_text('model = ["*opus*", "*pro*"]'),
        budget_text('model = "claude-opus-5"'),
        budget_text('provider = "anthropic"'),
        budget_text('share = "each"\nper = "principal"'),
        budget_text('share = "each"\nper = "project"'),
        budget_text('share = "each"\nper = ["project", "principal"]'),
    ]
    assert len({key_of(text) for text in texts}) == len(texts)


def test_a_star_restricts_nothing_so_it_changes_nothing() -> None:
    assert key_of(budget_text('model = "*"\nproject = ["a", "*"]\nshare = "pool"')) == key_of(budget_text())


def test_the_key_is_readable_and_stored_so_it_is_fixed_here() -> None:
    text = budget_text('share = "each"\nper = "principal"\nmodel = ["*opus*", "o;3"]\nzone = "Europe/Rome"', window="month")
    assert key_of(text) == "month@Europe/Rome;principal=ada;model:*opus*,o%3B3"
    assert key_of(budget_text('principal = "ada@example.com"')) == "day@UTC;principal=ada@example.com"


def test_the_same_share_has_one_bucket_whichever_budget_counts_it() -> None:
    general = budget_text('share = "each"\nper = "principal"')
    raised = budget_text('share = "each"\nper = "principal"\nprincipal = "ad*"')
    assert key_of(general) == key_of(raised)


NAMES = st.text(alphabet="ab;=:,%*~ é\x00/", max_size=4)


FOUR = st.builds(four, NAMES, NAMES, NAMES, NAMES)


@given(FOUR, FOUR)
def test_two_different_shares_never_meet_in_one_bucket(one: Values, other: Values) -> None:
    text = budget_text('share = "each"\nper = ["principal", "project", "model", "provider"]')
    assert (key_of(text, one) == key_of(text, other)) is (one == other)


SCOPES = [
    "",
    'model = "*opus*"',
    'model = ["*opus*", "gpt-?"]',
    'model = ["claude-opus-5", "gpt-5"]\nprovider = "anthropic"',
    'share = "each"\nper = "principal"',
    'share = "each"\nper = ["principal", "model"]\nproject = "bill*"',
    'share = "pool"\nprincipal = ["a*", "b[1]"]',
    'principal = "ada"',
    'principal = "ada"\nissuer = ["local", "https://*"]\nshare = "pool"',
    'share = "each"\nper = ["principal", "issuer"]',
]
ISSUERS = ["", "local", "https://okta.example"]
PEOPLE, PROJECTS, MODELS = ["ada", "b[1]", "c"], ["billing", ""], ["claude-opus-5", "gpt-5", "gpt-?", ""]


@pytest.mark.parametrize("scope", SCOPES)
def test_the_ledger_s_scope_holds_exactly_the_calls_the_budget_counts_in_that_bucket(scope: str) -> None:
    """Pairs of one column are alternatives, columns must all match: run in SQLite against every combination."""
    budget = policy(budget_text(scope)).budgets[0]
    calls = list(product(PEOPLE, PROJECTS, MODELS, ["anthropic", "openai"], ISSUERS))
    keys = {one: bucket_key(budget, five(*one)) for one in calls if covers(budget, five(*one))}
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE entry (subject, project, model, provider, issuer)")
        connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", calls)
        for one, key in keys.items():
            pairs = bucket_scope(budget, five(*one))
            columns = dict.fromkeys(column for column, _ in pairs)
            where = " AND ".join(
                "(" + " OR ".join(f"{column} GLOB ?" for name, _ in pairs if name == column) + ")" for column in columns
            )
            patterns = [pattern for column in columns for name, pattern in pairs if name == column]
            found = connection.execute(f"SELECT * FROM entry WHERE {where or '1'}", patterns).fetchall()
            assert set(found) == {other for other, its_key in keys.items() if its_key == key}
    connection.close()


def test_an_unknown_model_or_project_is_covered_by_a_star_only() -> None:
    values = values_of(call(None, project=""), None)
    assert covers(policy(budget_text('model = "*"\nproject = "*"\nshare = "pool"')).budgets[0], values)
    assert not covers(policy(budget_text('model = "c*"')).budgets[0], values)
    assert not covers(policy(budget_text('project = "b*"\nshare = "pool"')).budgets[0], values)


def test_all_scope_keys_must_match() -> None:
    budget = policy(budget_text('model = "*opus*"\nprovider = "anthropic"')).budgets[0]
    assert covers(budget, values_of(call(), "claude-opus-5"))
    assert not covers(budget, values_of(call(provider="bedrock"), "claude-opus-5"))


def test_values_are_cut_and_cleaned_as_the_ledger_keeps_them() -> None:
    kept = values_of(call("m" * 5000, who="ada\nroot"), "m" * 5000)
    assert kept[:4] == ("ada\ufffdroot", "billing", "m" * 512, "anthropic")


def test_limits_stay_one_value_inside_a_window_and_change_with_it() -> None:
    match = Matcher(policy(budget_text())).match(four("ada", "", "m", "p"))
    first, later, tomorrow = match.limits(NOW), match.limits(NOW + 1), match.limits(at("2026-11-23T00:00"))
    assert first[0] is later[0]
    assert first[0].resets_at == tomorrow[0].bucket.start_at
    assert first[0].bucket.key == tomorrow[0].bucket.key
    assert match.limits(NOW) == first


def test_a_rolling_limit_moves_with_the_clock() -> None:
    match = Matcher(policy(budget_text(window="rolling 1h"))).match(four("ada", "", "m", "p"))
    for moment in (NOW, NOW + 5):
        (limit,) = match.limits(moment)
        assert limit.bucket.start_at == moment - 3_600_000_000
        assert limit.bucket.length_us == 3_600_000_000
        assert limit.resets_at is None


def test_what_is_remembered_is_bounded_whatever_names_clients_choose() -> None:
    matcher = Matcher(policy(budget_text()))
    for number in range(MAX_REMEMBERED):
        matcher.match(four("ada", "", f"model-{number}", "p"))
    assert len(matcher._known) <= MAX_REMEMBERED / 2 + 1


def test_a_budget_that_only_watches_offers_no_rewrite() -> None:
    text = budget_text('on_exceed = { rewrite = ["b", "a"] }', name="one")
    watching = budget_text('mode = "observe"\non_exceed = { rewrite = "c" }', name="two")
    acting = budget_text('on_exceed = { rewrite = ["a", "d"] }', name="three")
    assert Matcher(policy(text + watching + acting)).match(four("ada", "", "m", "p")).rewrites == ("b", "a", "d")
