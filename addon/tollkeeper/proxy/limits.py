"""Bounds on what clients may take: connections, the time until a request's head is there, the size of a body that must be held.

Numbers: a waiting connection costs about 60 kB here and a file descriptor; of mitmproxy's own limits none is set by default, so that one
client could hold everything (docs/security.md).
"""

import asyncio
import logging
import resource
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import connection, ctx, flow, http, tls
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, ResponseProtocolError
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from .safety import guarded, note_fault
from .stages import Counters

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 2048
MAX_PER_PEER = 512
"""From one address that is not loopback, where all users of the machine are one."""
HEAD_SECONDS = 60.0
"""From a connection's begin, or a CONNECT, until the first request's head or the end of its TLS hello; from the first byte of each later
head to its end. Clients that open spare connections (undici, browsers) lose those that stay idle, as they do to servers.

A body has no such time: uploads and recordings pause, and one that stands still costs no more than a connection that waits for its next
request, which may."""
MAX_BODY_BYTES = 256 * 1024 * 1024
"""Of a request that is held until it has been checked. The largest that a provider documents is 200 MB (a batch file, streamed here)."""
MAX_HELD_BYTES = 1024 * 1024 * 1024
LARGE_BODY_BYTES = 1024 * 1024
"""Smaller ones are not counted: all connections together cannot hold much of them."""
SPARE_DESCRIPTORS = 128

HELD_TOO_MUCH = "the request body is larger than Tollkeeper holds while it checks a call"

mitmproxy_check = HttpStream.check_body_size


def raise_descriptor_limit() -> int:
    """Take as many file descriptors as the system lets us (soft limit up to hard, at most 65,536); the number in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        return wanted
    return soft if soft != resource.RLIM_INFINITY else wanted


def connection_limit(descriptors: int) -> int:
    """How many clients may be connected: each may need two descriptors, and the rest of the process needs some."""
    return max(16, min(MAX_CONNECTIONS, (descriptors - SPARE_DESCRIPTORS) // 2))


class Limits:
    """An addon, first of the chain."""

    name = "tollkeeper-limits"

    def __init__(
        self, counters: Counters, *, most: int = MAX_CONNECTIONS, per_peer: int = MAX_PER_PEER, head_seconds: float = HEAD_SECONDS
    ) -> None:
        self.counters, self.most, self.per_peer, self.head_seconds = counters, most, per_peer, head_seconds
        self.open: dict[str, str] = {}
        self.peers: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._told = False

    def on_fault(self, hook: str, error: BaseException, subject: Any) -> None:
        """A fault here lets the connection be."""
        note_fault(self.counters, hook, error)

    @guarded
    def client_connected(self, client: connection.Client) -> None:
        """Count it; too many: mitmproxy closes it at once."""
        peer = client.peername[0]
        is_local = peer in {"127.0.0.1", "::1"}
        if len(self.open) >= self.most or (not is_local and self.peers[peer] >= self.per_peer):
            client.error = "too many connections"
            if not self._told:
                self._told = True
                logger.warning(
                    "too many connections (%d open, %d from %s): new ones are refused until some end",
                    len(self.open),
                    self.peers[peer],
                    peer,
                )
            return
        self.open[client.id] = peer
        self.peers[peer] += 1
        self._await_head(client)

    @guarded
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """The tunnel's own first message gets its time."""
        self._await_head(flow.client_conn)

    @guarded
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """A hello has come whole; what follows in an opened connection is a request's head."""
        self._await_head(data.context.client)

    @guarded
    def head_begun(self, client: connection.Client) -> None:
        """Part of a head has come: the rest gets its time, and no more of it with each piece."""
        if client.id not in self._timers and client.id in self.open:
            self._await_head(client)

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A head has come whole."""
        self._arrived(flow.client_conn.id)

    @guarded
    def server_connected(self, data: Any) -> None:
        """A tunnel is through: silence in it is nobody's business."""
        self._arrived(data.client.id)

    @guarded
    def client_disconnected(self, client: connection.Client) -> None:
        """Forget it."""
        self._arrived(client.id)
        peer = self.open.pop(client.id, None)
        if peer is None:
            return
        self.peers[peer] -= 1
        if self.peers[peer] <= 0:
            del self.peers[peer]
        if len(self.open) < self.most // 2:
            self._told = False

    def _arrived(self, client_id: str) -> None:
        if (timer := self._timers.pop(client_id, None)) is not None:
            timer.cancel()

    def _await_head(self, client: connection.Client) -> None:
        self._arrived(client.id)
        self._timers[client.id] = asyncio.get_running_loop().call_later(self.head_seconds, self._too_slow, client.id)

    def _too_slow(self, client_id: str) -> None:
        self._timers.pop(client_id, None)
        server = ctx.master.addons.get("proxyserver")
        handler = server.connections.get(client_id) if server is not None else None
        if handler is not None:
            io = handler.transports.get(handler.client)
            if io is not None and io.handler is not None:
                io.handler.cancel("no request within the time allowed")


class Held:
    """How much of request bodies is held in memory at this moment, by stream."""

    def __init__(self, per_body: int, in_all: int) -> None:
        self.per_body, self.in_all = per_body, in_all
        self._large: WeakKeyDictionary[HttpStream, int] = WeakKeyDictionary()

    def is_too_much(self, stream: HttpStream) -> bool:
        """Whether this stream's body has grown beyond what one, or all together, may take."""
        size = len(stream.request_body_buf)
        if size < LARGE_BODY_BYTES:
            return False
        self._large[stream] = size
        return size > self.per_body or sum(len(each.request_body_buf) for each in self._large) > self.in_all


def cap_bodies(per_body: int = MAX_BODY_BYTES, in_all: int = MAX_HELD_BYTES) -> None:
    """Have mitmproxy answer 413 to a request whose held body grows too large: it keeps the pieces without any bound of its own.

    ``body_size_limit`` would do that too, but it ends long answers as well.
    """
    held, original = Held(per_body, in_all), mitmproxy_check

    def check(self: HttpStream, request: bool) -> layer.CommandGenerator[bool]:
        if not request or not held.is_too_much(self):
            return (yield from original(self, request))
        self.flow.error = flow.Error(HELD_TOO_MUCH)
        yield HttpErrorHook(self.flow)
        answer = ResponseProtocolError(self.stream_id, HELD_TOO_MUCH, ErrorCode.REQUEST_TOO_LARGE)
        yield SendHttp(answer, self.context.client)
        self.request_body_buf.clear()
        self.client_state = self.state_errored
        self.flow.live = False
        return True

    HttpStream.check_body_size = check  # type: ignore[method-assign]
