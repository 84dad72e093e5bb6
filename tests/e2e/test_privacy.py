"""No prompt, answer, key or proxy password is kept anywhere, none of ours reaches a provider, and other hosts are never opened."""

import base64
import http.client
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.harness import RunningProxy
from e2e.raw import SHAPES, Caller, Shape
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

PROMPT, ANSWER, KEY, TOKEN, PASSWORD = (f"marked{word}c0ffee77" for word in ("Prompt", "Answer", "Key", "Token", "Password"))
SECRETS = (PROMPT, ANSWER, KEY, TOKEN, PASSWORD)


def _kept_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _with_prompt(shape: Shape) -> Shape:
    body = {**shape.body, "metadata": {"user_id": "u"}, "system": PROMPT} if "anthropic" in shape.host else dict(shape.body)
    for name in ("messages", "contents", "input"):
        if name in body:
            body[name] = _marked(body[name])
    path = f"{shape.path}{'&' if '?' in shape.path else '?'}key={KEY}" if "googleapis" in shape.host else shape.path
    return Shape(name=shape.name, host=shape.host, path=path, body=body)


def _marked(value: object) -> object:
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {name: PROMPT if name in {"content", "text"} else _marked(item) for name, item in value.items()}
    return PROMPT if value == SHAPES["responses"].body["input"] else value


def test_marked_secrets_are_found_nowhere(start: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: Path) -> None:
    proxy = start()
    caller = Caller(provider, proxy.bundle, proxy.port)
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-goog-api-key": KEY, "cf-access-jwt-assertion": TOKEN}
    headers["cookie"] = f"CF_Authorization={TOKEN}; other=1"
    for shape in SHAPES.values():
        for script in ({}, {"status": 500}, {"cut": "mid-event"}, {"cut": "before-headers"}, {"encoding": "gzip"}):
            caller.call(_with_prompt(shape), headers, text=ANSWER, **script)
    with caller.opened(_with_prompt(SHAPES["messages-stream"]), headers, text=ANSWER, chunks=50, delay_ms=20) as response:
        response.read1(100)
    chat = SHAPES["chat"]
    for broken in (f'{{"model": "gpt-4o", "messages": "{PROMPT}', f'["{PROMPT}"]', f"\x00{PROMPT}"):
        connection = caller.connect(chat.host)
        connection.request("POST", chat.path, broken.encode(), {**headers, "content-type": "application/json"})
        connection.getresponse().read()
        connection.close()
    odd = Shape(name="", host=chat.host, path=f"/v1/odd/path?token={TOKEN}", body={"x": PROMPT})
    caller.call(odd, headers)
    assert any(PROMPT.encode() in request.body for request in provider.bills.seen()), "the prompts must really have been sent"
    while_running = _kept_in(tmp_path)
    proxy.stop()
    for kept in (while_running, _kept_in(tmp_path)):
        assert any(path.endswith("ledger.db") for path in kept)
        found = [(path, secret) for path, data in kept.items() for secret in SECRETS if secret.lower().encode() in data.lower()]
        assert not found


def test_a_proxy_password_is_taken_off_and_kept_nowhere(
    start: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: Path
) -> None:
    proxy = start()
    caller = Caller(provider, proxy.bundle, proxy.port)
    login = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    connection = caller.connect("api.openai.com", headers={"Proxy-Authorization": login})
    connection.request("POST", "/v1/chat/completions", b'{"model":"gpt-4o-mini","messages":[]}', {"proxy-authorization": login})
    assert connection.getresponse().status == 200
    connection.close()
    proxy.stop()
    (seen,) = provider.bills.seen()
    assert not seen.identity_headers
    kept = b"".join(_kept_in(tmp_path).values())
    assert PASSWORD.encode() not in kept
    assert login.encode() not in kept


