"""No credential of any channel reaches a provider, a file, a log or an answer, on any path that a call can take."""

import base64
import contextlib
import json
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from e2e.h2_peers import H2Client, running_h2_provider
from e2e.harness import RunningProxy, running_proxy
from e2e.identities import SERVICE_ID, SERVICE_SECRET, KeyServer, handle_for, running_keys, token
from e2e.raw import SHAPES, Caller
from e2e.ws import connected
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

OBSERVE, ENFORCE = 'schema = 1\nmode = "observe"\n', 'schema = 1\nmode = "enforce"\n'
RETRIED = ENFORCE + (
    '[route.safe]\nmodel = "claude-haiku-4-5"\nto = { model = "claude-haiku-4-5", timeout = "500ms" }\n'
    'fallback = ["claude-3-5-haiku-latest"]\n'
)
CANARY = "canaryc0ffee"
LOGIN_PROXIES = (
    "X-User", "Remote-User", "X-Remote-User", "X-Auth-Request-User", "X-Auth-Request-Access-Token", "X-Auth-Request-Groups",
    "X-Goog-Iap-Jwt-Assertion", "X-Goog-Authenticated-User-Id", "X-Amzn-Oidc-Data", "X-Ms-Client-Principal-Name",
)  # fmt: skip
"""What oauth2-proxy, web servers, Google's IAP, AWS load balancers and Azure put before an application."""
OWN_HEADER = "x-acme-who"


@pytest.fixture(scope="module")
def issuer() -> Iterator[KeyServer]:
    with running_keys() as server:
        yield server


@pytest.fixture
def begin(issuer: KeyServer, provider: FakeProvider, tmp_path: Path) -> Iterator[Callable[..., RunningProxy]]:
    """Starts a proxy that believes the issuer and reads tokens from a header of its own besides."""
    with contextlib.ExitStack() as stack:

        def start(policy: str, **options: object) -> RunningProxy:
            home = tmp_path / "home"
            home.mkdir(mode=0o700)
            (home / "identity.toml").write_text(issuer.document(f'header = "{OWN_HEADER}"'))
            return stack.enter_context(running_proxy(home, provider, policy=policy, **options))

        yield start


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def channels(good: str) -> list[list[tuple[str, str]]]:
    """Every way to present something, right and wrong, once and twice. All that is secret holds ``CANARY`` or is ``good``."""
    pair = json.dumps({"cf-access-client-id": SERVICE_ID, "cf-access-client-secret": f"{CANARY}-single"})
    id_, secret = ("CF-Access-Client-Id", SERVICE_ID), ("CF-Access-Client-Secret", f"{CANARY}-secret")
    return [
        [("Cf-Access-Jwt-Assertion", good)],
        [("cf-access-token", good), ("CF-ACCESS-TOKEN", f"eyJ{CANARY}.a.b")],
        [(OWN_HEADER, good)],
        [(OWN_HEADER.upper(), f"eyJ{CANARY}.x.y")],
        [("X-Tollkeeper-Token", f"eyJ{CANARY}.x.y")],
        [id_, ("CF-Access-Client-Secret", SERVICE_SECRET)],
        [id_, secret],
        [secret, secret, id_],
        [("authorization", pair)],
        [("x-service", f"  {pair}")],
        [("authorization", "Bearer sk-test"), ("authorization", pair)],
        [("Proxy-Authorization", basic("me", f"{CANARY}-inside"))],
        [("Proxy-Authorization", f"Bearer {CANARY}-bearer"), ("Proxy-Authorization", basic("a", f"{CANARY}-b"))],
        [("Cookie", f"a=1; CF_Authorization={CANARY}-cookie; CF_AppSession={CANARY}-session; CF_Binding={CANARY}-binding; b=2")],
        [("cookie", f"CF_Authorization={CANARY}-one"), ("cookie", "kept=1")],
        [
            ("Cf-Access-Authenticated-User-Email", f"{CANARY}@example.com"),
            ("X-Forwarded-User", CANARY),
            ("Forwarded", f"by={CANARY}"),
        ],
        [(name, CANARY) for name in LOGIN_PROXIES],
    ]


