"""A request to an issuer: bounded in time and bytes, by no proxy, to no other address."""

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.issuers import Web
from tollkeeper.identity.web import Answer, WebError, ask, check_url


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def failing(start: Start, reply: Any, **options: Any) -> str:
    async def run() -> str:
        async with start() as web:
            web.routes["/x"] = lambda _: reply
            with pytest.raises(WebError) as caught:
                await ask(f"{web.url}/x", **options)
            return str(caught.value)

    return asyncio.run(run())


def test_an_answer_comes_back_whole(web: Start) -> None:
    async def run() -> tuple[Answer, Web]:
        async with web() as server:
            server.answer("/x", {"a": 1}, 418)
            return await ask(f"{server.url}/x?b=c", method="POST", headers=[("x-a", "b")], body=b"d=e"), server

    answer, server = asyncio.run(run())
    assert (answer.status, answer.body) == (418, b'{"a": 1}')
    (asked,) = server.asked
    assert (asked.method, asked.target, asked.body, asked.headers["x-a"]) == ("POST", "/x?b=c", "d=e", "b")


def test_the_environments_proxy_is_not_asked(web: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def run() -> int:
        async with web() as server:
            server.answer("/x", b"{}")
            return (await ask(f"{server.url}/x")).status

    assert asyncio.run(run()) == 200


def test_a_redirect_is_an_answer_and_is_not_followed(web: Start) -> None:
    async def run() -> tuple[int, int]:
        async with web() as server:
            server.routes["/x"] = lambda _: b"HTTP/1.1 302 X\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n"
            return (await ask(f"{server.url}/x")).status, len(server.asked)

    assert asyncio.run(run()) == (302, 1)


def test_a_server_that_says_nothing_costs_no_more_than_the_timeout(web: Start) -> None:
    assert "did not answer within 0.1 s" in failing(web, None, timeout_s=0.1)


def test_a_server_that_drips_is_cut_off_as_a_whole(web: Start) -> None:
    async def run() -> str:
        async with web() as server:
            server.drip = b"a: b\r\n"
            with pytest.raises(WebError) as caught:
                await ask(f"{server.url}/x", timeout_s=0.2)
            return str(caught.value)

    assert "did not answer within" in asyncio.run(run())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((200, b"x" * 70_000), "more than 65,536 bytes"),
        (b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", "does not speak HTTP/1.1"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc", "does not speak HTTP/1.1"),
        (b"", "closed the connection"),
    ],
)
def test_an_answer_that_is_too_long_or_none_is_an_error(web: Start, reply: Any, said: str) -> None:
    assert said in failing(web, reply)


def test_an_unreachable_host_is_an_error_with_its_name() -> None:
    with pytest.raises(WebError, match=r"127\.0\.0\.1 cannot be reached"):
        asyncio.run(ask("http://127.0.0.1:1/"))


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            name, name, private.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    (folder / "pair.pem").write_bytes(pem)
    return folder / "pair.pem"


def test_a_certificate_must_be_trusted_by_the_bundle_that_is_given(tmp_path: Path) -> None:
    pair = certificate(tmp_path)

    async def run() -> tuple[int, str]:
        web = Web()
        web.answer("/x", b"{}")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair)
        server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        status = (await ask(url, trust=pair)).status
        with pytest.raises(WebError) as caught:
            await ask(url)
        with pytest.raises(WebError):
            await ask(url, trust=tmp_path / "missing.pem")
        server.close()
        await web.stop()
        return status, str(caught.value)

    status, said = asyncio.run(run())
    assert status == 200
    assert "certificate of 127.0.0.1 is not trusted" in said


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/", "file:///etc/passwd", "ftp://a/", "https://", "https://u:p@a/", "https://a/#b", "//a", "a",
        "https://a:0/", "https://a:99999/", "https://a b/", "https://a\n/", "https://[::1", "https://\u0430/", "http://127.0.0.1.evil/",
    ],
)  # fmt: skip
def test_an_address_that_is_not_safe_is_never_asked(url: str) -> None:
    assert check_url(url) is not None
    with pytest.raises(WebError):
        asyncio.run(ask(url))


def test_https_and_this_machine_may_be_asked() -> None:
    assert [
        check_url(url) for url in ("https://a.example/x?y=z", "http://127.0.0.1:8080/", "http://[::1]:1/", "http://localhost/")
    ] == [
        None,
        None,
        None,
        None,
    ]
