"""Google's prices: tiers, grounding, pictures, films by size and sound, songs, characters, open models, and what is held for each."""

from decimal import Decimal

import pytest

from tollkeeper.core.call import Ask, Call, Endpoint, Metering
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook

NOW = 1_795_348_800_000_000  # 22 November 2026
HOSTS = {"gemini": "generativelanguage.googleapis.com", "vertex": "aiplatform.googleapis.com"}


@pytest.fixture(scope="module")
def shelf() -> PriceBook:
    return PriceBook.load()


def cost(
    book: PriceBook, provider: str, usage: Usage, terms: dict[str, str] | None = None, operation: str = "chat", host: str = ""
) -> tuple[Decimal | None, tuple[str, ...], tuple[str, ...]]:
    """What one call costs in USD, what of it has no price, and the flags of its line."""
    endpoint = Endpoint(
        provider=provider, host=host or HOSTS[provider], path="/x", operation=operation, metering=Metering.METERED
    )
    call = Call(id="c", started_at=NOW, endpoint=endpoint, ask=Ask(model=usage.model))
    bill = book.bill(call, Reading(source=UsageSource.REPORTED, calls=(usage,), model=usage.model, terms=terms or {}))
    (line,) = bill.lines
    nano = bill.cost_nanousd
    return (None if nano is None else Decimal(nano) / 10**9, line.unpriced, line.flags)


def units(model: str, **more: int) -> Usage:
    return Usage(model=model, units=more)


@pytest.mark.parametrize(
    ("provider", "usage", "terms", "expected"),
    [
        ("gemini", units("imagen-4.0-generate-001", output_images=4), {}, "0.16"),
        ("vertex", units("imagen-4.0-ultra-generate-001", output_images=1), {}, "0.06"),
        ("vertex", units("imagen-4.0-fast-generate-001", output_images=1), {}, "0.02"),
        ("gemini", units("imagen-3.0-generate-002", output_images=1), {}, "0.03"),
        ("vertex", units("imagen-3.0-generate-002", output_images=1), {}, "0.04"),
        ("gemini", units("veo-3.1-generate-preview", video_seconds=8), {}, "3.2"),
        ("gemini", units("veo-3.1-generate-preview", video_seconds=8), {"video_size": "4k"}, "4.8"),
        ("vertex", units("veo-3.1-generate-001", video_seconds=8), {"video_size": "1080p", "video_sound": "off"}, "1.6"),
        ("gemini", units("veo-3.1-fast-generate-preview", video_seconds=4), {"video_size": "1080p"}, "0.48"),
        ("gemini", units("veo-3.1-lite-generate-preview", video_seconds=8), {}, "0.4"),
        ("gemini", units("veo-2.0-generate-001", video_seconds=8), {}, "2.8"),
        ("vertex", units("lyria-002", audio_clips=2), {}, "0.12"),
        ("gemini", Usage(model="lyria-3-pro-preview", input_tokens=40, output_tokens=9000), {}, "0.08"),
        ("gemini", Usage(model="lyria-3-clip-preview", input_tokens=40, output_tokens=9000), {}, "0.04"),
        ("vertex", Usage(model="text-embedding-005", input_tokens=2, units={"input_characters": 1_000_000}), {}, "0.025"),
        ("vertex", Usage(model="gemini-embedding-001", input_tokens=1_000_000, units={"input_characters": 9}), {}, "0.15"),
        ("gemini", Usage(model="gemini-embedding-2", input_tokens=1_000_000), {}, "0.2"),
        ("vertex", units("multimodalembedding@001", input_images=10, input_characters=1_000_000), {}, "0.201"),
        ("vertex", Usage(model="meta/llama-3.3-70b-instruct-maas", input_tokens=1_000_000, output_tokens=1_000_000), {}, "1.44"),
        ("vertex", Usage(model="deepseek-ai/deepseek-v3.2-maas", input_tokens=1_000_000), {}, "0.56"),
        ("vertex", Usage(model="jamba-1.5-large@001", input_tokens=1_000_000), {}, "2"),
        ("gemini", Usage(model="deep-research-pro-preview-12-2025", input_tokens=250_000, output_tokens=60_000,
                         units={"web_search_requests": 80}), {}, "2.34"),
    ],
)  # fmt: skip
def test_what_things_cost(shelf: PriceBook, provider: str, usage: Usage, terms: dict[str, str], expected: str) -> None:
    assert cost(shelf, provider, usage, terms) == (Decimal(expected), (), ())


