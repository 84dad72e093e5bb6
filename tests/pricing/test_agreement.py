"""The whole catalogue, priced by us and by genai-prices itself: two roads to the same figure."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as CatalogueUsage

from tollkeeper.core.usage import Usage
from tollkeeper.pricing.catalogue import Catalogue
from tollkeeper.pricing.rates import LIST, make_price

USAGES = {
    "plain": Usage(input_tokens=1_234, output_tokens=567),
    "cached": Usage(
        input_tokens=11_111,
        cache_read_tokens=22_222,
        cache_write_5m_tokens=3_333,
        cache_write_1h_tokens=777,
        output_tokens=999,
        reasoning_tokens=500,
    ),
    "over 200,000": Usage(input_tokens=150_000, cache_read_tokens=50_001, output_tokens=5_000),
    "over 272,000": Usage(input_tokens=250_000, cache_read_tokens=22_001, output_tokens=5_000),
    "audio": Usage(
        input_tokens=5_000,
        cache_read_tokens=700,
        output_tokens=800,
        units={"audio_input_tokens": 300, "audio_cache_read_tokens": 20, "audio_output_tokens": 100},
    ),
    "images and tools": Usage(
        input_tokens=5_000,
        output_tokens=800,
        units={"image_input_tokens": 300, "image_output_tokens": 100, "web_search_requests": 3, "file_search_requests": 2},
    ),
}
CONTEXTS: tuple[dict[str, str], ...] = ({}, {"processing": "batch"}, {"service_tier": "priority"}, {"service_tier": "flex"})


def _theirs(usage: Usage) -> CatalogueUsage:
    unit = usage.units.get
    return CatalogueUsage(
        input_tokens=usage.total_input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        input_audio_tokens=unit("audio_input_tokens", 0) + unit("audio_cache_read_tokens", 0),
        cache_audio_read_tokens=unit("audio_cache_read_tokens", 0),
        output_audio_tokens=unit("audio_output_tokens", 0),
        input_image_tokens=unit("image_input_tokens", 0),
        output_image_tokens=unit("image_output_tokens", 0),
        web_searches=unit("web_search_requests", 0),
        storage_searches=unit("file_search_requests", 0),
    )


@pytest.mark.parametrize("kind", USAGES)
def test_every_model_of_the_catalogue_costs_what_the_catalogue_itself_says(kind: str) -> None:
    usage, theirs, moment = USAGES[kind], _theirs(USAGES[kind]), datetime(2026, 11, 20, 3, tzinfo=UTC)
    catalogue, compared = Catalogue(), 0
    for provider, model in catalogue.entries():
        for context in CONTEXTS:
            if context and not model.price_variants:
                continue
            quote = catalogue.quote((provider, model), moment, context)
            if not quote.quoted:
                continue
            price = make_price(kind=LIST, provider=provider.id, model=model.id, source="test", quoted=quote.quoted)
            ours = price.charge(usage)
            want = model.calc_price(theirs, provider, genai_request_timestamp=moment, price_context=context or None).total_price
            rounding = Decimal(len(ours.charges)) / 2
            assert abs(ours.sum_nanousd - want * 10**9) <= rounding, (provider.id, model.id, context)
            compared += 1
    assert compared > 2_000
