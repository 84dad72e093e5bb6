"""How much is gathered of what is read only once it is whole: heads, what is said behind a request, TLS hellos.

mitmproxy 12.2.3 gathers each without a bound, so that one peer, client or provider, could take all memory, and all time where what has
come is looked through anew with every piece. A head that is too large ends its connection: a client gets 400, a provider's client 502.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from h11._receivebuffer import ReceiveBuffer
from mitmproxy import connection
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, ResponseProtocolError

from .headers import MAX_HEADER_BYTES

MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
"""With the first line and all that stands between names and values; ``headers.fault`` bounds those by themselves."""
MAX_LINE_BYTES = MAX_HEADER_BYTES
"""Of a chunked body: the line in front of a chunk, and the trailers behind the last."""
MAX_AHEAD_BYTES = 131_072
"""What a client may say behind a request that is not answered yet: no more is read until it is. Requests that are pipelined lie here."""
MAX_HELLO_BYTES = 131_396
"""OpenSSL's own bound (``CLIENT_HELLO_MAX_LENGTH``): 2^16 of extensions, 2^16 of ciphers and what stands around them."""
MAX_HELLO_WIRE_BYTES = 2 * MAX_HELLO_BYTES
"""With the records around it, which may be as small as a byte."""

HEAD_TOO_LARGE = f"the head of the request has more than {MAX_HEAD_BYTES} bytes"
ANSWER_TOO_LARGE = f"the head of its answer has more than {MAX_HEAD_BYTES} bytes"
HELLO_TOO_LARGE = f"Cannot parse ClientHello: more than {MAX_HELLO_BYTES} bytes"  # by its beginning mitmproxy knows what to log

_END = re.compile(rb"[^\r\n]\r?\n\r?\n")
"""The end of a head. Empty lines in front of one are none: mitmproxy takes them off one by one."""


@dataclass
class HeadBegunHook(commands.StartHook):
    """A client has sent the beginning of a request's head and no more yet. Nobody waits for what is done then."""

    blocking: ClassVar[bool] = False  # type: ignore[misc]
    client: connection.Client


class ReadLater(commands.Command):
    """What the client says next is not read before ``ReadOn``."""


class ReadOn(commands.Command):
    """The client is read again."""


def is_endless(buffer: Any) -> bool:
    """Whether a head that has begun in an h11 ``buffer`` is longer than may be."""
    return len(buffer) > MAX_HEAD_BYTES and _END.search(buffer._data, 0, MAX_HEAD_BYTES) is None  # noqa: SLF001 — bytes() would copy it


def _read_request_head(self: Any, event: Any) -> Iterator[Any]:
    if is_endless(self.buf):
        yield commands.SendData(self.conn, _http1.make_error_response(400, HEAD_TOO_LARGE))
        yield commands.CloseConnection(self.conn)
        _forget(self)
        return
    yield from _READ_HEAD[_http1.Http1Server](self, event)
    # An empty line behind a body is no beginning: some clients send one (RFC 9112 2.2).
    if self.buf and self.state == self.read_headers and self.buf._data[:16].strip(b"\r\n"):  # noqa: SLF001
        yield HeadBegunHook(self.conn)


def _read_answer_head(self: Any, event: Any) -> Iterator[Any]:
    if self.request and is_endless(self.buf):
        yield commands.CloseConnection(self.conn)
        _forget(self)
        yield ReceiveHttp(ResponseProtocolError(self.stream_id, ANSWER_TOO_LARGE, ErrorCode.GENERIC_SERVER_ERROR))
        return
    yield from _READ_HEAD[_http1.Http1Client](self, event)


def _forget(self: Any) -> None:
    self.buf, self.state = ReceiveBuffer(), self.done


def _wait(self: Any, event: Any) -> Iterator[Any]:
    """Until a request is answered: what comes behind it is kept, as far as it may."""
    yield from _http1.Http1Connection.wait(self, event)
    if len(self.buf) > MAX_AHEAD_BYTES:

        def mark_done(*, request: bool = False, response: bool = False) -> Iterator[Any]:
            yield from _http1.Http1Server.mark_done(self, request=request, response=response)
            if self.state != self.wait and vars(self).pop("mark_done", None) is not None:
                yield ReadOn()

        self.mark_done = mark_done  # of this one connection: others pay nothing for it
        yield ReadLater()


class Hello:
    """How far a TLS hello has come. Each record is looked at once: mitmproxy begins at the first with every piece."""

    __slots__ = ("_at", "_begin", "_has")

    def __init__(self) -> None:
        self._at, self._has, self._begin = 0, 0, b""

    def is_ready(self, data: bytearray) -> bool:
        """Whether there is something to read in ``data``, all that has come: the whole hello, or something that is none."""
        while len(data) >= (body := self._at + 5):
            size = int.from_bytes(data[self._at + 3 : body])
            if not size or not starts_like_tls_record(bytes(data[self._at : body])):
                return True
            if len(data) < body + size:
                return False
            if len(self._begin) < 4:
                self._begin += data[body : body + min(size, 4 - len(self._begin))]
            self._has += size
            self._at = body + size
            if self._has >= 4 and self._has >= self.size:
                return True
        return False

    @property
    def size(self) -> int:
        """What it says of itself, with the four bytes that say so; 0 before they have come (RFC 8446 4)."""
        return 4 + int.from_bytes(self._begin[1:]) if len(self._begin) == 4 else 0


_HELLO = "tollkeeper_hello"


_receive_handshake_data: Any = tls.ClientTLSLayer.receive_handshake_data


def _receive_hello(self: Any, data: bytes) -> Generator[Any, Any, tuple[bool, str | None]]:
    done, error = yield from _gather_hello(self, data)
    if error and self.tls is None:
        self.receive_data = _hear_nothing  # until the connection is closed: mitmproxy looks for a TLS that has not begun
    return done, error


def _gather_hello(self: Any, data: bytes) -> Generator[Any, Any, tuple[bool, str | None]]:
    if self.client_hello_parsed or self.is_dtls:
        return (yield from _receive_handshake_data(self, data))  # type: ignore[no-any-return]
    hello: Hello | None = vars(self).get(_HELLO)
    if hello is None:
        hello = Hello()
        setattr(self, _HELLO, hello)
    self.recv_buffer.extend(data)
    is_ready = hello.is_ready(self.recv_buffer)
    if hello.size > 4 + MAX_HELLO_BYTES or (not is_ready and len(self.recv_buffer) > MAX_HELLO_WIRE_BYTES):
        self.recv_buffer.clear()
        return False, HELLO_TOO_LARGE
    return (yield from _receive_handshake_data(self, b"")) if is_ready else (False, None)


def _hear_nothing(_data: bytes) -> Iterator[Any]:
    yield from ()


_READ_HEAD: dict[type, Any] = {}


def install() -> None:
    """Put the bounds in place, around what is there. Idempotent."""
    if _READ_HEAD:
        return
    for kind, reader in ((_http1.Http1Server, _read_request_head), (_http1.Http1Client, _read_answer_head)):
        _READ_HEAD[kind] = kind.read_headers
        kind.read_headers = reader  # type: ignore[method-assign, assignment]
    _http1.Http1Server.wait = _wait  # type: ignore[method-assign, assignment]
    tls.ClientTLSLayer.receive_handshake_data = _receive_hello  # type: ignore[method-assign]
