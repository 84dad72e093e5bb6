"""What the client is told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import HOUR, USD, at
from tollkeeper.core.decision import ALLOWED, Decision, Standing, Verdict
from tollkeeper.policy.message import FORBIDDEN, distance_in_words, moment_in_words, refusal_message, response_headers

ROME = "Europe/Rome"
NOW = at("2026-11-22T22:47", ROME)
STANDING = Standing(
    budget="day",
    bucket="day@Europe/Rome",
    amount_nanousd=50 * USD,
    spent_nanousd=49_300_000_000,
    held_nanousd=300_000_000,
    window="day",
    resets_at=at("2026-11-23T00:00", ROME),
    zone=ROME,
)
REFUSED = Decision(
    verdict=Verdict.REFUSE,
    would=Verdict.REFUSE,
    rule="budget.day",
    reason='budget "day" has $0.4000 left, and this call may cost up to $0.5200',
    standing=STANDING,
    remedy="Ask #ai-budgets.",
)


def test_a_refusal_names_budget_spent_held_amount_reset_and_remedy() -> None:
    assert refusal_message(REFUSED, NOW) == (
        'Blocked by tollkeeper: budget "day" has $0.4000 left, and this call may cost up to $0.5200: $49.30 of $50.00 spent, '
        "$0.3000 held for calls under way. It resets on Mon 23 Nov 00:00 Europe/Rome (in 1 h 13 min). Ask #ai-budgets."
    )


def test_nothing_is_said_of_holds_where_there_are_none() -> None:
    said = refusal_message(replace(REFUSED, standing=replace(STANDING, held_nanousd=0)), NOW)
    assert "held" not in said


def test_a_rolling_budget_says_how_room_comes_back() -> None:
    rolling = replace(STANDING, window="rolling 24 h", resets_at=None)
    said = refusal_message(replace(REFUSED, standing=rolling), NOW)
    assert "Its window is rolling 24 h: room comes back as spending grows older than that." in said


def test_a_refusal_without_a_budget_says_why_and_what_helps() -> None:
    decision = Decision(
        verdict=Verdict.REFUSE, would=Verdict.REFUSE, reason='model "x" has no known price', remedy="Give it one."
    )
    assert refusal_message(decision, NOW) == 'Blocked by tollkeeper: model "x" has no known price. Give it one.'


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_refusal_can_say_what_makes_a_client_hide_it(before: str, after: str) -> None:
    said = refusal_message(replace(REFUSED, remedy=f"{before}Credit\tbalance is  too low{after}"), NOW)
    assert FORBIDDEN not in " ".join(said.lower().split())


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (-1, "now"),
        (0, "now"),
        (0.5, "in less than a minute"),
        (1, "in 1 min"),
        (60, "in 1 h"),
        (73, "in 1 h 13 min"),
        (72.5, "in 1 h 13 min"),
        (1440, "in 1 d"),
        (1440 * 3 + 245, "in 3 d 4 h"),
    ],
)
def test_distances_are_told_in_two_units_at_most(minutes: float, words: str) -> None:
    assert distance_in_words(int(minutes * 60_000_000)) == words


def test_the_year_is_told_when_it_is_another_one() -> None:
    assert moment_in_words(at("2027-01-01", ROME), ROME, NOW).startswith("Fri 1 Jan 2027 00:00 Europe/Rome")


def test_the_distance_to_a_reset_is_time_that_passes_and_not_wall_time() -> None:
    """From 00:00 to 12:00 on the day the clocks go forward, eleven hours pass."""
    assert moment_in_words(at("2026-03-29T12:00", ROME), ROME, at("2026-03-29T00:00", ROME)).endswith("(in 11 h)")


def test_a_plain_yes_has_no_headers() -> None:
    assert response_headers(ALLOWED) == {}


def test_a_refusal_s_headers() -> None:
    assert response_headers(REFUSED) == {
        "x-tollkeeper-verdict": "refuse",
        "x-tollkeeper-rule": "budget.day",
        "x-tollkeeper-reason": 'budget "day" has $0.4000 left, and this call may cost up to $0.5200',
        "x-tollkeeper-budget": "day",
        "x-tollkeeper-spent-usd": "49.300000000",
        "x-tollkeeper-held-usd": "0.300000000",
        "x-tollkeeper-amount-usd": "50.000000000",
        "x-tollkeeper-resets-at": "2026-11-22T23:00:00Z",
    }


def test_a_rewrite_is_announced_with_both_models() -> None:
    decision = replace(REFUSED, verdict=Verdict.REWRITE, would=Verdict.REWRITE, model="b", model_asked="a")
    assert response_headers(decision)["x-tollkeeper-rewrote"] == "model a->b"


def test_a_policy_that_warns_says_what_it_would_have_done() -> None:
    headers = response_headers(replace(REFUSED, verdict=Verdict.ALLOW))
    assert (headers["x-tollkeeper-verdict"], headers["x-tollkeeper-would"]) == ("allow", "refuse")


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from([Verdict.REFUSE, Verdict.REWRITE]))
def test_headers_are_printable_ascii_whatever_a_client_names_its_model(model: str, reason: str, verdict: Verdict) -> None:
    decision = replace(REFUSED, verdict=verdict, model=model, model_asked=model, reason=reason)
    for name, value in response_headers(decision).items():
        assert name.isascii()
        assert all(" " <= letter <= "~" for letter in value)
        assert len(value) <= 200


def test_a_message_is_bounded() -> None:
    assert len(refusal_message(replace(REFUSED, reason="x" * 5000), NOW + HOUR)) == 1000
