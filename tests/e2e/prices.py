"""Published list prices in nano-dollars a token, written down by hand: the other side of our price book."""

from typing import Any

from tollkeeper.cli.demo_provider import Billed

NANOUSD_PER_TOKEN: dict[str, dict[str, int]] = {
    "gpt-4o-mini": {"input": 150, "cache_read": 75, "output": 600},
    "gpt-4o": {"input": 2_500, "cache_read": 1_250, "output": 10_000},
    "gpt-5-mini": {"input": 250, "cache_read": 25, "output": 2_000},
    "claude-haiku-4-5": {"input": 1_000, "cache_read": 100, "cache_write_5m": 1_250, "cache_write_1h": 2_000, "output": 5_000},
    "claude-sonnet-4-5": {"input": 3_000, "cache_read": 300, "cache_write_5m": 3_750, "cache_write_1h": 6_000, "output": 15_000},
    "gemini-2.5-flash": {"input": 300, "cache_read": 30, "output": 2_500},
}
ANTHROPIC_SEARCH_NANOUSD = 10_000_000
KINDS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


def cost_nanousd(billed: Billed) -> int:
    """What a call costs by the list."""
    rates = NANOUSD_PER_TOKEN[billed.model]
    tokens = sum(rates[kind] * getattr(billed, f"{kind}_tokens") for kind in KINDS[:-1] if getattr(billed, f"{kind}_tokens"))
    return tokens + billed.web_search_requests * ANTHROPIC_SEARCH_NANOUSD


def tokens_of(entry: dict[str, Any]) -> dict[str, int]:
    """The disjoint kinds of a ledger entry, summed over its lines."""
    return {kind: sum(line[f"{kind}_tokens"] for line in entry["lines"]) for kind in KINDS}


def tokens_billed(billed: Billed) -> dict[str, int]:
    """The same of a bill."""
    return {kind: getattr(billed, f"{kind}_tokens") for kind in KINDS}


def assert_entry_equals_bill(entry: dict[str, Any], billed: Billed) -> None:
    """Same kinds, same cost to the nano-dollar, nothing estimated."""
    assert tokens_of(entry) == tokens_billed(billed)
    assert entry["usage_source"] == "reported"
    assert entry["cost_nanousd"] == cost_nanousd(billed)
    assert entry["exposure_nanousd"] == cost_nanousd(billed)
    assert entry["model_billed"] == billed.model
