"""Past traffic in dollars: a session is billed turn by turn, as it was live."""

from decimal import Decimal

from pricing.conftest import MakeCall
from tollkeeper.core.call import Ask
from tollkeeper.core.charge import CostSource
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.pricing.account import account
from tollkeeper.pricing.book import PriceBook
from tollkeeper.wire.sessions import Turn

USAGE = Usage(model="gpt-5.4", input_tokens=1_000, output_tokens=300)
LIST_NANOUSD = 1_000 * 2_500 + 300 * 15_000
"""Of one turn at $2.50 and $15 a million; priority costs twice that (the catalogue's own tier)."""


def turn(
    number: int = 1, source: UsageSource = UsageSource.REPORTED, *, tier: str = "default", prompt: str = "", **rest: object
) -> Turn:
    calls = (USAGE,) if source is UsageSource.REPORTED else ()
    reading = Reading(source=source, calls=calls, model="gpt-5.4", terms={"service_tier": tier}, **rest)  # type: ignore[arg-type]
    return Turn(number=number, ask=Ask(model="gpt-5.4"), reading=reading, prompt=prompt)


def no_prompt() -> str:
    raise AssertionError("a turn brings its own prompt")


def test_each_turn_is_billed_at_its_own_terms(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("openai", "gpt-5.4", when="2026-11-20 12:00")
    reading, bill = account(book, call, Reading(source=UsageSource.NONE), [turn(tier="priority"), turn(2)], no_prompt)
    assert [line.cost_nanousd for line in bill.lines] == [2 * LIST_NANOUSD, LIST_NANOUSD]
    assert (bill.cost_nanousd, bill.source, len(reading.calls)) == (3 * LIST_NANOUSD, CostSource.COMPUTED, 2)


def test_a_turn_that_was_cut_is_charged_besides_those_that_were_not(book: PriceBook, make_call: MakeCall) -> None:
    cut = turn(2, UsageSource.PARTIAL, prompt="Why? " * 100, visible_output="Because. " * 50)
    reading, bill = account(book, make_call("openai", "gpt-5.4"), Reading(source=UsageSource.NONE), [turn(), cut], no_prompt)
    assert [line.cost_nanousd == LIST_NANOUSD for line in bill.lines] == [True, False]
    assert all(line.cost_nanousd for line in bill.lines)
    assert (reading.source, bill.source) == (UsageSource.REPORTED, CostSource.ESTIMATED)
    assert {"turns-differ", "estimated-input", "estimated-output"} <= {*reading.flags}


def test_the_costs_that_turns_state_are_added_up(book: PriceBook, make_call: MakeCall) -> None:
    turns = [turn(provider_cost_usd=Decimal("0.5")), turn(2), turn(3, provider_cost_usd=Decimal("0.25"))]
    _, bill = account(book, make_call("openai", "gpt-5.4"), Reading(source=UsageSource.NONE), turns, no_prompt)
    assert bill.cost_nanousd == bill.exposure_nanousd == 750_000_000 + LIST_NANOUSD


def test_a_turn_that_nothing_could_be_read_of_leaves_the_whole_unknown(book: PriceBook, make_call: MakeCall) -> None:
    blind = turn(2, UsageSource.UNMETERED)
    _, bill = account(book, make_call("openai", "gpt-5.4"), Reading(source=UsageSource.NONE), [turn(), blind], no_prompt)
    assert (bill.exposure_nanousd, bill.flags) == (LIST_NANOUSD, ("unmetered",))


def test_anything_else_is_the_one_call_it_was(book: PriceBook, make_call: MakeCall) -> None:
    read = turn().reading
    reading, bill = account(book, make_call("openai", "gpt-5.4"), read, (), no_prompt)
    assert (reading, bill.cost_nanousd) == (read, LIST_NANOUSD)
