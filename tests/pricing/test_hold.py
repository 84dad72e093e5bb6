"""What is set aside before a call is enough for it, and no hostile request breaks it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.conftest import LoadOverlay, MakeCall, MakeReading
from tollkeeper.core.call import Metering
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook

MODELS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("openai", "gpt-5"),
    ("openai", "gpt-6-sol"),
    ("openai", "gpt-audio"),
    ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-2.5-flash-image"),
    ("openai", "zeta-unknown"),
    ("unknown:llm.example.com", "zeta"),
]


@pytest.mark.parametrize("model", ["gpt-4o-search-preview", "gpt-4o-mini-search-preview", "gpt-4.1"])
def test_the_fee_of_the_older_search_is_held_for(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, model: str
) -> None:
    call = make_call("openai", model, max_output_tokens=1, server_tools=1, units={"web_search_preview_requests": 1})
    usage = Usage(output_tokens=1, units={"web_search_preview_requests": 1})
    assert book.hold(call).worst_nanousd >= book.bill(call, make_reading(usage)).exposure_nanousd >= 25_000_000


@given(
    which=st.sampled_from(MODELS),
    size=st.integers(0, 2_000_000),
    cap=st.integers(1, 60_000),
    choices=st.integers(1, 4),
    ttl=st.sampled_from([None, "5m", "1h"]),
    searches=st.integers(0, 5),
    share=st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_a_call_within_its_bounds_never_costs_more_than_its_hold(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    which: tuple[str, str],
    size: int,
    cap: int,
    choices: int,
    ttl: str | None,
    searches: int,
    share: float,
) -> None:
    call = make_call(*which, input_bytes=size, max_output_tokens=cap, choices=choices, cache_write_ttl=ttl, server_tools=searches)
    held = book.hold(call).worst_nanousd
    tokens = int(size / 3.3)
    written = int(tokens * share) if ttl else 0
    usage = Usage(
        input_tokens=tokens - written,
        cache_write_5m_tokens=written if ttl == "5m" else 0,
        cache_write_1h_tokens=written if ttl == "1h" else 0,
        output_tokens=min(cap * choices, 16_384),
        units={"web_search_requests": searches} if searches else {},
    )
    assert book.bill(call, make_reading(usage)).exposure_nanousd <= held


def test_a_hold_is_rounded_up_and_counts_input_at_the_familys_upper_factor(book: PriceBook, make_call: MakeCall) -> None:
    quote = book.hold(make_call("openai", "gpt-5", input_bytes=33_000, max_output_tokens=1_000))
    assert quote.worst_nanousd == (10_300 + 700) * 1_250 + 1_000 * 10_000
    assert (quote.model, quote.known) == ("gpt-5", True)


def test_a_conversation_in_the_prompt_cache_is_read_at_the_rate_of_that(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("openai", "gpt-5", input_bytes=33_000, max_output_tokens=1_000)
    assert book.warm_nanousd(call, 500) == (10_300 + 700) * 125 + 500 * 10_000
    assert book.hold(call, cap=500).worst_nanousd == (10_300 + 700) * 1_250 + 500 * 10_000


def test_anthropic_caches_what_a_request_marks_only(book: PriceBook, make_call: MakeCall) -> None:
    plain, marked = (
        replace(call, endpoint=replace(call.endpoint, dialect="anthropic-messages"))
        for call in (make_call("anthropic", "claude-opus-4-5", input_bytes=33_000, cache_write_ttl=ttl) for ttl in (None, "5m"))
    )
    assert book.warm_nanousd(plain, 500) == book.hold(plain, cap=500).worst_nanousd
    assert book.warm_nanousd(marked, 500) < book.hold(plain, cap=500).worst_nanousd


def test_the_tier_of_the_bound_applies_not_the_base_rate(book: PriceBook, make_call: MakeCall) -> None:
    below = book.hold(make_call("anthropic", "claude-sonnet-4-5", input_bytes=400_000, max_output_tokens=1)).worst_nanousd
    above = book.hold(make_call("anthropic", "claude-sonnet-4-5", input_bytes=800_000, max_output_tokens=1)).worst_nanousd
    assert above > 3.9 * below


def test_a_hold_knows_the_price_of_writing_a_cache(book: PriceBook, make_call: MakeCall) -> None:
    plain, short, long = (
        book.hold(
            make_call("anthropic", "claude-opus-5", input_bytes=330_000, max_output_tokens=1, cache_write_ttl=ttl)
        ).worst_nanousd
        for ttl in (None, "5m", "1h")
    )
    assert plain * 1.24 < short < plain * 1.26
    assert plain * 1.99 < long < plain * 2.01


def test_openai_writes_caches_unasked(book: PriceBook, make_call: MakeCall) -> None:
    held = book.hold(make_call("openai", "gpt-6-sol", input_bytes=33_000, max_output_tokens=1)).worst_nanousd
    assert held == 11_000 * 2_500 + 10_000


@pytest.mark.parametrize(
    ("model", "asked", "tokens"),
    [
        ("gpt-5", None, 16_384),
        ("gpt-4o", None, 16_384),
        ("gpt-4", None, 8_192),
        ("gpt-4o", 10**9, 16_384),
        ("gpt-5", 10**30, 128_000),
        ("gpt-5", 50, 50),
        ("gpt-5", -1, 16_384),
    ],
)
def test_output_is_bounded_by_the_ask_and_the_models_ceiling(
    book: PriceBook, make_call: MakeCall, model: str, asked: int | None, tokens: int
) -> None:
    one = book.hold(make_call("openai", model, max_output_tokens=1)).worst_nanousd
    price = book.price_of("openai", model, make_call("openai", model).started_at)
    assert price is not None
    rate = price.rates["output_tokens"].steps[0].num
    assert book.hold(make_call("openai", model, max_output_tokens=asked)).worst_nanousd == one + (tokens - 1) * rate


def test_every_answer_asked_for_is_held(book: PriceBook, make_call: MakeCall) -> None:
    one, four, hostile = (
        book.hold(make_call("openai", "gpt-5", max_output_tokens=1_000, choices=n)).worst_nanousd for n in (1, 4, 10**18)
    )
    assert four == one + 3_000 * 10_000
    assert hostile == one + 127_000 * 10_000


def test_an_unknown_model_is_held_at_its_ceiling(book: PriceBook, make_call: MakeCall) -> None:
    quote = book.hold(make_call("anthropic", "claude-zeta-9", input_bytes=3_300, max_output_tokens=100))
    assert not quote.known
    assert quote.worst_nanousd >= 1_000 * 20_000 + 100 * 100_000


def test_a_rewrite_is_held_at_the_cheaper_models_price(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("anthropic", "claude-opus-5", input_bytes=10_000, max_output_tokens=1_000)
    cheap = book.hold(call, "claude-haiku-4-5")
    assert cheap.model == "claude-haiku-4-5"
    assert cheap.worst_nanousd < book.hold(call).worst_nanousd / 4


def test_pictures_are_held_at_a_flat_reserve(book: PriceBook, make_call: MakeCall) -> None:
    none, two = (book.hold(make_call("openai", "gpt-4o", max_output_tokens=1, media_parts=n)).worst_nanousd for n in (0, 2))
    assert two - none == 8_000 * 2_500


def test_embeddings_hold_no_output(book: PriceBook, make_call: MakeCall) -> None:
    call = make_call("openai", "text-embedding-3-small", operation="embeddings", input_bytes=33_000)
    assert book.hold(call).worst_nanousd == 11_000 * 20


def test_what_is_free_or_unread_holds_nothing_but_is_not_called_known_when_unread(book: PriceBook, make_call: MakeCall) -> None:
    free = book.hold(make_call("anthropic", "claude-opus-5", metering=Metering.FREE))
    unread = book.hold(make_call("openai", None, metering=Metering.UNMETERED))
    assert (free.worst_nanousd, free.known) == (0, True)
    assert (unread.worst_nanousd, unread.known) == (0, False)
    moderation = book.hold(make_call("openai", "omni-moderation-latest", input_bytes=10_000))
    assert moderation.worst_nanousd == 0


def test_priority_discount_and_multiplier_change_the_hold(overlaid: LoadOverlay, book: PriceBook, make_call: MakeCall) -> None:
    ask = {"input_bytes": 10_000, "max_output_tokens": 1_000}
    base = book.hold(make_call("openai", "gpt-5.4", **ask)).worst_nanousd
    assert book.hold(make_call("openai", "gpt-5.4", service_tier="priority", **ask)).worst_nanousd == 2 * base
    assert abs(book.hold(make_call("openai", "gpt-5.4", host="eu.api.openai.com", **ask)).worst_nanousd - 1.1 * base) <= 2
    cheap = overlaid('[[discount]]\nprovider = "openai"\nfactor = "0.5"\n')
    assert cheap.hold(make_call("openai", "gpt-5.4", **ask)).worst_nanousd == base // 2 + base % 2
