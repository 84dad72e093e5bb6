"""``top --serve``: the same screen in a browser, on this machine only, for whoever has the token.

textual-serve starts one ``top`` for each page; it has no lock of its own, so everything before it is ours: a token that is shown once and
becomes a cookie, the name of the host (a page elsewhere may point its own name at 127.0.0.1), and the origin of the WebSocket.
"""

import hmac
import re
import secrets
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from textual_serve.server import Server

HOST = "127.0.0.1"
COOKIE = "tollkeeper-top"
MAX_PAGES = 8
"""Each open page is a process."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " font-src 'self' data:; img-src 'self' data:; connect-src 'self' ws://127.0.0.1:* ws://localhost:*; base-uri 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_ELSEWHERE = re.compile(r"<link\b[^>]*https://[^>]*>", re.IGNORECASE)
"""The page of textual-serve asks a font service for a font; it has a copy of its own."""

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Who may come in. ``token`` is asked for once; then a cookie stands for it."""

    def __init__(self, port: int, token: str) -> None:
        self._token, self._pass = token, secrets.token_urlsafe(32)
        self._names = {f"{HOST}:{port}", f"localhost:{port}"}
        self._cookie = f"{COOKIE}-{port}"
        self._pages = 0

    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """403 for another host or origin, 401 without token or cookie, 503 for the ninth page."""
        origin = request.headers.get("Origin")
        if request.host not in self._names or (origin is not None and origin.removeprefix("http://") not in self._names):
            return _refusal(403, "this page answers to 127.0.0.1 and localhost only")
        if _same(request.query.get("token", ""), self._token) and request.path == "/":
            answer: web.StreamResponse = web.Response(status=303, headers={"Location": "/", **HEADERS})
            answer.set_cookie(self._cookie, self._pass, httponly=True, samesite="Strict", path="/")
            return answer
        if not _same(request.cookies.get(self._cookie, ""), self._pass):
            return _refusal(401, "open the whole address that `tollkeeper top --serve` printed")
        if request.path == "/favicon.ico":
            return web.Response(status=204, headers=HEADERS)
        if request.path != "/ws":
            answer = await handler(request)
            answer.headers.update(HEADERS)
            return answer
        if origin is None or self._pages >= MAX_PAGES:
            return _refusal(403 if origin is None else 503, f"{MAX_PAGES} pages are open already; close one")
        self._pages += 1
        try:
            return await handler(request)
        finally:
            self._pages -= 1


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=HEADERS)


class TopServer(Server):  # type: ignore[misc, unused-ignore]
    """textual-serve behind the door, silent, and without a request to anywhere else."""

    def __init__(self, command: str, port: int, token: str) -> None:
        super().__init__(command, host=HOST, port=port, title="tollkeeper top")
        self.door = Door(port, token)

    async def application(self) -> web.Application:
        """The web application."""
        app = await self._make_app()

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.door.check(request, handler)

        app.middlewares.append(check)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the caller has said where it is."""

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """The page, without its link to a font service."""
        self.public_url = f"http://{request.host}"
        answer = await super().handle_index(request)
        if isinstance(answer, web.Response):
            answer.text = _ELSEWHERE.sub("", answer.text or "")
        return answer


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def serve(command: str, port: int, token: str) -> None:
    """Serve until interrupted."""
    web.run_app(TopServer(command, port, token).application(), host=HOST, port=port, print=None, access_log=None)
