"""What is gathered before it is whole has a bound, on either side; what is honest passes as it comes."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import _events, _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.tls import ClientTLSLayer, get_client_hello

from tollkeeper.proxy import repairs
from tollkeeper.proxy.bounds import (
    MAX_AHEAD_BYTES,
    MAX_HEAD_BYTES,
    MAX_HELLO_BYTES,
    MAX_HELLO_WIRE_BYTES,
    HeadBegunHook,
    Hello,
    ReadLater,
    ReadOn,
)

PIECE_BYTES = 65_536
LINE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n"
ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def repaired() -> None:
    assert repairs.apply()


def make_context() -> Context:
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0.0, state=ConnectionState.OPEN)
    return Context(client, SimpleNamespace())  # type: ignore[arg-type]


class Talk:
    """One HTTP/1 connection, and all that has come of what was said on it."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.commands: list[Any] = []
        self.take(events.Start())

    def take(self, event: Any) -> "Talk":
        self.commands += self.layer.handle_event(event)
        return self

    def say(self, data: bytes, piece: int = PIECE_BYTES) -> "Talk":
        """Pieces until the connection is closed."""
        for start in range(0, len(data), piece):
            if not self.is_closed:
                self.take(events.DataReceived(self.layer.conn, data[start : start + piece]))
        return self

    def some(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    def heard(self, kind: type) -> list[Any]:
        return [command.event for command in self.some(ReceiveHttp) if isinstance(command.event, kind)]

    @property
    def is_closed(self) -> bool:
        return bool(self.some(commands.CloseConnection))


def client() -> Talk:
    return Talk(_http1.Http1Server(make_context()))


def provider() -> Talk:
    """The provider's side of a connection on which a request has been sent."""
    context = make_context()
    context.server = Server(address=("api.openai.com", 443))
    talk = Talk(_http1.Http1Client(context))
    request = http1.read_request_head([b"GET / HTTP/1.1", b"Host: api.openai.com"])
    talk.take(_events.RequestHeaders(1, request, True)).take(_events.RequestEndOfMessage(1))
    return talk


def answer(talk: Talk) -> None:
    stream = talk.layer.stream_id
    response = http.Response.make(200, b"", {"content-length": "0"})
    talk.take(_events.ResponseHeaders(stream, response, True)).take(_events.ResponseEndOfMessage(stream))


ENDLESS = {
    "a value": LINE + b"X: " + b"a" * 2_000_000,
    "fields": LINE + b"".join(b"X-%d: y\r\n" % number for number in range(200_000)),
    "a request line": b"GET http://x/" + b"a" * 2_000_000,
    "empty lines": b"\r\n" * 1_000_000,
    "empty lines and a value": b"\r\n\n" * 1000 + LINE + b"X: " + b"a" * 2_000_000,
    "a head that ends too late": LINE + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("piece", [1460, PIECE_BYTES, 262_144])
def test_a_head_without_an_end_is_answered_400_and_closed_and_no_more_of_it_is_kept(data: bytes, piece: int) -> None:
    talk = client().say(data, piece)
    (said,) = talk.some(commands.SendData)
    assert said.data.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in said.data.lower()
    assert talk.is_closed
    assert not talk.heard(_events.RequestHeaders)
    assert len(talk.layer.buf) == 0


@pytest.mark.parametrize("piece", [1460, PIECE_BYTES, 10**9])
def test_the_largest_head_passes_with_the_body_behind_it(piece: int) -> None:
    head = LINE + b"Content-Length: 500000\r\nCookie: "
    head += b"c" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\n"
    talk = client().say(head + b"b" * 500_000, piece)
    assert len(talk.heard(_events.RequestHeaders)) == len(talk.heard(_events.RequestEndOfMessage)) == 1
    assert sum(len(event.data) for event in talk.heard(_events.RequestData)) == 500_000
    assert not talk.is_closed


ENDLESS_ANSWERS = {
    "a value": OK + b"X: " + b"a" * 2_000_000,
    "fields": OK + b"".join(b"X-%d: y\r\n" % number for number in range(200_000)),
    "a status line": OK[:-2] + b"a" * 2_000_000,
    "after a hint": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"X: " + b"a" * 2_000_000,
    "a hint": b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * 2_000_000,
    "a head that ends too late": OK + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", ENDLESS_ANSWERS.values(), ids=ENDLESS_ANSWERS)
@pytest.mark.parametrize("piece", [1460, PIECE_BYTES, 262_144])
def test_an_answer_whose_head_has_no_end_is_an_error_of_the_provider(data: bytes, piece: int) -> None:
    talk = provider().say(data, piece)
    assert talk.is_closed
    (error,) = talk.heard(_events.ResponseProtocolError)
    assert error.code.http_status_code() == 502
    assert not talk.heard(_events.ResponseHeaders)
    assert len(talk.layer.buf) == 0


def test_any_number_of_hints_before_an_answer_passes() -> None:
    talk = provider().say(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 50_000 + OK + b"content-length: 2\r\n\r\nok")
    assert [event.data for event in talk.heard(_events.ResponseData)] == [b"ok"]


def test_requests_that_come_behind_one_another_are_read_when_the_one_before_is_answered() -> None:
    count = MAX_AHEAD_BYTES // len(ASK % 0) + 500
    talk = client().say(b"".join(ASK % number for number in range(count)))
    for number in range(count):
        assert [event.request.path for event in talk.heard(_events.RequestHeaders)] == [f"/{number}"]
        talk.commands.clear()
        answer(talk)
    assert not talk.is_closed


def test_what_comes_behind_an_unanswered_request_is_not_read_without_end() -> None:
    talk = client().say(ASK % 0 + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"b" * MAX_AHEAD_BYTES)
    assert talk.some(ReadLater)
    assert not talk.some(ReadOn)
    answer(talk)
    assert len(talk.some(ReadOn)) == 1, "the second request needs the rest of its body"
    assert [event.request.path for event in talk.heard(_events.RequestHeaders)] == ["/0", "/"]
    talk.say(b"b" * (1_000_000 - MAX_AHEAD_BYTES))
    assert len(talk.heard(_events.RequestEndOfMessage)) == 2
    answer(talk)
    talk.say(ASK % 3)
    answer(talk)
    assert len(talk.heard(_events.RequestEndOfMessage)) == 3
    assert len(talk.some(ReadOn)) == 1


def test_what_comes_behind_an_upgrade_is_the_other_protocols() -> None:
    talk = client().say(ASK % 0 + b"\x82" * (MAX_AHEAD_BYTES + 1))
    assert talk.some(ReadLater)
    response = http.Response.make(101, b"", {"connection": "upgrade"})
    talk.take(_events.ResponseHeaders(1, response, True)).take(_events.ResponseEndOfMessage(1))
    assert len(talk.some(ReadOn)) == 1
    assert b"".join(event.data for event in talk.heard(_events.RequestData)) == b"\x82" * (MAX_AHEAD_BYTES + 1)


def test_a_head_that_has_begun_is_told_and_an_idle_connection_is_not() -> None:
    talk = client().say(ASK % 0)
    answer(talk)
    talk.say(b"\r\n")
    assert not talk.some(HeadBegunHook), "idle, and an empty line is no beginning"
    talk.say(b"GET /")
    assert [hook.client for hook in talk.some(HeadBegunHook)] == [talk.layer.conn]


def test_a_head_that_has_begun_behind_another_request_is_told_when_that_is_answered() -> None:
    talk = client().say(ASK % 0 + b"GET /")
    assert not talk.some(HeadBegunHook)
    answer(talk)
    assert talk.some(HeadBegunHook)


# -- TLS hellos ------------------------------------------------------------------------------------------------------------


def records(data: bytes, sizes: Iterator[int]) -> bytes:
    """``data`` in TLS records of these sizes."""
    out = b""
    while data:
        size = next(sizes)
        piece, data = data[:size], data[size:]
        out += b"\x16\x03\x01" + len(piece).to_bytes(2) + piece
    return out


def forever(sizes: list[int]) -> Iterator[int]:
    while True:
        yield from sizes


def hello_of(size: int) -> bytes:
    return b"\x01" + size.to_bytes(3) + bytes(size)


@given(st.binary(max_size=40), st.lists(st.integers(1, 20), min_size=1), st.binary(max_size=20), st.lists(st.integers(0, 400)))
def test_a_hello_is_read_once_it_is_whole_or_none_however_it_comes(
    said: bytes, sizes: list[int], junk: bytes, cuts: list[int]
) -> None:
    wire = records(hello_of(len(said))[:4] + said, forever(sizes)) + junk
    hello = Hello()
    for end in sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)}):
        try:
            is_there = get_client_hello(wire[:end]) is not None
        except ValueError:
            is_there = True
        assert hello.is_ready(bytearray(wire[:end])) is is_there
        if is_there:
            return


