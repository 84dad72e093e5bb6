"""What may be written: counts, names and prices. Never what was said, never a key, never a terminal escape."""

import json
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.samples import NOW, FakeClock, ask_for, make_call, rows, settled
from tollkeeper.core.call import Attribution
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.columns import ENTRY, LINE
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.row import MAX_TEXT, digest, raw_usage, text, word
from tollkeeper.ledger.verify import verify

PROMPT = "please keep this SECRET-PROMPT to yourself"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def test_a_prompt_in_the_wrong_place_does_not_reach_the_file(path: Path) -> None:
    """A dialect that mistakes text for usage, an error with the request in it, the text kept for counting."""
    ledger = Ledger.open(path, FakeClock())
    call = make_call()
    reading = Reading(
        source=UsageSource.PARTIAL,
        calls=(settled(call, 1).reading.calls[0],),
        raw=({"prompt_tokens": 3, "content": PROMPT, PROMPT: 1, "nested": [{"text": PROMPT, "audio": b"SECRET-PROMPT"}]},),
        terms={"service_tier": PROMPT, PROMPT: "x"},
        error=PROMPT,
        flags=(PROMPT,),
        visible_output=PROMPT,
    )
    ledger.admit_now(ask_for(call, 1))
    ledger.settle_now(replace(settled(call, 1), reading=reading))
    ledger.close_now()

    assert all(b"SECRET-PROMPT" not in file.read_bytes() for file in path.parent.iterdir())
    assert json.loads(rows(path, "SELECT usage FROM entry WHERE kind = 'settle'")[0][0])[0]["prompt_tokens"] == 3


@settings(max_examples=40, deadline=None)
@given(raw=st.lists(st.dictionaries(st.text(), JSON), max_size=3))
def test_raw_usage_keeps_numbers_and_short_words_only(raw: list[dict[str, Any]]) -> None:
    def leaves(value: Any) -> Any:
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from leaves(item)
        elif isinstance(value, list):
            for item in value:
                yield from leaves(item)
        else:
            yield value

    stored = raw_usage(Reading(source=UsageSource.REPORTED, raw=tuple(raw)))

    for leaf in leaves(json.loads(stored or "[]")):
        assert leaf is None or isinstance(leaf, (int, bool)) or (isinstance(leaf, str) and len(leaf) <= 64 and " " not in leaf)


def test_raw_usage_is_bounded_in_depth_and_number() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}

    stored = raw_usage(Reading(source=UsageSource.REPORTED, raw=(deep, {str(index): index for index in range(10_000)})))

    assert len(stored) < 20_000


def test_a_providers_cost_in_its_usage_keeps_its_digits() -> None:
    assert raw_usage(Reading(source=UsageSource.REPORTED, raw=({"cost": Decimal("0.00012345678901"), "n": 1.5},))) == (
        '[{"cost":"0.00012345678901","n":"1.5"}]'
    )


@given(value=st.text(max_size=1500))
def test_text_is_printable_and_bounded(value: str) -> None:
    kept = text(value)

    assert len(kept) <= MAX_TEXT
    assert kept.isprintable()
    kept.encode()
    if len(value) <= MAX_TEXT and value.isprintable():
        assert kept == value


@given(value=st.text(max_size=100))
def test_a_word_is_itself_or_left_out(value: str) -> None:
    assert word(value) in {value, "…"}
    assert " " not in word(value)


def test_names_from_clients_are_made_harmless(path: Path) -> None:
    ledger = Ledger.open(path, FakeClock())
    call = replace(
        make_call(model="gpt\x1b[31m\ud800" + "x" * 9000),
        principal=Principal(subject="a\nb", groups=frozenset({"team", "x,y"})),
        attribution=Attribution(project="p\x1fq", client="\u202eevil", session="s\x00"),
    )
    ledger.admit_now(ask_for(call, 1))
    ledger.settle_now(settled(call, 1, decision=Decision(verdict=Verdict.ALLOW, would=Verdict.ALLOW, reason="r\x1e")))
    ledger.close_now()

    stored = [value for row in rows(path, "SELECT * FROM entry") for value in row if isinstance(value, str)]
    assert all(value.isprintable() and len(value) <= MAX_TEXT for value in stored)
    assert rows(path, "SELECT DISTINCT groups FROM entry") == [(",team,x y,",)]
    assert verify(path).is_sound


@given(
    first=st.lists(st.text("ab", max_size=2), min_size=3, max_size=3),
    second=st.lists(st.text("ab", max_size=2), min_size=3, max_size=3),
)
def test_different_rows_have_different_hashes(first: list[str], second: list[str]) -> None:
    prev = bytes(32)

    assert (digest(prev, first, []) == digest(prev, second, [])) == (first == second)
    assert (digest(prev, [1], [first, second]) == digest(prev, [1], [second, first])) == (first == second)
    assert digest(prev, first, [second]) != digest(prev, [*first, *second], [])


def test_nothing_else_is_stored_than_the_given_columns(path: Path) -> None:
    """A new column is a decision about privacy: it is made here too."""
    Ledger.open(path, FakeClock(NOW)).close_now()

    columns = [name for (name,) in rows(path, "SELECT name FROM pragma_table_info('entry')")]
    assert sorted(columns) == sorted((*ENTRY, "prev", "hash"))
    lines = [name for (name,) in rows(path, "SELECT name FROM pragma_table_info('line')")]
    assert sorted(lines) == sorted((*LINE, "entry_seq"))
    tables = {name for (name,) in rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    beside = {"billed", "deferred", "upload", "plan_window", "granted", "alert"}
    assert tables == {"entry", "line", "price", "hold", "bucket", "balance", "_sqlite_migrations"} | beside
    assert "visible_output" in {field.name for field in fields(Reading)}
    assert not {"prompt", "content", "body", "headers", "visible_output", "key"} & set(ENTRY)
