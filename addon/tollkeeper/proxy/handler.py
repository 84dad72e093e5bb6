"""A connection handler that answers synchronous hooks in place.

mitmproxy starts a task for every hook, which waits for the event lock and comes back through the event loop: about 40 µs of CPU each, four
times a request, also when nobody listens. Here a hook whose handlers are all plain functions is called where it stands, and its
completion is the next event; a hook with a coroutine still gets its task. The order of events a layer sees is the same.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, mode_servers
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.utils import asyncio_utils

from .bounds import ReadLater, ReadOn
from .dial import open_connection
from .direct import DirectReader
from .dispatch import SidecarMaster
from .second_try import TryingStream, TunnelOpened

_TASKS: set[asyncio.Task[None]] = set()
"""Tasks under way: the event loop itself keeps only weak references."""


WAITING_BYTES = 65_536
"""A receiver that has more than this still to take is slow: nothing more is read for it. It is asyncio's own mark."""
ECHOED_BYTES = 4_194_304
"""A sender that has more than this still to take itself is not read either: what it has us answer (HTTP/2 pings) must end somewhere."""

EARLY_BYTES = 1_048_576
"""What a client may say while a connection upstream is being opened, or a hook is awaited: layers keep it all until then."""

_ENDS_A_WAIT = (events.OpenConnectionCompleted, events.HookCompleted)

MAX_CONNECTIONS = 100
"""To one provider for one client connection: as many as HTTP/2 lets it have requests at once. mitmproxy's 5 are held for a connection's
life, so that the sixth request hung for good (mitmproxy #8322)."""


def _plenty() -> asyncio.Semaphore:
    return asyncio.Semaphore(MAX_CONNECTIONS)


