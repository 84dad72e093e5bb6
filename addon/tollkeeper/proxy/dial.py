"""Opening connections upstream: names are resolved here and their addresses looked at, so that what was checked is what is dialled.

mitmproxy hands a name to asyncio and takes whatever address comes. Here every address a name gives passes ``Egress.address`` first, a
connection attempt has a time limit, and a company's proxy is gone through where there is one.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events, server_hooks
from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO

from .chain import Streams, UpstreamProxy, open_through
from .egress import as_ip, unwrapped

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 15.0
"""For one address; the next one of the name is tried then. The system's own limit is about two minutes."""
MAX_ADDRESSES = 8

LOOP = "refused: it leads back to this proxy"

type Address = tuple[str, int]
type Check = Callable[[str, str], str | None]
"""(host, its address) → why it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """``pins``: names whose address the operator chose himself, which is dialled without questions (``TOLLKEEPER_RESOLVE``).

    The connection keeps its name: mitmproxy gives a request the connection being opened to the same address, so that it opens one only.
    """

    check: Check
    proxy: UpstreamProxy | None = None
    pins: Mapping[Address, Address] = field(default_factory=dict)
    trust: str = ""

    async def open(self, address: Address, local: Any = None) -> Streams:
        """A connection to ``address``. Raises ``OSError`` saying why there is none."""
        host, port = address
        if pin := self.pins.get((host.lower(), port)):
            return await _attempt(*pin, local)
        if self.proxy is not None and not self.proxy.is_direct(host, port):
            if address == self.proxy.address:  # a plain request that already speaks to the proxy
                return await _attempt(host, port, local)
            return await open_through(self.proxy, host, port, self.trust)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        problem: OSError | None = None
        for ip in list(dict.fromkeys(str(info[4][0]) for info in found))[:MAX_ADDRESSES]:
            if reason := self.check(host, ip):
                problem = problem or OSError(f"refused: {reason}")
                continue
            try:
                return await _attempt(ip, port, local)
            except OSError as error:
                problem = error
        raise problem or OSError(f"{host} has no address")


async def _attempt(host: str, port: int, local: Any) -> Streams:
    try:
        return await asyncio.wait_for(asyncio.open_connection(host, port, local_addr=local), ATTEMPT_SECONDS)
    except TimeoutError as error:
        raise OSError(f"no answer from {host}:{port} within {ATTEMPT_SECONDS:.0f} s") from error


async def open_connection(handler: ConnectionHandler, command: commands.OpenConnection, dialer: Dialer) -> None:
    """What ``ConnectionHandler.open_connection`` of mitmproxy 12.2.3 does for TCP, with ``dialer`` in place of asyncio's own."""
    connection = command.connection
    hook_data = server_hooks.ServerConnectionHookData(client=handler.client, server=connection)
    if not connection.address:
        await handler.server_event(events.OpenConnectionCompleted(command, "Cannot open connection, no hostname given."))
        return
    await handler.handle_hook(server_hooks.ServerConnectHook(hook_data))
    if error := connection.error:
        await handler.handle_hook(server_hooks.ServerConnectErrorHook(hook_data))
        await handler.server_event(events.OpenConnectionCompleted(command, f"Connection killed: {error}"))
        return
    async with handler.max_conns[connection.address]:
        try:
            connection.timestamp_start = time.time()
            address = (connection.address[0], connection.address[1])
            reader, writer = await dialer.open(address, connection.sockname)
            if _leads_back(writer, _own_ports(handler)):
                writer.transport.abort()
                raise OSError(LOOP)
        except (OSError, UnicodeError, asyncio.CancelledError) as error:  # a name that is none cannot be encoded
            await _failed(handler, command, hook_data, str(error) or "connection cancelled")
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        _opened(handler, connection, reader, writer)
        await handler.handle_hook(server_hooks.ServerConnectedHook(hook_data))
        await handler.server_event(events.OpenConnectionCompleted(command, None))
        try:
            await handler.handle_connection(connection)
        finally:
            connection.timestamp_end = time.time()
            await handler.handle_hook(server_hooks.ServerDisconnectedHook(hook_data))


def _own_ports(handler: Any) -> set[int]:
    """Where this process listens."""
    return {address[1] for address in handler.master.addons.get("proxyserver").listen_addrs()}


def _leads_back(writer: asyncio.StreamWriter, own_ports: set[int]) -> bool:
    """Whether a connection is to our own listener, however its address was written.

    We would see ourselves at its other end: another user of the machine would become the one who runs the proxy.
    """
    there, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    if there is None or here is None or there[1] not in own_ports:
        return False
    ip = as_ip(there[0])
    return there[0] == here[0] or (ip is not None and unwrapped(ip).is_loopback)


async def _failed(
    handler: ConnectionHandler, command: commands.OpenConnection, hook_data: server_hooks.ServerConnectionHookData, reason: str
) -> None:
    if reason.startswith("refused: "):
        logger.warning("a connection upstream was %s", reason)
    command.connection.error = reason
    await handler.handle_hook(server_hooks.ServerConnectErrorHook(hook_data))
    await handler.server_event(events.OpenConnectionCompleted(command, reason))


def _opened(handler: ConnectionHandler, connection: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection.timestamp_tcp_setup = time.time()
    connection.state = ConnectionState.OPEN
    connection.peername = writer.get_extra_info("peername")
    connection.sockname = writer.get_extra_info("sockname")
    handler.transports[connection] = ConnectionIO(handler=asyncio.current_task(), reader=reader, writer=writer)
