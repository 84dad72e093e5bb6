"""Pictures, sound and film: each unit has a price path, exact to the nano-dollar, or is loudly without one; holds cover them."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.conftest import LoadOverlay, MakeCall, MakeReading, at
from tollkeeper.core.charge import CostSource
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.usage import Usage, UsageSource
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.complete import complete
from tollkeeper.pricing.units import LINES, MEASURES, PER

PICTURES, SOUND, SPEECH, FILM = "image_generation", "transcription", "speech", "video"
PIXELS = 1024 * 1024


@pytest.mark.parametrize("provider", ["openai", "azure"])
@pytest.mark.parametrize(
    ("model", "size", "quality", "nanousd"),
    [
        ("dall-e-2", "256x256", None, 16_000_000),
        ("dall-e-2", "512x512", None, 18_000_000),
        ("dall-e-2", "1024x1024", None, 20_000_000),
        ("dall-e-3", "1024x1024", "standard", 40_000_000),
        ("dall-e-3", "1792x1024", "standard", 80_000_000),
        ("dall-e-3", "1024x1024", "hd", 80_000_000),
        ("dall-e-3", "1024x1792", "hd", 120_000_000),
    ],
)
def test_a_picture_costs_what_its_size_and_quality_cost(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    provider: str,
    model: str,
    size: str,
    quality: str | None,
    nanousd: int,
) -> None:
    terms = {"image_size": size} | ({"image_quality": quality} if quality else {})
    units = {"output_images": 3, "output_pixels": 3 * PIXELS}
    call = make_call(provider, model, operation=PICTURES, units=units, terms=terms, input_bytes=40)
    bill = book.bill(call, make_reading(Usage(units=units), source=UsageSource.COUNTED, terms=terms))
    (line,) = bill.lines
    assert (bill.cost_nanousd, line.flags, line.unpriced) == (3 * nanousd, (), ())
    assert book.hold(call).worst_nanousd == 3 * nanousd


def test_an_unknown_size_costs_the_dearest_and_says_so(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    terms = {"image_size": "4096x4096", "image_quality": "standard"}
    bill = book.bill(
        make_call("openai", "dall-e-3", operation=PICTURES), make_reading(Usage(units={"output_images": 1}), terms=terms)
    )
    assert bill.cost_nanousd == 120_000_000
    assert "term-unpriced:image_size" in bill.lines[0].flags


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("gpt-image-1", Usage(input_tokens=14, output_tokens=272, units={"image_output_tokens": 272}), "0.010950"),
        ("gpt-image-1-mini", Usage(input_tokens=14, output_tokens=272, units={"image_output_tokens": 272}), "0.002204"),
        (
            "gpt-image-1.5",
            Usage(input_tokens=1060, output_tokens=4200, units={"image_input_tokens": 1040, "image_output_tokens": 4160}),
            "0.141940",  # 20 × $5 + 1,040 × $8 + 40 × $10 + 4,160 × $32 per million
        ),
        ("gpt-image-2", Usage(output_tokens=7024, units={"image_output_tokens": 7024}), "0.210720"),
    ],
)
def test_picture_tokens_have_prices_of_their_own(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, model: str, usage: Usage, usd: str
) -> None:
    (line,) = book.bill(make_call("openai", model, operation=PICTURES), make_reading(usage)).lines
    assert (line.cost_nanousd, line.flags) == (int(Decimal(usd) * 10**9), ())


@pytest.mark.parametrize(
    ("provider", "model", "operation", "units", "usd"),
    [
        ("openai", "whisper-1", SOUND, {"audio_input_seconds": 6}, "0.0006"),
        ("azure", "whisper", SOUND, {"audio_input_seconds": 6}, "0.0006"),
        ("groq", "whisper-large-v3-turbo", SOUND, {"audio_input_seconds": 10}, "0.000111111"),
        ("venice", "openai/whisper-large-v3", SOUND, {"audio_input_seconds": 60}, "0.006"),
        ("openai", "tts-1", SPEECH, {"input_characters": 5}, "0.000075"),
        ("openai", "tts-1-hd-1106", SPEECH, {"input_characters": 1000}, "0.03"),
        ("azure", "tts-hd", SPEECH, {"input_characters": 1000}, "0.03"),
        ("groq", "canopylabs/orpheus-v1-english", SPEECH, {"input_characters": 1000}, "0.022"),
        ("openai", "sora-2", FILM, {"video_seconds": 8}, "0.80"),
        ("xai", "grok-imagine-video", FILM, {"video_seconds": 10, "input_images": 1}, "0.702"),
    ],
)
def test_seconds_and_characters_cost_what_they_are_listed_at(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    provider: str,
    model: str,
    operation: str,
    units: Mapping[str, int],
    usd: str,
) -> None:
    call = make_call(provider, model, operation=operation, units=units, input_bytes=5)
    bill = book.bill(call, make_reading(Usage(units=units), source=UsageSource.COUNTED))
    assert (bill.cost_nanousd, bill.source) == (int(Decimal(usd) * 10**9), CostSource.ESTIMATED)
    assert 0 <= book.hold(call).worst_nanousd - int(Decimal(usd) * 10**9) <= 1  # rounded up, and nothing for text


@pytest.mark.parametrize(("size", "usd"), [("720x1280", "0.30"), ("1792x1024", "0.50"), ("1920x1080", "0.70")])
def test_film_costs_by_its_size(book: PriceBook, make_call: MakeCall, make_reading: MakeReading, size: str, usd: str) -> None:
    reading = make_reading(Usage(units={"video_seconds": 4}), terms={"video_size": size})
    assert book.bill(make_call("openai", "sora-2-pro", operation=FILM), reading).cost_nanousd == int(Decimal(usd) * 4 * 10**9)


def test_what_the_provider_states_wins(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    reading = make_reading(Usage(units={"output_images": 1}), provider_cost_usd=Decimal("0.02"))
    bill = book.bill(make_call("xai", "grok-imagine-image", operation=PICTURES), reading)
    assert (bill.cost_nanousd, bill.source, bill.flags) == (20_000_000, CostSource.PROVIDER, ())


def test_speech_by_tokens_is_no_coarse_guess(book: PriceBook, make_call: MakeCall, make_reading: MakeReading) -> None:
    usage = Usage(input_tokens=14, output_tokens=101, units={"audio_output_tokens": 101})
    (line,) = book.bill(make_call("openai", "gpt-4o-mini-tts", operation=SPEECH), make_reading(usage)).lines
    assert (line.cost_nanousd, line.flags) == (14 * 600 + 101 * 12_000, ())


@pytest.mark.parametrize(
    "unit", ["output_images", "input_images", "video_seconds", "audio_input_seconds", "input_characters", "unmeasured_audio"]
)
@pytest.mark.parametrize("provider", ["together", "fireworks", "unknown:pictures.example.com", "openai"])
def test_a_unit_without_a_price_is_unknown_and_never_free(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading, provider: str, unit: str
) -> None:
    call = make_call(provider, "zeta-canvas", operation=PICTURES, units={unit: 3})
    bill = book.bill(call, make_reading(Usage(units={unit: 3}), source=UsageSource.COUNTED))
    assert (bill.cost_nanousd, bill.source) == (None, CostSource.CEILING)
    assert 0 < bill.exposure_nanousd <= book.hold(call).worst_nanousd
    assert unit in bill.lines[0].unpriced


def test_an_answer_measured_twice_is_billed_by_what_the_list_goes_by(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    by_pixel = overlaid('[[price]]\nprovider = "together"\nmatch = { contains = "flux" }\noutput_gpixels = "2.7"\n')
    units = {"output_images": 2, "output_pixels": 2_000_000}
    call = make_call("together", "black-forest-labs/flux.1-schnell", operation=PICTURES, units=units)
    (line,) = by_pixel.bill(call, make_reading(Usage(units=units))).lines
    assert (line.cost_nanousd, line.unpriced) == (5_400_000, ())
    assert by_pixel.hold(call).worst_nanousd == 5_400_000
    assert set(MEASURES) | set(MEASURES.values()) <= set(LINES)


def test_a_price_may_have_variants_and_several_providers(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    book = overlaid(
        '[[price]]\nprovider = ["together", "fireworks"]\nmatch = { equals = "flux" }\noutput_images_kcount = "60"\n'
        'variants = [{ terms = { image_size = "512x512" }, output_images_kcount = "15" }]\n'
    )
    for provider in ("together", "fireworks"):
        call = make_call(provider, "flux", operation=PICTURES)
        for terms, nanousd in (({"image_size": "512X512"}, 15_000_000), ({}, 60_000_000)):
            assert book.bill(call, make_reading(Usage(units={"output_images": 1}), terms=terms)).cost_nanousd == nanousd


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ('[{ output_images_kcount = "1" }]', r"prices.toml:5: variants is a list such as"),
        (
            '[{ terms = { image_size = "a" }, output_image_kcount = "1" }]',
            r'prices.toml:5: .*did you mean "output_images_kcount"',
        ),
        ('"cheap"', r"prices.toml:5: variants is a list such as"),
    ],
)
def test_a_variant_that_cannot_be_used_names_its_line(overlaid: LoadOverlay, variants: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        overlaid(
            f'[[price]]\nprovider = "together"\nmatch = {{ equals = "flux" }}\nvariants = {variants}\noutput_images_kcount = "60"\n'
        )


@given(
    which=st.sampled_from(
        [
            ("openai", "dall-e-3", PICTURES, "output_images"),
            ("openai", "gpt-image-1.5", PICTURES, "image_output_tokens"),
            ("xai", "grok-imagine-image", PICTURES, "output_images"),
            ("openai", "whisper-1", SOUND, "audio_input_seconds"),
            ("openai", "gpt-4o-transcribe", SOUND, "audio_input_tokens"),
            ("openai", "tts-1", SPEECH, "input_characters"),
            ("openai", "gpt-4o-mini-tts", SPEECH, "audio_output_tokens"),
            ("openai", "sora-2-pro", FILM, "video_seconds"),
            ("together", "zeta", FILM, "video_seconds"),
            ("azure", "my-deployment", PICTURES, "output_images"),
        ]
    ),
    bound=st.integers(1, 10**6),
    share=st.floats(0, 1),
    size=st.sampled_from(["1024x1024", "720x1280", "auto", ""]),
    prompt_bytes=st.integers(0, 32_000),
)
@settings(max_examples=200, deadline=None)
def test_what_stays_within_the_units_asked_for_never_costs_more_than_its_hold(
    book: PriceBook,
    make_call: MakeCall,
    make_reading: MakeReading,
    which: tuple[str, str, str, str],
    bound: int,
    share: float,
    size: str,
    prompt_bytes: int,
) -> None:
    provider, model, operation, unit = which
    terms = {"image_size": size, "video_size": size} if size else {}
    call = make_call(provider, model, operation=operation, units={unit: bound}, terms=terms, input_bytes=prompt_bytes)
    used = max(1, int(bound * share))
    usage = Usage(
        input_tokens=(used if unit == "audio_input_tokens" else 0) + (int(prompt_bytes / 3.3) if unit.endswith("_tokens") else 0),
        output_tokens=used if unit.endswith("output_tokens") else 0,
        units={unit: used},
    )
    assert book.bill(call, make_reading(usage, terms=terms)).exposure_nanousd <= book.hold(call).worst_nanousd


def test_a_chat_is_held_for_as_before(book: PriceBook, make_call: MakeCall) -> None:
    plain = book.hold(make_call("openai", "gpt-5", input_bytes=1000, max_output_tokens=100)).worst_nanousd
    named = book.hold(make_call("openai", "gpt-5", input_bytes=1000, max_output_tokens=100, units={})).worst_nanousd
    assert 0 < plain == named
    unknown = make_call("openai", "zeta-unknown", input_bytes=100_000, max_output_tokens=100)
    assert book.hold(unknown).worst_nanousd < 5 * 10**9  # no charge per character on top


def test_an_answer_that_never_came_is_charged_as_asked(make_call: MakeCall, make_reading: MakeReading) -> None:
    silent = make_reading(source=UsageSource.PARTIAL, complete=False)
    call = make_call("openai", "dall-e-3", operation=PICTURES, units={"output_images": 2}, input_bytes=5)
    done = complete(silent, call, "a cat")
    assert (dict(done.calls[0].units), done.calls[0].input_tokens, done.flags) == ({"output_images": 2}, 0, ("estimated-units",))
    call = make_call("openai", "gpt-4o-transcribe", operation=SOUND, units={"audio_input_tokens": 60, "output_tokens": 40})
    (usage,) = complete(silent, call, "").calls
    assert (usage.input_tokens, usage.output_tokens, dict(usage.units)) == (60, 40, {"audio_input_tokens": 60})
    chat = complete(silent, make_call("openai", "gpt-5", units={"output_images": 2}), "a cat")
    assert (dict(chat.calls[0].units), chat.flags) == ({}, ("estimated-input",))


@pytest.mark.parametrize(
    "model",
    [
        "gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-mini",
        "gpt-realtime-mini-2025-10-06", "gpt-4o-realtime-preview", "gpt-4o-realtime-preview-2024-12-17",
        "gpt-4o-mini-realtime-preview",
    ],
)  # fmt: skip
def test_realtime_models_have_a_rate_for_every_kind_of_token(book: PriceBook, model: str) -> None:
    price = book.price_of("openai", model, at("2026-11-20 12:00"))
    assert price is not None
    kinds = (
        "input_tokens",
        "cache_read_tokens",
        "output_tokens",
        "audio_input_tokens",
        "audio_cache_read_tokens",
        "audio_output_tokens",
    )
    assert all(kind in price.rates and not price.rates[kind].coarse for kind in kinds)
    assert price.raw["audio_cache_read_tokens"][0] < price.raw["audio_input_tokens"][0]


def test_every_rate_of_a_unit_says_how_many_it_covers() -> None:
    assert all(PER[key] > 0 for line in LINES.values() for key in line.keys)
    assert (PER["output_images_kcount"], PER["output_gpixels"], PER["video_second"]) == (1_000, 10**9, 1)
