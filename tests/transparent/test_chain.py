"""Behind a company's proxy: everything that leaves goes through it, with its password, which is never shown."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.harness import RunningProxy, dead_port, running_proxy
from e2e.raw import JSON_SHAPES, STREAM_SHAPES, Caller
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.core.errors import ConfigError
from tollkeeper.proxy.chain import parse_upstream, upstream_of

SECRET = "s3cret:pa/ss"
URL_SECRET = "s3cret%3Apa%2Fss"


@pytest.mark.parametrize(
    ("url", "address", "scheme"),
    [
        ("http://proxy.corp:3128", ("proxy.corp", 3128), "http"), ("proxy.corp:8080", ("proxy.corp", 8080), "http"),
        ("https://proxy.corp", ("proxy.corp", 443), "https"), ("http://[fd00::1]:3128/", ("fd00::1", 3128), "http"),
    ],
)  # fmt: skip
def test_a_proxy_url_is_read(url: str, address: tuple[str, int], scheme: str) -> None:
    found = parse_upstream(url)
    assert (found.address, found.scheme, found.authorization) == (address, scheme, "")


def test_the_password_is_decoded_sent_and_never_shown() -> None:
    found = parse_upstream(f"http://us%40er:{URL_SECRET}@proxy.corp:3128")
    assert base64.b64decode(found.authorization.removeprefix("Basic ")) == f"us@er:{SECRET}".encode()
    assert "s3cret" not in repr(found)
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    "url", [f"socks5://u:{URL_SECRET}@x", f"http://u:{URL_SECRET}@x:99999", f"http://u:{URL_SECRET}@x/path", "http://"]
)
def test_a_url_that_cannot_be_chained_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_upstream(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("corp", "a.corp", True), (".corp", "a.corp", True), ("*.corp", "a.corp", True), ("corp", "xcorp", False),
        ("*", "any.example", True),
        ("10.0.0.0/8", "10.1.2.3", True), ("10.0.0.0/8", "11.1.2.3", False), ("a.corp:443", "a.corp", True), ("a.corp:80", "a.corp", False),
        (" , a.corp ,", "A.CORP.", True), ("", "a.corp", False), ("fd00::/8", "fd00::1", True), ("::1", "::1", True),
    ],
)  # fmt: skip
def test_no_proxy_is_honoured(no_proxy: str, host: str, direct: bool) -> None:
    assert parse_upstream("http://proxy.corp", no_proxy).is_direct(host, 443) is direct


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_in_no_proxy_breaks_a_connection(no_proxy: str, host: str) -> None:
    assert parse_upstream("http://proxy.corp", no_proxy).is_direct(host, 443) in {True, False}


def test_the_environments_own_proxy_is_chained_unless_told_otherwise() -> None:
    environment = {"HTTPS_PROXY": "http://corp:1", "no_proxy": "a"}
    assert upstream_of(environment, None) == ("http://corp:1", "a")
    assert upstream_of(environment, "none") == ("", "a")
    assert upstream_of(environment, "http://other:2") == ("http://other:2", "a")
    assert upstream_of({}, None) == ("", "")


@dataclass
class CorporateProxy:
    """Speaks CONNECT and absolute-form HTTP, wants a password, notes the heads it got; every tunnel ends at the fake provider."""

    provider_port: int
    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(65536)):
                    return
                head += piece
            self.heads.append(head)
            wanted = f"proxy-authorization: basic {base64.b64encode(f'user:{SECRET}'.encode()).decode()}"
            if wanted.lower() not in head.decode("latin-1").lower():
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            if not head.startswith(b"CONNECT"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
                return
            with socket.create_connection(("127.0.0.1", self.provider_port)) as far:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                other = threading.Thread(target=_copy, args=(far, connection), daemon=True)
                other.start()
                _copy(connection, far)
                other.join(60)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def corporate(shared_provider: FakeProvider) -> Iterator[CorporateProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CorporateProxy(shared_provider.port, listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(60)


@pytest.fixture(scope="module")
def chained(
    corporate: CorporateProxy,
    shared_provider: FakeProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningProxy]:
    home = tmp_path_factory.mktemp("chained") / "home"
    extra = {
        "TOLLKEEPER_RESOLVE": "", "HTTPS_PROXY": f"http://user:{URL_SECRET}@127.0.0.1:{corporate.port}", "NO_PROXY": "direct.example",
    }  # fmt: skip
    with running_proxy(home, shared_provider, extra=extra) as proxy:
        yield proxy


@pytest.mark.parametrize("shape", [JSON_SHAPES[0], STREAM_SHAPES[0], JSON_SHAPES[2]], ids=lambda shape: shape.name)
def test_a_call_goes_through_the_corporate_proxy_and_is_metered(
    chained: RunningProxy,
    corporate: CorporateProxy,
    provider: FakeProvider,
    shape: object,
) -> None:
    corporate.heads.clear()
    before = len(chained.ledger.ended()) if chained.ledger.path.exists() else 0
    answer = Caller(provider, chained.bundle, chained.port).call(shape)  # type: ignore[arg-type]
    assert answer.status == 200
    assert corporate.heads[0].startswith(f"CONNECT {shape.host}:443 HTTP/1.1\r\n".encode())  # type: ignore[attr-defined]
    assert chained.ledger.since(before)["usage_source"] == "reported"


def test_plain_http_goes_to_it_in_absolute_form(chained: RunningProxy, corporate: CorporateProxy) -> None:
    corporate.heads.clear()
    answer = _exchange(chained.port, b"GET http://plain.example/x?y HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"plain")
    assert corporate.heads[0].startswith(b"GET http://plain.example/x?y HTTP/1.1\r\n")
    assert b"\r\nhost: plain.example\r\n" in corporate.heads[0].lower()


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254.", "[::a9fe:a9fe]"],
)
def test_a_metadata_service_is_not_asked_for_however_it_is_spelled(
    chained: RunningProxy, corporate: CorporateProxy, host: str
) -> None:
    corporate.heads.clear()
    for line in (f"GET http://{host}/x HTTP/1.1", f"CONNECT {host}:80 HTTP/1.1"):
        answer = _exchange(chained.port, f"{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 "), answer[:200]
    assert not corporate.heads


def test_hosts_in_no_proxy_are_dialled_directly(chained: RunningProxy, corporate: CorporateProxy) -> None:
    corporate.heads.clear()
    answer = _exchange(
        chained.port, b"CONNECT direct.example:443 HTTP/1.1\r\nHost: direct.example\r\n\r\n\x16\x03\x01", until=b"\r\n\r\n"
    )
    assert not corporate.heads
    assert answer


def test_the_password_stands_in_no_log_no_state_and_no_status(chained: RunningProxy) -> None:
    told = (
        chained.said()
        + (chained.home / "proxy.json").read_text()
        + _exchange(chained.port, b"GET /status HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % chained.port, until=b"}").decode()
    )
    assert "s3cret" not in told
    assert base64.b64encode(f"user:{SECRET}".encode()).decode() not in told
    assert json.loads((chained.home / "proxy.json").read_text())["upstream_proxy"].startswith("http://127.0.0.1:")


def test_a_refused_password_is_told_to_the_client_without_it(
    shared_provider: FakeProvider,
    corporate: CorporateProxy,
    start: Callable[..., RunningProxy],
) -> None:
    proxy = start(
        arguments=["--upstream-proxy", f"http://user:wr0ng@127.0.0.1:{corporate.port}"], extra={"TOLLKEEPER_RESOLVE": ""}
    )
    answer = Caller(shared_provider, proxy.bundle, proxy.port).call(JSON_SHAPES[0])
    assert answer.status == 502
    assert b"407" in answer.body
    assert b"wr0ng" not in answer.body
    assert "wr0ng" not in proxy.said()


def test_a_dead_upstream_proxy_is_an_error_not_a_way_round(
    shared_provider: FakeProvider,
    start: Callable[..., RunningProxy],
) -> None:
    shared_provider.bills.clear()
    with dead_port() as port:
        proxy = start(arguments=["--upstream-proxy", f"http://127.0.0.1:{port}"], extra={"TOLLKEEPER_RESOLVE": ""})
        assert Caller(shared_provider, proxy.bundle, proxy.port).call(JSON_SHAPES[0]).status == 502
    assert not shared_provider.bills.billed()


@pytest.fixture
def start(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningProxy]]:
    with contextlib.ExitStack() as stack:

        def begin(**options: object) -> RunningProxy:
            return stack.enter_context(running_proxy(tmp_path_factory.mktemp("own") / "home", shared_provider, **options))

        yield begin


def _exchange(port: int, data: bytes, *, until: bytes = b"") -> bytes:
    """What comes back up to ``until``, or until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        found = b""
        while not (until and until in found) and (piece := connection.recv(65536)):
            found += piece
        return found
