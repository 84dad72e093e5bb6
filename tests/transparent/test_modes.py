"""Base URLs and the reverse mode, in the real proxy; and the listeners' specs."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from e2e.harness import RunningProxy, running_proxy
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.core.errors import ConfigError, GateError
from tollkeeper.gate.hosts import HostTable
from tollkeeper.proxy.modes import BASES, Mode, based, listeners, transparent_addresses

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("name", BASES)
def test_every_short_name_stands_for_a_host_that_is_metered(name: str) -> None:
    table = HostTable.load()
    assert based(f"/{name}/v1/x?y=1", table.intercepts) == (BASES[name], "/v1/x?y=1")


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/openai/v1/chat", ("api.openai.com", "/v1/chat")), ("/OpenAI", ("api.openai.com", "/")), ("/openai?x=1",
        ("api.openai.com", "/?x=1")),
        ("/api.openai.com/v1", ("api.openai.com", "/v1")), ("/status", None), ("/", None), ("//openai/v1", None), ("openai/v1", None),
        ("/evil.example/v1", None), ("/api.openai.com.evil.example/v1", None), ("/api.openai.com:444/v1", None), ("/127.0.0.1/v1", None),
        ("/openai/../anthropic", ("api.openai.com", "/../anthropic")),
    ],
)  # fmt: skip
def test_a_base_url_names_an_ai_host_or_nothing(target: str, found: tuple[str, str] | None) -> None:
    assert based(target, HostTable.load().intercepts) == found


def test_transparent_listeners_stand_beside_the_ordinary_one() -> None:
    found = listeners(Mode.TRANSPARENT, 8877, ("127.0.0.1", "::1"), 8878)
    assert found == ["regular", "transparent@127.0.0.1:8878", "transparent@::1:8878"]
    assert listeners(Mode.REVERSE, 8877, (), 8878) == ["regular"]
    with pytest.raises(GateError, match="wanted for both"):
        listeners(Mode.TRANSPARENT, 8878, ("127.0.0.1",), 8878)


def test_a_transparent_address_is_an_address() -> None:
    assert transparent_addresses((), has_ipv6=False) == ("127.0.0.1",)
    with pytest.raises(ConfigError, match="no IP address"):
        transparent_addresses(("localhost",), has_ipv6=True)


@pytest.fixture(scope="module", params=["regular", "reverse"])
def proxy(
    request: pytest.FixtureRequest,
    shared_provider: FakeProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningProxy]:
    home = tmp_path_factory.mktemp(request.param) / "home"
    with running_proxy(home, shared_provider, arguments=["--mode", request.param]) as running:
        yield running


def test_an_sdk_with_a_base_url_is_metered_without_proxy_or_ca(proxy: RunningProxy, provider: FakeProvider) -> None:
    before = len(proxy.ledger.ended()) if proxy.ledger.path.exists() else 0
    with openai.OpenAI(api_key="sk-test", base_url=f"{proxy.url}/openai/v1", max_retries=0) as client:
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}])
    assert answer.object == "chat.completion"
    entry = proxy.ledger.since(before)
    assert (entry["host"], entry["usage_source"]) == ("api.openai.com", "reported")
    assert provider.bills.seen()[-1].host == "api.openai.com"


def test_a_stream_by_base_url_is_metered(proxy: RunningProxy, provider: FakeProvider) -> None:
    before = len(proxy.ledger.ended()) if proxy.ledger.path.exists() else 0
    with openai.OpenAI(api_key="sk-test", base_url=f"{proxy.url}/api.openai.com/v1", max_retries=0) as client:
        for _ in client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}], stream=True):
            pass
    assert proxy.ledger.since(before)["streamed"] == 1


def ask(
    proxy: RunningProxy, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_status_page_is_still_there(proxy: RunningProxy) -> None:
    status, body = ask(proxy, "GET", "/status")
    assert status == 200
    assert json.loads(body)["way"] in {"regular", "reverse"}


def test_what_is_no_base_url_of_ours_goes_nowhere(proxy: RunningProxy, provider: FakeProvider) -> None:
    for target in ("/evil.example/v1", "/openai.evil/v1"):
        _, body = ask(proxy, "POST", target, body=b"{}")
        assert b"version" in body, "the status page, and nothing forwarded"
    assert not provider.bills.seen()


def test_reverse_mode_is_no_proxy_for_anything_else(shared_provider: FakeProvider, tmp_path: Path) -> None:
    with running_proxy(tmp_path / "home", shared_provider, arguments=["--mode", "reverse"]) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.set_tunnel("api.openai.com", 443)
        with pytest.raises(OSError, match="403"):
            connection.connect()
        connection.close()
        assert ask(running, "GET", "http://intranet.example/")[0] == 403


def test_a_base_url_with_another_hosts_header_is_not_confused(proxy: RunningProxy, provider: FakeProvider) -> None:
    body = json.dumps(CHAT).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer sk-test", "host": f"localhost:{proxy.port}"}
    status, _ = ask(proxy, "POST", "/openai/v1/chat/completions", headers, body)
    assert status == 200
    headers["host"] = "api.anthropic.com"
    status, _ = ask(proxy, "POST", "/openai/v1/chat/completions", headers, body)
    assert status in {403, 404, 421, 502}
    assert {seen.host for seen in provider.bills.seen()} <= {"api.openai.com", "api.anthropic.com"}
