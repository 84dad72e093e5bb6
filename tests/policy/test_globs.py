"""One meaning of ``*``, here and in SQLite."""

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollkeeper.policy.globs import Glob, any_of, exactly

LETTERS = st.text(alphabet="ab*?[]^-/é\\", max_size=8)


@given(LETTERS, LETTERS)
@example("a*a", "a")
@example("*", "")
@example("a**b", "ab")
def test_a_pattern_matches_here_what_it_matches_in_the_ledger(pattern: str, value: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        (there,) = connection.execute("SELECT ? GLOB ?", (value, Glob(pattern).sqlite)).fetchone()
    connection.close()
    assert Glob(pattern).matches(value) is bool(there)


@given(LETTERS, LETTERS)
def test_an_exact_value_matches_itself_alone_in_the_ledger(wanted: str, value: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        (there,) = connection.execute("SELECT ? GLOB ?", (value, exactly(wanted))).fetchone()
    connection.close()
    assert bool(there) is (wanted == value)


@given(st.lists(LETTERS, min_size=1, max_size=4), LETTERS)
def test_a_list_of_patterns_matches_what_one_of_them_matches(patterns: list[str], value: str) -> None:
    globs = tuple(Glob(pattern) for pattern in patterns)
    assert any_of(globs)(value) is any(glob.matches(value) for glob in globs)


@pytest.mark.parametrize("pattern", ["billing", "b*", "*b*"])
def test_the_unknown_value_is_matched_by_a_star_only(pattern: str) -> None:
    assert not Glob(pattern).matches("")
    assert Glob("*").matches("")


def test_a_hostile_name_costs_no_backtracking() -> None:
    """A regular expression would take minutes here; 100,000 characters take about a millisecond."""
    assert not Glob("*a" * 100 + "b").matches("a" * 100_000)
