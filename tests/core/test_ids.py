"""Identifiers."""

from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.ids import new_id


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_identifiers_sort_by_their_millisecond(first: int, second: int) -> None:
    if first // 1000 < second // 1000:
        assert new_id(first) < new_id(second)
    assert len(new_id(first)) == 26


def test_two_identifiers_of_one_moment_differ() -> None:
    assert new_id(0) != new_id(0)
