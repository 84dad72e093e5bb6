"""How many output tokens a picture is that a model of OpenAI's draws, where only its quality and size are known.

Reference: platform.openai.com/docs/guides/image-generation, "Cost and latency".
"""

import re
from math import ceil

from tollkeeper.core.usage import MAX_COUNT
from tollkeeper.wire.counts import Json

PARTIAL_TOKENS = 100
"""What each partial picture of a stream adds (the same guide)."""

_FIXED_SIZES = re.compile(r"(?:^|[/.:])(?:chatgpt-image|gpt-image-1(?![\d]))", re.IGNORECASE)
_SIZE = re.compile(r"([1-9]\d{1,4})\s*[xX×*]\s*([1-9]\d{1,4})")
_MEGAPIXEL = 1024 * 1024
_TOKENS_PER_MEGAPIXEL = {"low": 272, "medium": 1056, "high": 4160}
"""gpt-image-1 and 1.5: 272/1,056/4,160 tokens at 1024², 1.5 times as many for the larger sizes (the same guide)."""
_NEWER_TOKENS_PER_MEGAPIXEL = {"low": 450, "medium": 1900, "high": 7200}
"""gpt-image-2 and later, a bound: $0.006, $0.053 and $0.211 at 1024² and $30 per million are 200, 1,767 and 7,034."""
_AUTO_MEGAPIXELS = 4


def sides(size: Json) -> tuple[int, int] | None:
    """Width and height out of a size as providers write it (``1024x1024``); None for anything else (``auto``, ``2k``)."""
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    return (int(match[1]), int(match[2])) if match else None


def picture_tokens(model: str, pixels: int, quality: Json) -> int:
    """The output tokens of one picture; a quality that is left open is taken for high, a size (0 pixels) for the largest."""
    fixed = _FIXED_SIZES.search(model) is not None
    table = _TOKENS_PER_MEGAPIXEL if fixed else _NEWER_TOKENS_PER_MEGAPIXEL
    per_megapixel = table.get(quality.lower() if isinstance(quality, str) else "", table["high"])
    open_size = _MEGAPIXEL * 3 // 2 if fixed else _AUTO_MEGAPIXELS * _MEGAPIXEL
    return min(MAX_COUNT, ceil(per_megapixel * max(pixels or open_size, _MEGAPIXEL) / _MEGAPIXEL))
