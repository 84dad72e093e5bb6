"""A stored price document is enough to compute any row again, bit for bit."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.conftest import LoadOverlay, MakeCall, MakeReading
from tollkeeper.core.errors import PriceError
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.rates import price_from, reprice_from

COUNT = st.integers(0, 400_000)
MODELS = [
    ("openai", "gpt-5"),
    ("openai", "gpt-audio"),
    ("anthropic", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-pro"),
    ("perplexity", "sonar-deep-research"),
    ("openai", "zeta-unknown"),
]


@given(
    which=st.sampled_from(MODELS),
    counts=st.tuples(COUNT, COUNT, COUNT, COUNT, COUNT),
    units=st.dictionaries(
        st.sampled_from(["audio_input_tokens", "audio_output_tokens", "web_search_requests"]), st.integers(0, 500)
    ),
    tier=st.sampled_from(["default", "flex", "priority", "batch"]),
)
@settings(max_examples=150, deadline=None)
def test_a_row_recomputes_from_its_document_alone(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    which: tuple[str, str],
    counts: tuple[int, int, int, int, int],
    units: dict[str, int],
    tier: str,
) -> None:
    names = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
    usage = Usage(**dict(zip(names, counts, strict=True)), units=units)
    line = book.bill(make_call(*which), make_reading(usage, terms={"service_tier": tier})).lines[0]
    assert line.price is not None
    assert line.price.id == sha256(line.price.document.encode()).hexdigest()
    again = reprice_from(line.price.document, usage)
    if line.charges:
        assert again == line.charges
    else:
        assert sum(charge.cost_nanousd for charge in again) <= line.exposure_nanousd
    if line.list_cost_nanousd is not None:
        assert sum(charge.cost_nanousd for charge in again) == line.list_cost_nanousd


def test_the_document_is_canonical_json_and_says_where_the_price_comes_from(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    reading = make_reading(Usage(input_tokens=1), terms={"service_tier": "batch"})
    line = book.bill(make_call("anthropic", "claude-sonnet-4-6"), reading).lines[0]
    assert line.price is not None
    document = json.loads(line.price.document)
    assert line.price.document == json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert document["source"].startswith("genai-prices ")
    assert document["terms"] == {"processing": "batch"}
    assert document["rates"]["input_tokens"] == {"per": 1_000_000, "usd": "1.5"}


def test_discounts_and_multipliers_stand_in_the_document(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    book = overlaid('[[discount]]\nprovider = "anthropic"\nfactor = "0.9"\n')
    reading = make_reading(Usage(input_tokens=1_000), terms={"inference_geo": "us"})
    line = book.bill(make_call("anthropic", "claude-opus-5"), reading).lines[0]
    assert line.price is not None
    price = price_from(line.price.document)
    assert price.charge(line.usage).sum_nanousd == line.list_cost_nanousd == 5_500_000
    assert price.discounted_nanousd(5_500_000) == line.cost_nanousd == 4_950_000


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"schema":2}',
        '{"schema":1,"rates":{"input_tokens":{"usd":"x","per":1}},"kind":"list","provider":"","model":"","source":""}',
        '{"schema":1,"rates":{"input_tokens":{"usd":"1","per":0}},"kind":"list","provider":"","model":"","source":""}',
        '{"schema":1,"rates":{"input_tokens":{"usd":"-1","per":1}},"kind":"list","provider":"","model":"","source":""}',
    ],
)
def test_a_damaged_document_is_refused(document: str) -> None:
    with pytest.raises(PriceError):
        reprice_from(document, Usage(input_tokens=1))


def test_one_book_serves_many_threads_with_the_same_answers(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    def total(seed: int) -> int:
        return sum(
            book.bill(make_call(provider, model), make_reading(Usage(input_tokens=seed + 1, output_tokens=seed))).exposure_nanousd
            for seed, (provider, model) in enumerate(MODELS * 20, seed)
        )

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(total, [7] * 32))
    assert found == {total(7)}
