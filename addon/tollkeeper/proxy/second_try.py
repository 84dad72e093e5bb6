"""mitmproxy's HTTP stream, able to send a request again, elsewhere, while the client has seen nothing of an answer.

A flow whose metadata holds ``TRIES`` fires a hook of ours, ``second_try``, when its answer begins, when its connection fails, or when its
time is up. If the hook leaves ``AGAIN`` there, the request (changed or not) is sent once more; else all goes on as ever.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from mitmproxy import http as mitm_http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _events, _http1

TRIES = "tollkeeper_tries"
AGAIN = "tollkeeper_again"
STOPPABLE = "tollkeeper_stoppable"
STOP = "tollkeeper_stop"
"""Keys in a flow's metadata: its stream may be ended in the middle; it is to be ended now."""
TIMEOUT_SECONDS = "tollkeeper_timeout_seconds"
"""Key in a flow's metadata: how long to wait for the head of an answer."""

_ANSWER = (
    _events.ResponseHeaders,
    _events.ResponseData,
    _events.ResponseTrailers,
    _events.ResponseEndOfMessage,
    _events.ResponseProtocolError,
)

type Commands[T] = Generator[commands.Command, Any, T]


@dataclass
class SecondTryHook(commands.StartHook):
    """An answer has begun (``flow.response``), or there will be none."""

    flow: mitm_http.HTTPFlow


class TunnelOpened(commands.Command):
    """A CONNECT has been answered: from now on all that happens on this connection is the business of ``layer``.

    A stream that has answered one turns every event of the connection into one of its own and back again, and so do three layers
    around it; a handler that knows this command leaves them out.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer


class TryingStream(http.HttpStream):
    """``HttpStream`` of mitmproxy 12.2.3, with second tries."""

    tells_of_tunnels = False
    """Whether the handler of this process knows ``TunnelOpened``."""

    _alarm: commands.RequestWakeup | None = None

    def handle_connect_regular(self) -> Commands[None]:
        """As the parent's; whoever reads the connection is told that it has become a tunnel."""
        yield from super().handle_connect_regular()
        if self.tells_of_tunnels and self._handle_event == self.passthrough and self.child_layer is not None:
            yield TunnelOpened(self.child_layer)

    def _with_alarm(self, event: events.Event) -> Commands[None]:
        """How events are handled once an alarm is set: the parent knows none, and calls without one pay nothing for it."""
        if isinstance(event, events.Wakeup):
            if event.command is self._alarm and self._may_try():
                yield from self._again()
            return
        yield from super()._handle_event(event)

    def state_consume_request_body(self, event: Any) -> Commands[None]:
        """As the parent's; the request is sent in there."""
        yield from super().state_consume_request_body(event)
        yield from self._set_alarm()

    def state_wait_for_response_headers(self, event: Any) -> Commands[None]:
        """As the parent's, unless the answer is passed over for another try."""
        if self._may_try():
            self.flow.response = event.response
            if (yield from self._again()):
                return
        yield from super().state_wait_for_response_headers(event)

    def handle_protocol_error(self, event: Any) -> Commands[None]:
        """As the parent's, unless the failure is followed by another try."""
        if isinstance(event, _events.ResponseProtocolError) and self._may_try() and (yield from self._again()):
            return
        yield from super().handle_protocol_error(event)

    def start_response_stream(self) -> Commands[None]:
        """As the parent's; a stream that may be ended gets a state of its own."""
        yield from super().start_response_stream()
        if STOPPABLE in self.flow.metadata:
            self.server_state = self.state_stoppable

    def state_stoppable(self, event: Any) -> Commands[None]:
        """Pass on as ever; once it is to stop, the provider's connection is closed and the stream has ended."""
        yield from super().state_stream_response_body(event)
        if self.flow.metadata.pop(STOP, False) and self.server_state == self.state_stoppable:
            self._forget_answer()
            yield from self._leave(self.context.server)
            yield from super().state_stream_response_body(_events.ResponseEndOfMessage(self.stream_id))

    def _may_try(self) -> bool:
        flow: mitm_http.HTTPFlow | None = getattr(self, "flow", None)
        if flow is None or TRIES not in flow.metadata:
            return False
        return bool(self.client_state == self.state_done and self.server_state == self.state_wait_for_response_headers)

    def _again(self) -> Commands[bool]:
        """Ask the hook; send the request again if it says so, and say whether that was done."""
        self._alarm = None
        yield SecondTryHook(self.flow)
        if not self.flow.metadata.pop(AGAIN, False):
            return False
        if (yield from self.check_killed(True)):
            return True
        self._forget_answer()
        yield from self._leave(self.context.server)
        self.flow.response, self.flow.error = None, None
        yield from self._send()
        return True

    def _forget_answer(self) -> None:
        """What has come meanwhile of an answer that is not waited for any more belongs to nobody."""
        waiting = [event for event in self._paused_event_queue if not isinstance(event, _ANSWER)]
        self._paused_event_queue.clear()
        self._paused_event_queue.extend(waiting)

    def _leave(self, server: Any) -> Commands[None]:
        """Close the connection of the first try, and hear nothing more from it."""
        parent = self.context.layers[self.context.layers.index(self) - 1]
        assert isinstance(parent, http.HttpLayer)  # noqa: S101 — mitmproxy's own structure
        layer: Any = parent.connections.get(server)
        if layer is None:
            return
        while layer is not None and not isinstance(layer, _http1.Http1Client):
            layer = getattr(layer, "child_layer", None)
        if layer is not None:
            layer.state = layer.done
            if server.connected:
                yield http.SendHttp(_events.RequestProtocolError(self.stream_id, "tried again", _events.ErrorCode.CANCEL), server)

    def _send(self) -> Commands[None]:
        request = self.flow.request
        if not (yield from self.make_server_connection()):
            return
        content = request.raw_content or b""
        yield http.SendHttp(_events.RequestHeaders(self.stream_id, request, not content), self.context.server)
        if content:
            yield http.SendHttp(_events.RequestData(self.stream_id, content), self.context.server)
        yield http.SendHttp(_events.RequestEndOfMessage(self.stream_id), self.context.server)
        yield from self._set_alarm()

    def _set_alarm(self) -> Commands[None]:
        seconds = self.flow.metadata.get(TIMEOUT_SECONDS)
        if seconds is not None and self._may_try() and self._alarm is None:
            self._alarm = commands.RequestWakeup(seconds)
            self._handle_event = self._with_alarm
            yield self._alarm


def install() -> None:
    """Have every HTTP layer use this stream. Idempotent."""
    http.HttpStream = TryingStream  # type: ignore[misc]
