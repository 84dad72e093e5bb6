"""Real clients that do not trust the proxy: it names the program and what mends it; one that trusts it is never told of."""

import shutil
import subprocess
from typing import Any

import pytest

from e2e.harness import ROOT, RunningProxy, base_environment, wait_for
from e2e.raw import SHAPES, Caller
from tollkeeper.cli.status import refusal_words, refusing

MINUTE = 60.0
CURL = ("curl", "-sS", "-m", "50", "-o", "/dev/null", "https://api.openai.com/v1/models")
NODE = (
    "node",
    "-e",
    "const http = require('http'), tls = require('tls');"
    "const [host, port] = process.argv[1].split(':');"
    "http.request({host, port, method: 'CONNECT', path: 'api.mistral.ai:443'}).on('connect', (_, socket) =>"
    " tls.connect({socket, servername: 'api.mistral.ai'}).on('error', () => process.exit(1))).end()",
)


def status_of(proxy: RunningProxy) -> dict[str, Any]:
    return proxy.status()


def refused_by(proxy: RunningProxy, client: str) -> dict[str, Any] | None:
    found = dict(status_of(proxy).get("untrusting_clients") or {}).values()
    return next((one for one in found if one["client"] == client), None)


def run_distrusting(proxy: RunningProxy, command: tuple[str, ...]) -> None:
    """Run a client with the proxy in its environment and none of the certificates."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: its refusal of our certificate is not tested")
    environment = {**base_environment(), "HTTPS_PROXY": proxy.url, "https_proxy": proxy.url}
    arguments = [*command, proxy.url.removeprefix("http://")] if command[0] == "node" else [*command]
    done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, timeout=MINUTE, check=False)
    assert done.returncode != 0


def named(proxy: RunningProxy, command: tuple[str, ...]) -> dict[str, Any]:
    """Run a client until the proxy names it: on a busy machine the kernel may be asked too late who it was."""

    def once_more() -> dict[str, Any] | None:
        run_distrusting(proxy, command)
        return refused_by(proxy, command[0])

    return dict(wait_for(once_more, f"{command[0]} is named", MINUTE))


def test_curl_says_so_and_is_named_with_its_variable(observing: RunningProxy) -> None:
    found = named(observing, CURL)
    assert found["said"]
    assert found["pid"] > 0
    assert refusal_words(found).startswith(f"curl (pid {found['pid']}) refuses our certificate for api.openai.com")
    (line,) = (line for line in refusing(status_of(observing)) if line.startswith("curl"))
    assert "export CURL_CA_BUNDLE=" in line
    told = [line for line in observing.said().splitlines() if "curl (pid" in line]
    assert len(told) == 1, "one line, however often"
    assert "set CURL_CA_BUNDLE" in told[0]
    assert "Client TLS handshake failed" not in observing.said()


def test_node_says_nothing_and_is_named_once_it_has_dropped_two(observing: RunningProxy) -> None:
    found = named(observing, NODE)
    assert not found["said"]
    assert "seems to refuse" in refusal_words(found)
    assert any("NODE_EXTRA_CA_CERTS" in line for line in refusing(status_of(observing)) if line.startswith("node"))


def test_a_client_that_trusts_us_is_not_told_of_for_a_connection_it_dropped(observing: RunningProxy, proxied: Caller) -> None:
    """As undici and Codex drop spare ones: the same program has had its answer from that host."""
    import contextlib
    import socket
    import ssl

    assert proxied.call(SHAPES["messages"]).status == 200
    before = status_of(observing)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", observing.port), timeout=MINUTE) as plain:
            plain.sendall(b"CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n")
            assert b"200" in plain.recv(4096)
            hello = ssl.MemoryBIO()
            session = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="api.anthropic.com")
            with contextlib.suppress(ssl.SSLWantReadError):
                session.do_handshake()
            plain.sendall(hello.read())
            assert plain.recv(4096)  # its certificate; the connection is dropped without a word
    assert proxied.call(SHAPES["messages"]).status == 200
    after = status_of(observing)
    assert after.get("untrusting_clients") == before.get("untrusting_clients")
    assert after["untrusting_hosts"].get("api.anthropic.com", 0) == before["untrusting_hosts"].get("api.anthropic.com", 0)
