"""The fake provider in a thread of this process, as a context manager: for the demo and for tests that read its bill."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from .server import FakeProvider


@contextlib.contextmanager
def background_provider(*, record: bool = True) -> Iterator[FakeProvider]:
    """A started ``FakeProvider``; it stops when the block is left."""
    provider = FakeProvider(record=record)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(provider.start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(provider.close())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run, name="fake-provider", daemon=True)
    thread.start()
    if not started.wait(timeout=10):
        raise OSError("the fake provider could not listen on a loopback port within 10 s")
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
