"""Archives: recorded traffic as exchanges, a damaged record never stopping the rest."""

import base64
import gzip
import io
import json
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.archives import ArchiveError, archive_kind, began_at, read_archive
from tollkeeper.wire.exchange import Exchange, read_exchange
from wire.samples import CHAT_STREAM

URL = "https://api.openai.com/v1/chat/completions?x=1"


def record(**changes: Any) -> dict[str, Any]:
    return {
        "id": "one",
        "provider": "openai",
        "method": "POST",
        "url": URL,
        "request_headers": {"Content-Type": ["application/json"]},
        "request_body": base64.b64encode(b'{"model":"gpt-4o","stream":true}').decode(),
        "status": 200,
        "response_headers": {"content-type": ["text/event-stream"], "date": ["Thu, 20 Nov 2025 12:06:07 GMT"], "x": ["a", "b"]},
        "response_body": base64.b64encode(CHAT_STREAM).decode(),
        "chunk_lengths": [5, 7, 0, -1, None, 100],
        **changes,
    }


def lines(*records: Any) -> bytes:
    return b"\n".join(item if isinstance(item, bytes) else json.dumps(item).encode() for item in records)


def har(*entries: Any) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}}, indent=1).encode()


ENTRY = {
    "startedDateTime": "2026-01-02T03:04:05.000Z",
    "request": {
        "method": "POST",
        "url": URL,
        "headers": [{"name": "Host", "value": "h"}],
        "postData": {"text": '{"model":"gpt-4o"}'},
    },
    "response": {
        "status": 200,
        "headers": [{"name": "Content-Encoding", "value": "br"}, {"name": "Content-Type", "value": "text/event-stream"}],
        "content": {"text": CHAT_STREAM.decode()},
    },
}


def read_all(data: bytes) -> list[Exchange | ArchiveError]:
    return list(read_archive(io.BytesIO(data), "file"))


