"""Repairs of mitmproxy's core that no hook can make, applied once and only to the version they were read in.

1. Response trailers raise ``NotImplementedError`` and the client hangs (mitmproxy #2474): trailers are dropped, the message ends.
2. An informational answer (100, 103) is taken for the final one and the client hangs (#2229): it is skipped.
3. An unreachable provider is answered with HTML, which SDKs print: JSON in a shape that the Anthropic and OpenAI SDKs both read.
4. A WebSocket cannot be spoken to or closed by a hook: ``socket_layer`` does both.
5. HTTP/2, spoken with gRPC clients alone, loses every stream on a GOAWAY: ``h2`` lets them finish.
6. A request cannot be sent again once its answer has begun: ``second_try`` does, while the client has seen nothing.
7. Heads, lines of chunked bodies, trailers and TLS hellos are gathered without a bound (mitmproxy's own FIXME): ``bounds`` sets some.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

import h11
from mitmproxy import http, version
from mitmproxy.net.http import http1
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import _http1

from . import bounds, h2, second_try, socket_layer
from .bounds import MAX_LINE_BYTES

logger = logging.getLogger(__name__)

READ_IN = ("12.2.",)

_applied = False

MAX_SIZE_CHARS = 8
_HEX = frozenset(b"0123456789abcdefABCDEF")


class _ChunkedReader:
    """Wraps h11's reader of chunked bodies: no trailers, and all chunks that have come are one piece.

    A provider writes an event a chunk, and a burst of them arrives in one read; relaying each by itself costs 40 µs of CPU
    a piece, for framing that HTTP gives no meaning (RFC 9112 7.1).
    """

    __slots__ = ("_inner", "_next")

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._next: h11.EndOfMessage | h11.ProtocolError | None = None
        """What comes after the piece that was given last: the end, or the fault that stands behind it."""

    def __call__(self, buffer: Any) -> Any:
        pieces = [] if self._next is not None else self._whole_chunks(buffer)
        while self._next is None and buffer:
            try:
                event = self._inner(buffer)
            except h11.ProtocolError as error:
                self._next = error
                break
            if event is None:
                if len(buffer) > MAX_LINE_BYTES:  # all but the beginning of a line, or of trailers, has been taken out of it
                    self._next = h11.RemoteProtocolError(f"more than {MAX_LINE_BYTES} bytes between chunks")
                break
            if isinstance(event, h11.EndOfMessage):
                self._next = h11.EndOfMessage()
            else:
                pieces.append(event.data)
        if pieces:
            return h11.Data(data=b"".join(pieces))
        if isinstance(self._next, h11.ProtocolError):
            raise self._next
        end, self._next = self._next, None
        return end

    def read_eof(self) -> Any:
        return self._inner.read_eof()

    def _whole_chunks(self, buffer: Any) -> list[bytes]:
        """The chunks at the front that are there to their last byte, as nearly all come: h11 takes 8 µs for each.

        A chunk that is split, has extensions or is malformed, and the last one, are left to h11.
        """
        if not _is_between_chunks(self._inner):
            return []
        data, at, pieces = bytes(buffer), 0, []
        while True:
            line_end = data.find(b"\r\n", at, at + MAX_SIZE_CHARS + 2)
            size = int(data[at:line_end], 16) if line_end > at and _HEX.issuperset(data[at:line_end]) else 0
            start, end = line_end + 2, line_end + 2 + size
            if not size or data[end : end + 2] != b"\r\n":
                break
            pieces.append(data[start:end])
            at = end + 2
        if at:
            buffer.maybe_extract_at_most(at)
        return pieces


def _is_between_chunks(reader: Any) -> bool:
    return not (reader._bytes_in_chunk or reader._bytes_to_discard or reader._reading_trailer)  # noqa: SLF001 — h11 0.16's own state


def skip_informational(head: bytes) -> int:
    """How many bytes of ``head`` are complete informational answers (1xx but 101) in front of the final one."""
    skipped = 0
    while True:
        rest = head[skipped : skipped + 12]
        is_informational = len(rest) == 12 and rest.startswith(b"HTTP/1.") and rest[9:10] == b"1" and rest[9:12] != b"101"
        end = head.find(b"\r\n\r\n", skipped)
        if not is_informational or end < 0:
            return skipped
        skipped = end + 4


def json_error(status_code: int, message: str = "") -> bytes:
    """A complete HTTP answer for an error of the proxy itself, read by SDKs of either family."""
    # mitmproxy quotes the request line, whose query may hold a key, and names an option of its own that is locked here.
    message = message.partition(": b'")[0].partition(': b"')[0].partition(" Disable the ")[0]
    text = f"Tollkeeper could not reach the provider: {message}" if status_code == 502 else f"Tollkeeper: {message}"
    error = {"type": "api_error", "message": text, "code": None, "param": None}
    body = json.dumps({"type": "error", "error": error}).encode()
    answer = http.Response.make(
        status_code, body, http.Headers(Server="tollkeeper", Connection="close", Content_Type="application/json")
    )
    return bytes(http1.assemble_response(answer))


def apply() -> bool:
    """Patch the loaded mitmproxy. False, with a warning, when its version is not one these repairs were read in."""
    global _applied  # noqa: PLW0603 — a patch of a module is global by nature
    if _applied:
        return True
    if not version.VERSION.startswith(READ_IN):
        logger.warning("mitmproxy %s is not a version these repairs know; trailers and 1xx answers may hang", version.VERSION)
        return False
    make_body_reader = _http1.make_body_reader
    read_headers = _http1.Http1Client.read_headers

    def make_reader(expected_size: int | None) -> Any:
        reader = make_body_reader(expected_size)
        return _ChunkedReader(reader) if expected_size is None else reader

    def read_final_headers(self: Any, event: Any) -> Iterator[Any]:
        if isinstance(event, events.DataReceived):
            self.buf.maybe_extract_at_most(skip_informational(bytes(self.buf)))
        yield from read_headers(self, event)

    _http1.make_body_reader = make_reader
    _http1.Http1Client.read_headers = read_final_headers  # type: ignore[assignment, method-assign]
    _http1.make_error_response = json_error
    socket_layer.install()
    h2.install()
    second_try.install()
    bounds.install()
    _applied = True
    return True
