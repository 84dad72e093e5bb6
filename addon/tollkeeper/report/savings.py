"""What a rewrite saved: the same tokens at the list price of the model that was asked for, less what they cost."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tollkeeper.core.usage import Usage
from tollkeeper.ledger.rows import CallRow

if TYPE_CHECKING:
    from tollkeeper.pricing.book import PriceBook


@cache
def price_book(overlay: Path | None) -> "PriceBook":
    """The prices of this machine, read once: it takes half a second. Raises ``ConfigError``."""
    from tollkeeper.pricing.book import PriceBook

    return PriceBook.load(overlay)


def saved_nanousd(book: "PriceBook", row: CallRow) -> int | None:
    """Nano-dollars that a rewritten call saved; None when it was not rewritten, or one of the two prices is not known.

    An estimate: the model asked for might have answered at another length.
    """
    if row.verdict != "rewrite" or row.cost_nanousd is None or not row.model_requested:
        return None
    price = book.price_of(row.provider, row.model_requested, row.counted_at)
    if price is None:
        return None
    tokens = row.tokens
    charged = price.charge(
        Usage(
            model=row.model_requested,
            input_tokens=tokens.input_tokens,
            cache_read_tokens=tokens.cache_read_tokens,
            cache_write_5m_tokens=tokens.cache_write_5m_tokens,
            cache_write_1h_tokens=tokens.cache_write_1h_tokens,
            output_tokens=tokens.output_tokens,
            reasoning_tokens=tokens.reasoning_tokens,
        )
    )
    if charged.unpriced:
        return None
    return price.discounted_nanousd(charged.sum_nanousd) - row.cost_nanousd
