"""A WebSocket of the fake provider: the upgrade, permessage-deflate, whole messages in and out (RFC 6455, RFC 7692)."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import wsproto.events
from wsproto.connection import Connection, ConnectionType
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_READ_BYTES = 2**18


class SocketClosedError(ConnectionError):
    """The other side has closed."""


class Socket:
    """One upgraded connection; ``deflated`` says whether compression was agreed on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> None:
        self._reader, self._writer = reader, writer
        offer = next(
            (each for each in headers.get("sec-websocket-extensions", "").split(",") if PerMessageDeflate.name in each), ""
        )
        deflate = PerMessageDeflate()
        agreed = deflate.accept(offer.strip()) if offer else None
        self.deflated = agreed is not None
        self._wire = Connection(ConnectionType.SERVER, extensions=[deflate] if self.deflated else [])
        self._parts: list[str | bytes] = []
        digest = hashlib.sha1(headers.get("sec-websocket-key", "").encode() + _GUID, usedforsecurity=False).digest()
        lines = ["HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: Upgrade"]
        lines.append(f"sec-websocket-accept: {base64.b64encode(digest).decode()}")
        if self.deflated:
            lines.append(
                f"sec-websocket-extensions: {PerMessageDeflate.name}{'; ' + agreed if isinstance(agreed, str) and agreed else ''}"
            )
        if "sec-websocket-protocol" in headers:
            lines.append(f"sec-websocket-protocol: {headers['sec-websocket-protocol'].split(',')[0].strip()}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def feed(self, data: bytes) -> None:
        """Bytes that came with the upgrade request."""
        self._wire.receive_data(data or b"") if data else None

    async def receive(self) -> dict[str, Any]:
        """The next message as JSON. Raises ``SocketClosedError`` when there is none."""
        while True:
            for event in self._wire.events():
                if isinstance(event, wsproto.events.Message):
                    self._parts.append(event.data)
                    if event.message_finished:
                        text = "".join(part if isinstance(part, str) else bytes(part).decode() for part in self._parts)
                        self._parts.clear()
                        found = json.loads(text)
                        return found if isinstance(found, dict) else {}
                elif isinstance(event, wsproto.events.Ping):
                    self._writer.write(self._wire.send(event.response()))
                elif isinstance(event, wsproto.events.CloseConnection):
                    self._writer.write(self._wire.send(event.response()))
                    await self._writer.drain()
                    raise SocketClosedError(f"closed with code {event.code}: {event.reason}")
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise SocketClosedError("the connection broke off")
            self._wire.receive_data(data)

    async def send(self, message: Mapping[str, Any], *, binary: bool = False, pieces: int = 1) -> None:
        """Send one JSON message, as text or in a binary frame, in ``pieces`` fragments."""
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
        size = max(1, -(-len(text) // max(1, pieces)))
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            if binary:
                data = self._wire.send(wsproto.events.BytesMessage(data=part.encode(), message_finished=last))
            else:
                data = self._wire.send(wsproto.events.TextMessage(data=part, message_finished=last))
            self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Say goodbye."""
        self._writer.write(self._wire.send(wsproto.events.CloseConnection(code=CloseReason.NORMAL_CLOSURE)))
        await self._writer.drain()