@pytest.mark.parametrize(
    ("model", "tier", "expected"),
    [
        ("gemini-3.8-flash", "flex", "2.2875"),
        ("gemini-2.5-flash", "flex", "1.43"),
        ("gemini-2.5-pro", "flex", "9"),
        ("gemini-3.1-pro-preview", "flex", "11.4"),
        ("gemini-3.8-flash", "priority", "8.235"),
        ("gemini-2.5-flash", "priority", "5.094"),
        ("gemini-3.8-flash-tts", "flex", None),
    ],
)
def test_flex_and_priority(shelf: PriceBook, model: str, tier: str, expected: str | None) -> None:
    usage = Usage(model=model, input_tokens=1_000_000, cache_read_tokens=1_000_000, output_tokens=1_000_000)
    found, unpriced, flags = cost(shelf, "gemini", usage, {"service_tier": tier})
    assert not unpriced
    assert "term-unpriced:service_tier" not in flags
    if expected is not None:
        assert found == Decimal(expected)


@pytest.mark.parametrize(
    ("model", "unit", "expected"),
    [
        ("gemini-2.5-flash", "maps_search_requests", "0.025"),
        ("gemini-3.8-flash", "maps_search_requests", "0.014"),
        ("gemini-2.5-flash-image", "web_search_requests", "0.035"),
        ("gemini-3.1-pro-preview", "enterprise_search_requests", "0.045"),
        ("gemini-flash-latest", "retrieval_requests", "0.0025"),
        ("gemini-2.5-flash-image", "output_images", "0.039"),
    ],
)
def test_fees_and_pictures_by_the_piece(shelf: PriceBook, model: str, unit: str, expected: str) -> None:
    assert cost(shelf, "vertex", Usage(model=model, units={unit: 1})) == (Decimal(expected), (), ())


def test_regional_endpoints_of_newer_models_cost_a_tenth_more_and_compose_with_tiers(shelf: PriceBook) -> None:
    usage = Usage(model="gemini-3.8-flash", input_tokens=1_000_000)
    regional = cost(shelf, "vertex", usage, {"traffic_type": "ON_DEMAND_PRIORITY"}, host="us-central1-aiplatform.googleapis.com")
    assert regional[0] == Decimal("0.75") * Decimal("1.8") * Decimal("1.1")
    assert cost(shelf, "vertex", usage, {"traffic_type": "ON_DEMAND_FLEX"})[0] == Decimal("0.375")
    assert "prepaid-tier" in cost(shelf, "vertex", usage, {"traffic_type": "PROVISIONED_THROUGHPUT"})[2]


def test_a_film_of_an_unknown_model_or_size_is_never_free(shelf: PriceBook) -> None:
    found, unpriced, _ = cost(shelf, "gemini", units("veo-9-generate", video_seconds=8))
    assert (found, unpriced) == (None, ("video_seconds",))
    _, _, flags = cost(shelf, "gemini", units("veo-3.1-generate-preview", video_seconds=8), {"video_size": "8k"})
    assert "term-unpriced:video_size" in flags


@pytest.mark.parametrize(
    ("model", "operation", "asked", "terms", "least"),
    [
        ("veo-3.1-generate-preview", "video", {"video_seconds": 16}, {"video_size": "4k"}, "9.6"),
        ("imagen-4.0-generate-001", "image_generation", {"output_images": 4}, {}, "0.16"),
    ],
)
def test_what_is_asked_for_by_the_piece_is_held_in_full_and_hardly_more(
    shelf: PriceBook, model: str, operation: str, asked: dict[str, int], terms: dict[str, str], least: str
) -> None:
    endpoint = Endpoint(provider="gemini", host=HOSTS["gemini"], path="/x", operation=operation, metering=Metering.METERED)
    ask = Ask(model=model, units=asked, units_measured=True, terms=terms, input_bytes=500)
    quote = shelf.hold(Call(id="c", started_at=NOW, endpoint=endpoint, ask=ask))
    assert quote.known
    assert Decimal(least) <= Decimal(quote.worst_nanousd) / 10**9 <= Decimal(least) * Decimal("1.02")


def test_reading_an_interaction_again_holds_nothing_and_needs_no_known_model(shelf: PriceBook) -> None:
    endpoint = Endpoint(provider="gemini", host=HOSTS["gemini"], path="/x", operation="retrieve", metering=Metering.METERED)
    quote = shelf.hold(Call(id="c", started_at=NOW, endpoint=endpoint))
    assert (quote.worst_nanousd, quote.known) == (0, True)
