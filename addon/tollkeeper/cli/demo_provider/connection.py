"""One HTTP/1.1 connection to the fake provider: h11 reads requests and heads answers, bodies are written as planned."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11

from .answer import Answer, Question
from .bill import Billed, Bills, SeenRequest
from .delivery import Piece, plan
from .routes import answer
from .script import DEFAULT, Cut, Script, read_script
from .sessions import Session, is_session
from .socket import Socket

MAX_BODY_BYTES = 64 * 2**20
READ_BYTES = 2**18


class Connection:
    """``next_id`` gives every answer its own id."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bills: Bills, next_id: Callable[[], str]
    ) -> None:
        self._reader, self._writer, self._bills, self._next_id = reader, writer, bills, next_id
        self._wire = h11.Connection(h11.SERVER)
        self._page: int | None = None

    async def run(self) -> None:
        """Answer requests until either side closes."""
        while (received := await self._receive()) is not None:
            head, body = received
            if not await self._respond(head, body):
                return
            self._wire.start_next_cycle()

    async def _receive(self) -> tuple[h11.Request, bytes] | None:
        head: h11.Request | None = None
        parts: list[bytes] = []
        size = 0
        while True:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                if self._wire.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._wire.receive_data(await self._reader.read(READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > MAX_BODY_BYTES:
                    raise h11.RemoteProtocolError(f"request body is over {MAX_BODY_BYTES} bytes")
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return None if head is None else (head, b"".join(parts))
            else:
                return None

    async def _respond(self, head: h11.Request, body: bytes) -> bool:
        """True when the connection can take another request."""
        seen = _seen(head, body)
        path, _, query = seen.path.partition("?")
        if path == "/__bill":
            reply = Answer(content_type="application/json", content=(json.dumps(self._bills.as_json()).encode(),))
            return await self._deliver(reply, DEFAULT)
        self._page = self._bills.see(seen)
        try:
            script = read_script(seen.headers)
            document = _document(seen)
            script = script.for_model(document.get("model")).for_cap(document.get("max_tokens"))
        except ValueError as error:
            problem = {"error": {"message": str(error), "type": "invalid_request_error"}}
            reply = Answer(content_type="application/json", content=(json.dumps(problem).encode(),), status=400)
            return await self._deliver(reply, DEFAULT)
        if script.first_delay_ms:
            await asyncio.sleep(script.first_delay_ms / 1000)
        if script.cut is Cut.BEFORE_HEADERS:
            return False
        if is_session(path) and seen.headers.get("upgrade", "").lower() == "websocket" and script.status < 400:
            await self._converse(seen, path, query, script)
            return False
        question = Question(
            host=seen.host,
            method=seen.method,
            path=path,
            query=query,
            document=document,
            body=body,
            script=script,
            id=self._next_id(),
        )
        return await self._deliver(answer(question), script)

    async def _converse(self, seen: SeenRequest, path: str, query: str, script: Script) -> None:
        """The rest of the connection is a WebSocket."""
        socket = Socket(self._reader, self._writer, seen.headers)
        socket.feed(self._wire.trailing_data[0])
        question = Question(
            host=seen.host, method="GET", path=path, query=query, document={}, body=b"", script=script, id=self._next_id()
        )
        await Session(socket, question, self._bills, self._next_id).run()

    async def _deliver(self, reply: Answer, script: Script) -> bool:
        pieces, whole = plan(reply, script)
        headers = [("content-type", reply.content_type), ("x-request-id", f"req_{reply.id or 'fake'}")]
        if script.encoding:
            headers.append(("content-encoding", script.encoding))
        chunked = (reply.streamed or script.trailers) and not script.close
        if script.early_hints:
            self._send(h11.InformationalResponse(status_code=103, headers=[("link", "</>; rel=preload")]))
        if script.close:
            lines = "".join(f"{name}: {value}\r\n" for name, value in [*headers, ("connection", "close")])
            self._writer.write(f"HTTP/1.1 {reply.status} OK\r\n{lines}\r\n".encode())
        else:
            size = len(reply.content[0]) if not whole and not chunked else sum(len(piece.data) for piece in pieces)
            headers.append(("transfer-encoding", "chunked") if chunked else ("content-length", str(size)))
            self._send(h11.Response(status_code=reply.status, headers=headers))
        sent = _Sent()
        last = pieces.pop() if whole and pieces else None
        try:
            await self._write(pieces, script, sent, chunked=chunked)
            if last is not None:
                if script.delay_ms and last.content:
                    await self._pause(script.delay_ms)
                # Billed before the end is written: whoever has seen the end must find it on the bill.
                self._bill(reply, script, sent, whole=True)
                await self._write_piece(last, script, sent, chunked=chunked)
            if whole and not script.close:
                self._send(h11.EndOfMessage(headers=[("x-fake-trailer", "1")] if script.trailers else []))
            await self._writer.drain()
        finally:
            self._bill(reply, script, sent, whole=False)
        return whole and not script.close and self._wire.our_state is h11.DONE

    async def _write(self, pieces: list[Piece], script: Script, sent: "_Sent", *, chunked: bool) -> None:
        for piece in pieces:
            if script.delay_ms and piece.content:
                await self._pause(script.delay_ms)
            await self._write_piece(piece, script, sent, chunked=chunked)

    async def _pause(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000)
        if self._reader.at_eof():
            raise ConnectionResetError("the client went away")

    async def _write_piece(self, piece: Piece, script: Script, sent: "_Sent", *, chunked: bool) -> None:
        data = piece.data
        # Chunk framing by hand, one write a piece: h11's checks would cost more than everything else here.
        if chunked:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif script.close:
            self._writer.write(data)
        else:
            self._send(h11.Data(data=data))
        await self._writer.drain()
        sent.pieces += piece.content

    def _bill(self, reply: Answer, script: Script, sent: "_Sent", *, whole: bool) -> None:
        """Once for every answer that has a price."""
        if reply.model is not None and not sent.is_billed:
            sent.is_billed = True
            self._bills.add(_billed(reply, script, sent, whole=whole), self._page)

    def _send(self, event: Any) -> None:
        self._writer.write(self._wire.send(event) or b"")


class _Sent:
    """How far a body got."""

    __slots__ = ("is_billed", "pieces")

    def __init__(self) -> None:
        self.is_billed = False
        self.pieces = 0


def _seen(head: h11.Request, body: bytes) -> SeenRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    host = headers.get("host", "").partition(":")[0]
    return SeenRequest(host=host, method=head.method.decode(), path=head.target.decode("latin-1"), headers=headers, body=body)


def _document(seen: SeenRequest) -> dict[str, Any]:
    if not seen.body:
        return {}
    try:
        document = json.loads(seen.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _billed(reply: Answer, script: Script, sent: _Sent, *, whole: bool) -> Billed:
    tokens = reply.tokens
    return Billed(
        id=reply.id,
        provider=reply.provider,
        model=reply.model or "",
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cache_read,
        cache_write_5m_tokens=tokens.write_5m,
        cache_write_1h_tokens=tokens.write_1h,
        output_tokens=tokens.output if whole else min(sent.pieces, tokens.output),
        reasoning_tokens=tokens.reasoning if whole else 0,
        web_search_requests=script.web_search_requests,
        streamed=reply.streamed,
        complete=whole,
    )
