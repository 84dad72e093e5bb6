"""A cut stream is charged for what it used: the provider's figures first, our count for the rest, and it says so."""

import pytest

from pricing.conftest import MakeCall, MakeReading
from tollkeeper.core.charge import CostSource
from tollkeeper.core.usage import MAX_COUNT, Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.complete import complete
from tollkeeper.pricing.tokens import count_tokens

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. " * 20
COUNTED = count_tokens(TEXT)


def never() -> str:
    raise AssertionError("the prompt must not be read when the provider gave the input")


@pytest.mark.parametrize("source", [UsageSource.REPORTED, UsageSource.NONE, UsageSource.UNMETERED])
def test_a_reading_that_needs_nothing_comes_back_unchanged(make_call: MakeCall, source: UsageSource) -> None:
    reading = Reading(source=source, visible_output=TEXT)
    assert complete(reading, make_call("openai", "gpt-5"), never) is reading


def test_the_providers_exact_input_is_kept_and_output_counted(make_call: MakeCall, make_reading: MakeReading) -> None:
    start = Usage(model="claude-sonnet-4-5", input_tokens=321, cache_read_tokens=7, output_tokens=1)
    reading = make_reading(start, source=UsageSource.PARTIAL, visible_output=TEXT)
    done = complete(reading, make_call("anthropic", "claude-sonnet-4-5"), never)
    assert (done.calls[0].input_tokens, done.calls[0].cache_read_tokens) == (321, 7)
    assert COUNTED * 1.19 < done.calls[0].output_tokens < COUNTED * 1.21 + 1
    assert done.flags == ("estimated-output",)
    assert done.source is UsageSource.PARTIAL


def test_a_larger_figure_of_the_providers_own_is_not_lowered(make_call: MakeCall, make_reading: MakeReading) -> None:
    start = Usage(input_tokens=10, output_tokens=50_000, reasoning_tokens=49_000)
    done = complete(make_reading(start, source=UsageSource.PARTIAL, visible_output=TEXT), make_call("openai", "gpt-5"), never)
    assert done.calls[0] == start
    assert done.flags == ()


def test_without_any_figures_both_sides_are_counted(make_call: MakeCall) -> None:
    reading = Reading(source=UsageSource.COUNTED, model="gpt-4o", visible_output=TEXT)
    done = complete(reading, make_call("openai", "gpt-4o"), lambda: TEXT * 3)
    (usage,) = done.calls
    assert usage.model == "gpt-4o"
    assert usage.output_tokens == COUNTED
    assert abs(usage.input_tokens - 3 * COUNTED) <= 3
    assert done.flags == ("estimated-output", "estimated-input")


def test_a_call_that_was_cut_before_any_answer_is_charged_for_its_input(make_call: MakeCall) -> None:
    reading = Reading(source=UsageSource.PARTIAL, complete=False, flags=("no-answer",))
    done = complete(reading, make_call("openai", "gpt-4o", media_parts=2), TEXT)
    assert (done.calls[0].input_tokens, done.calls[0].output_tokens) == (COUNTED + 2 * 765, 0)
    assert done.flags == ("no-answer", "estimated-input")


def test_sampled_output_is_scaled_back(make_call: MakeCall) -> None:
    reading = Reading(source=UsageSource.COUNTED, visible_output=TEXT, visible_output_scale=2.5)
    done = complete(reading, make_call("openai", "gpt-4o"), "")
    assert COUNTED * 2.5 <= done.calls[0].output_tokens <= COUNTED * 2.5 + 1


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -3.0, 0.0, 1e300])
def test_an_absurd_scale_does_no_harm(make_call: MakeCall, scale: float) -> None:
    reading = Reading(source=UsageSource.COUNTED, visible_output=TEXT, visible_output_scale=scale)
    done = complete(reading, make_call("openai", "gpt-4o"), "")
    assert COUNTED <= done.calls[0].output_tokens <= MAX_COUNT


def test_only_the_last_of_several_calls_is_completed(make_call: MakeCall, make_reading: MakeReading) -> None:
    first, last = Usage(input_tokens=5, output_tokens=5), Usage(input_tokens=7)
    done = complete(
        make_reading(first, last, source=UsageSource.PARTIAL, visible_output=TEXT), make_call("openai", "gpt-4o"), never
    )
    assert done.calls[0] is first
    assert done.calls[1].output_tokens == COUNTED


def test_a_completed_reading_bills_as_an_estimate(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("openai", "gpt-4o")
    done = complete(Reading(source=UsageSource.COUNTED, visible_output=TEXT), call, TEXT)
    bill = book.bill(call, done)
    assert bill.source is CostSource.ESTIMATED
    assert bill.cost_nanousd == COUNTED * (2_500 + 10_000)
