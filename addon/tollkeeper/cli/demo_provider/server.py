"""The fake provider as an asyncio server: TLS on loopback, one task a connection."""

import asyncio
import contextlib
import itertools
import ssl

import h11

from .authority import Authority, make_authority
from .bill import Bills
from .connection import Connection


class FakeProvider:
    """``port`` is set once started. ``bills`` can be read from any thread."""

    def __init__(self, *, authority: Authority | None = None, record: bool = True) -> None:
        self.authority = authority or make_authority()
        self.bills = Bills(record=record)
        self.port = 0
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        self._server = await asyncio.start_server(
            self._serve,
            host,
            port,
            ssl=self.authority.server_context(),
            ssl_handshake_timeout=20,
            ssl_shutdown_timeout=1,
            backlog=512,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 — asyncio runs this in a task of its own
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError, h11.RemoteProtocolError, asyncio.CancelledError):
                await Connection(reader, writer, self.bills, lambda: f"{next(self._numbers):08d}").run()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
