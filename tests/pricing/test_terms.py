"""Terms in the provider's words select the right rates, and an unknown one is told."""

import pytest

from pricing.conftest import MakeCall, MakeReading
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.terms import bounded, map_terms

USAGE = Usage(input_tokens=1_000, output_tokens=1_000)


@pytest.mark.parametrize(
    ("provider", "model", "terms", "times", "flags"),
    [
        ("openai", "gpt-5", {}, 1, ()),
        ("openai", "gpt-5", {"service_tier": "default"}, 1, ()),
        ("openai", "gpt-5", {"service_tier": "auto"}, 1, ()),
        ("openai", "gpt-5", {"service_tier": "priority"}, 2, ()),
        ("openai", "gpt-5", {"service_tier": "flex"}, 0.5, ()),
        ("openai", "gpt-5", {"service_tier": "hyperspace"}, 1, ("term-unpriced:service_tier",)),
        ("openai", "gpt-5", {"service_tier": "scale"}, 1, ("prepaid-tier",)),
        ("openai", "gpt-5", {"moon_phase": "full"}, 1, ("unknown-term:moon_phase",)),
        ("openai", "gpt-4", {"service_tier": "priority"}, 1, ("term-unpriced:service_tier",)),
        ("anthropic", "claude-opus-5", {"service_tier": "standard", "inference_geo": "global"}, 1, ()),
        ("anthropic", "claude-opus-5", {"service_tier": "priority"}, 1, ()),
        ("anthropic", "claude-opus-5", {"service_tier": "batch"}, 0.5, ()),
        ("anthropic", "claude-opus-5", {"speed": "fast"}, 2, ()),
        ("anthropic", "claude-opus-4-6", {"speed": "fast"}, 6, ()),
        ("anthropic", "claude-opus-4-7", {"speed": "fast"}, 6, ()),
        ("anthropic", "claude-opus-4-6", {"inference_geo": "us", "speed": "fast"}, 6.6, ()),
        ("anthropic", "claude-opus-5", {"speed": "ludicrous"}, 1, ("term-unpriced:speed",)),
        ("anthropic", "claude-opus-5", {"inference_geo": "not_available"}, 1, ()),
        ("anthropic", "claude-opus-5", {"inference_geo": "us"}, 1.1, ()),
        ("anthropic", "claude-opus-5", {"inference_geo": "us", "speed": "fast"}, 2.2, ()),
        ("anthropic", "claude-opus-5", {"inference_geo": "mars"}, 1, ("term-unpriced:inference_geo",)),
        ("gemini", "gemini-2.5-pro", {"traffic_type": "ON_DEMAND"}, 1, ()),
        ("gemini", "gemini-2.5-pro", {"service_tier": "batch"}, 0.5, ()),
        ("vertex", "gemini-2.5-pro", {"traffic_type": "PROVISIONED_THROUGHPUT"}, 1, ("prepaid-tier",)),
        ("gemini", "gemini-3.8-flash-tts", {"trafficType": "ON_DEMAND_FLEX"}, 0.5, ()),
        ("azure", "gpt-5", {"service_tier": "priority"}, 2, ("terms-of-another-provider",)),
        ("groq", "llama-3.3-70b-versatile", {"service_tier": "flex"}, 1, ()),
    ],
)
def test_a_term_changes_the_price_or_is_flagged(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    provider: str,
    model: str,
    terms: dict[str, str],
    times: float,
    flags: tuple[str, ...],
) -> None:
    plain = book.bill(make_call(provider, model), make_reading(USAGE)).cost_nanousd
    line = book.bill(make_call(provider, model), make_reading(USAGE, terms=terms)).lines[0]
    assert plain
    assert line.cost_nanousd == round(plain * times)
    assert line.flags == flags


def test_the_answers_tier_counts_before_the_one_asked_for(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    call = make_call("openai", "gpt-5", service_tier="priority")
    plain = book.bill(make_call("openai", "gpt-5"), make_reading(USAGE)).cost_nanousd
    assert plain
    assert book.bill(call, make_reading(USAGE, terms={"service_tier": "default"})).cost_nanousd == plain
    assert book.bill(call, make_reading(USAGE)).cost_nanousd == 2 * plain


def test_terms_from_outside_are_bounded() -> None:
    many = {f"term{number}" * 50: "v" * 10_000 for number in range(1_000)}
    kept = bounded(many, "t" * 10_000)
    assert len(kept) <= 9
    assert all(len(key) <= 64 and len(value) <= 64 for key, value in kept)
    assert all(flag.isascii() and len(flag) < 60 for flag in map_terms("openai", kept).flags)
