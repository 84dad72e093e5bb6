"""The many spellings of one model find the same price; what is not the same model does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.conftest import NOW, MakeCall, MakeReading, at
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.book import PriceBook
from tollkeeper.pricing.names import MAX_NAME, clean, spellings, upstream


@pytest.mark.parametrize(
    ("provider", "spelling", "model"),
    [
        ("openai", "openai/gpt-5", "gpt-5"),
        ("openai", "GPT-5", "gpt-5"),
        ("openai", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", "gpt-6-sol-20260901", "gpt-6-sol"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("vertex", "claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("vertex", "claude-opus-5-5@default", "claude-opus-5-5"),
        ("anthropic", "claude-sonnet-4-5[1m]", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-5:thinking", "claude-sonnet-5"),
        ("anthropic", "anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-haiku-4-5-20251001-v1:0",
            "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        ("openrouter", "openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openrouter", "anthropic/claude-sonnet-4.5:nitro", "anthropic/claude-sonnet-4.5"),
        ("azure", "gpt-4o-2024-08-06", "gpt-4o"),
        ("copilot", "claude-fable-5.1", "claude-fable-5.1"),
        ("chatgpt", "gpt-5.4", "gpt-5.4"),
        ("xai", "grok-4-0709", "grok-4-0709"),
        ("mistral", "mistral-large-2411", "mistral-large"),
        ("vercel", "anthropic/claude-opus-5", "claude-opus-5"),
        ("workers-ai", "@cf/zai-org/glm-5.3", "@cf/zai-org/glm-5.3"),
        ("moonshot", "kimi-k3", "kimi-k3"),
        ("voyage", "voyage-3-large", "voyage-3-large"),
    ],
)
def test_a_spelling_finds_its_model(book: PriceBook, provider: str, spelling: str, model: str) -> None:
    price = book.price_of(provider, spelling, at(NOW))
    assert price is not None
    assert price.model == model


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "ft:gpt-9-2030-01-01:acme::x"),
        ("openai", "gpt-5-something-else"),
        ("openai", ""),
        ("openai", "x" * 100_000),
        ("openai", "gpt\x00-nope"),
        ("bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"),
        ("openrouter", "nobody/nothing"),
        ("nvidia", "gpt-5"),
        ("unknown:example.com", "gpt-5"),
        ("", "gpt-5"),
    ],
)
def test_what_is_no_known_model_of_that_provider_has_no_price(book: PriceBook, provider: str, model: str) -> None:
    assert book.price_of(provider, model, at(NOW)) is None


def test_a_dated_snapshot_with_a_price_of_its_own_keeps_it(book: PriceBook) -> None:
    snapshot, family = (book.price_of("openai", name, at(NOW)) for name in ("gpt-4o-2024-05-13", "gpt-4o"))
    assert snapshot is not None
    assert family is not None
    assert snapshot.raw["input_tokens"][0] > family.raw["input_tokens"][0]


def test_a_model_that_openrouter_does_not_list_costs_what_its_vendor_charges(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    call = make_call("openrouter", "openai/text-embedding-3-small")
    line = book.bill(call, make_reading(Usage(input_tokens=31), model="text-embedding-3-small")).lines[0]
    assert line.cost_nanousd == 620
    assert "priced-at-vendor" in line.flags


@pytest.mark.parametrize(
    ("provider", "path", "model", "served"),
    [
        ("cloudflare-gateway", "/v1/acc/gw/openai/chat/completions", "gpt-5", ("openai", "gpt-5")),
        ("cloudflare-gateway", "/v1/acc/gw/anthropic/v1/messages", "claude-opus-5", ("anthropic", "claude-opus-5")),
        ("cloudflare-gateway", "/v1/acc/gw/compat/chat/completions", "openai/gpt-5", ("openai", "gpt-5")),
        ("vercel", "/v1/chat/completions", "google/gemini-2.5-pro", ("gemini", "gemini-2.5-pro")),
        ("vercel", "/v1/chat/completions", None, ("vercel", None)),
        ("huggingface", "/together/v1/chat/completions", "moonshotai/Kimi-K3", ("huggingface_together", "moonshotai/Kimi-K3")),
        ("huggingface", "/v1/chat/completions", "moonshotai/Kimi-K3:novita", ("huggingface_novita", "moonshotai/Kimi-K3")),
        ("openai", "/v1/responses", "gpt-5", ("openai", "gpt-5")),
    ],
)
def test_a_gateway_is_looked_through(provider: str, path: str, model: str | None, served: tuple[str, str | None]) -> None:
    assert upstream(provider, path, model) == served


@given(st.text(max_size=2_000))
def test_any_name_cleans_to_a_short_printable_one_with_few_spellings(name: str) -> None:
    cleaned = clean(name)
    assert len(cleaned) <= MAX_NAME
    assert not any(ord(char) < 32 for char in cleaned)
    assert len(list(spellings(cleaned))) <= 16


def test_bogus_names_do_not_grow_the_caches_without_end(book: PriceBook) -> None:
    for number in range(3_000):
        assert book.price_of("nvidia", f"bogus-{number}", at(NOW)) is None
    information = book._price.cache_info()
    assert information.maxsize is not None
    assert information.currsize <= information.maxsize
