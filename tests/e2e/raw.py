"""A client of few words: HTTP/1.1 through a proxy's CONNECT or straight to the fake provider, down to the bytes."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollkeeper.cli.demo_provider import FakeProvider

OPENAI, ANTHROPIC, GEMINI = "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"
QUESTION = "What does this call cost?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of call: where it goes and what it says."""

    name: str
    host: str
    path: str
    body: dict[str, Any]


_MESSAGES = [{"role": "user", "content": QUESTION}]
_CONTENTS = [{"role": "user", "parts": [{"text": QUESTION}]}]
_STREAM_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def _chat(name: str, **extra: Any) -> Shape:
    body = {"model": "gpt-4o-mini", "messages": _MESSAGES, **extra}
    return Shape(name=name, host=OPENAI, path="/v1/chat/completions", body=body)


def _responses(name: str, **extra: Any) -> Shape:
    return Shape(name=name, host=OPENAI, path="/v1/responses", body={"model": "gpt-5-mini", "input": QUESTION, **extra})


def _messages(name: str, **extra: Any) -> Shape:
    body = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": _MESSAGES, **extra}
    return Shape(name=name, host=ANTHROPIC, path="/v1/messages", body=body)


def _gemini(name: str, method: str) -> Shape:
    return Shape(name=name, host=GEMINI, path=f"/v1beta/models/gemini-2.5-flash:{method}", body={"contents": _CONTENTS})


JSON_SHAPES = (_chat("chat"), _responses("responses"), _messages("messages"), _gemini("gemini", "generateContent"))
STREAM_SHAPES = (
    _chat("chat-stream", stream=True),
    _chat("chat-stream-options", stream=True, stream_options={"include_obfuscation": False}),
    _chat("chat-stream-usage", **_STREAM_USAGE),
    _responses("responses-stream", stream=True),
    _messages("messages-stream", stream=True),
    _gemini("gemini-sse", "streamGenerateContent?alt=sse"),
    _gemini("gemini-array", "streamGenerateContent"),
)
SHAPES = {shape.name: shape for shape in (*JSON_SHAPES, *STREAM_SHAPES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``whole`` is False when the connection ended before the message did. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Opens connections: through ``proxy_port``, or to the provider itself when it is None."""

    def __init__(self, provider: FakeProvider, ca: bytes | Path, proxy_port: int | None = None) -> None:
        self._provider, self._proxy_port = provider, proxy_port
        data = ca.decode() if isinstance(ca, bytes) else ca.read_text()
        self._context = ssl.create_default_context(cadata=data)

    def connect(self, host: str, *, headers: Mapping[str, str] | None = None) -> http.client.HTTPSConnection:
        """A connection that is open: tunnelled where there is a proxy, TLS done."""
        if self._proxy_port is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self._proxy_port, context=self._context, timeout=60)
            connection.set_tunnel(host, 443, headers=dict(headers or {}))
            try:
                connection.connect()
            except BaseException:
                connection.close()
                raise
            return connection
        connection = http.client.HTTPSConnection(host, 443, context=self._context, timeout=60)
        plain = socket.create_connection(("127.0.0.1", self._provider.port), timeout=60)
        with contextlib.ExitStack() as undo:
            undo.callback(plain.close)
            connection.sock = self._context.wrap_socket(plain, server_hostname=host)
            undo.pop_all()
        return connection

    def call(self, shape: Shape, headers: Mapping[str, str] | None = None, **script: Any) -> Answer:
        """One call on a connection of its own, read to its end."""
        with self.opened(shape, headers, **script) as response:
            return read(response)

    @contextmanager
    def opened(self, shape: Shape, headers: Mapping[str, str] | None = None, **script: Any) -> Iterator[http.client.HTTPResponse]:
        """One call whose head has come; leaving the block drops the connection."""
        connection = self.connect(shape.host)
        try:
            send(connection, shape, headers, **script)
            yield connection.getresponse()
        finally:
            connection.close()


def send(connection: http.client.HTTPSConnection, shape: Shape, headers: Mapping[str, str] | None = None, **script: Any) -> None:
    """Write a request; ``script`` steers the fake provider."""
    steering = {f"x-fake-{name.replace('_', '-')}": str(value) for name, value in script.items()}
    base = {"content-type": "application/json", "authorization": "Bearer sk-test", "x-api-key": "sk-test", "host": shape.host}
    connection.request("POST", shape.path, json.dumps(shape.body), {**base, **steering, **(headers or {})})


def read(response: http.client.HTTPResponse) -> Answer:
    """The rest of an answer, whether or not it is whole."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    parts: list[bytes] = []
    whole = True
    try:
        while piece := response.read1(65536):
            parts.append(piece)
        whole = response.isclosed() or not response.length
    except (http.client.IncompleteRead, ConnectionError, ssl.SSLError):
        whole = False
    return Answer(status=response.status, headers=headers, body=b"".join(parts), whole=whole)
