"""mitmproxy's WebSocket layer, able to speak for itself: frames of ours between those of the peers, and a clean close.

Its own ``inject.websocket`` goes through the buffer in which a fragmented message is gathered and would be mixed up with it. A message
has no bound there either: here a peer that sends one without end is cut off (RFC 6455 7.4.1, code 1009).
"""

from collections.abc import Iterator
from typing import Any

import wsproto.events
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import websocket
from wsproto.connection import ConnectionState

from .sockets import Verdict

OUTBOX = "tollkeeper_outbox"
"""Key in a flow's metadata: the ``Verdict`` whose frames are to be sent now."""

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
FRAGMENT_BYTES = 1024 * 1024
"""A rewritten message goes out in pieces of this size; mitmproxy's 4 kB are continuation frames to servers that may not take them."""

MAX_REASON_BYTES = 123
"""RFC 6455 5.5: a control frame has 125 bytes, two of them the code."""

GOODBYE_SECONDS = 5.0
"""How long a client has to answer our close frame."""

_POLICY_VIOLATION, _TOO_BIG = 1008, 1009
_LIVE = frozenset({ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING})


class SocketLayer(websocket.WebsocketLayer):
    """``WebsocketLayer`` that also sends what the hook of a message left in the outbox."""

    def relay_messages(self, event: Any) -> Iterator[commands.Command]:
        """Relay, then speak."""
        yield from super().relay_messages(event)
        said: Verdict | None = self.flow.metadata.pop(OUTBOX, None)
        if said is not None:
            yield from self._say(self.client_ws, said.to_client)
            yield from self._say(self.server_ws, said.to_server)
            if said.ends_session:
                yield from self._end(_POLICY_VIOLATION, said.reason)
        for side in (self.client_ws, self.server_ws):
            if sum(map(len, side.frame_buf)) > MAX_MESSAGE_BYTES:
                yield from self._end(_TOO_BIG, f"Tollkeeper: a message of more than {MAX_MESSAGE_BYTES} bytes")

    @staticmethod
    def _say(side: websocket.WebsocketConnection, text: bytes) -> Iterator[commands.Command]:
        if text and side.state in _LIVE:
            yield side.send2(wsproto.events.TextMessage(data=text.decode()))

    def _end(self, code: int, reason: str) -> Iterator[commands.Command]:
        socket = self.flow.websocket
        if socket is None or socket.close_code is not None:
            return
        reason = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        socket.closed_by_client, socket.close_code, socket.close_reason = False, code, reason
        for side in (self.server_ws, self.client_ws):
            if side.state in _LIVE:
                yield side.send2(wsproto.events.CloseConnection(code=code, reason=reason))
        yield commands.CloseConnection(self.server_ws.conn)
        yield websocket.WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self._await_goodbye
        yield commands.RequestWakeup(GOODBYE_SECONDS)

    def _await_goodbye(self, event: Any) -> Iterator[commands.Command]:
        """Read the client to its own close frame: data left unread would make TCP take back what we said last (RFC 6455 7.1.1)."""
        if isinstance(event, events.ConnectionEvent) and event.connection is not self.client_ws.conn:
            return
        if isinstance(event, events.DataReceived):
            self.client_ws.receive_data(event.data)
            if not any(isinstance(each, wsproto.events.CloseConnection) for each in self.client_ws.events()):
                return
        yield commands.CloseConnection(self.client_ws.conn)
        self._handle_event = self._hear_nothing

    def _hear_nothing(self, event: Any) -> Iterator[commands.Command]:
        """All is said."""
        yield from ()


def install() -> None:
    """Have every upgraded connection use this layer. Idempotent."""
    websocket.WebsocketLayer = SocketLayer  # type: ignore[misc]
    websocket.Fragmentizer.FRAGMENT_SIZE = FRAGMENT_BYTES