@pytest.mark.parametrize(
    "name",
    ["proxy-authorization", "cf-access-jwt-assertion", "cf-access-client-id", "cf-access-client-secret", "x-tollkeeper-project"],
)
def test_identity_headers_never_reach_the_provider(name: str, proxied: Caller, provider: FakeProvider) -> None:
    assert proxied.call(SHAPES["messages"], {name: TOKEN, "x-own": "kept"}).whole
    (seen,) = provider.bills.seen()
    assert name not in seen.headers
    assert TOKEN not in str(seen.headers)
    assert (seen.headers["x-own"], seen.headers["x-api-key"]) == ("kept", "sk-test")


def test_plain_http_to_another_host_is_relayed_without_the_proxy_password(observing: RunningProxy) -> None:
    with _plain_origin() as (port, seen):
        connection = http.client.HTTPConnection("127.0.0.1", observing.port, timeout=60)
        url = f"http://127.0.0.1:{port}/hello?x=1"
        connection.request("POST", url, b"body", {"proxy-authorization": "Basic c2VjcmV0", "authorization": "Bearer mine"})
        assert connection.getresponse().read() == b"origin says body"
        connection.close()
    assert seen["path"] == "/hello?x=1"
    assert seen["authorization"] == "Bearer mine"
    assert "proxy-authorization" not in seen


def test_a_host_that_is_no_ai_host_shows_its_own_certificate(observing: RunningProxy, provider: FakeProvider) -> None:
    before = len(observing.ledger.entries())
    origin = Caller(provider, provider.authority.root_pem, observing.port)
    connection = origin.connect("intranet.example")
    assert connection.sock.getpeercert(binary_form=True) == provider.authority.server_der
    connection.request("GET", "/v1/models")
    assert connection.getresponse().status == 200
    connection.close()
    assert len(observing.ledger.entries()) == before, "what is tunnelled is not recorded"


def test_an_ai_host_shows_a_certificate_of_our_authority(observing: RunningProxy, provider: FakeProvider) -> None:
    connection = Caller(provider, observing.bundle, observing.port).connect("api.anthropic.com")
    assert connection.sock.getpeercert(binary_form=True) != provider.authority.server_der
    connection.close()


def test_an_upstream_with_the_wrong_certificate_is_not_trusted(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    import certifi

    proxy = start(extra={"SSL_CERT_FILE": certifi.where()})
    answer = Caller(provider, proxy.bundle, proxy.port).call(SHAPES["chat"])
    assert answer.status == 502
    assert not provider.bills.seen()


def test_our_authority_cannot_vouch_for_a_host_that_is_no_ai_host(observing: RunningProxy, provider: FakeProvider) -> None:
    ours_only = Caller(provider, observing.home / "ca" / "root.pem", observing.port)
    with pytest.raises(ssl.SSLCertVerificationError):
        ours_only.connect("intranet.example")


@pytest.mark.parametrize(("dialled", "named"), [("intranet.example", "api.openai.com"), ("api.openai.com", "intranet.example")])
def test_no_mix_of_names_gets_an_ai_call_past_the_meter(
    dialled: str, named: str, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.entries())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", observing.port), timeout=60) as plain:
        plain.sendall(f"CONNECT {dialled}:443 HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in plain.recv(4096)
        with context.wrap_socket(plain, server_hostname=named) as secure:
            assert secure.getpeercert(binary_form=True) != provider.authority.server_der, "tunnelled unseen"
            body = b'{"model": "gpt-4o-mini", "messages": []}'
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: {named}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            secure.sendall(head.encode() + body)
            answer = secure.recv(4096)
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4", b"HTTP/1.1 5"))
    if provider.bills.billed():
        assert len(observing.ledger.entries()) > before, "what was billed must be on the ledger"


@contextmanager
def _plain_origin() -> Iterator[tuple[int, dict[str, str]]]:
    seen: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.update({name.lower(): value for name, value in self.headers.items()}, path=self.path)
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"origin says " + body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
