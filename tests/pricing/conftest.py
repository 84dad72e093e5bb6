"""One price book for all pricing tests (loading takes half a second), and short ways to make calls and readings."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.core.call import Ask, Call, Endpoint, Metering
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook

HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
    "vertex": "aiplatform.googleapis.com",
    "openrouter": "openrouter.ai",
    "xai": "api.x.ai",
    "deepseek": "api.deepseek.com",
}

type MakeCall = Callable[..., Call]
type MakeReading = Callable[..., Reading]
type LoadOverlay = Callable[[str], PriceBook]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


NOW = "2026-11-20 12:00"


@pytest.fixture(scope="session")
def book() -> PriceBook:
    return PriceBook.load()


@pytest.fixture(scope="session")
def make_call() -> MakeCall:
    def make(
        provider: str,
        model: str | None,
        *,
        when: str = NOW,
        host: str | None = None,
        path: str = "/v1/messages",
        operation: str = "chat",
        metering: Metering = Metering.METERED,
        **ask: Any,
    ) -> Call:
        endpoint = Endpoint(
            provider=provider,
            host=host or HOSTS.get(provider, f"api.{provider}.example"),
            path=path,
            operation=operation,
            metering=metering,
        )
        return Call(id="01TEST", started_at=at(when), endpoint=endpoint, ask=Ask(model=model, **ask))

    return make


@pytest.fixture(scope="session")
def make_reading() -> MakeReading:
    def make(
        *calls: Usage, source: UsageSource = UsageSource.REPORTED, terms: Mapping[str, str] | None = None, **rest: Any
    ) -> Reading:
        return Reading(source=source, calls=calls, terms=terms or {}, **rest)

    return make


@pytest.fixture
def overlaid(tmp_path: Path) -> LoadOverlay:
    """A price book with an overlay of the given text."""

    def load(text: str) -> PriceBook:
        path = tmp_path / "prices.toml"
        path.write_text("schema = 1\n" + text)
        return PriceBook.load(path)

    return load
