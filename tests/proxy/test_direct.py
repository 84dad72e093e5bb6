"""Reading a connection in the callback that brings its data."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tollkeeper.proxy.direct import DirectReader


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The reader of one end of a real connection, and the writer of the other."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: accepted.set_result(ends), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    reader, back = await accepted
    try:
        yield reader, writer
    finally:
        for end in (writer, back):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()
        server.close()


async def heard(fed: list[bytes], size: int) -> None:
    async with asyncio.timeout(60):
        while len(b"".join(fed)) < size:
            await asyncio.sleep(0)


def test_what_came_before_and_what_comes_after_is_fed_in_order() -> None:
    async def run() -> None:
        fed: list[bytes] = []
        async with pair() as (reader, writer):
            direct = DirectReader(reader, fed.append)
            writer.write(b"before")
            while not reader._buffer:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            rest = asyncio.ensure_future(direct.read(1))
            for number in range(100):
                writer.write(b"%02d" % number)
                await writer.drain()
            writer.close()
            assert await asyncio.wait_for(rest, 60) == b""
            assert b"".join(fed) == b"before" + b"".join(b"%02d" % number for number in range(100))

    asyncio.run(run())


def test_nothing_is_fed_once_the_reading_has_been_cancelled() -> None:
    async def run() -> None:
        fed: list[bytes] = []
        async with pair() as (reader, writer):
            reading = asyncio.ensure_future(DirectReader(reader, fed.append).read(1))
            await asyncio.sleep(0)
            writer.write(b"one")
            await heard(fed, 3)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            writer.write(b"two")
            async with asyncio.timeout(60):
                assert await reader.read(10) == b"two"
            assert fed == [b"one"]

    asyncio.run(run())


def test_a_connection_that_breaks_is_told_as_an_error() -> None:
    async def run() -> OSError | None:
        async with pair() as (reader, _):
            reading = asyncio.ensure_future(DirectReader(reader, lambda data: None).read(1))
            await asyncio.sleep(0)
            reader.set_exception(ConnectionResetError("gone"))
            try:
                await reading
            except OSError as error:
                return error
            return None

    assert isinstance(asyncio.run(run()), ConnectionResetError)
