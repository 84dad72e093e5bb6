"""Framers: whole elements out of any split."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.wire.framing.json_array import JsonArrayReader
from tollkeeper.wire.framing.ndjson import NdjsonReader
from tollkeeper.wire.framing.sse import SseReader
from wire.samples import pieces

CUTS = st.lists(st.integers(1, 400), max_size=30)


def run(make: Callable[[], Any], data: bytes, at: list[int]) -> list[bytes]:
    reader = make()
    found: list[bytes] = []
    for piece in pieces(data, at):
        found += reader.feed(piece)
    return found + reader.close()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_found_whatever_ends_their_lines(end: str) -> None:
    stream = f": hello{end}{end}event: a{end}data: one{end}{end}data:two{end}data: lines{end}{end}id: 7{end}{end}data{end}{end}".encode()
    for at in ([], list(range(len(stream)))):
        assert run(SseReader, stream, at) == [b"one", b"two\nlines", b""]


def test_a_byte_order_mark_and_a_missing_last_blank_line_do_no_harm() -> None:
    assert run(SseReader, b"\xef\xbb\xbfdata: one\n\ndata: two", [1, 2]) == [b"one", b"two"]


def test_unicode_line_separators_end_no_line() -> None:
    text = "data: a\u2028b\u0085c\x0bd\n\n".encode()
    assert run(SseReader, text, []) == [text[6:-2]]


def test_mixed_line_ends_and_several_blank_lines_are_taken() -> None:
    assert run(SseReader, b"data: a\r\n\ndata: b\n\r\n\n\n\rdata: c\r\r", list(range(30))) == [b"a", b"b", b"c"]


def test_an_event_over_the_limit_is_skipped_and_the_next_one_read() -> None:
    stream = b"data: " + b"x" * 100 + b"\n\ndata: ok\n\n"
    for at in ([], list(range(len(stream)))):
        reader = SseReader(limit=50)
        found = [event for piece in pieces(stream, at) for event in reader.feed(piece)]
        assert (found, reader.skipped) == ([b"ok"], 1)


def test_an_event_of_exactly_the_limit_is_kept_in_any_split() -> None:
    stream = b"data: 0123456789\n\n"
    for at in ([], list(range(len(stream)))):
        assert run(lambda: SseReader(limit=16), stream, at) == [b"0123456789"]
        assert run(lambda: SseReader(limit=15), stream, at) == []


def test_byte_by_byte_costs_no_more_than_linear_time() -> None:
    reader = SseReader()
    stream = b"data: " + b"x" * 300_000 + b"\n\n"
    found = [event for index in range(len(stream)) for event in reader.feed(stream[index : index + 1])]
    assert [len(event) for event in found] == [300_000]


@given(
    st.lists(st.sampled_from([b"data: a", b"data:", b": c", b"event: x", b"", b"\xe2\x80\xa8", b"data: \xff"]), max_size=12),
    CUTS,
    st.randoms(),
)
def test_any_split_gives_the_same_events(lines: list[bytes], at: list[int], chance: Any) -> None:
    stream = b"".join(line + chance.choice([b"\n", b"\r\n", b"\r", b"\n\n"]) for line in lines)
    assert run(SseReader, stream, at) == run(SseReader, stream, [])


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.lists(JSONS, max_size=6), CUTS, st.sampled_from([None, 1]))
def test_an_array_gives_its_objects_in_any_split(values: list[Any], at: list[int], indent: int | None) -> None:
    whole = [value for value in values if isinstance(value, dict | list)]
    found = run(JsonArrayReader, json.dumps(values, indent=indent, ensure_ascii=False).encode(), at)
    assert [json.loads(element) for element in found] == whole


def test_an_array_element_over_the_limit_is_skipped() -> None:
    stream = json.dumps([{"a": "x" * 100}, {"b": 1}]).encode()
    for at in ([], list(range(len(stream)))):
        reader = JsonArrayReader(limit=50)
        found = [element for piece in pieces(stream, at) for element in reader.feed(piece)]
        assert (found, reader.skipped) == ([b'{"b": 1}'], 1)


@given(st.lists(st.sampled_from([b'{"a":1}', b"", b" ", b"{}\r", b"x"]), max_size=8), CUTS)
def test_json_lines_are_the_same_in_any_split(lines: list[bytes], at: list[int]) -> None:
    stream = b"\n".join(lines)
    assert run(NdjsonReader, stream, at) == [kept for line in lines if (kept := line.strip(b" \r"))]


def test_a_line_over_the_limit_is_skipped() -> None:
    stream = b"x" * 60 + b"\nok\n" + b"y" * 60
    for at in ([], list(range(len(stream)))):
        assert run(lambda: NdjsonReader(limit=50), stream, at) == [b"ok"]
