"""Issuers of the tests' own: keys made once, tokens signed by hand, an HTTP server on loopback that can misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from identity.certified import Certified, certified
from identity.issuers import Web


@pytest.fixture
def web() -> Callable[[], contextlib.AbstractAsyncContextManager[Web]]:
    """Start a server inside a test's own event loop."""

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Web]:
        web = Web()
        server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
        web.port = server.sockets[0].getsockname()[1]
        try:
            yield web
        finally:
            server.close()
            await web.stop()

    return start


@pytest.fixture(scope="session")
def provider(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    """The certified provider; skipped loudly where Node is missing."""
    yield from certified(pytestconfig, tmp_path_factory)
