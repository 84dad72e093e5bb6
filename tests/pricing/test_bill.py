"""Which figure counts: the provider's, ours, an estimate or a ceiling; and that nothing billed is ever $0."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.conftest import LoadOverlay, MakeCall, MakeReading
from tollkeeper.core.call import Metering
from tollkeeper.core.charge import CostSource
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook
from tollkeeper.wire.traits import SUBSCRIPTION

SMALL = Usage(input_tokens=1_000, output_tokens=100)


def test_an_unknown_model_has_no_cost_and_counts_at_its_providers_ceiling(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    bill = book.bill(make_call("anthropic", "claude-zeta-9"), make_reading(SMALL))
    (line,) = bill.lines
    assert (bill.cost_nanousd, bill.list_cost_nanousd, bill.source) == (None, None, CostSource.CEILING)
    assert bill.exposure_nanousd == 1_000 * 20_000 + 100 * 100_000
    assert line.unpriced == ("input_tokens", "output_tokens")
    assert line.flags == ("unknown-model",)
    assert line.charges == ()
    assert line.price is not None


@pytest.mark.parametrize("provider", ["unknown:llm.example.com", "nvidia", "venice", "replicate", ""])
def test_providers_without_any_price_list_still_count_against_budgets(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str
) -> None:
    bill = book.bill(make_call(provider, "some-model"), make_reading(SMALL))
    assert bill.cost_nanousd is None
    assert bill.exposure_nanousd > 0


def test_a_unit_without_a_rate_leaves_the_cost_unknown_and_adds_a_ceiling(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    known = book.bill(make_call("openai", "gpt-4.1-nano"), make_reading(SMALL)).exposure_nanousd
    usage = Usage(input_tokens=1_000, output_tokens=100, units={"web_search_requests": 3})
    bill = book.bill(make_call("openai", "gpt-4.1-nano"), make_reading(usage))
    assert bill.cost_nanousd is None
    assert bill.lines[0].unpriced == ("web_search_requests",)
    assert bill.exposure_nanousd == known + 3 * 35_000_000


def test_a_unit_nobody_has_heard_of_is_never_free(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    usage = Usage(input_tokens=1_000, units={"hologram_requests": 2})
    bill = book.bill(make_call("openai", "gpt-5"), make_reading(usage))
    assert bill.lines[0].unpriced == ("hologram_requests",)
    assert bill.exposure_nanousd > 100_000_000


def test_audio_without_an_audio_rate_is_priced_as_text_and_says_so(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, units={"audio_input_tokens": 900})
    bill = book.bill(make_call("openai", "gpt-4o"), make_reading(usage))
    assert bill.lines[0].flags == ("coarse:audio_input_tokens",)
    assert bill.cost_nanousd == 1_000 * 2_500 + 100 * 10_000


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "omni-moderation-latest"),
        ("gemini", "gemma-3-27b-it"),
        ("openrouter", "meta-llama/llama-3.2-3b-instruct:free"),
    ],
)
def test_only_what_is_on_the_free_list_is_free(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, model: str
) -> None:
    bill = book.bill(make_call(provider, model), make_reading(SMALL))
    assert (bill.cost_nanousd, bill.exposure_nanousd, bill.source) == (0, 0, CostSource.FREE)


@pytest.mark.parametrize(
    ("provider", "model"), [("copilot", "gpt-4o"), ("vertex", "gemma-3-27b-it"), ("cerebras", "qwen-3-coder-480b")]
)
def test_an_entry_without_a_price_is_unknown_not_free(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, model: str
) -> None:
    bill = book.bill(make_call(provider, model), make_reading(SMALL))
    assert bill.cost_nanousd is None
    assert bill.exposure_nanousd > 0
    assert bill.lines[0].flags == ("no-list-price",)


def test_web_fetches_cost_only_their_tokens(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, units={"web_fetch_requests": 4})
    bill = book.bill(make_call("anthropic", "claude-opus-5"), make_reading(usage))
    assert bill.cost_nanousd == 1_000 * 5_000 + 100 * 25_000


def test_each_billed_call_of_one_answer_is_priced_at_its_own_model(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    advisor = Usage(model="claude-opus-5", input_tokens=1_000, output_tokens=100)
    main = Usage(model="claude-haiku-4-5", input_tokens=2_000, output_tokens=10)
    bill = book.bill(make_call("anthropic", "claude-haiku-4-5"), make_reading(main, advisor, model="claude-haiku-4-5"))
    assert [line.model for line in bill.lines] == ["claude-haiku-4-5", "claude-opus-5"]
    assert bill.cost_nanousd == 2_000 * 1_000 + 10 * 5_000 + 1_000 * 5_000 + 100 * 25_000


def test_a_call_billed_at_an_unknown_model_of_its_own_is_not_priced_at_the_requested_one(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    advisor = Usage(model="claude-zeta-9", input_tokens=1_000)
    bill = book.bill(make_call("anthropic", "claude-haiku-4-5"), make_reading(advisor, model="claude-haiku-4-5"))
    assert bill.cost_nanousd is None


def test_the_answers_model_counts_before_the_requested_one(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    call = make_call("azure", "prod-chat")
    assert book.bill(call, make_reading(SMALL, model="gpt-4o-2024-11-20")).cost_nanousd == 1_000 * 2_500 + 100 * 10_000
    asked = make_call("openai", "davinci-002")
    line = book.bill(asked, make_reading(SMALL, model="davinci:2023-07-21-v2")).lines[0]
    assert line.cost_nanousd == 1_100 * 2_000
    assert line.flags == ("priced-as-requested",)


@pytest.mark.parametrize("source", [UsageSource.COUNTED, UsageSource.PARTIAL])
def test_counted_usage_gives_an_estimate(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, source: UsageSource
) -> None:
    assert book.bill(make_call("openai", "gpt-5"), make_reading(SMALL, source=source)).source is CostSource.ESTIMATED


def test_the_providers_own_figure_wins_and_ours_stays_beside_it(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    ours = book.bill(make_call("openrouter", "openai/gpt-4o-mini"), make_reading(SMALL))
    assert ours.cost_nanousd
    stated = make_reading(SMALL, provider_cost_usd=Decimal("0.0005"))
    bill = book.bill(make_call("openrouter", "openai/gpt-4o-mini"), stated)
    assert (bill.cost_nanousd, bill.exposure_nanousd, bill.source) == (500_000, 500_000, CostSource.PROVIDER)
    assert bill.list_cost_nanousd == ours.cost_nanousd
    assert bill.flags == ("cost-differs",)


def test_a_difference_within_one_percent_is_no_finding(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    ours = book.bill(make_call("xai", "grok-4-0709"), make_reading(SMALL)).cost_nanousd
    assert ours
    near = make_reading(SMALL, provider_cost_usd=Decimal(ours) * Decimal("1.009") / 10**9)
    far = make_reading(SMALL, provider_cost_usd=Decimal(ours) * Decimal("1.02") / 10**9)
    assert book.bill(make_call("xai", "grok-4-0709"), near).flags == ()
    assert book.bill(make_call("xai", "grok-4-0709"), far).flags == ("cost-differs",)


def test_a_stated_cost_prices_even_an_unknown_model(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    bill = book.bill(make_call("openrouter", "nobody/nothing"), make_reading(SMALL, provider_cost_usd=Decimal("0.25")))
    assert bill.cost_nanousd == bill.exposure_nanousd == bill.lines[0].cost_nanousd == 250_000_000
    alone = Reading(source=UsageSource.REPORTED, provider_cost_usd=Decimal("0.25"))
    assert book.bill(make_call("xai", "grok-imagine"), alone).cost_nanousd == 250_000_000


@pytest.mark.parametrize("absurd", ["-1", "NaN", "Infinity", "1e12"])
def test_a_broken_stated_cost_is_dropped_and_flagged(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, absurd: str
) -> None:
    bill = book.bill(make_call("openai", "gpt-5"), make_reading(SMALL, provider_cost_usd=Decimal(absurd)))
    assert bill.source is CostSource.COMPUTED
    assert bill.flags == ("provider-cost-invalid",)


@given(tokens=st.lists(st.integers(0, 10**6), min_size=1, max_size=5), stated=st.integers(1, 10**12), unknown=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_stated_cost_is_shared_out_over_the_lines_to_the_last_nano_dollar(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, tokens: list[int], stated: int, unknown: bool
) -> None:
    calls = [Usage(model="zeta" if unknown else "gpt-5", input_tokens=count) for count in tokens]
    bill = book.bill(make_call("openai", "gpt-5"), make_reading(*calls, provider_cost_usd=Decimal(stated) / 10**9))
    assert sum(line.exposure_nanousd for line in bill.lines) == sum(line.cost_nanousd or 0 for line in bill.lines) == stated
    assert all(line.exposure_nanousd >= 0 for line in bill.lines)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("litellm", "nobody/nothing"), ("openai", "gpt-4.1"), ("xai", "grok-4"), ("openrouter", "openai/gpt-4o")],
)
def test_a_stated_zero_is_not_believed_where_something_was_used_that_is_not_free(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, model: str
) -> None:
    """LiteLLM states 0 for models that it knows no price of, and for streams, which have not begun when its headers leave."""
    ours = book.bill(make_call(provider, model), make_reading(SMALL))
    bill = book.bill(make_call(provider, model), make_reading(SMALL, provider_cost_usd=Decimal(0)))
    assert bill.lines == ours.lines
    assert (bill.cost_nanousd, bill.source, bill.flags) == (ours.cost_nanousd, ours.source, ("cost-zero",))
    assert bill.exposure_nanousd == ours.exposure_nanousd > 0


def test_a_stated_zero_is_the_cost_of_what_is_free_or_used_nothing(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    free = make_call("openrouter", "meta-llama/llama-3.2-3b-instruct:free")
    for bill in (
        book.bill(free, make_reading(SMALL, provider_cost_usd=Decimal(0))),
        book.bill(make_call("openai", "gpt-4.1"), make_reading(Usage(), provider_cost_usd=Decimal(0))),
    ):
        assert (bill.cost_nanousd, bill.exposure_nanousd, bill.source, bill.flags) == (0, 0, CostSource.PROVIDER, ())


def test_a_stated_zero_is_the_cost_where_the_provider_says_that_it_is_the_one_who_charges(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    """A model on trial at OpenRouter has no price in any list, and takes nothing."""
    reading = make_reading(SMALL, provider_cost_usd=Decimal(0), flags=("charged-nothing",))
    bill = book.bill(make_call("openrouter", "openrouter/on-trial"), reading)
    assert (bill.cost_nanousd, bill.exposure_nanousd, bill.source) == (0, 0, CostSource.PROVIDER)


def test_a_plan_s_traffic_keeps_its_list_price_where_zero_is_stated(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    call = replace(make_call("openai", "gpt-4.1"), plan="chatgpt")
    bill = book.bill(call, make_reading(SMALL, provider_cost_usd=Decimal(0)))
    assert (bill.list_cost_nanousd, bill.cost_nanousd) == (1_000 * 2_000 + 100 * 8_000, 0)


def test_free_endpoints_and_failed_calls_cost_nothing(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    free = make_call("anthropic", "claude-opus-5", metering=Metering.FREE)
    assert book.bill(free, make_reading(SMALL)).lines == ()
    nothing = book.bill(make_call("anthropic", "claude-opus-5"), Reading(source=UsageSource.NONE))
    assert (nothing.lines, nothing.flags, nothing.exposure_nanousd) == ((), (), 0)


def test_what_cannot_be_read_is_flagged_not_silently_zero(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("openai", None, metering=Metering.UNMETERED)
    assert book.bill(call, Reading(source=UsageSource.UNMETERED)).flags == ("unmetered",)
    assert book.bill(make_call("openai", "gpt-5"), Reading(source=UsageSource.REPORTED)).flags == ("unmetered",)


def test_a_plans_traffic_is_priced_and_marked_notional(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    call = make_call("chatgpt", "gpt-5")
    plan = replace(call, endpoint=replace(call.endpoint, traits=frozenset({SUBSCRIPTION})))
    whole = 1_000 * 1_250 + 100 * 10_000
    line = book.bill(plan, make_reading(SMALL)).lines[0]
    assert (line.list_cost_nanousd, line.cost_nanousd, line.exposure_nanousd, line.flags) == (whole, 0, 0, ("notional",))
    by_credential = book.bill(replace(call, plan="claude"), make_reading(SMALL))
    assert (by_credential.list_cost_nanousd, by_credential.cost_nanousd, by_credential.exposure_nanousd) == (whole, 0, 0)
    counted = book.bill(replace(plan, plan_counts=True), make_reading(SMALL))
    assert (counted.cost_nanousd, counted.exposure_nanousd) == (0, whole)


def test_what_a_plan_states_of_itself_is_its_list_cost(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    """GitHub states AI credits: what is taken off the plan, not what is owed."""
    call = replace(make_call("copilot", "gpt-5"), plan="copilot")
    bill = book.bill(call, replace(make_reading(SMALL), provider_cost_usd=Decimal("0.01")))
    assert (bill.list_cost_nanousd, bill.cost_nanousd, bill.exposure_nanousd) == (10_000_000, 0, 0)


@given(
    counts=st.tuples(*[st.integers(-(10**30), 10**30)] * 5),
    units=st.dictionaries(st.sampled_from(["audio_input_tokens", "web_search_requests", "x"]), st.integers(-(10**30), 10**30)),
    model=st.sampled_from(["gpt-5", "gpt-audio", "nobody", ""]),
)
@settings(max_examples=100, deadline=None)
def test_no_count_however_absurd_breaks_a_bill_or_overflows_the_ledger(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    counts: tuple[int, int, int, int, int],
    units: dict[str, int],
    model: str,
) -> None:
    names = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
    usage = Usage(**dict(zip(names, counts, strict=True)), units=units)
    bill = book.bill(make_call("openai", model), make_reading(usage))
    assert 0 <= bill.exposure_nanousd < 2**63
    if any(not 0 <= count <= 10**9 for count in counts):
        assert any(flag.startswith("clamped:") for flag in bill.lines[0].flags)


@given(
    name=st.sampled_from(
        ["input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"]
    ),
    base=st.integers(0, 10**6),
    more=st.integers(1, 10**6),
    model=st.sampled_from(["claude-sonnet-4-5", "claude-haiku-5-5", "gpt-5.4", "gpt-6-sol", "gemini-2.5-pro", "zeta"]),
)
@settings(max_examples=100, deadline=None)
def test_using_more_never_costs_less(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, name: str, base: int, more: int, model: str
) -> None:
    provider = "anthropic" if model.startswith("claude") else "gemini" if model.startswith("gemini") else "openai"
    low, high = (
        book.bill(make_call(provider, model), make_reading(Usage(**{name: count}))).exposure_nanousd
        for count in (base, base + more)
    )
    assert low <= high


def test_a_discount_lowers_what_is_owed_and_keeps_the_list_price(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    book = overlaid(
        '[[discount]]\nprovider = "anthropic"\nmatch = { contains = "claude" }\nfactor = "0.85"\nfrom = 2026-07-01\nto = 2026-11-20\n'
    )
    usage = Usage(input_tokens=1_000, output_tokens=101)
    bill = book.bill(make_call("anthropic", "claude-opus-5"), make_reading(usage))
    assert bill.list_cost_nanousd == 1_000 * 5_000 + 101 * 25_000
    assert bill.cost_nanousd == bill.exposure_nanousd == Decimal(bill.list_cost_nanousd) * Decimal("0.85")
    later = book.bill(make_call("anthropic", "claude-opus-5", when="2026-11-21 00:00"), make_reading(usage))
    assert later.cost_nanousd == later.list_cost_nanousd
