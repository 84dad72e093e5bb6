"""Attacks on the short ways: connections read in place, tunnels without their outer layers."""

import asyncio
import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.harness import RunningProxy, running_proxy
from tollkeeper.cli.demo_provider import HOSTS, FakeProvider, background_provider

WAIT_SECONDS = 15.0


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


RELEASE = threading.Event()


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


def idle_web(connection: socket.socket) -> None:
    """Answers one request; much later says that nobody asked again (HAProxy, Apache), and closes."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    RELEASE.wait(WAIT_SECONDS)
    connection.sendall(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def proxy(provider: FakeProvider, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    pins = {f"{host}:443": provider.port for host in HOSTS}
    for name, serve in (("echo", echo), ("digest", digest), ("flood", flood)):
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
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        tunnel(connection, "flood.test:9443")
        connection.sendall(b"\x00go")
        threading.Event().wait(1.0)
        assert len(rest(connection)) == 20_000_000


def tls_to_proxy(proxy: RunningProxy) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(dial(proxy), server_hostname="proxy.test")


def test_a_proxy_spoken_to_by_tls_opens_tunnels(proxy: RunningProxy) -> None:
    """``https_proxy=https://…``: mitmproxy answers TLS on its port too."""
    with tls_to_proxy(proxy) as outer:
        outer.sendall(b"CONNECT echo.test:9443 HTTP/1.1\r\nHost: echo.test:9443\r\n\r\n")
        assert b" 200 " in head_of(outer)
        outer.sendall(b"\x00\x01hello")
        assert exactly(outer, 7) == b"\x00\x01hello"


def test_what_an_old_connection_says_is_not_put_into_a_tunnel(proxy: RunningProxy) -> None:
    """A plain request, then a CONNECT on the same connection: the first server's late words belong to nobody."""
    RELEASE.clear()
    with dial(proxy) as connection:
        connection.sendall(b"GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n")
        assert b" 200 " in head_of(connection)
        assert exactly(connection, 2) == b"ok"
        tunnel(connection, "echo.test:9443")
        connection.sendall(b"\x00one")
        assert exactly(connection, 4) == b"\x00one"
        RELEASE.set()
        threading.Event().wait(0.5)
        connection.sendall(b"\x00two")
        assert exactly(connection, 4) == b"\x00two"


def test_a_call_in_a_tunnel_is_well_when_an_old_connection_ends(proxy: RunningProxy) -> None:
    RELEASE.clear()
    with dial(proxy) as connection:
        connection.sendall(b"GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n")
        assert b" 200 " in head_of(connection)
        assert exactly(connection, 2) == b"ok"
        tunnel(connection, "api.openai.com:443")
        context = ssl.create_default_context(cafile=str(proxy.bundle))
        with context.wrap_socket(connection, server_hostname="api.openai.com") as inner:
            RELEASE.set()
            threading.Event().wait(0.5)
            inner.sendall(b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-x\r\n\r\n")
            assert b"HTTP/1.1 " in head_of(inner)
    assert "crashed" not in proxy.said(), proxy.said()[-2000:]
