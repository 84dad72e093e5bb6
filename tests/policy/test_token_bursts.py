"""A budget in tokens under many callers at once: none of it is spent twice, and nearly all of it can be used."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.samples import Quoted, at, call, policy
from tollkeeper.core.admission import Admission, Admitted
from tollkeeper.core.call import Ask, Call
from tollkeeper.core.usage import Usage
from tollkeeper.ledger.rehearsal import Rehearsal
from tollkeeper.policy.candidates import DEFAULT_OUTPUT_TOKENS, OVERHEAD_TOKENS, UNLEARNED_OUTPUT_TOKENS, Pen
from tollkeeper.policy.estimate import Estimates
from tollkeeper.policy.model import Policy
from tollkeeper.policy.plan import plan_with

NOW = at("2026-11-22T10:00")
SECOND = 1_000_000


CLAMP = 'on_exceed = [{ clamp = { min_output_tokens = 256 } }, "refuse"]\n'


def document(amount: int, ladder: str = "") -> Policy:
    return policy(f'mode = "enforce"\n[budget.t]\namount = "{amount} tokens"\nwindow = "day"\n{ladder}')


def chat(number: int, cap: int | None = None, input_bytes: int = 0) -> Call:
    asked = call("claude-opus-5")
    return replace(asked, id=f"01J{number:023}", ask=Ask(model="claude-opus-5", max_output_tokens=cap, input_bytes=input_bytes))


def pen(estimates: Estimates) -> Pen:
    return Pen(
        quote=lambda _: Quoted(16_384),
        capped=lambda _, cap: Quoted(min(cap, 16_384)),
        expected=lambda model: estimates.output_tokens(model, "", ""),
    )


def ask(ledger: Rehearsal, rules: Policy, one: Call, estimates: Estimates, now: int) -> tuple[Admission, Admitted]:
    planned = plan_with(rules, one, pen(estimates), now)
    assert isinstance(planned, Admission)
    return planned, ledger.admit(planned)


@pytest.mark.parametrize("ladder", ["", CLAMP], ids=["refuse", "clamp"])
def test_short_chats_at_once_that_name_no_cap_hold_the_worst_case_only_while_four_fit(ladder: str) -> None:
    """Of 100,000 tokens: 17,084 twice (four of them fit no more into what is left), then 4,796 thirteen times, then what is left."""
    worst, usual = OVERHEAD_TOKENS + DEFAULT_OUTPUT_TOKENS, OVERHEAD_TOKENS + UNLEARNED_OUTPUT_TOKENS
    with Rehearsal() as ledger:
        rules, estimates = document(100_000, ladder), Estimates()
        answers = [ask(ledger, rules, chat(number), estimates, NOW)[1] for number in range(20)]
    held = [answer.hold_tokens for answer in answers if answer.chosen is not None]
    rest = 100_000 - 2 * worst - 13 * usual
    assert held == [worst] * 2 + [usual] * 13 + ([rest] if ladder else [])
    assert [answer.clamp_output_tokens for answer in answers[15:16]] == [rest - OVERHEAD_TOKENS if ladder else None]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    at_once=st.sampled_from([1, 4, 16, 64]),
    amount=st.sampled_from([120_000, 200_000]),
    ladder=st.sampled_from(["", CLAMP]),
)
def test_no_burst_passes_a_budget_in_tokens_and_95_percent_of_it_can_be_used(
    seed: int, at_once: int, amount: int, ladder: str
) -> None:
    """Answers are heavy-tailed and never longer than their cap; callers come until one is refused while nothing is under way."""
    random, rules, estimates = Random(seed), document(amount, ladder), Estimates()
    used, now, number = 0, NOW, 0
    under_way: list[tuple[Admission, int, int]] = []
    with Rehearsal() as ledger:
        while True:
            now, number = now + SECOND, number + 1
            one = chat(number, random.choice([None, 2_000, 8_000]), random.randrange(6_000))
            planned, answer = ask(ledger, rules, one, estimates, now)
            if answer.chosen is not None:
                cap = answer.clamp_output_tokens or one.ask.max_output_tokens or 16_384
                taken = one.ask.input_bytes // 4 + random.randrange(OVERHEAD_TOKENS)
                under_way.append((planned, taken, min(cap, int(random.lognormvariate(5, 1.2)) + 1)))
                assert answer.hold_tokens >= taken + under_way[-1][2]
            elif not under_way:
                break
            if under_way and (answer.chosen is None or len(under_way) >= at_once):
                planned, taken, output = under_way.pop(random.randrange(len(under_way)))
                ledger.settle(planned, now, 1, (Usage(model="claude-opus-5", input_tokens=taken, output_tokens=output),))
                estimates.note("claude-opus-5", "", "", output)
                used += taken + output
                assert used <= amount
    assert used * 100 >= amount * 95


@pytest.mark.parametrize("held", [True, False])
def test_a_tail_that_no_usual_answer_fits_is_refused_and_says_what_is_left(held: bool) -> None:
    with Rehearsal() as ledger:
        rules, estimates = document(5_000), Estimates()
        first, answer = ask(ledger, rules, chat(1), estimates, NOW)
        assert (answer.chosen, answer.hold_tokens) == (1, OVERHEAD_TOKENS + 4_096)
        if not held:
            ledger.settle(first, NOW + SECOND, 1, (Usage(model="claude-opus-5", input_tokens=900, output_tokens=4_000),))
        _, refused = ask(ledger, rules, chat(2), estimates, NOW + 2 * SECOND)
        assert refused.chosen is None
        (*_, standing) = refused.blockers
        assert (standing.spent_nanousd, standing.held_nanousd) == ((0, 4_796) if held else (4_900, 0))
