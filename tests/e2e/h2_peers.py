"""A provider and a client that speak HTTP/2 and gRPC down to the frames: they do on purpose what libraries never do."""

import asyncio
import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from hyperframe.frame import GoAwayFrame

from tollkeeper.cli.demo_provider.authority import Authority, make_authority
from tollkeeper.wire.framing.grpc import frame
from wire.grpc_samples import ask, chunk, response

HOST = "api.x.ai"
STREAM, UNARY = "/xai_api.Chat/GetCompletionChunk", "/xai_api.Chat/GetCompletion"
MAX_STREAM = 2**31 - 1


@dataclass(slots=True)
class Bill:
    """What the provider has seen."""

    connections: int = 0
    protocols: list[str | None] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    reset: int = 0
    """Streams that the other side reset."""
    sent: int = 0
    """Chunks."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Lets the streams that hold go on."""


class H2Provider:
    """Answers each request as its headers ``x-fake-chunks``, ``-delay-ms``, ``-goaway-at``, ``-reset-at`` and ``-refuse`` say.

    After chunk ``x-fake-hold-after`` a stream sends no more until the bill's ``go_on`` is set.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority or make_authority((HOST, "api.openai.com"))
        self.bill = Bill()
        self.port = 0

    async def start(self) -> None:
        context = self.authority.server_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.bill.connections += 1
        self.bill.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        if self.bill.protocols[-1] != "h2":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            writer.close()
            return
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        window = asyncio.Event()
        answering: dict[int, asyncio.Task[None]] = {}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                for event in connection.receive_data(data):
                    self._take(event, connection, writer, window, answering)
                writer.write(connection.data_to_send())
        for task in answering.values():
            task.cancel()
        writer.close()

    def _take(
        self,
        event: Event,
        connection: H2Connection,
        writer: asyncio.StreamWriter,
        window: asyncio.Event,
        answering: dict[int, asyncio.Task[None]],
    ) -> None:
        if isinstance(event, RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers}
            self.bill.asked.append(headers)
            task = asyncio.create_task(self._answer(connection, writer, event.stream_id, headers, window))
            answering[event.stream_id] = task
        elif isinstance(event, DataReceived):
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            self.bill.reset += 1
            answering[event.stream_id].cancel()
        elif isinstance(event, WindowUpdated):
            window.set()

    async def _answer(
        self, connection: H2Connection, writer: asyncio.StreamWriter, stream: int, headers: dict[str, str], window: asyncio.Event
    ) -> None:
        chunks, delay = int(headers.get("x-fake-chunks", "5")), int(headers.get("x-fake-delay-ms", "0")) / 1000
        goaway_at, reset_at = int(headers.get("x-fake-goaway-at", "0")), int(headers.get("x-fake-reset-at", "0"))
        if headers.get("x-fake-refuse"):
            self._goaway(connection, writer, stream - 2)
            return
        hold_after, begun = int(headers.get("x-fake-hold-after", "-1")), False
        for number in range(1, chunks + 1):
            while number == hold_after + 1 and not self.bill.go_on.is_set():
                await asyncio.sleep(0.01)
            if number == goaway_at:
                self._goaway(connection, writer, MAX_STREAM)
                self._goaway(connection, writer, stream)
            if number == reset_at:
                connection.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
                writer.write(connection.data_to_send())
                return
            await asyncio.sleep(delay)
            if not begun:
                connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                begun = True
            whole = headers[":path"] == UNARY
            self.bill.sent += 1  # before: whoever has it may look at once
            await self._send(
                connection,
                writer,
                stream,
                frame(response("hi", 1) if whole else chunk(" w", number, finish=3 * (number == chunks))),
                window,
            )
        connection.send_headers(stream, [("grpc-status", "0"), ("x-fake-trailer", "here")], end_stream=True)
        writer.write(connection.data_to_send())

    async def _send(
        self, connection: H2Connection, writer: asyncio.StreamWriter, stream: int, data: bytes, window: asyncio.Event
    ) -> None:
        while data:
            room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, len(data))
            if room <= 0:
                window.clear()
                await window.wait()
                continue
            connection.send_data(stream, data[:room])
            data = data[room:]
            writer.write(connection.data_to_send())
        await writer.drain()

    def _goaway(self, connection: H2Connection, writer: asyncio.StreamWriter, last: int) -> None:
        # By hand: h2's own close_connection would let nothing follow it.
        writer.write(connection.data_to_send() + GoAwayFrame(0, last_stream_id=max(0, last)).serialize())


@contextlib.contextmanager
def running_h2_provider() -> Iterator[H2Provider]:
    """The provider in a thread of its own."""
    provider, loop, started = H2Provider(), asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        loop.run_until_complete(provider.start())
        started.set()
        loop.run_forever()
        provider.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)


@dataclass(slots=True)
class Answer:
    """One stream, as far as it has come."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class H2Client:
    """One HTTP/2 connection through a proxy's CONNECT."""

    def __init__(
        self, port: int, trusted: Path | bytes, *, target: str = HOST, sni: str = HOST, alpn: tuple[str, ...] = ("h2",)
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=60)
        raw.sendall(f"CONNECT {target}:443 HTTP/1.1\r\nhost: {target}:443\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(4096)
        assert head.startswith(b"HTTP/1.1 200"), head
        context = ssl.create_default_context(cadata=trusted.decode() if isinstance(trusted, bytes) else trusted.read_text())
        context.set_alpn_protocols(list(alpn))
        self.socket = context.wrap_socket(raw, server_hostname=sni)
        self.protocol = self.socket.selected_alpn_protocol()
        self.connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.answers: dict[int, Answer] = {}
        self.goaway = False
        if self.protocol == "h2":
            self.connection.initiate_connection()
            self._flush()

    def ask(self, path: str = STREAM, *, authority: str = HOST, extra: tuple[tuple[str, str], ...] = (), **script: int) -> int:
        """Send one request; the number of its stream."""
        stream = self.connection.get_next_available_stream_id()
        steer = [(f"x-fake-{name.replace('_', '-')}", str(value)) for name, value in script.items()]
        fixed = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", authority)]
        self.connection.send_headers(stream, [*fixed, ("content-type", "application/grpc"), ("te", "trailers"), *steer, *extra])
        self.connection.send_data(stream, ask(), end_stream=True)
        self.answers[stream] = Answer()
        self._flush()
        return stream

    def cancel(self, stream: int) -> None:
        """What a gRPC client does when it loses interest."""
        self.connection.reset_stream(stream, ErrorCodes.CANCEL)
        self._flush()

    def say_goaway(self) -> None:
        """What a gRPC client does when it changes subchannels with calls under way."""
        self.socket.sendall(GoAwayFrame(0, last_stream_id=0).serialize())

    def until(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Receive until ``ready``."""
        deadline = time.monotonic() + seconds
        while not ready():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {seconds} s: {self.answers}"
            if not self.socket.pending() and not select.select([self.socket], [], [], left)[0]:
                continue
            data = self.socket.recv(65_536)
            if not data:
                assert ready(), f"the proxy closed the connection: {self.answers}"
                return
            for event in self.connection.receive_data(data):
                self._take(event)
            self._flush()

    def get(self, *streams: int) -> list[Answer]:
        """Receive until these streams are over."""
        self.until(lambda: all(self.answers[stream].over for stream in streams))
        return [self.answers[stream] for stream in streams]

    def close(self) -> None:
        self.socket.close()

    def _flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaway = True
        answer = self.answers.get(getattr(event, "stream_id", None) or 0)
        if answer is None:
            return
        if isinstance(event, ResponseReceived):
            answer.headers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, TrailersReceived):
            answer.trailers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, DataReceived):
            answer.data += event.data
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)