def raw_request(
    proxy: RunningProxy, headers: list[tuple[str, str]], *, host: str = "api.anthropic.com", password: str = ""
) -> bytes:
    """One call whose headers may repeat; the whole answer."""
    body = json.dumps(SHAPES["messages"].body).encode()
    connect_head = f"CONNECT {host}:443 HTTP/1.1\r\n" + (f"Proxy-Authorization: {password}\r\n" if password else "") + "\r\n"
    head = f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: sk-test\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    context = ssl.create_default_context(cafile=str(proxy.bundle))
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as plain:
        plain.sendall(connect_head.encode())
        assert b" 200 " in plain.recv(4096)
        with context.wrap_socket(plain, server_hostname=host) as secure:
            secure.sendall(head.encode() + body)
            parts = []
            with contextlib.suppress(ssl.SSLEOFError):
                while piece := secure.recv(65536):
                    parts.append(piece)
            return b"".join(parts)


def status_page(proxy: RunningProxy) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{proxy.url}/status", timeout=60) as answer:
        return bytes(answer.read())


def assert_found_nowhere(secrets: list[str], folder: Path, *said: bytes) -> None:
    kept = {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "identity.toml"}
    assert any(path.endswith("ledger.db") for path in kept)
    places = {**kept, **{f"said {number}": text for number, text in enumerate(said)}}
    found = [(place, secret[:12]) for place, data in places.items() for secret in secrets if secret.encode() in data]
    assert not found


@pytest.mark.parametrize("policy", [OBSERVE, ENFORCE, RETRIED], ids=["observe", "enforce", "retried"])
def test_what_says_who_is_calling_is_found_nowhere(
    policy: str, begin: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: Path
) -> None:
    proxy = begin(policy)
    good = token("ada", private=f"{CANARY}-claim")
    login = handle_for(proxy.home, "ada", uid=os.getuid())
    steer = [("x-fake-fail-model", "claude-haiku-4-5"), ("x-fake-status", "529")] if policy is RETRIED else []
    answers = [raw_request(proxy, [*steer, *headers]) for headers in channels(good)]
    answers += [raw_request(proxy, steer, password=basic(login.user, login.password))]
    answers += [
        raw_request(proxy, steer, password=basic("jwt", good)),
        raw_request(proxy, steer, password=basic("x", f"{CANARY}-pw")),
    ]
    statuses = [answer.split(b" ")[1] for answer in answers]
    assert set(statuses) == ({b"200"} if policy is OBSERVE else {b"200", b"400"}), statuses
    page = status_page(proxy)
    seen = [str(request.headers).encode() for request in provider.bills.seen()]
    assert seen
    if policy is RETRIED:
        assert len(seen) > statuses.count(b"200"), "some calls were tried twice"
    secrets = [CANARY, good, good.split(".")[2], login.password, SERVICE_SECRET]
    assert_found_nowhere(secrets, tmp_path, page, *answers, *seen)
    assert all("proxy-authorization" not in request.headers for request in provider.bills.seen())
    proxy.stop()
    assert_found_nowhere(secrets, tmp_path)


