"""HTTP/2 for clients that speak nothing else (gRPC), with the traps of mitmproxy's layers closed; all others stay on HTTP/1.1.

The option ``http2`` stays off: a connection is HTTP/2 only where the door says so (``Passage.OPEN_H2``), towards client and provider
alike, so that the bound of five connections per host (mitmproxy #8322, HTTP/2 over HTTP/1.1) never comes up. Besides:

1. A GOAWAY without an error ended every stream at once. RFC 9113 6.8 lets those under way finish: here they do, and the next request
   opens a new connection. Load balancers send one at every deploy, gRPC clients when they change subchannels.
2. A stream that the provider resets was reported in the words of one that the client reset: here each names its side.
3. The numbers of streams that are over were kept for the life of a connection, and a gRPC channel lives as long as its process.
"""

import logging
from collections.abc import Generator
from typing import Any

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, StreamReset
from hyperframe.frame import Frame, GoAwayFrame
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, ResponseProtocolError

logger = logging.getLogger(__name__)

ALPN = b"h2"
MAX_REMEMBERED = 512
"""Streams remembered before those that are over are forgotten."""

RESET_BY_CLIENT = "stream reset by client"
RESET_BY_PROVIDER = "stream reset by the provider"


def install() -> bool:
    """Have mitmproxy use these layers; False, with a warning, when h2 has other insides than those read in 4.3."""
    if not hasattr(H2Connection, "_receive_goaway_frame"):
        logger.warning("h2 is not a version that this knows; a GOAWAY in the middle of a gRPC stream will cut it")
        return False
    vars(http_layers).update(Http2Client=GracefulClient, Http2Server=GracefulServer)
    return True


def _tolerate_goaway(connection: Any) -> None:
    """h2 closes its state machine on any GOAWAY; one without an error only forbids new streams."""

    def received(frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        if frame.error_code != ErrorCodes.NO_ERROR:
            return connection._receive_goaway_frame(frame)  # type: ignore[no-any-return]  # noqa: SLF001 — see install
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = ErrorCodes.NO_ERROR, frame.last_stream_id
        return [], [event]

    connection._frame_dispatch_table[GoAwayFrame] = received  # noqa: SLF001 — see install


def _is_graceful(event: Any) -> bool:
    return isinstance(event, ConnectionTerminated) and event.error_code == ErrorCodes.NO_ERROR


def _forget_closed(layer: Any) -> None:
    if len(layer.streams) > MAX_REMEMBERED:
        # A new dictionary: mitmproxy may be walking through the old one.
        layer.streams = {number: state for number, state in layer.streams.items() if not layer.is_closed(number)}


class GracefulClient(_http2.Http2Client):
    """Towards the provider."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._is_draining = False
        self._unsent: list[int] = []
        _tolerate_goaway(self.h2_conn)

    def _handle_event(self, event: Any) -> Generator[Any, Any, None]:
        yield from super()._handle_event(event)
        _forget_closed(self)
        if len(self.our_stream_id) > MAX_REMEMBERED:
            for theirs, ours in list(self.our_stream_id.items()):
                if self.is_closed(ours):
                    del self.our_stream_id[theirs], self.their_stream_id[ours]
        if not self._is_draining:
            return
        unsent, self._unsent = self._unsent, []
        for number in unsent:
            yield ReceiveHttp(
                ResponseProtocolError(number, "the provider closed the connection first", ErrorCode.GENERIC_SERVER_ERROR)
            )
        if not self.h2_conn.open_outbound_streams:
            self.streams.clear()  # what is left of them was reset by us
            yield from self.close_connection("closed after the provider's GOAWAY")

    def handle_h2_event(self, event: Any) -> Generator[Any, Any, bool]:
        """As the parent's, which returns whether to stop."""
        if _is_graceful(event):
            self._is_draining = True
            # A connection that is not wholly open is not used again: HttpLayer.get_connection makes another.
            self.conn.state &= ~ConnectionState.CAN_WRITE
            self._unsent += self.stream_queue
            self.stream_queue.clear()
            for number in [number for number in self.streams if number > event.last_stream_id]:
                del self.streams[number]
                message = "the provider closed the connection before it took this request"
                yield ReceiveHttp(ResponseProtocolError(number, message, ErrorCode.GENERIC_SERVER_ERROR))
            return False
        if isinstance(event, StreamReset):
            for command in super().handle_h2_event(event):
                if isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseProtocolError):
                    command.event.message = command.event.message.replace(RESET_BY_CLIENT, RESET_BY_PROVIDER)
                yield command
            return False
        return (yield from super().handle_h2_event(event))


class GracefulServer(_http2.Http2Server):
    """Towards the client."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._is_draining = False
        _tolerate_goaway(self.h2_conn)

    def _handle_event(self, event: Any) -> Generator[Any, Any, None]:
        yield from super()._handle_event(event)
        _forget_closed(self)
        if self._is_draining and not self.h2_conn.open_inbound_streams:
            yield from self.close_connection("closed after the client's GOAWAY")

    def handle_h2_event(self, event: Any) -> Generator[Any, Any, bool]:
        """As the parent's, which returns whether to stop."""
        if _is_graceful(event):
            self._is_draining = True
            return False
        return (yield from super().handle_h2_event(event))
