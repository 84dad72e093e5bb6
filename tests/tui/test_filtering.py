"""The filter line says what it means, and what it cannot mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.ledger.rows import Tokens
from tollkeeper.tui.filtering import FIELDS, exactly, parse
from tui.samples import closed, group

ADA = closed(seq=1, principal="ada@example.com", model="claude-opus-5", cost_nanousd=700_000_000, tags='{"branch":"main"}')
GRACE = closed(seq=2, principal="grace@example.com", client="codex", duration_ms=9_000, tokens=Tokens(output_tokens=500))
REFUSED = closed(seq=3, principal="linus@example.com", kind="refuse", cost_nanousd=0, budget="day")
UNKNOWN = closed(seq=4, principal="alan@example.com", cost_nanousd=None)
EVERYBODY = [ADA, GRACE, REFUSED, UNKNOWN]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", EVERYBODY),
        ("ada", [ADA]),
        ("model:opus", [ADA]),
        ("MODEL:Opus", [ADA]),
        ("who:ada branch:main", [ADA]),
        ("-who:ada", [GRACE, REFUSED, UNKNOWN]),
        ("cost>0.5", [ADA]),
        ("cost>$0.5", [ADA]),
        ("cost<=0.7", [ADA, GRACE, REFUSED]),
        ("out>=500", [GRACE]),
        ("took>8", [GRACE]),
        ("tool:codex out>100", [GRACE]),
        ("is:refused", [REFUSED]),
        ("budget:day", [REFUSED]),
        ("model:opus tool:codex", []),
        ('is:"no price"', [UNKNOWN]),
        ('-is:"no price"', [ADA, GRACE, REFUSED]),
        ('is:"no pr', [UNKNOWN]),
        ("who=ada@example.com", [ADA]),
        ("who=ada", []),
        ("who=ADA@example.com", []),
        ('who="ada@example.com" model=claude-opus-5', [ADA]),
        ("-who=ada@example.com", [GRACE, REFUSED, UNKNOWN]),
        ('tool="codex"', [GRACE]),
        ('tool=""', [ADA, REFUSED, UNKNOWN]),
    ],
)
def test_all_terms_must_hold(text: str, passes: list[object]) -> None:
    assert parse(text).keep(EVERYBODY) == passes


@given(st.text(max_size=512), st.text(max_size=512))
def test_a_filter_for_one_name_keeps_it_and_says_itself_in_words(name: str, other: str) -> None:
    one, another = closed(project=name), closed(project=other)
    found = exactly(project=name)
    assert found.keep([one, another]) == ([one, another] if name == other else [one])
    assert parse(found.text).keep([one, another]) == found.keep([one, another])


def test_an_unknown_cost_is_neither_more_nor_less_than_anything() -> None:
    assert UNKNOWN not in parse("cost>=0").keep(EVERYBODY)
    assert UNKNOWN not in parse("cost<1000").keep(EVERYBODY)


@pytest.mark.parametrize(
    ("text", "words"),
    [("colour:red", 'nothing is called "colour"'), ("who>3", '"who" is not a number'), ("cost>much", '"much" is not a number')],
)
def test_what_means_nothing_is_said_and_hides_nothing(text: str, words: str) -> None:
    found = parse(text)
    assert words in found.problem
    assert found.keep(EVERYBODY) == EVERYBODY


def test_groups_are_filtered_by_name_and_figures() -> None:
    rows = [group("ada@example.com", cost=2 * 10**9, calls=9), group("grace@example.com", cost=1, calls=1)]
    assert parse("ada").keep(rows) == rows[:1]
    assert parse("cost>1").keep(rows) == rows[:1]
    assert parse("calls<5").keep(rows) == rows[1:]


@given(st.text(max_size=300))
def test_any_text_is_a_filter(text: str) -> None:
    found = parse(text)
    kept = found.keep(EVERYBODY)
    assert all(item in EVERYBODY for item in kept)
    assert not found.problem or kept == EVERYBODY


def test_every_field_can_be_asked_for() -> None:
    for name in FIELDS:
        assert not parse(f"{name}>1" if name in {"cost", "in", "out", "took"} else f"{name}:x").problem
