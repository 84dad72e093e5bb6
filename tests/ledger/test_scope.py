"""Scopes: our matching in memory is SQLite's GLOB, to the letter."""

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger import scope
from tollkeeper.ledger.columns import ENTRY, INDEX, SCOPES

DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
LETTERS = "ab*?[]^!-\\é\n"


def entry(**values: str) -> list[str]:
    row = [""] * len(ENTRY)
    for column, value in values.items():
        row[INDEX[column]] = value
    return row


@given(pattern=st.text(LETTERS, max_size=8), value=st.text(LETTERS, max_size=6))
@example("[", "[").via("an open class")
@example("[]", "]").via("an empty class")
@example("[]a]", "]").via("a bracket in a class")
@example("[^a]b", "cb").via("not in a class")
def test_a_pattern_matches_in_memory_what_it_matches_in_sqlite(pattern: str, value: str) -> None:
    wanted = bool(DATABASE.execute("SELECT ? GLOB ?", (value, pattern)).fetchone()[0])

    assert scope.matcher((("subject", pattern),))(entry(subject=value)) is wanted
    exact = scope.exact((("subject", pattern),))
    if exact is not None:
        assert (exact[1] == (value,)) is wanted


def test_pairs_of_one_column_are_alternatives_and_columns_must_all_match() -> None:
    matches = scope.matcher((("subject", "ada"), ("subject", "bob"), ("project", "w*")))

    assert matches(entry(subject="bob", project="web"))
    assert not matches(entry(subject="bob", project="app"))
    assert not matches(entry(subject="eve", project="web"))


def test_a_scope_cannot_name_what_changes_between_hold_and_settlement() -> None:
    assert "model" in SCOPES
    for column in ("model_billed", "cost_nanousd", "hash", "x; DROP TABLE entry"):
        with pytest.raises(LedgerError, match="scoped by"):
            scope.sql(((column, "*"),))
