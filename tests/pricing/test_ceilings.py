"""Ceilings are ceilings: nothing that is priced today costs more."""

from datetime import UTC, datetime

import pytest

from pricing.conftest import NOW, at
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.catalogue import Catalogue
from tollkeeper.pricing.names import CATALOGUES
from tollkeeper.pricing.rates import LIST, make_price
from tollkeeper.pricing.shipped import load_ceilings, load_families, load_gaps, load_pin

RETIRED = {"gpt-4.5-preview", "openai/gpt-4.5-preview", "gpt-4-32k", "openai/gpt-4-32k"}
TERMS: tuple[dict[str, str], ...] = ({}, {"service_tier": "priority"}, {"speed": "fast"}, {"processing": "batch"})
UNITS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")


@pytest.mark.parametrize("provider", sorted(CATALOGUES))
def test_no_model_priced_today_costs_more_than_its_providers_ceiling(provider: str) -> None:
    ceilings, catalogue, moment = load_ceilings(), Catalogue(), datetime(2026, 11, 20, 3, tzinfo=UTC)
    above = []
    for entry in catalogue.entries():
        if entry[0].id not in CATALOGUES[provider] or entry[1].id in RETIRED:
            continue
        if provider in {"gemini", "code-assist"} and "claude" in entry[1].id:
            continue  # sold at Vertex only
        for terms in TERMS:
            quoted = catalogue.quote(entry, moment, terms).quoted
            price = make_price(kind=LIST, provider=provider, model=entry[1].id, source="test", quoted=quoted)
            for unit in UNITS:
                if unit in price.rates:
                    # A million tokens are in the dearest context tier.
                    dearest = price.rates[unit].at(10**9).cost_nanousd_up(1_000)
                    most = ceilings.exposure_nanousd(provider, entry[1].id, [(unit, 1_000)], 10**9)
                    if dearest > most:
                        above.append((entry[1].id, unit, terms, dearest, most))
    assert above == []


@pytest.mark.parametrize("unit", ["web_search_requests", "audio_seconds", "anything_at_all", "telepathy_tokens"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "unknown:x", ""])
def test_one_of_anything_counts_for_something(provider: str, unit: str) -> None:
    assert load_ceilings().exposure_nanousd(provider, "x", [(unit, 1)], 0) > 0


def test_the_installed_catalogue_is_the_one_that_was_reviewed(book: PriceBook) -> None:
    assert book.catalogue.version == load_pin().version
    assert book.catalogue.date == load_pin().date
    assert book.catalogue.age_days(at(NOW)) == 11


def test_the_shipped_corrections_still_correct_something(book: PriceBook) -> None:
    catalogue, moment = Catalogue(), datetime(2026, 11, 20, 3, tzinfo=UTC)
    for rule in load_gaps().prices:
        if rule.fills and rule.scope.provider in {"openai", "vertex"} and rule.scope.clause is not None:
            ids = CATALOGUES[rule.scope.provider]
            entries = [entry for entry in catalogue.entries() if entry[0].id in ids and rule.scope.clause(entry[1].id)]
            assert any(rule.quoted.keys() - catalogue.quote(entry, moment, {}).quoted.keys() for entry in entries), rule


@pytest.mark.parametrize(
    ("model", "family", "most"),
    [
        ("gpt-4o", "openai", 16_384),
        ("gpt-4.1-mini", "openai", 32_768),
        ("gpt-4-0613", "openai", 8_192),
        ("o3-mini", "openai", 100_000),
        ("openai/gpt-6-sol", "openai", 128_000),
        ("gpt-4o-mini", "gpt-4o-mini", 16_384),
        ("claude-3-5-haiku-latest", "claude", 8_192),
        ("claude-3-7-sonnet-latest", "claude", 128_000),
        ("claude-opus-4-20250514", "claude", 32_000),
        ("claude-opus-4-1-20250805", "claude", 32_000),
        ("claude-sonnet-4-5@20250929", "claude", 64_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude", 64_000),
        ("claude-opus-4-7", "claude, new tokenizer", 128_000),
        ("anthropic/claude-fable-5-2", "claude, new tokenizer", 128_000),
        ("gemini-2.0-flash", "gemini", 8_192),
        ("gemini-2.5-pro", "gemini", 65_536),
        ("mixtral-8x22b", "mistral", 200_000),
        ("nobody-knows", "default", 200_000),
    ],
)
def test_a_models_family_and_longest_answer(model: str, family: str, most: int) -> None:
    families = load_families()
    assert (families.of(model).name, families.max_output_tokens(model)) == (family, most)


def test_an_upper_factor_is_never_below_its_central_one() -> None:
    families = load_families()
    for model in ("gpt-5", "claude-opus-5", "claude-3-haiku", "gemini-3", "llama-3", "mistral-large", "grok-4", "qwen3", "x"):
        family = families.of(model)
        assert 1 <= family.central <= family.upper
        assert 0 < family.media_guess_tokens <= family.media_tokens


def test_an_empty_usage_of_an_unknown_model_is_not_called_free(book: PriceBook) -> None:
    price = load_ceilings().of("openai", "x")
    assert price.charge(Usage()).charges == ()
    assert price.kind == "ceiling"
