"""What one client can take of the proxy, and what mitmproxy's traps do here: each was reproduced, each is closed."""

import asyncio
import contextlib
import gzip
import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.connection import Client
from mitmproxy.test import tflow

from e2e.harness import ADDON, RunningProxy, running_proxy
from e2e.raw import Caller
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.proxy import limits
from tollkeeper.proxy.distrust import UNSAID_TIMES
from tollkeeper.proxy.stages import Counters

BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}).encode()


@pytest.fixture(scope="module")
def proxy(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path_factory.mktemp("limits") / "home", shared_provider) as running:
        yield running


def opened(proxy: RunningProxy, caller_provider: FakeProvider) -> socket.socket:
    """A TLS connection to the fake provider's host, opened by the proxy."""
    connection = Caller(caller_provider, proxy.bundle, proxy.port).connect("api.openai.com")
    assert connection.sock is not None
    return connection.sock


def exchange(connection: socket.socket, data: bytes, wait: float = 60.0) -> bytes:
    connection.settimeout(wait)
    found = b""
    with contextlib.suppress(OSError):  # who is refused in the middle has an answer to read all the same
        connection.sendall(data)
    with contextlib.suppress(OSError):
        while piece := connection.recv(65536):
            found += piece
            head, _, body = found.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if length and len(body) >= int(length[1]):
                break
    connection.close()
    return found


def request(*fields: bytes, body: bytes = BODY, length: bytes | None = None) -> bytes:
    size = str(len(body)).encode() if length is None else length
    head = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: api.openai.com",
        b"Authorization: Bearer sk-secret-1",
        b"Content-Length: " + size,
    ]
    return b"\r\n".join((*head, *fields, b"", body))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"X: a\rb",), 400), ((b"X: a\0b",), 400), ((b"Host: api.anthropic.com",), 421), ((b"X: " + b"a" * 70_000,), 400),
        ((b"Transfer-Encoding: chunked",), 400), ((b"Content-Length: 1",), 400), ((b"Transfer-Encoding: xchunked",), 400),
        ((b"X : a",), 400),
    ],
    ids=["CR in a value", "NUL in a value", "two hosts", "70 kB of headers", "CL and TE", "two CL", "odd TE", "space before colon"],
)  # fmt: skip
def test_a_head_that_could_be_read_in_two_ways_is_refused(
    proxy: RunningProxy,
    provider: FakeProvider,
    fields: tuple[bytes, ...],
    status: int,
) -> None:
    answer = exchange(opened(proxy, provider), request(*fields))
    assert answer.split(b" ")[1:2] == [str(status).encode()], answer[:200]
    assert not provider.bills.seen()


def test_a_decompression_bomb_is_refused_and_costs_no_memory(proxy: RunningProxy, provider: FakeProvider) -> None:
    bomb = gzip.compress(bytes(600 * 1024 * 1024), 9)
    before = rss(proxy)
    answer = exchange(opened(proxy, provider), request(b"Content-Encoding: gzip", body=bomb))
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]
    assert rss(proxy) - before < 100 * 1024 * 1024
    assert not provider.bills.seen()


@pytest.mark.parametrize("encoding", [b"snappy", b"gzip, gzip, gzip, gzip, gzip"])
def test_an_encoding_nobody_can_undo_is_refused(proxy: RunningProxy, provider: FakeProvider, encoding: bytes) -> None:
    answer = exchange(opened(proxy, provider), request(b"Content-Encoding: " + encoding))
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"zstd"])
def test_a_body_that_is_not_what_it_says_is_refused_or_metered_all_the_same(
    proxy: RunningProxy,
    provider: FakeProvider,
    encoding: bytes,
) -> None:
    before = len(proxy.ledger.ended()) if proxy.ledger.path.exists() else 0
    answer = exchange(opened(proxy, provider), request(b"Content-Encoding: " + encoding))
    if not answer.startswith(b"HTTP/1.1 400"):
        assert proxy.ledger.since(before)["usage_source"] == "reported"


CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a value": (b"POST /v1/chat/completions HTTP/1.1\r\nX: ", b"a" * 1_000_000),
    "fields": (b"POST /v1/chat/completions HTTP/1.1\r\n", b"X-Some: field\r\n" * 65_536),
    "a request line": (b"POST /", b"a" * 1_000_000),
    "empty lines": (b"", b"\r\n" * 500_000),
    "a chunk's line": (CHUNKED + b"5;", b"a" * 1_000_000),
    "trailers": (CHUNKED + b"0\r\n", b"X-Some: field\r\n" * 65_536),
}


def takes_all(connection: socket.socket, begin: bytes, piece: bytes, times: int = 200) -> bool:
    """Whether the other side goes on reading for as long as this is said, which is more than all buffers on the way hold."""
    connection.settimeout(60)
    try:
        connection.sendall(begin)
        for _ in range(times):
            connection.sendall(piece)
    except TimeoutError:
        raise
    except OSError:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.parametrize(("begin", "piece"), ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("way", ["plain", "opened"])
def test_what_has_no_end_is_broken_off_and_costs_no_memory(
    proxy: RunningProxy, provider: FakeProvider, way: str, begin: bytes, piece: bytes
) -> None:
    before = rss(proxy)
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=60) if way == "plain" else None
    assert not takes_all(plain or opened(proxy, provider), begin, piece)
    assert rss(proxy) - before < 50 * 1024 * 1024
    assert not provider.bills.seen()


