"""The repairs of mitmproxy's HTTP core."""

import itertools
import json

import h11
import pytest
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.proxy.bounds import MAX_LINE_BYTES
from tollkeeper.proxy.repairs import _ChunkedReader, json_error, skip_informational

FINAL = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_informational_answers_before_the_final_one_are_skipped() -> None:
    assert skip_informational(CONTINUE + EARLY_HINTS + FINAL) == len(CONTINUE + EARLY_HINTS)


def test_an_incomplete_informational_answer_is_waited_for() -> None:
    assert skip_informational(EARLY_HINTS[:-1]) == 0


def test_a_protocol_switch_is_a_final_answer() -> None:
    assert skip_informational(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") == 0


def test_a_body_that_looks_like_an_answer_is_left_alone() -> None:
    assert skip_informational(FINAL + EARLY_HINTS) == 0


def test_an_unreachable_provider_is_reported_in_json_that_both_sdk_families_read() -> None:
    head, _, body = json_error(502, "Connect call failed").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    answer = json.loads(body)
    assert answer["type"] == "error"
    assert "Connect call failed" in answer["error"]["message"]


def test_an_error_answer_quotes_no_request_line_and_names_no_option_of_mitmproxy() -> None:
    assert b"secret" not in json_error(400, "Bad HTTP request line: b'GET http://x/?key=secret HTTP/1.1'")
    answer = json_error(400, "Received both. Disable the validate_inbound_headers option to skip this security check.")
    assert b"Tollkeeper: Received both." in answer
    assert b"validate_inbound_headers" not in answer


def relay(wire: bytes, cuts: list[int]) -> tuple[bytes, int, bool]:
    """Read a chunked body that comes in pieces: its bytes, how many pieces were relayed, whether its end was seen."""
    reader, buffer = _ChunkedReader(ChunkedReader()), ReceiveBuffer()
    body, relayed, ended = b"", 0, False
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    for start, end in itertools.pairwise(edges):
        buffer += wire[start:end]
        while not ended and (event := reader(buffer)) is not None:
            if isinstance(event, h11.EndOfMessage):
                ended = True
                assert not event.headers
            else:
                body += bytes(event.data)
                relayed += 1
    return body, relayed, ended


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12), st.lists(st.integers(0, 600), max_size=6), st.booleans())
def test_a_chunked_body_keeps_every_byte_however_it_is_cut_and_loses_its_trailers(
    chunks: list[bytes], cuts: list[int], trailers: bool
) -> None:
    wire = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    wire += b"0\r\n" + (b"x-trailer: 1\r\n" if trailers else b"") + b"\r\n"
    body, _, ended = relay(wire, cuts)
    assert (body, ended) == (b"".join(chunks), True)


def test_chunks_that_came_together_are_relayed_together() -> None:
    _, relayed, _ = relay(b"1\r\na\r\n" * 50 + b"0\r\n\r\n", [])
    assert relayed == 1


def test_what_came_before_a_broken_chunk_is_relayed_before_the_fault() -> None:
    reader, buffer = _ChunkedReader(ChunkedReader()), ReceiveBuffer()
    buffer += b"2\r\nok\r\nnot a size\r\n"
    assert bytes(reader(buffer).data) == b"ok"
    with pytest.raises(h11.ProtocolError):
        reader(buffer)


def read_by(reader: object, wire: bytes, cuts: list[int]) -> tuple[bytes, str]:
    """What a reader makes of a body that comes in pieces: its bytes, and whether it ended, broke or waits."""
    buffer, body = ReceiveBuffer(), b""
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    for start, end in itertools.pairwise(edges):
        buffer += wire[start:end]
        try:
            while (event := reader(buffer)) is not None:  # type: ignore[operator]
                if isinstance(event, h11.EndOfMessage):
                    return body, "ended"
                body += bytes(event.data)
        except h11.ProtocolError:
            return body, "broken"
    return body, "waits"


@pytest.mark.parametrize("begin", [b"5;", b"5", b"0\r\nX: ", b"2\r\nok\r\n3;x=", b"2\r\nok\r\n0\r\nX: y\r\nZ: "])
@pytest.mark.parametrize("piece", [1460, 65_536])
def test_a_line_or_a_trailer_without_an_end_is_broken_off(begin: bytes, piece: int) -> None:
    wire = begin + b"1" * 2_000_000
    body, state = read_by(_ChunkedReader(ChunkedReader()), wire, list(range(0, len(wire), piece)))
    assert (body, state) == (b"ok" if b"ok" in begin else b"", "broken")


@pytest.mark.parametrize("piece", [1460, 65_536, 10**9])
def test_long_extensions_trailers_and_chunks_pass(piece: int) -> None:
    chunk = b"c" * 300_000
    wire = b"%x;sig=%s\r\n%s\r\n" % (len(chunk), b"s" * 60_000, chunk) * 2 + b"0\r\nX: " + b"t" * 60_000 + b"\r\n\r\n"
    cuts = list(range(0, len(wire), piece))
    assert read_by(_ChunkedReader(ChunkedReader()), wire, cuts) == (chunk * 2, "ended")
    assert MAX_LINE_BYTES > 60_000


_SIZES = st.sampled_from(
    [b"3", b"03", b"A", b"a", b"0", b"0x3", b"+3", b" 3", b"3 ", b"3_0", b"3;x=y", b"", b"g", b"00000000000000003", b"-1"]
)


@given(
    st.lists(
        st.tuples(_SIZES, st.sampled_from([b"abc", b"0123456789", b"", b"a\r\nb"]), st.sampled_from([b"\r\n", b"\n", b"xx", b""]))
    ),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_a_chunked_body_is_read_as_h11_reads_it_whatever_its_framing(
    chunks: list[tuple[bytes, bytes, bytes]], cuts: list[int]
) -> None:
    wire = b"".join(size + b"\r\n" + data + end for size, data, end in chunks) + b"0\r\n\r\n"
    assert read_by(_ChunkedReader(ChunkedReader()), wire, cuts) == read_by(ChunkedReader(), wire, cuts)
