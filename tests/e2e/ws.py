"""A WebSocket client for tests that wait: asyncio's, driven from its own thread.

``websockets.sync`` reads and writes one TLS connection from two threads, which OpenSSL forbids: under load its first write is lost now and
then and the handshake hangs (python/cpython#137583, openssl-threads(7)).
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from e2e.harness import RunningProxy

PATIENCE_SECONDS = 60.0


class Connection:
    """One open WebSocket; every method waits until it is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: ClientConnection) -> None:
        self._loop, self._wire = loop, wire

    @property
    def extensions(self) -> list[Any]:
        """What was agreed on in the upgrade."""
        return list(self._wire.protocol.extensions)

    def send(self, message: str | bytes | Iterable[str]) -> None:
        """Send one message; an iterable goes out as its fragments."""
        _wait(self._loop, self._wire.send(message))

    def recv(self, timeout: float = PATIENCE_SECONDS) -> str | bytes:
        """The next message. Raises ``TimeoutError``, or ``ConnectionClosed`` with the close frame."""
        return _wait(self._loop, asyncio.wait_for(self._wire.recv(), timeout))


@contextlib.contextmanager
def connected(
    proxy: RunningProxy, url: str, headers: Any = None, *, deflate: bool = True, password: str = ""
) -> Iterator[Connection]:
    """A WebSocket to ``url`` through the proxy that trusts the proxy's bundle. Raises ``InvalidStatus`` when the upgrade is refused."""
    context = ssl.create_default_context(cafile=str(proxy.bundle))
    options: dict[str, Any] = {"ssl": context, "compression": "deflate" if deflate else None, "max_size": None}
    through = proxy.url.replace("://", f"://{password}@") if password else proxy.url
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="websocket", daemon=True)
    thread.start()
    try:
        wire = _wait(loop, _open(url, headers, proxy=through, open_timeout=PATIENCE_SECONDS, close_timeout=5, **options))
        try:
            yield Connection(loop, wire)
        finally:
            _wait(loop, wire.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _open(url: str, headers: Any, **options: Any) -> ClientConnection:
    return await connect(url, additional_headers=headers, **options)


def _wait[T](loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
