"""What a rewrite saved is worked out from two known prices, and said to be unknown where one is missing."""

import pytest

from tollkeeper.ledger.rows import Tokens
from tollkeeper.pricing.book import PriceBook
from tollkeeper.report.savings import price_book, saved_nanousd
from tui.samples import closed

TOKENS = Tokens(input_tokens=1_000, output_tokens=500)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return price_book(None)


def test_the_same_tokens_at_the_price_asked_for_less_what_they_cost(book: PriceBook) -> None:
    row = closed(
        verdict="rewrite", provider="anthropic", model_requested="claude-opus-4-5", model="claude-haiku-4-5", tokens=TOKENS,
        cost_nanousd=3_500_000,
    )  # fmt: skip
    asked = 1_000 * 5_000 + 500 * 25_000
    assert saved_nanousd(book, row) == asked - 3_500_000


@pytest.mark.parametrize(
    "changes", [{"verdict": "allow"}, {"cost_nanousd": None}, {"model_requested": "no-such-model-9"}, {"model_requested": ""}]
)
def test_what_cannot_be_told_is_none_and_never_nothing(book: PriceBook, changes: dict[str, object]) -> None:
    row = {"verdict": "rewrite", "provider": "anthropic", "model_requested": "claude-opus-4-5", "tokens": TOKENS} | changes
    assert saved_nanousd(book, closed(**row)) is None


def test_prices_are_read_once() -> None:
    assert price_book(None) is price_book(None)
