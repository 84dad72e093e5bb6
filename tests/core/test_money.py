"""Money: integers at rest, exact both ways, never a raw float for people."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.money import format_usd, format_usd_exact, parse_usd, to_nanousd, to_usd

NANO = st.integers(min_value=0, max_value=2**63 - 1)


@given(NANO)
def test_nano_dollars_survive_the_way_to_dollars_and_back(amount: int) -> None:
    assert to_nanousd(to_usd(amount)) == amount


@given(NANO)
def test_exact_text_reads_back_to_the_same_amount(amount: int) -> None:
    assert to_nanousd(Decimal(format_usd_exact(amount))) == amount


def test_halves_round_to_even() -> None:
    assert [to_nanousd(Decimal(half) / 10**9) for half in ("0.5", "1.5", "2.5")] == [0, 2, 2]


@pytest.mark.parametrize("text", ["5", "$5", "5 USD", "5usd", " 5.00 usd "])
def test_amounts_are_read_as_people_write_them(text: str) -> None:
    assert parse_usd(text) == 5_000_000_000


@pytest.mark.parametrize("text", ["", "-5", "5 EUR", "1e3", "nan", "5.0000000001"])
def test_other_text_is_no_amount_and_the_error_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_usd(text)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "–"),
        (0, "$0.00"),
        (1, "<$0.0001"),
        (100_000, "$0.0001"),
        (41_200_000, "$0.0412"),
        (1_234_567_890_123, "$1,234.57"),
        (-41_200_000, "-$0.0412"),
    ],
)
def test_people_see_two_decimals_from_a_dollar_four_below_and_a_dash_for_unknown(amount: int | None, shown: str) -> None:
    assert format_usd(amount) == shown
