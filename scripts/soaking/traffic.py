"""Mixed traffic at a steady pace, and what was answered: every answer that came whole must be in the ledger."""

import contextlib
import http.client
import itertools
import json
import queue
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import WebSocketException

from e2e.harness import RunningProxy
from e2e.raw import JSON_SHAPES, STREAM_SHAPES, Answer, Caller, Shape, read, send
from e2e.ws import connected
from tollkeeper.cli.demo_provider import FakeProvider

SHAPES = (*JSON_SHAPES, *STREAM_SHAPES)
DOWN = Shape(name="down", host="api.x.ai", path="/v1/chat/completions", body=JSON_SHAPES[0].body)
"""A provider whose address nobody listens on."""
BANNED = Shape(name="banned", host="api.openai.com", path="/v1/chat/completions", body={**JSON_SHAPES[0].body, "model": "gpt-4o"})
"""A model that the policy refuses."""
ASK = {"type": "response.create", "model": "gpt-5-mini", "input": "What does this call cost?"}


@dataclass(slots=True)
class Answered:
    """What clients saw. ``ids``: of answers that came whole."""

    kinds: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def note(self, answer: Answer) -> None:
        """Keep the provider's id of an answer that came whole."""
        if answer.status == 200 and answer.whole and (found := answer_id(answer.body)):
            self.ids.append(found)


def answer_id(body: bytes) -> str:
    """The provider's id in a JSON answer; empty for others (a stream's usage is compared by the ledger's own count)."""
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict):
            return str(document.get("id") or document.get("responseId") or "")
    return ""


class Traffic:
    """Threads that take turns from a clock; ``stop`` ends them."""

    def __init__(self, proxy: RunningProxy, provider: FakeProvider, *, rate: float, workers: int = 6) -> None:
        self.answered = Answered()
        self._proxy, self._provider, self._rate = proxy, provider, rate
        self._caller = Caller(provider, proxy.bundle, proxy.port)
        self._over = threading.Event()
        self._turns: queue.Queue[int] = queue.Queue(maxsize=workers)
        self._threads = [threading.Thread(target=self._pace, daemon=True)]
        self._threads += [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        self._kinds = self._mix()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once the turns under way are over."""
        self._over.set()
        for thread in self._threads:
            thread.join(90)

    def _pace(self) -> None:
        begun = time.monotonic()
        for turn in itertools.count():
            if self._over.wait(max(0.0, begun + turn / self._rate - time.monotonic())):
                return
            with contextlib.suppress(queue.Full):
                self._turns.put(turn, timeout=1)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                turn = self._turns.get(timeout=0.5)
            except queue.Empty:
                continue
            name, act = self._kinds[turn % len(self._kinds)]
            self.answered.kinds[name] += 1
            try:
                act(SHAPES[turn % len(SHAPES)])
            except (OSError, ValueError, http.client.HTTPException, WebSocketException) as error:
                self.answered.failures[f"{name}: {type(error).__name__}"] += 1

    def _mix(self) -> list[tuple[str, Callable[[Shape], None]]]:
        rare: list[tuple[str, Callable[[Shape], None]]] = [
            ("left in mid-answer", self._leave),
            ("five on one connection", self._several),
            ("cut by the provider", lambda shape: self._call(shape, cut="half")),
            ("provider says 500", lambda shape: self._call(shape, status=500)),
            ("provider says 429", lambda shape: self._call(shape, status=429)),
            ("compressed", lambda shape: self._call(shape, encoding="gzip")),
            ("slow stream", lambda shape: self._call(shape, delay_ms=40, chunks=30)),
            ("provider is down", lambda _: self._call(DOWN)),
            ("refused by the policy", lambda _: self._call(BANNED)),
            ("WebSocket", lambda _: self._converse()),
            ("other host", lambda _: self._relay()),
            ("200 KB", self._large),
            ("no HTTP", lambda _: self._garbage(b"\x16\x03\x01\x00\x10nonsense")),
            ("head without end", lambda _: self._garbage(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20)),
            ("CONNECT and gone", lambda _: self._garbage(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n")),
        ]
        plain: tuple[str, Callable[[Shape], None]] = ("plain call", self._call)
        return [one for each in rare for one in (each, plain)] + [plain] * 3

    def _call(self, shape: Shape, **script: Any) -> None:
        self.answered.note(self._caller.call(shape, **script))

    def _leave(self, shape: Shape) -> None:
        with self._caller.opened(shape) as response:
            response.read(20)

    def _several(self, shape: Shape) -> None:
        connection = self._caller.connect(shape.host)
        with contextlib.closing(connection):
            for _ in range(5):
                send(connection, shape)
                response = connection.getresponse()
                self.answered.note(read(response))
                response.close()

    def _large(self, shape: Shape) -> None:
        self._call(
            Shape(name=shape.name, host=shape.host, path=shape.path, body={**shape.body, "user": "x" * 200_000}),
            text_bytes=200_000,
        )

    def _converse(self) -> None:
        with connected(self._proxy, "wss://api.openai.com/v1/responses") as connection:
            for _ in range(3):
                connection.send(json.dumps(ASK))
                while json.loads(connection.recv())["type"] not in {"response.completed", "error"}:
                    pass

    def _relay(self) -> None:
        context = ssl.create_default_context(cadata=self._provider.authority.root_pem.decode())
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", self._proxy.port), timeout=20) as plain:
            plain.sendall(f"CONNECT 127.0.0.1:{self._provider.port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            if b" 200 " in plain.recv(1000):
                with context.wrap_socket(plain, server_hostname="packages.example") as secure:
                    secure.sendall(b"GET / HTTP/1.1\r\nHost: packages.example\r\nConnection: close\r\n\r\n")
                    while secure.recv(65536):
                        pass

    def _garbage(self, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._proxy.port), timeout=5) as plain:
            plain.sendall(data)
