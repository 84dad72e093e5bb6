"""What budgets are counted in: dollars, tokens, requests, or calls at once; how amounts are written and shown."""

import re
from enum import StrEnum

from .money import MAX_NANOUSD, format_usd, format_usd_exact, parse_usd


class Unit(StrEnum):
    """What a budget counts. Amounts are whole numbers of it; of dollars, of nano-dollars."""

    USD = "usd"
    TOKENS = "tokens"
    """All that went in and came out, cached or not."""
    REQUESTS = "requests"
    """Calls that were billed or may have been; each request of a batch is one."""
    PARALLEL = "parallel"
    """Calls under way at this moment: held while they last, never posted."""

    @property
    def prefix(self) -> str:
        """What a bucket key of this unit begins with; nothing for dollars."""
        return "" if self is Unit.USD else f"{self.value}:"


_COUNT = re.compile(r"\s*(\d{1,15})(?:\.(\d{1,9}))? *([kKmMgG]?) *(tokens?|requests?|calls?)\s*")
_SCALE = {"": 0, "k": 3, "m": 6, "g": 9}
_PREFIXES = tuple((unit.prefix, unit) for unit in Unit if unit.prefix)


def parse_amount(text: str) -> tuple[Unit, int]:
    """``"5 USD"``, ``"2.5M tokens"`` or ``"100 requests"`` as a unit and a whole number of it (nano-dollars for dollars).

    Raises ``ValueError`` when the text is no such amount.
    """
    match = _COUNT.fullmatch(text)
    if match is None:
        return Unit.USD, parse_usd(text)
    whole, part, scale, noun = match[1], match[2] or "", _SCALE[match[3].lower()], match[4]
    if len(part.rstrip("0")) > scale:
        raise ValueError(f'"{text}" is not a whole number of {noun}')
    count = int(whole) * 10**scale + int((part + "0" * scale)[:scale] or 0)
    if count > MAX_NANOUSD // 4:
        raise ValueError(f'"{text}" is more than can be counted')
    return (Unit.TOKENS if noun.startswith("token") else Unit.REQUESTS), count


def format_amount(unit: Unit, amount: int) -> str:
    """An amount for people: ``$5.00``, ``2,500,000 tokens``, ``1 request``, ``4 calls at once``."""
    match unit:
        case Unit.USD:
            return format_usd(amount)
        case Unit.PARALLEL:
            return f"{amount:,} call{'' if amount == 1 else 's'} at once"
        case _:
            return f"{amount:,} {unit.value[:-1] if amount == 1 else unit.value}"


def format_amount_exact(unit: Unit, amount: int) -> str:
    """An amount for machines: nine decimals for dollars, else the plain number."""
    return format_usd_exact(amount) if unit is Unit.USD else str(amount)


def unit_of(bucket_key: str) -> Unit:
    """The unit that a bucket counts, by its key."""
    for prefix, unit in _PREFIXES:
        if bucket_key.startswith(prefix):
            return unit
    return Unit.USD
