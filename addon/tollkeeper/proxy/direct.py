"""Reading without a detour: what a socket gives is handled in the callback that brings it.

mitmproxy reads each connection in a task: a future, two trips through the event loop and two copies for every piece, a fifth of what a
streamed event costs. Here the task waits for the end of the connection alone.
"""

import asyncio
from collections.abc import Callable
from typing import Any

READ_BYTES = 262_144
"""What asyncio's transport takes from a socket at once. mitmproxy reads 64 kB of that, so each 200 kB body passes all layers four times."""


class DirectReader:
    """Stands for a connection's stream reader. ``feed`` gets each piece as it comes, never while one is being handled."""

    __slots__ = ("_feed", "_reader")

    def __init__(self, reader: asyncio.StreamReader, feed: Callable[[bytes], None]) -> None:
        self._reader: Any = reader
        self._feed = feed

    async def read(self, _size: int) -> bytes:
        """Feed what had come before and all that comes; ``b""`` at the end of the connection. Raises ``OSError`` as a reader does."""
        reader = self._reader
        # asyncio's protocol asks the reader for this attribute each time; what comes after the end of the wait is the reader's again.
        reader.feed_data = self._feed
        try:
            if reader._buffer:  # noqa: SLF001 — there is no other way to see it
                early = bytes(reader._buffer)  # noqa: SLF001
                reader._buffer.clear()  # noqa: SLF001
                reader._maybe_resume_transport()  # noqa: SLF001 — before it is fed, which may pause it again
                self._feed(early)
            return bytes(await reader.read(READ_BYTES))
        finally:
            del reader.feed_data
