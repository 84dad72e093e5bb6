"""Amazon's event stream: whole messages out of any split, and nothing out of damaged ones."""

import json
from struct import pack
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.wire.framing.eventstream import EventStreamReader, text_headers
from wire.eventstream_samples import chunk, event, exception, message, text_header
from wire.samples import pieces

STREAM = event("messageStart", {"role": "assistant"}) + chunk({"a": [1, "ü"]}) + event("metadata", {"usage": {"inputTokens": 1}})
FOUND = [{"messageStart": {"role": "assistant"}}, {"a": [1, "ü"]}, {"metadata": {"usage": {"inputTokens": 1}}}]
CUTS = st.lists(st.integers(1, 600), max_size=30)


def run(data: bytes, at: list[int], limit: int = 1 << 20) -> tuple[list[bytes], EventStreamReader]:
    reader = EventStreamReader(limit)
    found: list[bytes] = []
    for piece in pieces(data, at):
        found += reader.feed(piece)
    return found + reader.close(), reader


def test_an_event_comes_out_under_its_type_and_a_chunk_as_what_is_packed_in_it() -> None:
    found, _ = run(STREAM, [])
    assert [json.loads(one) for one in found] == FOUND


@given(CUTS)
def test_any_split_gives_the_same_messages(at: list[int]) -> None:
    found, reader = run(STREAM, at)
    assert [json.loads(one) for one in found] == FOUND
    assert (reader.skipped, reader.damaged) == (0, 0)


def test_bytes_one_by_one_give_the_same_messages() -> None:
    assert run(STREAM, list(range(len(STREAM))))[0] == run(STREAM, [])[0]


def test_a_stream_that_stops_anywhere_gives_the_messages_that_were_whole() -> None:
    whole = run(STREAM, [])[0]
    for length in range(len(STREAM)):
        found, reader = run(STREAM[:length], [])
        assert found == whole[: len(found)]
        assert len(found) < len(whole)
        assert reader.damaged == 0


def test_an_exception_names_its_class_and_not_its_text() -> None:
    found, _ = run(exception("throttlingException", "secret words"), [])
    assert found == [b'{":exception": "throttlingException"}']


def test_an_error_message_names_its_code() -> None:
    headers = (
        text_header(":message-type", "error") + text_header(":error-code", "InternalError") + text_header(":error-message", "x")
    )
    assert run(message(headers, b""), [])[0] == [b'{":exception": "InternalError"}']
    assert run(message(text_header(":message-type", "error"), b""), [])[0] == [b'{":exception": "error"}']


@given(CUTS)
def test_a_message_with_a_wrong_checksum_is_passed_over_and_the_next_one_read(at: list[int]) -> None:
    broken = bytearray(chunk({"first": 1}))
    broken[-6] ^= 1
    found, reader = run(bytes(broken) + chunk({"second": 2}), at)
    assert found == [b'{"second": 2}']
    assert reader.damaged == 1


@given(CUTS)
def test_after_wrong_lengths_nothing_is_believed(at: list[int]) -> None:
    broken = bytearray(chunk({"first": 1}))
    broken[2] ^= 1
    found, reader = run(chunk({"zeroth": 0}) + bytes(broken) + chunk({"second": 2}), at)
    assert found == [b'{"zeroth": 0}']
    assert reader.damaged == 1


def test_lengths_that_cannot_be_are_damage_even_with_a_right_checksum() -> None:
    for size, headers in ((15, 0), (40, 30), (16, 1)):
        prelude = pack(">II", size, headers)
        found, reader = run(prelude + pack(">I", crc32(prelude)) + b"x" * 64, [])
        assert (found, reader.damaged) == ([], 1)


@given(CUTS)
def test_a_message_over_the_limit_is_skipped_in_any_split_without_being_kept(at: list[int]) -> None:
    found, reader = run(chunk({"text": "x" * 600}) + chunk({"second": 2}), at, limit=300)
    assert found == [b'{"second": 2}']
    assert (reader.skipped, reader.damaged) == (1, 0)


def test_other_kinds_of_headers_are_passed_over() -> None:
    others = b"\x01a\x00" + b"\x01b\x01" + b"\x01c\x02x" + b"\x01d\x03xx" + b"\x01e\x04xxxx" + b"\x01f\x05" + b"x" * 8
    others += b"\x01g\x06\x00\x03xyz" + b"\x01h\x08" + b"x" * 8 + b"\x01i\x09" + b"x" * 16
    assert text_headers(others + text_header(":event-type", "e")) == {":event-type": "e"}


@pytest.mark.parametrize(
    "block", [b"\x05ab", b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00", b"\x01a\x07\x00\x09short", b"\x01a\x05xx"]
)
def test_damaged_headers_are_no_headers(block: bytes) -> None:
    assert text_headers(block) is None
    _, reader = run(message(block, b"{}"), [])
    assert reader.damaged == 1


@pytest.mark.parametrize("payload", [b"", b"not json", b'{"bytes": 7}', b'{"bytes": "%%%"}', b"[]", b"null", b'{"bytes": "eA"}'])
def test_a_chunk_that_holds_nothing_readable_is_still_an_element(payload: bytes) -> None:
    headers = text_header(":event-type", "chunk") + text_header(":message-type", "event")
    found, reader = run(message(headers, payload) + chunk({"second": 2}), [])
    assert found[-1] == b'{"second": 2}'
    assert reader.damaged == 0


@given(st.binary(max_size=400), CUTS)
def test_junk_never_raises(data: bytes, at: list[int]) -> None:
    run(data, at)
    run(chunk({"a": 1}) + data, at)
    assert isinstance(text_headers(data), dict | None)