def the(item: Exchange | ArchiveError) -> Exchange:
    assert isinstance(item, Exchange), item
    return item


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_lines_become_exchanges(pack: Any) -> None:
    exchange = the(read_all(pack(lines(record())))[0])
    assert (exchange.id, exchange.host, exchange.path, exchange.status) == (
        "one",
        "api.openai.com",
        "/v1/chat/completions?x=1",
        200,
    )
    assert (exchange.response_headers["x"], exchange.chunk_lengths) == ("a, b", (5, 7, 100))
    endpoint, ask, reading = read_exchange(exchange, "openai")
    assert (endpoint.operation, ask.streamed, reading.source, reading.calls[0].output_tokens) == (
        "chat",
        True,
        UsageSource.REPORTED,
        20,
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_har_entries_become_exchanges_although_a_header_stands_above_plain_text(pack: Any) -> None:
    first, second = read_all(pack(har(ENTRY, {**ENTRY, "response": {"status": 0, "_error": "aborted"}})))
    _, _, reading = read_exchange(the(first), "openai")
    assert (the(first).id, reading.calls[0].output_tokens) == ("file#1", 20)
    _, _, reading = read_exchange(the(second), "openai")
    assert (reading.source, reading.flags) == (UsageSource.NONE, ("no-answer",))


def test_a_base64_har_body_is_unpacked() -> None:
    content = {"text": base64.b64encode(CHAT_STREAM).decode(), "encoding": "base64"}
    (exchange,) = read_all(har({**ENTRY, "response": {**ENTRY["response"], "content": content}}))
    assert the(exchange).response_body == CHAT_STREAM


@pytest.mark.parametrize(
    "bad",
    [
        b"{nonsense",
        b"[1]",
        b'{"id":"x"}',
        lines(record(request_body="%%%")),
        lines(record(response_body=7)),
        b'{"a":' + b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_a_bad_record_is_told_in_its_place_and_the_rest_is_read(bad: bytes) -> None:
    found = read_all(lines(record(id="a"), b"", bad, record(id="b")))
    assert [type(item) for item in found] == [Exchange, ArchiveError, Exchange]
    assert [item.id for item in found][::2] == ["a", "b"]


def test_a_truncated_gzip_gives_what_it_holds_and_then_an_error() -> None:
    packed = gzip.compress(lines(*(record(id=str(number), request_body="") for number in range(500))))
    *whole, last = read_all(packed[: len(packed) * 3 // 4])
    assert isinstance(last, ArchiveError)
    assert whole
    assert all(isinstance(item, Exchange) for item in whole)


@pytest.mark.parametrize("junk", [b"hello", b"\x1f\x8bjunk", b"%PDF", gzip.compress(b"text", mtime=0)])
def test_what_is_no_archive_is_one_error(junk: bytes) -> None:
    (found,) = read_all(junk)
    assert isinstance(found, ArchiveError)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("nothing", [b"", b" \r\n\n", b"\xef\xbb\xbf\n", b"\n" * 10_000])
def test_an_archive_of_nothing_holds_nothing(pack: Any, nothing: bytes) -> None:
    assert read_all(pack(nothing)) == []


def test_a_damaged_har_is_one_error() -> None:
    (found,) = read_all(har(ENTRY)[:-20])
    assert isinstance(found, ArchiveError)
    first, second = read_all(har(ENTRY, 7))
    assert isinstance(first, Exchange)
    assert isinstance(second, ArchiveError)


def test_kinds_are_told_by_the_first_bytes() -> None:
    assert [archive_kind(head) for head in (har(ENTRY), lines(record()), b"1234:4:type;", b"\x1f\x8b", b"x")] == [
        "har",
        "jsonl",
        "flows",
        "gzip",
        None,
    ]


def test_the_moment_is_the_recorders_start_else_the_answers_date() -> None:
    assert began_at(the(read_all(lines(record()))[0])) == 1_763_640_367_000_000
    dated = {**ENTRY, "response": {**ENTRY["response"], "headers": [{"name": "Date", "value": "Fri, 02 Jan 2026 03:05:05 GMT"}]}}
    assert began_at(the(read_all(har(dated))[0])) == 1_767_323_045_000_000
    dated["startedDateTime"] = "unknown"
    assert began_at(the(read_all(har(dated))[0])) == 1_767_323_105_000_000
    assert began_at(the(read_all(lines(record(response_headers={"date": "soon"})))[0])) is None


@pytest.mark.parametrize(
    "moment", ["Fri, 31 Dec 9999 23:59:59 -2359", "Sun, 01 Jan 1905 00:00:00 +2359", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_a_moment_that_no_clock_shows_is_none(moment: str) -> None:
    assert began_at(the(read_all(lines(record(response_headers={"date": moment})))[0])) is None
    for written in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z"):
        assert began_at(the(read_all(har({**ENTRY, "startedDateTime": written}))[0])) is None


def test_fiddlers_seven_digits_of_a_second_are_read() -> None:
    assert began_at(the(read_all(har({**ENTRY, "startedDateTime": "2026-01-02T03:04:05.1234567+01:00"}))[0])) == (
        1_767_323_045_123_456 - 3_600_000_000
    )


def test_an_id_that_is_a_number_is_kept() -> None:
    found = read_all(lines(record(id=7), record(id=True), record(id=1.5), record(id=8, url=None)))
    assert [item.id for item in found] == ["7", "file#2", "file#3", "8"]


def test_base64_may_be_in_lines_and_without_its_padding() -> None:
    body = b'{"model":"gpt-4o"}'
    broken = base64.encodebytes(body * 20).decode()
    bare = base64.b64encode(body + b" ").decode().rstrip("=")
    first, second, bad = read_all(lines(record(request_body=broken), record(request_body=bare), record(request_body="abcde")))
    assert "\n" in broken
    assert (the(first).request_body, the(second).request_body) == (body * 20, body + b" ")
    assert isinstance(bad, ArchiveError)


def test_a_record_without_a_body_is_an_answer_that_was_not_kept() -> None:
    for missing in (
        record(response_body=None, chunk_lengths=[]),
        {key: value for key, value in record().items() if key != "response_body"},
    ):
        _, _, reading = read_exchange(the(read_all(lines(missing))[0]), "openai")
        assert (reading.source, reading.complete) == (UsageSource.PARTIAL, False)


def test_an_unknown_host_counts_only_when_its_body_asks_a_model() -> None:
    asks = the(read_all(lines(record(url="http://llm.example/v1/chat/completions")))[0])
    assert read_exchange(asks, "unknown:llm.example")[2].source is UsageSource.REPORTED
    telemetry = the(read_all(lines(record(url="http://llm.example/v1/chat/completions", request_body="")))[0])
    assert read_exchange(telemetry, "unknown:llm.example")[2].source is UsageSource.UNMETERED


ODD = st.sampled_from([None, True, -1, 10**30, "x", [], {}, [[]], {"a": [None]}, "http://[", "2026-13-45", 200])


@given(st.dictionaries(st.sampled_from([*record()]), ODD, max_size=6))
def test_no_record_raises(changes: dict[str, Any]) -> None:
    (found,) = read_all(lines(record(**changes)))
    if isinstance(found, Exchange):
        assert read_exchange(found, "openai")[2].source in UsageSource
        assert isinstance(began_at(found), int | None)


def test_a_damaged_first_line_does_not_cost_the_rest_of_the_file() -> None:
    first, second = read_all(b'cut off here", "status": 200}\n' + lines(record()))
    assert isinstance(first, ArchiveError)
    assert the(second).id == record()["id"]


@pytest.mark.parametrize("kept", [{}, {"text": ""}, {"text": None}])
def test_a_har_entry_without_the_body_is_an_answer_cut_off(kept: dict[str, Any]) -> None:
    entry = json.loads(json.dumps(ENTRY))
    entry["response"]["content"] = {"size": 900, "mimeType": "text/event-stream", **kept}
    (item,) = read_all(har(entry))
    _, _, reading = read_exchange(the(item), "openai")
    assert (reading.source, reading.complete) == (UsageSource.PARTIAL, False)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_bodies_whose_encoding_header_was_lost_are_told_by_their_first_bytes(pack: Any) -> None:
    plain = the(read_all(lines(record()))[0])
    packed = replace(plain, request_body=pack(plain.request_body), response_body=pack(CHAT_STREAM), chunk_lengths=())
    assert packed.prompt == plain.prompt
    _, _, reading = read_exchange(packed, "openai")
    assert reading.source is UsageSource.REPORTED


@pytest.mark.parametrize("url", ["api.openai.com/v1/chat/completions", "api.openai.com:443/v1/chat/completions"])
def test_an_address_without_its_scheme_names_its_host(url: str) -> None:
    exchange = the(read_all(lines(record(url=url)))[0])
    assert (exchange.host, exchange.path) == ("api.openai.com", "/v1/chat/completions")
