"""The short ways hold: connections read in place, tunnels without their outer layers, cut and clogged in every state."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.harness import RunningProxy, running_proxy
from tollkeeper.cli.demo_provider import HOSTS, FakeProvider, background_provider

WAIT_SECONDS = 60.0


class Servers:
    """Plain TCP servers in threads, one function for each connection."""

    def __init__(self) -> None:
        self.listening: list[socket.socket] = []

    def add(self, serve: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self.listening.append(listener)

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(WAIT_SECONDS * 2)
                serve(connection)

        def loop() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with background_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    for listener in servers.listening:
        listener.close()


RELEASE, ENDED = threading.Event(), threading.Event()


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def digest(connection: socket.socket) -> None:
    """Reads to the end, then answers."""
    total = hashlib.sha256()
    while data := connection.recv(65536):
        total.update(data)
    connection.sendall(total.hexdigest().encode())


def flood(connection: socket.socket) -> None:
    """Says first what it has to say when spoken to, half-closes, then listens."""
    connection.recv(16)
    for _ in range(200):
        connection.sendall(b"x" * 100_000)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


BOTH_WAYS_BYTES = 30_000_000
"""More than all the buffers on the way hold."""


def talk_then_listen(connection: socket.socket) -> None:
    """Sends all it has before it reads a byte more."""
    connection.recv(1)
    connection.sendall(b"s" * BOTH_WAYS_BYTES)
    exactly_big(connection, BOTH_WAYS_BYTES - 1)
    connection.sendall(b"heard")


def talk_and_listen(connection: socket.socket) -> None:
    """Sends and reads at the same time."""
    talking = threading.Thread(target=connection.sendall, args=(b"s" * BOTH_WAYS_BYTES,), daemon=True)
    talking.start()
    exactly_big(connection, BOTH_WAYS_BYTES)
    talking.join()
    connection.sendall(b"heard")


def idle_web(connection: socket.socket) -> None:
    """Answers one request; much later says that nobody asked again (HAProxy, Apache), and closes."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    RELEASE.wait(WAIT_SECONDS)
    connection.sendall(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()
    ENDED.set()


@pytest.fixture(scope="module")
def proxy(provider: FakeProvider, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    pins = {f"{host}:443": provider.port for host in HOSTS}
    serving = {"echo": echo, "digest": digest, "flood": flood, "first-talks": talk_then_listen, "both": talk_and_listen}
    for name, serve in serving.items():
        pins[f"{name}.test:9443"] = servers.add(serve)
    pins["web.test:80"] = servers.add(idle_web)
    extra = {"TOLLKEEPER_RESOLVE": ",".join(f"{name}=127.0.0.1:{port}" for name, port in pins.items())}
    with running_proxy(tmp_path_factory.mktemp("hot") / "home", provider, extra=extra) as proxy:
        yield proxy


def dial(proxy: RunningProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_SECONDS)


def head_of(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, head
        head += piece
    return head


def tunnel(connection: socket.socket, target: str) -> None:
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert b" 200 " in head_of(connection)


def rest(connection: socket.socket) -> bytes:
    parts = []
    while piece := connection.recv(1 << 20):
        parts.append(piece)
    return b"".join(parts)


def exactly(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        piece = connection.recv(size - len(parts))
        assert piece, (len(parts), parts[:200])
        parts += piece
    return parts


def test_a_tunnel_relays_what_stands_right_behind_its_connect(proxy: RunningProxy) -> None:
    with dial(proxy) as connection:
        connection.sendall(b"CONNECT echo.test:9443 HTTP/1.1\r\nHost: echo.test:9443\r\n\r\n\x00\x01\x02early")
        assert b" 200 " in head_of(connection)
        assert exactly(connection, 8) == b"\x00\x01\x02early"
        connection.sendall(b"\x03late")
        assert exactly(connection, 5) == b"\x03late"


def test_a_clienthello_right_behind_its_connect_is_opened(proxy: RunningProxy) -> None:
    context = ssl.create_default_context(cafile=str(proxy.bundle))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wire = context.wrap_bio(incoming, outgoing, server_hostname="api.openai.com")
    with pytest.raises(ssl.SSLWantReadError):
        wire.do_handshake()
    with dial(proxy) as connection:
        connection.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n" + outgoing.read())
        assert b" 200 " in head_of(connection)
        while True:
            try:
                wire.do_handshake()
                break
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    connection.sendall(outgoing.read())
                data = connection.recv(65536)
                assert data
                incoming.write(data)
        assert wire.getpeercert()


def test_a_hundred_megabytes_reach_a_tunnels_other_end_and_come_back(proxy: RunningProxy) -> None:
    data = os.urandom(1 << 20) * 100
    with dial(proxy) as connection:
        tunnel(connection, "echo.test:9443")
        sender = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
        sender.start()
        assert hashlib.sha256(exactly_big(connection, len(data))).digest() == hashlib.sha256(data).digest()
        sender.join(WAIT_SECONDS)


def test_a_server_that_sends_all_before_it_reads_is_read_while_the_client_sends(proxy: RunningProxy) -> None:
    """Nobody waits for the server to read but the client: what the server says has room."""
    with dial(proxy) as connection:
        tunnel(connection, "first-talks.test:9443")
        sender = threading.Thread(target=connection.sendall, args=(b"c" * BOTH_WAYS_BYTES,), daemon=True)
        sender.start()
        assert exactly_big(connection, BOTH_WAYS_BYTES) == b"s" * BOTH_WAYS_BYTES
        assert exactly_big(connection, 5) == b"heard"
        sender.join(WAIT_SECONDS)


def test_a_client_that_sends_all_before_it_reads_is_read_while_the_server_sends(proxy: RunningProxy) -> None:
    with dial(proxy) as connection:
        tunnel(connection, "both.test:9443")
        connection.sendall(b"c" * BOTH_WAYS_BYTES)
        assert exactly_big(connection, BOTH_WAYS_BYTES + 5) == b"s" * BOTH_WAYS_BYTES + b"heard"


def exactly_big(connection: socket.socket, size: int) -> bytes:
    into = bytearray(size)
    view, at = memoryview(into), 0
    while at < size:
        count = connection.recv_into(view[at:])
        assert count, at
        at += count
    return bytes(into)


def test_a_server_that_ends_first_is_heard_to_its_last_byte(proxy: RunningProxy) -> None:
    with dial(proxy) as connection:
        tunnel(connection, "flood.test:9443")
        connection.sendall(b"\x00go")
        assert len(rest(connection)) == 20_000_000


def test_a_slow_reader_loses_nothing(proxy: RunningProxy) -> None:
    with dial(proxy) as connection:
        tunnel(connection, "flood.test:9443")
        connection.sendall(b"\x00go")
        threading.Event().wait(1.0)
        assert len(rest(connection)) == 20_000_000


def tls_to_proxy(proxy: RunningProxy) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(dial(proxy), server_hostname="api.openai.com")


def test_a_proxy_spoken_to_by_tls_opens_tunnels(proxy: RunningProxy) -> None:
    """``https_proxy=https://…``: mitmproxy answers TLS on its port too."""
    with tls_to_proxy(proxy) as outer:
        outer.sendall(b"CONNECT echo.test:9443 HTTP/1.1\r\nHost: echo.test:9443\r\n\r\n")
        assert b" 200 " in head_of(outer)
        outer.sendall(b"\x00\x01hello")
        assert exactly(outer, 7) == b"\x00\x01hello"


@contextlib.contextmanager
def after_a_plain_request(proxy: RunningProxy) -> Iterator[socket.socket]:
    """A connection whose first request went to a server that still holds its own end open."""
    RELEASE.clear()
    ENDED.clear()
    with dial(proxy) as connection:
        connection.sendall(b"GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n")
        assert b" 200 " in head_of(connection)
        assert exactly(connection, 2) == b"ok"
        yield connection


def test_what_an_old_connection_says_is_not_put_into_a_tunnel(proxy: RunningProxy) -> None:
    """A plain request, then a CONNECT on the same connection: the first server's late words belong to nobody."""
    with after_a_plain_request(proxy) as connection:
        tunnel(connection, "echo.test:9443")
        connection.sendall(b"\x00one")
        assert exactly(connection, 4) == b"\x00one"
        RELEASE.set()
        assert ENDED.wait(WAIT_SECONDS)
        for _ in range(100):
            connection.sendall(b"\x00two")
            assert exactly(connection, 4) == b"\x00two"


def test_a_call_in_a_tunnel_is_well_when_an_old_connection_ends(proxy: RunningProxy) -> None:
    with after_a_plain_request(proxy) as connection:
        tunnel(connection, "api.openai.com:443")
        context = ssl.create_default_context(cafile=str(proxy.bundle))
        with context.wrap_socket(connection, server_hostname="api.openai.com") as inner:
            for number in range(20):
                inner.sendall(b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-x\r\n\r\n")
                head = head_of(inner)
                assert b"HTTP/1.1 " in head
                length = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                exactly(inner, int(length[0]))
                if not number:
                    RELEASE.set()
                    assert ENDED.wait(WAIT_SECONDS)
    assert "crash" not in proxy.said().lower(), proxy.said()[-2000:]
    assert "KeyError" not in proxy.said()


class Raising:
    """A layer that answers its first event with a hook and a fault."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def handle_event(self, event: object) -> Iterator[object]:
        self.heard.append(event)
        if len(self.heard) == 1:
            from mitmproxy.proxy.layers.tcp import TcpStartHook

            hook = TcpStartHook(None)  # type: ignore[arg-type]
            hook.blocking = self  # type: ignore[assignment]
            yield hook
            raise KeyError("a fault of a layer")


def test_an_event_that_waits_behind_one_that_crashed_is_still_handled() -> None:
    """mitmproxy handles each event by itself: a crash in one takes nothing from the next."""
    from collections import deque

    from mitmproxy.proxy import events

    from tollkeeper.proxy.handler import SwiftConnectionHandler

    class Watchdog:
        def register_activity(self) -> None: ...

    handler = object.__new__(SwiftConnectionHandler)
    layer = Raising()
    handler._pending, handler._busy, handler.layer = deque(), False, layer  # type: ignore[assignment]
    handler.timeout_watchdog = Watchdog()  # type: ignore[assignment]
    handler._call_in_place = lambda hook: True  # type: ignore[method-assign]
    handler.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    handler._handle(events.Start())
    assert len(layer.heard) == 2, "the completion of the hook came through"


def test_a_stop_with_open_tunnels_ends_at_once(provider: FakeProvider, servers: Servers, tmp_path: Path) -> None:
    extra = {"TOLLKEEPER_RESOLVE": f"echo.test:9443=127.0.0.1:{servers.add(echo)}"}
    options = {"extra": extra, "arguments": ("--drain-seconds", "300")}
    with running_proxy(tmp_path / "home", provider, **options) as proxy, contextlib.ExitStack() as stack:
        for number in range(10):
            connection = stack.enter_context(dial(proxy))
            tunnel(connection, "echo.test:9443")
            if number % 2:
                connection.sendall(b"\x00hi")
                exactly(connection, 3)
        proxy.stop(120)
        assert "rashed" not in proxy.said()


def test_tunnels_that_are_cut_in_every_state_leave_no_fault(proxy: RunningProxy) -> None:
    import struct

    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for target in ("echo.test:9443", "api.openai.com:443", "nowhere.invalid:443"):
        for said in (b"", b"\x00x", hello, b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n"):
            for reset in (False, True):
                for waits in (False, True):
                    with dial(proxy) as connection:
                        connection.sendall(
                            f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + (b"" if waits else said)
                        )
                        if waits:
                            head_of(connection)
                            connection.sendall(said)
                        if reset:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with dial(proxy) as connection:
        tunnel(connection, "echo.test:9443")
        connection.sendall(b"\x00x")
        assert exactly(connection, 2) == b"\x00x"
    assert "rashed" not in proxy.said(), proxy.said()[-3000:]
    assert "Traceback" not in proxy.said()


def test_both_directions_clogged_at_once_go_on_when_the_client_reads(proxy: RunningProxy) -> None:
    """The client writes until nothing goes any more, and only then reads."""
    with dial(proxy) as connection:
        tunnel(connection, "echo.test:9443")
        connection.setblocking(False)
        sent, piece, idle = 0, b"\x00" * 65536, 0
        while idle < 20:
            try:
                sent += connection.send(piece)
                idle = 0
            except BlockingIOError:
                idle += 1
                threading.Event().wait(0.05)
        connection.settimeout(WAIT_SECONDS)
        exactly_big(connection, sent)
        connection.sendall(b"end")
        assert exactly(connection, 3) == b"end"


def test_a_turn_of_a_session_is_no_further_than_its_hold_when_the_disk_fails(make_road, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A WebSocket's turn has no ``responseheaders`` that would wait: the policy says that nothing goes on without a ledger."""
    import errno

    from proxy.roads import ADA, PROJECT
    from tollkeeper.core.call import Ask
    from tollkeeper.core.errors import LedgerError
    from tollkeeper.ledger.log import Log
    from tollkeeper.wire.routes import endpoint_for

    body = b'{"model": "gpt-5-mini", "input": "Hi"}'

    async def check() -> None:
        road = make_road('schema = 1\nmode = "enforce"\non_ledger_error = "closed"\n')
        endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
        session = await road.admit(endpoint, "/v1/responses", body, ADA, PROJECT)
        await session.on_disk

        def broken(log: Log) -> None:
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(Log, "sync", broken)
        with pytest.raises(LedgerError):
            await road.admit_turn(session.call, Ask(model="gpt-5-mini", streamed=True), body)

    asyncio.run(check())


def test_nothing_is_fed_in_the_round_in_which_a_connection_is_closed() -> None:
    """Both sockets readable in one round of the loop: the first closes the second, whose data was never read by mitmproxy then."""
    from mitmproxy.connection import ConnectionState, Server
    from mitmproxy.proxy.server import ConnectionIO

    from proxy.test_direct import pair
    from tollkeeper.proxy.handler import SwiftConnectionHandler

    async def check() -> list[str]:
        async with pair() as (reader, writer):
            connection = Server(address=("x.test", 1))
            connection.state = ConnectionState.OPEN
            heard: list[str] = []
            handler = object.__new__(SwiftConnectionHandler)
            handler._busy, handler.log = False, lambda *arguments, **named: None  # type: ignore[method-assign]
            handler._handle = lambda event: heard.append(type(event).__name__)  # type: ignore[method-assign]
            reading = asyncio.ensure_future(asyncio.sleep(0))
            _, back = reader, writer
            handler.transports = {connection: ConnectionIO(handler=None, reader=reader, writer=back)}
            reading = asyncio.ensure_future(handler.handle_connection(connection))
            handler.transports[connection].handler = reading
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            handler.close_connection(connection)
            reader.feed_data(b"late")
            await asyncio.gather(reading, return_exceptions=True)
            return heard

    assert asyncio.run(check()) == ["ConnectionClosed"]


def test_an_idle_connection_keeps_nothing_of_its_last_answer() -> None:
    """An answer's ``stream`` is a closure over its meter, which holds what was said."""
    import gc
    import weakref

    from mitmproxy.proxy.context import Context
    from mitmproxy.proxy.layers.http._events import ResponseData, ResponseEndOfMessage, ResponseHeaders
    from mitmproxy.proxy.layers.http._http1 import Http1Server
    from mitmproxy.test import taddons, tflow

    from tollkeeper.proxy import trim

    trim.install()
    with taddons.context() as context:
        server = Http1Server(Context(tflow.tclient_conn(), context.options))
    flow = tflow.tflow(resp=True)
    server.request, server.request_done = flow.request, True
    head, gone = flow.response, weakref.ref(flow.response)
    flow.response = None
    for event in (ResponseHeaders(1, head, False), ResponseData(1, b"x"), ResponseEndOfMessage(1)):
        list(server.send(event))
    assert server.response is None
    del head, event, flow
    gc.collect()
    assert gone() is None
