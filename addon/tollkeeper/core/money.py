"""Money: integer nano-dollars at rest, ``Decimal`` while computing, rounded once per charge.

int64 nano-dollars reach 9.2 billion USD, and a sum of integers is exact (docs/pricing.md).
"""

from decimal import ROUND_HALF_EVEN, Decimal

NANO_PER_USD = 1_000_000_000
MAX_NANOUSD = 2**63 - 1

_AMOUNT = r"\s*(?:USD|\$)?\s*(\d{1,10}(?:\.\d{1,9})?)\s*(?:USD|\$)?\s*"


def to_nanousd(usd: Decimal) -> int:
    """Dollars as nano-dollars, rounded half to even: use it once, on a finished charge."""
    return int((usd * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def to_usd(nanousd: int) -> Decimal:
    """Nano-dollars as exact dollars."""
    return Decimal(nanousd) / NANO_PER_USD


def parse_usd(text: str) -> int:
    """``"5"``, ``"$5"``, ``"5 USD"`` or ``"0.25usd"`` as nano-dollars.

    Raises ``ValueError`` when the text is not such an amount.
    """
    import re  # it costs 5 ms, which the status line does not have

    match = re.fullmatch(_AMOUNT, text, re.IGNORECASE)
    if match is None:
        raise ValueError(f'"{text}" is not an amount; write it like "5 USD" or "0.25 USD"')
    return to_nanousd(Decimal(match[1]))


def format_usd(nanousd: int | None) -> str:
    """Dollars for people: two decimals from $1, four below, ``<$0.0001``, ``–`` for unknown."""
    if nanousd is None:
        return "–"
    sign, size = ("-" if nanousd < 0 else ""), abs(nanousd)
    if size == 0:
        return "$0.00"
    if size < 100_000:
        return f"{sign}<$0.0001"
    places = 2 if size >= NANO_PER_USD else 4
    return f"{sign}${to_usd(size):,.{places}f}"


def format_usd_exact(nanousd: int) -> str:
    """Dollars with all nine places and no grouping, for machines: ``0.004240000``."""
    sign, size = ("-" if nanousd < 0 else ""), abs(nanousd)
    return f"{sign}{size // NANO_PER_USD}.{size % NANO_PER_USD:09d}"
