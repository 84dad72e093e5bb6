"""Providers with units of their own: searches, neurons, hardware seconds, pages, request fees; servers of one's own; gateways."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from pricing.conftest import LoadOverlay, MakeCall, MakeReading
from tollkeeper.core.call import Call
from tollkeeper.core.charge import Bill, CostSource
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook


def at_host(call: Call, host: str, path: str = "/x", operation: str = "chat") -> Call:
    """The same call to another host or path."""
    return replace(call, endpoint=replace(call.endpoint, host=host, path=path, operation=operation))


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        ("cohere", "rerank-v3.5", {"units": {"search_units": 3}}, "0.006"),
        ("cohere", "rerank-v4.0-pro", {"units": {"search_units": 2}}, "0.005"),
        ("cohere", "rerank-v4.0-fast", {"units": {"search_units": 1}}, "0.002"),
        ("cohere", "embed-english-light-v3.0", {"input_tokens": 208}, "0.0000208"),
        ("cohere", "embed-multilingual-v3.0", {"units": {"input_images": 2}}, "0.0002"),
        ("cohere", "embed-v4.0", {"input_tokens": 260, "units": {"image_input_tokens": 250}}, "0.0001187"),
        ("cohere", "rerank-v5.0-pro", {"input_tokens": 1000}, "0.00005"),
        ("cohere", "embed-v5.0-fast", {"input_tokens": 1000}, "0.00008"),
        ("voyage", "rerank-2.5-lite", {"input_tokens": 1000}, "0.00002"),
        ("voyage", "rerank-3", {"input_tokens": 1000}, "0.00005"),
        ("voyage", "voyage-multimodal-3", {"input_tokens": 5, "units": {"input_pixels": 2_000_000}}, "0.0012006"),
        ("workers-ai", "@cf/meta/llama-3.1-8b-instruct", {"input_tokens": 1000, "output_tokens": 100}, "0.0003647"),
        ("workers-ai", "@cf/black-forest-labs/flux-1-schnell", {"units": {"millineurons": 172_800}}, "0.0019008"),
        ("workers-ai", "@cf/openai/whisper-large-v3-turbo", {"units": {"audio_input_seconds": 120}}, "0.001"),
        ("workers-ai", "openai/gpt-4o-mini", {"input_tokens": 1000}, "0.00015"),
        ("mistral", "mistral-ocr-2505-completion", {"units": {"document_pages": 29}}, "0.029"),
        ("mistral", "mistral-ocr-2505-completion", {"units": {"annotated_document_pages": 29}}, "0.087"),
        ("mistral", "mistral-medium-2505", {"units": {"web_search_requests": 1, "code_execution_requests": 2}}, "0.09"),
        ("mistral", "voxtral-small-2507", {"input_tokens": 377, "units": {"audio_input_tokens": 375, "audio_input_seconds": 5}}, None),
        ("cloudflare-gateway", "openai/gpt-4o-mini", {"input_tokens": 1000}, "0.00015"),
        ("cloudflare-gateway", "anthropic/claude-haiku-4-5", {"output_tokens": 1000}, "0.005"),
        ("cloudflare-gateway", "workers-ai/@cf/meta/llama-3.1-8b-instruct", {"input_tokens": 1000}, "0.000282"),
        ("portkey", "gpt-4o-mini", {"input_tokens": 1000}, "0.00015"),
        ("portkey", "@openai-prod/gpt-4o-mini", {"input_tokens": 1000}, "0.00015"),
        ("braintrust", "claude-haiku-4-5", {"output_tokens": 1000}, "0.005"),
        # developers.openai.com/api/docs/pricing: $25 a thousand with the older tool where the model does not reason, else $10.
        ("openai", "gpt-4o-search-preview", {"units": {"web_search_preview_requests": 1}}, "0.025"),
        ("openai", "gpt-4o-mini-search-preview-2025-03-11", {"units": {"web_search_preview_requests": 1}}, "0.025"),
        ("openai", "gpt-4.1-mini", {"units": {"web_search_preview_requests": 2}}, "0.05"),
        ("openai", "gpt-4.1-mini", {"units": {"web_search_requests": 2}}, "0.02"),
        ("openai", "gpt-5", {"units": {"web_search_preview_requests": 1}}, "0.01"),
        ("openai", "gpt-5-search-api", {"units": {"web_search_requests": 1}}, "0.01"),
        ("databricks", "databricks-gpt-oss-120b", {"input_tokens": 1000}, "0.00015"),
    ],
)  # fmt: skip
def test_a_known_unit_has_its_price(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    provider: str,
    model: str,
    usage: dict[str, Any],
    usd: str | None,
) -> None:
    bill = book.bill(make_call(provider, model), make_reading(Usage(model=model, **usage)))
    assert bill.source is CostSource.COMPUTED, bill
    if usd is not None:
        assert bill.cost_nanousd == Decimal(usd) * 10**9


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("replicate", "stability-ai/sdxl", {"units": {"hardware_milliseconds": 3_600_000}}),
        ("cohere", "embed-english-v3.0", {"units": {"classifications": 5}}),
        ("mistral", "mistral-medium-2505", {"units": {"premium_search_requests": 1}}),
        ("watsonx", "ibm/granite-3-8b", {"input_tokens": 10}),
        ("alibaba", "qwen-plus", {"input_tokens": 10}),
        ("snowflake", "claude-4-sonnet", {"input_tokens": 10}),
    ],
)
def test_what_has_no_price_is_loud_and_counts_at_a_ceiling(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, model: str, usage: dict[str, Any]
) -> None:
    bill = book.bill(make_call(provider, model), make_reading(Usage(model=model, **usage)))
    assert (bill.source, bill.cost_nanousd) == (CostSource.CEILING, None)
    assert 0 < bill.exposure_nanousd <= 60 * 10**9
    assert bill.lines[0].unpriced


def test_hardware_can_be_priced_by_the_hour(overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading) -> None:
    book = overlaid('[[price]]\nprovider = "replicate"\nmatch = { equals = "me/mine" }\nhardware_hours = "5.04"')
    usage = Usage(model="me/mine", units={"hardware_milliseconds": 1_235})
    assert book.bill(make_call("replicate", "me/mine"), make_reading(usage)).cost_nanousd == 1_729_000


@pytest.mark.parametrize("provider", ["local", "vllm", "llama-cpp", "lm-studio", "ollama"])
def test_a_server_of_ones_own_costs_nothing_until_it_is_priced(
    book: PriceBook, overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading, provider: str
) -> None:
    call = at_host(make_call(provider, "llama3:8b"), "llm.example.com")
    reading = make_reading(Usage(model="llama3:8b", input_tokens=1000, output_tokens=50))
    free = book.bill(call, reading)
    assert (free.cost_nanousd, free.source, book.hold(call).worst_nanousd, book.hold(call).known) == (0, CostSource.FREE, 0, True)
    own = overlaid('[[price]]\nhost = "llm.example.com"\nmatch = { regex = "." }\ninput_mtok = "0.2"\noutput_mtok = "0.4"')
    assert own.bill(call, reading).cost_nanousd == 220_000


def test_ollama_s_own_host_is_not_free(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    bill = book.bill(at_host(make_call("ollama", "gpt-oss:120b"), "ollama.com"), make_reading(Usage(input_tokens=10)))
    assert bill.source is CostSource.CEILING


@pytest.mark.parametrize(("size", "fee"), [("low", 5), ("medium", 8), ("high", 12), (None, 12)])
def test_perplexity_s_fee_goes_by_the_search_context(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, size: str | None, fee: int
) -> None:
    reading = replace(make_reading(Usage(input_tokens=24, output_tokens=16)), terms={"search_context_size": size} if size else {})
    bill = book.bill(make_call("perplexity", "sonar"), reading)
    assert bill.cost_nanousd == fee * 1_000_000 + 40_000
    assert not any(flag.startswith(("term", "unknown-term")) for line in bill.lines for flag in line.flags)


def test_sound_at_mistral_is_priced_by_the_second_and_its_tokens_are_not_priced_again(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    usage = Usage(
        input_tokens=377, cache_read_tokens=9, output_tokens=15, units={"audio_input_tokens": 375, "audio_input_seconds": 5}
    )
    bill: Bill = book.bill(make_call("mistral", "voxtral-small-2507"), make_reading(usage))
    charged = {charge.unit: charge.cost_nanousd for line in bill.lines for charge in line.charges}
    assert charged["audio_input_tokens"] == 0
    assert charged["audio_input_seconds"] == round(Decimal("0.24") / 3600 * 5 * 10**9)
    assert charged["input_tokens"] == 200


def test_the_dearest_of_all_models_that_may_answer_is_held(book: PriceBook, make_call: MakeCall) -> None:
    cheap = make_call("openrouter", "openai/gpt-4o-mini", input_bytes=1000, max_output_tokens=1000)
    both = replace(cheap, ask=replace(cheap.ask, fallback_models=("anthropic/claude-opus-4.1", "openai/gpt-4o-mini")))
    dear = make_call("openrouter", "anthropic/claude-opus-4.1", input_bytes=1000, max_output_tokens=1000)
    assert book.hold(both).worst_nanousd == book.hold(dear).worst_nanousd > book.hold(cheap).worst_nanousd


def test_a_rerank_is_held_by_its_searches(book: PriceBook, make_call: MakeCall) -> None:
    call = at_host(
        make_call("cohere", "rerank-v3.5", input_bytes=10_000, units={"search_units": 3}), "api.cohere.com", operation="rerank"
    )
    assert book.hold(call).worst_nanousd == 6_000_000
