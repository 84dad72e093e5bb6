"""The page answers on this machine only, to whoever has the token; it asks nobody else for anything."""

import asyncio
import gc
import socket
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar, WSServerHandshakeError, web
from yarl import URL

from tollkeeper.tui import serve
from tollkeeper.tui.serve import HOST, MAX_PAGES, TopServer

TOKEN = "a-token"
type Talk = Callable[[ClientSession, str], Awaitable[None]]


def talk(script: Talk, command: str = "head -c 1") -> None:
    """Serve, and let the script talk to the server with its own cookie jar. The command ends when it is told anything, as to quit."""

    async def run() -> None:
        listener = socket.create_server((HOST, 0))
        port = listener.getsockname()[1]
        runner = web.AppRunner(await TopServer(command, port, TOKEN).application())
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
                await script(session, f"http://{HOST}:{port}")
        finally:
            await runner.cleanup()
            # textual-serve does not wait for the end of what it has started; a loop that is closed before would leave it unclosed.
            for transport in [one for one in gc.get_objects() if isinstance(one, BaseSubprocessTransport)]:
                while transport.get_returncode() is None:
                    await asyncio.sleep(0.01)
                transport.close()

    asyncio.run(run())


async def status_of(answer: ClientResponse) -> int:
    await answer.read()
    return answer.status


def test_without_the_token_there_is_nothing_to_see() -> None:
    async def script(session: ClientSession, url: str) -> None:
        for path in ("/", "/?token=", "/?token=wrong", "/static/js/textual.js", "/ws", "/download/x"):
            async with session.get(url + path, allow_redirects=False) as answer:
                assert (path, await status_of(answer)) == (path, 401)

    talk(script)


def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    async def script(session: ClientSession, url: str) -> None:
        async with session.get(f"{url}/?token={TOKEN}", allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.headers["Location"] == "/"
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKEN not in cookie
        async with session.get(url) as answer:
            page = await answer.text()
            assert answer.status == 200
            assert "tollkeeper top" in page
            assert "https://" not in page
            assert "xterm.css" in page
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        async with session.get(f"{url}/static/js/textual.js") as answer:
            assert await status_of(answer) == 200

    talk(script)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_another_name_or_origin_is_refused_even_with_the_token(headers: dict[str, str]) -> None:
    async def script(session: ClientSession, url: str) -> None:
        async with session.get(f"{url}/?token={TOKEN}", headers=headers) as answer:
            assert await status_of(answer) == 403

    talk(script)


def test_a_page_of_another_origin_cannot_open_the_socket() -> None:
    async def script(session: ClientSession, url: str) -> None:
        async with session.get(f"{url}/?token={TOKEN}") as answer:
            assert await status_of(answer) == 200
        for headers in ({"Origin": "http://evil.example"}, {}):
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(f"{url}/ws", headers=headers)
            assert refused.value.status == 403

    talk(script)


def test_no_more_pages_are_served_than_the_machine_should_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "MAX_PAGES", 1)
    assert MAX_PAGES == 8

    async def script(session: ClientSession, url: str) -> None:
        async with session.get(f"{url}/?token={TOKEN}") as answer:
            assert await status_of(answer) == 200
        headers = {"Origin": str(URL(url).origin())}
        async with session.ws_connect(f"{url}/ws", headers=headers):
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(f"{url}/ws", headers=headers)
            assert refused.value.status == 503

    talk(script)
