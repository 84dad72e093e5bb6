"""Bills that were checked by hand against the providers' price pages."""

from decimal import Decimal

import pytest

from pricing.conftest import MakeCall, MakeReading
from tollkeeper.core.charge import CostSource
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook

SEARCHES = {"web_search_requests": 2}

CASES = [
    (
        "sonnet 4.6 with cache reads, both cache writes and searches",
        "anthropic",
        "claude-sonnet-4-6",
        Usage(
            input_tokens=1_000,
            cache_read_tokens=5_000,
            cache_write_5m_tokens=1_000,
            cache_write_1h_tokens=2_000,
            output_tokens=500,
            units=SEARCHES,
        ),
        {},
        "0.04775",
    ),
    (
        "above 200,000 tokens of prompt the tier applies to every token",
        "anthropic",
        "claude-sonnet-4-5",
        Usage(input_tokens=100_000, cache_read_tokens=110_000, output_tokens=13_000),
        {},
        "0.9585",
    ),
    (
        "gpt-5 with cached input; reasoning stands inside output",
        "openai",
        "gpt-5",
        Usage(input_tokens=2_000, cache_read_tokens=8_000, output_tokens=2_000, reasoning_tokens=1_500),
        {},
        "0.0235",
    ),
    (
        "gpt-5 at priority",
        "openai",
        "gpt-5",
        Usage(input_tokens=2_000, cache_read_tokens=8_000, output_tokens=2_000),
        {"service_tier": "priority"},
        "0.047",
    ),
    (
        "gpt-5 at flex",
        "openai",
        "gpt-5",
        Usage(input_tokens=2_000, cache_read_tokens=8_000, output_tokens=2_000),
        {"service_tier": "flex"},
        "0.01175",
    ),
    (
        "OpenAI's newly billed cache writes",
        "openai",
        "gpt-6-sol",
        Usage(input_tokens=1_000, cache_read_tokens=2_000, cache_write_5m_tokens=5_000, output_tokens=500),
        {},
        "0.0199",
    ),
    (
        "gemini 2.5 pro above 200,000 tokens, thoughts in output",
        "gemini",
        "gemini-2.5-pro",
        Usage(input_tokens=200_000, cache_read_tokens=50_000, output_tokens=5_000, reasoning_tokens=4_000),
        {},
        "0.5875",
    ),
    (
        "audio input at its own rate",
        "gemini",
        "gemini-2.5-flash",
        Usage(input_tokens=1_000, output_tokens=100, units={"audio_input_tokens": 600}),
        {},
        "0.00097",
    ),
    (
        "images a model draws at their own rate",
        "gemini",
        "gemini-2.5-flash-image",
        Usage(input_tokens=100, output_tokens=1_300, units={"image_output_tokens": 1_290}),
        {},
        "0.038755",
    ),
    (
        "the older audio models, whose audio rates the catalogue lacks",
        "openai",
        "gpt-4o-audio-preview",
        Usage(input_tokens=1_000, output_tokens=500, units={"audio_input_tokens": 1_000, "audio_output_tokens": 300}),
        {},
        "0.066",
    ),
    (
        "a fine-tuned model costs more than its base",
        "openai",
        "ft:gpt-4.1-mini-2025-04-14:acme::Bx1",
        Usage(input_tokens=10_000, output_tokens=1_000),
        {},
        "0.0112",
    ),
    (
        "batch at half price",
        "anthropic",
        "claude-opus-4-5",
        Usage(input_tokens=10_000, output_tokens=1_000),
        {"service_tier": "batch"},
        "0.0375",
    ),
    (
        "fast mode",
        "anthropic",
        "claude-opus-5",
        Usage(input_tokens=10_000, output_tokens=1_000),
        {"speed": "fast"},
        "0.15",
    ),
    (
        "inference in the US costs a tenth more",
        "anthropic",
        "claude-opus-4-6",
        Usage(input_tokens=10_000, output_tokens=1_000, units=SEARCHES),
        {"inference_geo": "us"},
        "0.1025",
    ),
]


@pytest.mark.parametrize(("case", "provider", "model", "usage", "terms", "usd"), CASES, ids=[case[0] for case in CASES])
def test_a_bill_equals_the_one_made_by_hand(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    case: str,
    provider: str,
    model: str,
    usage: Usage,
    terms: dict[str, str],
    usd: str,
) -> None:
    bill = book.bill(make_call(provider, model), make_reading(usage, terms=terms))
    assert bill.source is CostSource.COMPUTED, case
    assert bill.cost_nanousd == bill.list_cost_nanousd == bill.exposure_nanousd == Decimal(usd) * 10**9
    assert bill.lines[0].flags == ()


