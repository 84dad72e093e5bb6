"""What an issuer may answer during a log-in, and what a browser may bring back: the safe is used, the rest refused in words."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from identity.issuers import Web, key, subject
from tollkeeper.identity import browser, device
from tollkeeper.identity.answers import IdentityError
from tollkeeper.identity.config import parse_identity
from tollkeeper.identity.issuer import Issuer, Kind
from tollkeeper.identity.oauth import Endpoints, find_endpoints, read_tokens, seconds_in


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def row_of(issuer: str, kind: str = "oidc") -> Issuer:
    text = f'[issuer.idp]\nkind = "{kind}"\nissuer = "{issuer}"\naudience = "x"\nclient_id = "x"\n'
    return parse_identity(Path("identity.toml"), text).issuers[0]


def with_issuer(start: Start, test: Callable[[Web, Issuer, Endpoints], Awaitable[None]]) -> None:
    async def run() -> None:
        async with start() as web:
            endpoints = Endpoints(
                issuer=web.url, token_endpoint=f"{web.url}/token", device_authorization_endpoint=f"{web.url}/device",
                authorization_endpoint=f"{web.url}/auth?x=y",
            )  # fmt: skip
            await test(web, row_of(web.url), endpoints)

    asyncio.run(run())


CODE = {"device_code": "d", "user_code": "ABCD-EFGH", "expires_in": 60}


@pytest.mark.parametrize(
    "change",
    [
        {"verification_uri": "https://evil.example/device"}, {"verification_uri": "http://login.example.com/"},
        {"verification_uri": "javascript:alert(1)"}, {"verification_uri": 7}, {"user_code": "\x1b[2J"}, {"user_code": ""},
        {"user_code": "A" * 100}, {"device_code": None}, {"verification_uri_complete": "https://evil.example/?user_code=ABCD"},
    ],
)  # fmt: skip
def test_a_code_that_leads_elsewhere_or_is_none_is_not_shown(web: Start, change: dict[str, Any]) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        server.answer("/device", {**CODE, "verification_uri": f"{server.url}/d", **change})
        with pytest.raises(IdentityError) as caught:
            await device.begin(row, endpoints)
        assert "evil" not in str(caught.value)

    with_issuer(web, test)


@pytest.mark.parametrize(
    ("issuer", "kind", "url", "own"),
    [
        ("https://login.example.com", Kind.OIDC, "https://login.example.com/device", True),
        ("https://login.example.com", Kind.OIDC, "https://example.com/device", True),
        ("https://example.com/realms/a", Kind.OIDC, "https://id.example.com/device", True),
        ("https://login.example.com", Kind.OIDC, "https://com/device", False),
        ("https://login.example.com", Kind.OIDC, "https://evil-example.com/", False),
        ("https://login.example.com", Kind.OIDC, "https://www.microsoft.com/", False),
        ("https://a.example.com", Kind.OIDC, "https://b.example.com/", False),
    ],
)
def test_people_are_sent_to_the_issuers_own_addresses_only(issuer: str, kind: Kind, url: str, own: bool) -> None:
    assert device.belongs(url, row_of(issuer, kind)) is own


def test_entra_and_google_send_people_to_their_known_pages() -> None:
    guid = "11111111-2222-3333-4444-555555555555"
    text = (
        f'[issuer.e]\nkind = "entra"\ntenant = "{guid}"\naudience = "x"\n'
        '[issuer.g]\nkind = "google"\nhosted_domain = "a.example"\nclient_id = "x"\n'
    )
    entra, google = parse_identity(Path("identity.toml"), text).issuers
    assert device.belongs("https://microsoft.com/devicelogin", entra)
    assert device.belongs("https://www.google.com/device", google)
    assert not device.belongs("https://www.google.com/device", entra)


def test_pacing_is_bounded_whatever_the_issuer_says(web: Start) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        server.answer("/device", {**CODE, "verification_url": f"{server.url}/d", "interval": 86_400, "expires_in": "86400"})
        code = await device.begin(row, endpoints)
        assert (code.interval_s, code.expires_in_s) == (60, 1800)
        server.answer("/device", {**CODE, "verification_uri": f"{server.url}/d", "interval": -1, "expires_in": True})
        code = await device.begin(row, endpoints)
        assert (code.interval_s, code.expires_in_s) == (5, 300)

    with_issuer(web, test)


def test_a_connection_that_fails_doubles_the_pause(web: Start) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        answers: list[Any] = [b"", b"", (503, b""), (400, b'{"error":"authorization_pending"}')]
        token = (200, json.dumps({"access_token": "a", "token_type": "Bearer"}).encode())
        server.routes["/token"] = lambda _: answers.pop(0) if answers else token
        slept: list[float] = []

        async def quick(seconds: float) -> None:
            slept.append(seconds)

        code = device.DeviceCode(device_code="d", user_code="u", verification_uri="x", expires_in_s=600)
        await device.wait(row, endpoints, code, sleep=quick, monotonic=lambda: 0.0)
        assert slept == [5, 10, 20, 40, 40]

    with_issuer(web, test)


@pytest.mark.parametrize("body", [b'{"error":"invalid_grant"}', b'{"error":"\\u001b[2J"}', b'{"error":["x"]}', b"<html>", b""])
def test_any_other_error_ends_the_wait_and_quotes_only_a_plain_code(web: Start, body: bytes) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        server.answer("/token", body, 400)
        code = device.DeviceCode(device_code="d", user_code="u", verification_uri="x", interval_s=1)

        async def quick(_: float) -> None:
            return

        with pytest.raises(IdentityError) as caught:
            await device.wait(row, endpoints, code, sleep=quick)
        assert str(caught.value).isprintable()

    with_issuer(web, test)


@pytest.mark.parametrize(
    "answer",
    [{}, {"access_token": "a"}, {"access_token": "a", "token_type": "mac"}, {"access_token": 7, "token_type": "bearer"},
     {"access_token": "a" * 20_000, "token_type": "bearer"}, {"access_token": "\u0430", "token_type": "bearer"}],
)  # fmt: skip
def test_an_answer_without_a_bearer_token_is_none(answer: dict[str, Any]) -> None:
    with pytest.raises(IdentityError):
        read_tokens(row_of("https://a.example"), answer)


def test_seconds_are_read_as_issuers_write_them() -> None:
    assert [seconds_in(value) for value in (5, "5", 5.5, 0, -1, True, None, "x", "9" * 30, 10**30, float("nan"))] == [
        5, 5, 5, None, None, None, None, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [{}, {"issuer": "other"}, {"token_endpoint": "http://evil.example/"}, {"token_endpoint": "file:///etc/passwd"}, b"<html>"],
)
def test_a_discovery_document_that_leads_elsewhere_is_refused(web: Start, document: Any) -> None:
    async def test(server: Web, row: Issuer, _: Endpoints) -> None:
        known = document if isinstance(document, bytes) else {"issuer": server.url, **document}
        server.answer("/.well-known/openid-configuration", known)
        with pytest.raises(IdentityError):
            await find_endpoints(row, None)

    with_issuer(web, test)


def head(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode("latin-1")


@pytest.mark.parametrize(
    "request_head",
    [
        head("/callback?code=c&state=wrong"), head("/callback?code=c"), head("/other?code=c&state=s"), head("/callback"),
        head("/callback?code=c&state=s", "POST"), head("/callback?code=c&code=d&state=s"), head("/callback?code=c&error=e&state=s"),
        head("/callback?state=s"), head("//evil/callback?code=c&state=s"), b"\xff\xfe\r\n\r\n", b"", head("/callback?code=c&state=s\u00e9"),
    ],
)  # fmt: skip
def test_a_request_that_is_not_the_browsers_return_changes_nothing(request_head: bytes) -> None:
    assert browser.returned(request_head, "s") is None


def test_the_browsers_return_is_taken_once(web: Start) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        server.answer("/token", {"access_token": "a.b.c", "token_type": "Bearer"})
        async with browser.listening(row, endpoints) as login:
            assert "/auth?x=y&response_type=code" in login.url
            for query in ("code=evil&state=wrong", f"code=good&state={login.state}", f"code=late&state={login.state}"):
                await asyncio.to_thread(visit, login.redirect_uri, query)
            await browser.finish(row, endpoints, login)
        assert "code=good" in server.asked[0].body
        assert f"code_verifier={login.verifier}" in server.asked[0].body

    with_issuer(web, test)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("error=access_denied", "refused in the browser"),
        ("error=%1b%5b2J", "reports an error"),
        ("code=c&iss=https://evil.example", "another issuer"),
    ],
)
def test_a_return_that_is_no_log_in_says_how_it_ended(web: Start, query: str, said: str) -> None:
    async def test(_: Web, row: Issuer, endpoints: Endpoints) -> None:
        async with browser.listening(row, endpoints) as login:
            await asyncio.to_thread(visit, login.redirect_uri, f"{query}&state={login.state}")
            with pytest.raises(IdentityError, match=said):
                await browser.finish(row, endpoints, login)

    with_issuer(web, test)


def test_an_id_token_of_another_log_in_is_not_used(web: Start) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        other = key("one").sign(subject(nonce="other"))
        server.answer("/token", {"access_token": "a", "token_type": "Bearer", "id_token": other})
        async with browser.listening(row, endpoints) as login:
            await asyncio.to_thread(visit, login.redirect_uri, f"code=c&state={login.state}")
            with pytest.raises(IdentityError, match="another log-in"):
                await browser.finish(row, endpoints, login)

    with_issuer(web, test)


def test_a_fixed_port_that_is_taken_says_so(web: Start) -> None:
    async def test(server: Web, row: Issuer, endpoints: Endpoints) -> None:
        assert row.client is not None
        taken = replace(row, client=replace(row.client, redirect_port=server.port))
        with pytest.raises(IdentityError, match="redirect_port"):
            async with browser.listening(taken, endpoints):
                pytest.fail("it must not listen")

    with_issuer(web, test)


def test_google_is_asked_in_its_own_words_and_its_secret_goes_to_its_token_endpoint_only(web: Start) -> None:
    async def test(server: Web, _: Issuer, endpoints: Endpoints) -> None:
        text = '[issuer.g]\nkind = "google"\nhosted_domain = "a.example"\nclient_id = "x"\nclient_secret = "GOCSPX-canary"\n'
        (row,) = parse_identity(Path("identity.toml"), text).issuers
        server.answer("/token", {"access_token": "a", "token_type": "Bearer"})
        async with browser.listening(row, endpoints) as login:
            assert "access_type=offline&prompt=consent" in login.url
            assert "canary" not in f"{login.url}{row!r}"
            await asyncio.to_thread(visit, login.redirect_uri, f"code=c&state={login.state}")
            await browser.finish(row, endpoints, login)
        assert "client_secret=GOCSPX-canary" in server.asked[0].body

    with_issuer(web, test)


def test_a_browser_that_never_comes_back_is_not_waited_for_for_ever(web: Start) -> None:
    async def test(_: Web, row: Issuer, endpoints: Endpoints) -> None:
        async with browser.listening(row, endpoints) as login:
            with pytest.raises(IdentityError, match="did not come back"):
                await browser.finish(row, endpoints, login, wait_s=0.05)

    with_issuer(web, test)


def test_the_challenge_is_the_one_of_rfc_7636() -> None:
    assert browser.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def visit(redirect_uri: str, query: str) -> bytes:
    host, port = redirect_uri.removeprefix("http://").removesuffix("/callback").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(head(f"/callback?{query}"))
        said = b""
        while piece := client.recv(4096):
            said += piece
    return said
