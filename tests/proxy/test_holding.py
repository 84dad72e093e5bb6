"""A client is read no further than it can be dealt with, and read on once it can."""

import asyncio
from collections.abc import Iterator
from typing import Any, Self

from mitmproxy.connection import Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.mode_specs import ProxyMode

from tollkeeper.proxy.bounds import ReadLater, ReadOn
from tollkeeper.proxy.direct import READ_BYTES
from tollkeeper.proxy.dispatch import SidecarMaster
from tollkeeper.proxy.handler import EARLY_BYTES, SwiftConnectionHandler

WAIT_SECONDS = 60.0
PIECE = b"x" * 65_536


class Gate:
    """A dialer whose attempts fail, once they are let."""

    def __init__(self) -> None:
        self.open_now = asyncio.Event()

    async def open(self, address: object, local: object = None) -> Any:
        await self.open_now.wait()
        raise OSError("no answer")


class Counting:
    """A layer that answers the first data with ``first``, each end of an attempt with ``then``, and counts."""

    def __init__(self, first: list[Any], then: list[Any]) -> None:
        self.first, self.then, self.heard_bytes = first, then, 0

    def handle_event(self, event: events.Event) -> Iterator[Any]:
        if isinstance(event, events.DataReceived):
            self.heard_bytes += len(event.data)
            yield from self.first
            self.first = []
        elif isinstance(event, events.OpenConnectionCompleted):
            yield from self.then


class Held:
    """A client's connection through a handler over such a layer; what the client says is written without an end."""

    def __init__(self, first: list[Any], then: list[Any]) -> None:
        self.layer, self.gate = Counting(first, then), Gate()
        self.sent_bytes = 0

    async def __aenter__(self) -> Self:
        self.master = SidecarMaster(Options())
        self.master.dialer = self.gate  # type: ignore[assignment]
        accepted: asyncio.Future[SwiftConnectionHandler] = asyncio.get_running_loop().create_future()

        async def accept(reader: Any, writer: Any) -> None:
            handler = SwiftConnectionHandler(self.master, reader, writer, None, ProxyMode.parse("regular"))
            handler.layer = self.layer  # type: ignore[assignment]
            accepted.set_result(handler)
            await handler.handle_client()

        self.server = await asyncio.start_server(accept, "127.0.0.1", 0)
        _, self.writer = await asyncio.open_connection(*self.server.sockets[0].getsockname()[:2])
        self.handler = await accepted
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        self.server.close()

    @property
    def is_read(self) -> bool:
        writer: Any = self.handler.transports[self.handler.client].writer
        return bool(writer.transport.is_reading())

    async def say(self, size: int) -> None:
        for _ in range(size // len(PIECE)):
            self.writer.write(PIECE)
            await self.writer.drain()
            self.sent_bytes += len(PIECE)

    async def until(self, ready: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not ready():
                await asyncio.sleep(0)


def opening() -> commands.OpenConnection:
    return commands.OpenConnection(Server(address=("far.example", 443)))


def test_a_client_is_read_no_further_while_its_connection_upstream_is_opened() -> None:
    async def scenario() -> None:
        async with Held([opening()], []) as held:
            saying = asyncio.ensure_future(held.say(16 * EARLY_BYTES))
            await held.until(lambda: held.layer.heard_bytes > EARLY_BYTES)
            assert not held.is_read
            assert held.layer.heard_bytes <= EARLY_BYTES + 2 * READ_BYTES
            held.gate.open_now.set()
            await asyncio.wait_for(saying, WAIT_SECONDS)
            await held.until(lambda: held.layer.heard_bytes == held.sent_bytes)
            assert held.is_read

    asyncio.run(scenario())


def test_a_client_that_says_little_meanwhile_is_read_all_the_time() -> None:
    async def scenario() -> None:
        async with Held([opening()], []) as held:
            await held.say(EARLY_BYTES // 2)
            await held.until(lambda: held.layer.heard_bytes == EARLY_BYTES // 2)
            assert held.is_read
            held.gate.open_now.set()

    asyncio.run(scenario())


def test_a_client_that_is_ahead_is_read_on_when_the_layer_says_so_and_nothing_else_is_against_it() -> None:
    async def scenario() -> None:
        async with Held([opening(), ReadLater()], [ReadOn()]) as held:
            saying = asyncio.ensure_future(held.say(4 * EARLY_BYTES))
            await held.until(lambda: held.layer.heard_bytes)
            assert not held.is_read
            held.gate.open_now.set()
            await asyncio.wait_for(saying, WAIT_SECONDS)
            await held.until(lambda: held.layer.heard_bytes == held.sent_bytes)

    asyncio.run(scenario())


def test_the_end_of_an_attempt_does_not_read_a_client_on_that_is_still_ahead() -> None:
    async def scenario() -> None:
        async with Held([opening(), ReadLater()], []) as held:
            saying = asyncio.ensure_future(held.say(4 * EARLY_BYTES))
            await held.until(lambda: held.layer.heard_bytes)
            held.gate.open_now.set()
            await held.until(lambda: not held.handler._awaited)
            assert not held.is_read
            saying.cancel()

    asyncio.run(scenario())