@pytest.mark.parametrize(
    ("size", "record"),
    [(2**24 - 1, b"\x16\x03\x01\x40\x00" + bytes(16_384)), (100_000, b"\x16\x03\x01\x00\x01\x00" * 2000)],
    ids=["large", "in records of a byte"],
)
def test_a_tls_hello_without_an_end_is_broken_off_and_costs_no_memory(proxy: RunningProxy, size: int, record: bytes) -> None:
    before = rss(proxy)
    for _ in range(UNSAID_TIMES + 1):
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
        connection.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        assert not takes_all(connection, b"\x16\x03\x01\x00\x04\x01" + size.to_bytes(3), record, 10_000)
    assert rss(proxy) - before < 50 * 1024 * 1024
    assert "our certificate" not in proxy.said(), "it never came so far"
    assert "Traceback" not in proxy.said()


def test_keys_stand_in_no_log_after_all_of_this(proxy: RunningProxy) -> None:
    assert "sk-secret-1" not in proxy.said()


def rss(proxy: RunningProxy) -> int:
    pid = json.loads((proxy.home / "proxy.json").read_text())["pid"]
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_is_read_from_the_proxy(proxy: RunningProxy) -> None:
    assert rss(proxy) > 10 * 1024 * 1024


# -- connections and time, on the addon itself ---------------------------------------------------------------------------


def client(peer: str) -> Client:
    return Client(peername=(peer, 1), sockname=("127.0.0.1", 2), timestamp_start=time.time())


def run(scenario: object) -> None:
    asyncio.run(scenario())  # type: ignore[operator]


def test_connections_beyond_the_limit_are_refused_until_others_end() -> None:
    async def scenario() -> None:
        addon = limits.Limits(Counters(), most=2, per_peer=5)
        first, second, third = client("127.0.0.1"), client("127.0.0.1"), client("127.0.0.1")
        for each in (first, second, third):
            addon.client_connected(each)
        assert [each.error for each in (first, second, third)] == [None, None, "too many connections"]
        addon.client_disconnected(third)
        addon.client_disconnected(first)
        fourth = client("127.0.0.1")
        addon.client_connected(fourth)
        assert fourth.error is None
        for each in (second, fourth):
            addon.client_disconnected(each)
        assert (len(addon.open), addon.peers, addon._timers) == (0, {}, {})

    run(scenario)


def test_one_peer_cannot_take_all() -> None:
    async def scenario() -> None:
        addon = limits.Limits(Counters(), most=10, per_peer=2)
        mine = [client("10.0.0.1") for _ in range(3)]
        other = client("10.0.0.2")
        for each in (*mine, other):
            addon.client_connected(each)
        assert [each.error is None for each in (*mine, other)] == [True, True, False, True]
        for each in (*mine, other):
            addon.client_disconnected(each)

    run(scenario)


@pytest.mark.parametrize(("descriptors", "most"), [(64, 16), (1024, 448), (65_536, 2048)])
def test_the_limit_fits_the_file_descriptors(descriptors: int, most: int) -> None:
    assert limits.connection_limit(descriptors) == most


def test_each_head_gets_its_time_from_its_first_byte_and_an_idle_connection_gets_none() -> None:
    async def scenario() -> None:
        addon = limits.Limits(Counters())
        flow = tflow.tflow()
        flow.client_conn = mine = client("127.0.0.1")
        addon.client_connected(mine)
        first = addon._timers[mine.id]
        addon.head_begun(mine)
        assert addon._timers[mine.id] is first, "no more time with each piece"
        addon.requestheaders(flow)
        assert not addon._timers, "idle, or with a body that takes its time"
        addon.head_begun(mine)
        second = addon._timers[mine.id]
        addon.head_begun(mine)
        assert addon._timers[mine.id] is second
        addon.requestheaders(flow)
        addon.client_disconnected(mine)
        addon.head_begun(mine)
        assert not addon._timers

    run(scenario)


def test_a_client_that_never_finishes_its_head_is_let_go(
    shared_provider: FakeProvider,
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'tollkeeper.proxy' in ' '.join(sys.orig_argv):\n    import tollkeeper.proxy\n"
        "    import tollkeeper.proxy.limits as l\n"
        "    l.Limits.__init__.__kwdefaults__['head_seconds'] = 0.5\n"
    )
    with running_proxy(tmp_path / "home", shared_provider, extra={"PYTHONPATH": f"{tmp_path}:{ADDON}"}) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as slow:
            slow.sendall(b"GET http://x.example/ HTTP/1.1\r\nX-Slow: ")
            assert slow.recv(100) == b""
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as slow:
            slow.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n")
            assert b" 200 " in slow.recv(4096)
            slow.sendall(b"\x16\x03\x01")
            assert slow.recv(100) == b""
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as slow:
            slow.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\nGET /status HTTP/1.1\r\nX-Slow: " % running.port)
            found = b""
            while piece := slow.recv(65536):
                found += piece
            assert found.count(b"HTTP/1.1 ") == found.count(b"HTTP/1.1 200 ") == 1, "the first is answered, the second let go"
        Caller(shared_provider, running.bundle, running.port).connect("api.openai.com").close()


def test_a_body_without_an_end_is_cut_at_the_limit(shared_provider: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'tollkeeper.proxy' in ' '.join(sys.orig_argv):\n    import tollkeeper.proxy\n"
        "    import tollkeeper.proxy.limits as l\n    l.cap_bodies.__defaults__ = (2_000_000, 4_000_000)\n"
    )
    with running_proxy(tmp_path / "home", shared_provider, extra={"PYTHONPATH": f"{tmp_path}:{ADDON}"}) as running:
        connection = opened(running, shared_provider)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        answer = exchange(connection, head + chunk * 64)
        assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
        Caller(shared_provider, running.bundle, running.port).connect("api.openai.com").close()
