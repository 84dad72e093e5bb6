"""Where the prices of a report come from, for people: ``genai-prices 0.2.3 of 2026-11-09 + gaps.toml 3846c66d``."""

import re
from collections.abc import Iterable

_CATALOGUE = "genai-prices "
_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8,56}\b")


def price_words(sources: Iterable[str]) -> str:
    """Every catalogue and overlay once, the catalogue with the date of its newest price where this release knows it."""
    parts = dict.fromkeys(part for source in sources for part in source.split(" + "))
    return " + ".join(_dated(_DIGEST.sub(r"\1", part)) for part in parts) or "none used"


def _dated(part: str) -> str:
    if not part.startswith(_CATALOGUE):
        return part
    from tollkeeper.pricing.shipped import load_pin  # 50 ms, for reports over real prices only

    pin = load_pin()
    return f"{part} of {pin.date.isoformat()}" if part == f"{_CATALOGUE}{pin.version}" else part