def test_labels_for_cloudflares_gateway_are_read_and_do_not_leave(
    begin: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    """Long ones too: what is recorded as a claim is cut, a label is not."""
    proxy = begin(OBSERVE)
    labels = json.dumps({"team": "ml", **{f"label-{number}": "x" * 60 for number in range(5)}})
    raw_request(proxy, [("CF-AIG-Metadata", labels)])
    (request,) = provider.bills.seen()
    assert "cf-aig-metadata" not in request.headers
    (entry,) = proxy.ledger.wait(lambda ledger: ledger.ended(), "the call is recorded")
    assert json.loads(entry["tags"])["team"] == "ml"


@pytest.mark.parametrize("policy", [OBSERVE, ENFORCE], ids=["observe", "enforce"])
def test_a_websocket_shows_the_provider_no_credential(
    policy: str, begin: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: Path
) -> None:
    proxy = begin(policy)
    good = token("ada", private=f"{CANARY}-claim")
    refusals: list[tuple[int, bytes]] = []
    for headers in channels(good):
        try:
            with connected(proxy, "wss://api.openai.com/v1/responses", headers):
                pass
        except InvalidStatus as error:
            refusals.append((error.response.status_code, error.response.body or b""))
    assert [status for status, _ in refusals] == ([] if policy is OBSERVE else [400] * 9)
    seen = [str(request.headers).encode() for request in provider.bills.seen()]
    assert seen
    assert_found_nowhere([CANARY, good, SERVICE_SECRET], tmp_path, status_page(proxy), *seen, *(body for _, body in refusals))


def test_grpc_shows_the_provider_no_credential(issuer: KeyServer, provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "identity.toml").write_text(issuer.document(f'header = "{OWN_HEADER}"'))
    good = token("ada", private=f"{CANARY}-claim")
    with running_h2_provider() as xai:
        trusted = tmp_path / "h2-provider.pem"
        trusted.write_bytes(xai.authority.root_pem)
        extra = {"TOLLKEEPER_RESOLVE": f"api.x.ai:443=127.0.0.1:{xai.port}", "SSL_CERT_FILE": str(trusted)}
        with running_proxy(home, provider, extra=extra) as proxy:
            client = H2Client(proxy.port, proxy.bundle)
            streams = []
            for headers in channels(good):
                lowered = tuple((name.lower(), value.strip()) for name, value in headers)
                streams.append(client.ask(extra=lowered, chunks=2))
            answers = client.get(*streams)
            client.close()
            assert all(answer.ended for answer in answers)
            assert len(xai.bill.asked) == len(streams)
            rows = proxy.ledger.wait(lambda view: len(view.ended()) == len(streams) and view.ended(), "all are settled")
            assert {row["subject"] for row in rows} >= {"ada", "anonymous"}
            assert_found_nowhere([CANARY, good, SERVICE_SECRET], tmp_path, str(xai.bill.asked).encode(), status_page(proxy))


def test_a_password_of_somebody_else_inside_the_tunnel_is_refused(
    begin: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = begin(ENFORCE)
    ada, bo = (handle_for(proxy.home, name, uid=os.getuid()) for name in ("ada", "bo"))
    outside = basic(ada.user, ada.password)
    assert b" 200 " in raw_request(proxy, [("Proxy-Authorization", outside)], password=outside)[:20]
    inside = raw_request(proxy, [("Proxy-Authorization", basic(bo.user, bo.password))], password=outside)
    assert b" 400 " in inside[:20]
    assert b"cannot change its proxy password" in inside
    assert len(provider.bills.seen()) == 1


def test_a_proxy_that_asks_for_a_password_takes_any_that_proves_somebody(
    begin: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = begin(ENFORCE, arguments=("--auth",))
    state = json.loads((proxy.home / "proxy.json").read_text())
    handle = handle_for(proxy.home, "ada", uid=os.getuid())
    caller = Caller(provider, proxy.bundle, proxy.port)
    for password in (
        basic(state["proxy_user"], state["proxy_password"]), basic(handle.user, handle.password), basic("jwt", token("bo")),
    ):  # fmt: skip
        connection = caller.connect("api.anthropic.com", headers={"Proxy-Authorization": password})
        connection.close()
    for wrong in ("", basic("me", "wrong"), basic("jwt", token("bo")[:-6]), "Digest x"):
        with pytest.raises(OSError, match="407"):
            caller.connect("api.anthropic.com", headers={"Proxy-Authorization": wrong} if wrong else {})