@pytest.mark.parametrize(
    ("provider", "model", "when", "usd"),
    [
        ("openai", "o3", "2025-06-01 12:00", "10"),
        ("openai", "o3", "2025-06-20 12:00", "2"),
        ("deepseek", "deepseek-v4-pro", "2026-11-18 03:00", "1.32"),  # a Wednesday, in peak hours
        ("deepseek", "deepseek-v4-pro", "2026-11-18 20:00", "0.66"),
        ("deepseek", "deepseek-v4-pro", "2026-11-21 03:00", "0.66"),  # a Saturday: off-peak all day
        ("deepseek", "deepseek-v4-pro", "2026-08-22 03:00", "1.32"),  # the last Saturday before that rule
        ("deepseek", "deepseek-chat", "2025-08-01 12:00", "0.27"),
        ("deepseek", "deepseek-reasoner", "2025-09-20 12:00", "0.56"),
        ("deepseek", "deepseek-chat", "2025-12-09 12:00", "0.28"),
        ("deepseek", "deepseek-reasoner", "2026-06-01 12:00", "0.14"),
        ("mistral", "mistral-large-latest", "2025-11-30 12:00", "2"),
        ("mistral", "mistral-large-latest", "2026-06-01 12:00", "0.5"),
        ("mistral", "mistral-large-latest", "2026-11-20 12:00", "0.7"),
        ("gemini", "gemini-4-argon", "2026-11-30 23:59", "2"),
        ("gemini", "gemini-4-argon", "2026-12-01 00:00", "4"),
    ],
)
def test_the_price_is_the_one_in_force_when_the_call_started(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, model: str, when: str, usd: str
) -> None:
    bill = book.bill(make_call(provider, model, when=when), make_reading(Usage(input_tokens=1_000_000)))
    assert bill.cost_nanousd == Decimal(usd) * 10**9


@pytest.mark.parametrize(
    ("provider", "host", "path", "model", "when", "factor"),
    [
        ("openai", "api.openai.com", "/v1/responses", "gpt-5.4", "2026-11-20", "1"),
        ("openai", "eu.api.openai.com", "/v1/responses", "gpt-5.4", "2026-11-20", "1.1"),
        ("openai", "eu.api.openai.com", "/v1/responses", "gpt-6-sol", "2026-11-20", "1.1"),
        ("openai", "eu.api.openai.com", "/v1/responses", "gpt-5.2", "2026-11-20", "1"),
        ("openai", "eu.api.openai.com", "/v1/responses", "gpt-4o", "2026-11-20", "1"),
        (
            "vertex",
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/global/publishers",
            "claude-sonnet-4-5@20250929",
            "2026-11-20",
            "1",
        ),
        (
            "vertex",
            "us-east5-aiplatform.googleapis.com",
            "/v1/projects/p/locations/us-east5/x",
            "claude-sonnet-4-5@20250929",
            "2026-11-20",
            "1.1",
        ),
        (
            "vertex",
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/us-east5/publishers",
            "claude-opus-5-5",
            "2026-11-20",
            "1.1",
        ),
        ("vertex", "us-east5-aiplatform.googleapis.com", "/v1/x", "claude-3-5-haiku@20241022", "2026-11-20", "1"),
        ("vertex", "aiplatform.eu.rep.googleapis.com", "/v1/x", "gemini-3.5-flash", "2026-11-20", "1.1"),
        ("vertex", "aiplatform.eu.rep.googleapis.com", "/v1/x", "gemini-3.5-flash", "2026-06-30", "1"),
        ("vertex", "us-central1-aiplatform.googleapis.com", "/v1/x", "gemini-2.5-pro", "2026-11-20", "1"),
    ],
)
def test_residency_and_regional_hosts_cost_a_tenth_more_for_the_models_that_say_so(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    provider: str,
    host: str,
    path: str,
    model: str,
    when: str,
    factor: str,
) -> None:
    usage = make_reading(Usage(input_tokens=1_000, output_tokens=1_000))
    call = make_call(provider, model, host=host, path=path, when=f"{when} 12:00")
    plain_host = {"openai": "api.openai.com", "vertex": "aiplatform.googleapis.com"}[provider]
    plain = make_call(provider, model, host=plain_host, path="/", when=f"{when} 12:00")
    base = book.bill(plain, usage).cost_nanousd
    assert base
    assert book.bill(call, usage).cost_nanousd == base * Decimal(factor)