def tls_layer() -> ClientTLSLayer:
    context = make_context()
    context.server = Server(address=("api.openai.com", 443))
    context.layers.append(object())  # type: ignore[arg-type]
    layer = ClientTLSLayer(context)
    assert not list(layer.handle_event(events.Start()))
    return layer


def shaken(wire: bytes, piece: int) -> tuple[bool, int]:
    """Whether the connection was closed, and how much of ``wire`` had been taken then."""
    layer = tls_layer()
    taken = 0
    for start in range(0, len(wire), piece):
        taken += len(wire[start : start + piece])
        todo: list[Any] = [events.DataReceived(layer.conn, wire[start : start + piece])]
        while todo:
            for command in layer.handle_event(todo.pop()):
                if isinstance(command, commands.CloseConnection):
                    return True, taken
                if isinstance(command, commands.StartHook):
                    todo.append(events.HookCompleted(command))
    return False, taken


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"], ids=["none at all", "too large"]
)
def test_what_comes_behind_a_hello_that_is_none_crashes_nothing(wire: bytes) -> None:
    layer = tls_layer()
    todo: list[Any] = [events.DataReceived(layer.conn, data) for data in (wire, b"more", b"and more")]
    closed = 0
    for event in todo:
        for command in layer.handle_event(event):
            closed += isinstance(command, commands.CloseConnection)
            if isinstance(command, commands.StartHook):
                todo.append(events.HookCompleted(command))
    assert closed == 1


def test_a_hello_that_says_it_is_too_large_is_not_waited_for() -> None:
    closed, taken = shaken(records(hello_of(MAX_HELLO_BYTES + 1), forever([16_384])), 1460)
    assert (closed, taken <= 16_384 + 2 * 1460) == (True, True)


def test_a_hello_of_the_largest_size_is_waited_for() -> None:
    wire = records(hello_of(MAX_HELLO_BYTES), forever([16_384]))
    assert shaken(wire[:-1], 1460)[0] is False


@pytest.mark.parametrize("piece", [1460, 262_144])
def test_a_hello_in_records_of_a_byte_is_taken_up_to_a_bound(piece: int) -> None:
    closed, taken = shaken(records(hello_of(MAX_HELLO_BYTES)[: MAX_HELLO_WIRE_BYTES // 5], forever([1])), piece)
    assert (closed, taken <= MAX_HELLO_WIRE_BYTES + piece) == (True, True)