class SwiftConnectionHandler(ProxyConnectionHandler):
    """``ProxyConnectionHandler`` with in-place hooks; its master is a ``SidecarMaster``."""

    master: SidecarMaster

    def __init__(self, master: SidecarMaster, reader: Any, writer: Any, _options: Any, mode: Any) -> None:
        super().__init__(master, reader, writer, master.options_snapshot, mode)
        self.max_conns.default_factory = _plenty
        self._pending: deque[events.Event] = deque()
        self._busy = False
        self._is_tunnel = False
        self._awaited = 0
        """Connections being opened and hooks in tasks: layers stand still until they are done."""
        self._early_bytes = 0
        self._is_ahead = False

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Dial upstream, by our own dialer where the process has one."""
        if (dialer := self.master.dialer) is None or command.connection.transport_protocol != "tcp":
            await super().open_connection(command)
        else:
            await open_connection(self, command, dialer)

    async def handle_connection(self, connection: Connection) -> None:
        """Read a connection to its end, each piece as it comes."""
        transport = self.transports[connection]
        if isinstance(transport.reader, asyncio.StreamReader) and isinstance(transport.writer, asyncio.StreamWriter):
            source = transport.writer.transport

            def feed(data: bytes) -> None:
                if connection.state is ConnectionState.CLOSED:  # by an event of this very round: its task ends in the next one
                    return
                self._handle(events.DataReceived(connection, data))
                if self._awaited and connection is self.client:
                    self._early_bytes += len(data)
                    if self._is_held:
                        source.pause_reading()  # type: ignore[attr-defined]
                if slow := self._slow_for(connection):
                    source.pause_reading()  # type: ignore[attr-defined]
                    self._keep(self.master.event_loop.create_task(self._resume(connection, source, slow)))

            transport.reader = DirectReader(transport.reader, feed)  # type: ignore[assignment]
        await super().handle_connection(connection)

    def _slow_for(self, sender: Connection) -> list[ConnectionIO]:
        """Who must take what they have before more is read from ``sender``: those that its data goes to.

        mitmproxy waits for all of a client's connections, so that two ends which both send before they read wait for ever.
        """
        slow = []
        for connection, transport in self.transports.items():
            if connection is sender:
                most = ECHOED_BYTES
            elif sender is self.client or connection is self.client:
                most = WAITING_BYTES
            else:
                continue
            writer = transport.writer
            if isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() > most:
                slow.append(transport)
        return slow

    @property
    def _is_held(self) -> bool:
        """Whether the client has said enough, until it has been dealt with."""
        return self._is_ahead or self._early_bytes > EARLY_BYTES

    def _hold(self, *, is_ahead: bool) -> None:
        """Stop reading the client, or read on where nothing else is against it."""
        self._is_ahead = is_ahead
        transport = self.transports.get(self.client)
        if transport is None or not isinstance(transport.writer, asyncio.StreamWriter) or transport.writer.transport.is_closing():
            return
        source: Any = transport.writer.transport
        if self._is_held:
            source.pause_reading()
        else:
            source.resume_reading()

    async def _resume(self, sender: Connection, source: Any, slow: list[ConnectionIO]) -> None:
        for transport in slow:
            try:
                await transport.writer.drain()  # type: ignore[union-attr]
            except OSError as error:
                if transport.handler is not None:
                    transport.handler.cancel(f"Error sending data: {error}")
        if not source.is_closing() and not (sender is self.client and self._is_held):
            source.resume_reading()

    async def server_event(self, event: events.Event) -> None:
        """Feed an event to the layers."""
        if isinstance(event, _ENDS_A_WAIT):
            self._awaited -= 1
        self._handle(event)
        if self._early_bytes and not self._awaited:
            self._early_bytes = 0
            self._hold(is_ahead=self._is_ahead)

    def _handle(self, event: events.Event) -> None:
        """Feed an event to the layers and carry out what they command.

        Nothing here awaits, and an event that comes up meanwhile (an eager task, mitmproxy #7027) waits its turn in the queue: the
        parent's lock without its cost.
        """
        pending = self._pending
        pending.append(event)
        if self._busy:
            return
        self._busy = True
        self.timeout_watchdog.register_activity()
        try:
            while pending:
                self._carry_through(pending.popleft())
        finally:
            self._busy = False

    def _carry_through(self, event: events.Event) -> None:
        try:
            for command in self.layer.handle_event(event):
                if isinstance(command, commands.SendData):
                    self._send(command)
                elif isinstance(command, commands.StartHook):
                    if self._call_in_place(command) and command.blocking:
                        self._pending.append(events.HookCompleted(command))
                else:
                    self._carry_out(command)
        except Exception:  # the parent's own last resort: one broken connection must not end the others, nor one event the next
            self.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)

    def _send(self, command: commands.SendData) -> None:
        transport = self.transports.get(command.connection)
        if transport is not None:
            writer = transport.writer
            if writer is not None and not writer.is_closing():
                writer.write(command.data)

    def _call_in_place(self, hook: commands.StartHook) -> bool:
        """Whether the hook is done: all its handlers are plain functions and were called. Else a task has been started."""
        if self.master.addons.call_in_place(hook):
            return True
        self._awaited += hook.blocking is not False
        self._keep(self.master.event_loop.create_task(self.hook_task(hook)))
        return False

    @staticmethod
    def _keep(task: asyncio.Task[None]) -> None:
        if not task.done():
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Call the handlers of a hook; the inactivity timer stands still meanwhile."""
        watchdog = self.timeout_watchdog
        watchdog.can_timeout.clear()
        watchdog.blocker += 1
        try:
            await self.master.addons.trigger_event(hook)
        finally:
            watchdog.blocker -= 1
            if watchdog.blocker == 0:
                watchdog.register_activity()
                watchdog.can_timeout.set()

    def _carry_out(self, command: commands.Command) -> None:
        """The rare commands, as the parent does them."""
        if isinstance(command, commands.OpenConnection):
            self._awaited += 1
            task = asyncio_utils.create_task(
                self.open_connection(command),
                name=f"server connection handler {command.connection.address}",
                keep_ref=False,
                client=self.client.peername,
            )
            self.transports[command.connection] = ConnectionIO(handler=task)
        elif isinstance(command, commands.RequestWakeup):
            timer = asyncio_utils.create_task(
                self.wakeup(command), name=f"wakeup timer ({command.delay:.1f}s)", keep_ref=False, client=self.client.peername
            )
            self.wakeup_timer.add(timer)
        elif isinstance(command, ReadLater | ReadOn):
            self._hold(is_ahead=isinstance(command, ReadLater))
        elif isinstance(command, TunnelOpened):
            # Connections of plain requests before it are the outer layers' still, and so is TLS around the tunnel.
            if not self.client.tls and self.transports.keys() == {self.client}:
                self.layer, self._is_tunnel = command.layer, True
        elif isinstance(command, commands.ConnectionCommand) and command.connection not in self.transports:
            return  # already closed
        elif isinstance(command, commands.CloseTcpConnection):
            # What is relayed after a CONNECT is closed as a whole: mitmproxy's stream of the CONNECT does it so.
            self.close_connection(command.connection, command.half_close and not self._is_tunnel)
        elif isinstance(command, commands.CloseConnection):
            self.close_connection(command.connection)
        elif isinstance(command, commands.Log):
            self.log(command.message, command.level)
        else:
            raise RuntimeError(f"Unexpected command: {command}")


def install() -> None:
    """Have every listener use this handler."""
    mode_servers.ProxyConnectionHandler = SwiftConnectionHandler  # type: ignore[misc]
    TryingStream.tells_of_tunnels = True
