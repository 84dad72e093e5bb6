"""The sessions that the fake provider holds: Responses and Realtime as OpenAI speaks them, Gemini Live as Google does."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

from . import openai
from .answer import Question, Tokens, tokens_for
from .bill import Billed, Bills
from .script import Cut, Script
from .socket import Socket

_PATHS = ("/v1/responses", "/v1/realtime", "/v1/live/sessions")
_LIVE = "GenerativeService.BidiGenerateContent"

LIVE_SECONDS = 61.5
"""How long every GPT-Live session says that it was."""

HEARD, SPOKEN = 13, 20
"""Audio tokens in and out of each spoken turn."""


def is_session(path: str) -> bool:
    """Whether an upgrade of this path opens a session."""
    return path in _PATHS or path.endswith(_LIVE)


class Session:
    """One socket: every question is answered as its script says. ``next_id`` gives every answer its own id."""

    def __init__(self, socket: Socket, question: Question, bills: Bills, next_id: Callable[[], str]) -> None:
        self.socket, self.question, self.bills, self.next_id = socket, question, bills, next_id
        self.script: Script = question.script

    async def run(self) -> None:
        """Until either side closes."""
        match self.question.path:
            case "/v1/responses":
                await self._responses()
            case "/v1/realtime":
                await self._realtime()
            case "/v1/live/sessions":
                await self._gpt_live()
            case _:
                await self._gemini_live()

    async def _say(self, opening: Iterable[Any], content: Iterable[Any], ending: Iterable[Any], bill: Billed, **how: Any) -> None:
        """The frames of one turn; it is billed before its end is sent, and cut where the script says."""
        for frame in opening:
            await self.socket.send(frame, **how)
        sent = 0
        for frame in content:
            if self.script.delay_ms:
                await asyncio.sleep(self.script.delay_ms / 1000)
            await self.socket.send(frame, **how)
            sent += 1
        if self.script.cut is Cut.BEFORE_USAGE:
            self.bills.add(dataclasses.replace(bill, complete=False, output_tokens=min(sent, bill.output_tokens)))
            raise ConnectionResetError("cut by the script")
        self.bills.add(bill)
        for frame in ending:
            await self.socket.send(frame, **how)

    def _bill(self, identifier: str, provider: str, model: str, tokens: Tokens) -> Billed:
        return Billed(
            id=identifier,
            provider=provider,
            model=model,
            input_tokens=tokens.input,
            cache_read_tokens=tokens.cache_read,
            cache_write_5m_tokens=tokens.write_5m,
            cache_write_1h_tokens=tokens.write_1h,
            output_tokens=tokens.output,
            reasoning_tokens=tokens.reasoning,
            web_search_requests=0,
            streamed=True,
        )

    async def _responses(self) -> None:
        while True:
            frame = await self.socket.receive()
            if frame.get("type") != "response.create":
                continue
            if not frame.get("model"):
                error = {"type": "invalid_request_error", "code": "missing_model", "message": "no model", "param": "model"}
                await self.socket.send({"type": "error", "status": 400, "error": error})
                continue
            body = json.dumps(frame).encode()
            asked = dataclasses.replace(self.question, document={**frame, "stream": True}, body=body, id=self.next_id())
            answer = openai.responses(asked)
            lane = {"stream_id": frame["stream_id"]} if "stream_id" in frame else {}

            def frames(parts: Iterable[bytes], lane: dict[str, Any] = lane) -> list[dict[str, Any]]:
                return [json.loads(part.partition(b"data: ")[2]) | lane for part in parts]

            bill = self._bill(answer.id, "openai", answer.model or "", answer.tokens)
            await self._say(
                frames(answer.opening), frames(answer.content), frames(answer.usage), bill, pieces=self.script.split or 1
            )

    async def _realtime(self) -> None:
        model = dict(pair.partition("=")[::2] for pair in self.question.query.split("&")).get("model", "gpt-realtime")
        audio = {"input": {"turn_detection": {"type": "server_vad", "create_response": True}, "transcription": None}}
        session: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_fake",
            "model": model,
            "audio": audio,
        }
        await self.socket.send({"type": "session.created", "event_id": "event_1", "session": session})
        while True:
            frame = await self.socket.receive()
            kind = frame.get("type")
            if kind == "session.update":
                asked = frame.get("session", {})
                heard = {**session["audio"]["input"], **asked.get("audio", {}).get("input", {})}
                session = {**session, **asked, "audio": {"input": heard}}
                await self.socket.send({"type": "session.updated", "event_id": "event_2", "session": session})
            elif kind == "response.create":
                await self._realtime_response(model, frame)
            elif kind == "input_audio_buffer.append" and session["audio"]["input"].get("turn_detection"):
                await self.socket.send({"type": "input_audio_buffer.committed", "event_id": "event_3", "item_id": "item_heard"})
                await self._realtime_response(model, frame)
                if transcriber := session["audio"]["input"].get("transcription"):
                    await self._transcription(transcriber["model"])

    async def _realtime_response(self, model: str, frame: dict[str, Any]) -> None:
        tokens = tokens_for(self.script, json.dumps(frame).encode())
        identifier = self.script.id or f"resp_fake{self.next_id()}"
        head: dict[str, Any] = {
            "object": "realtime.response",
            "id": identifier,
            "status": "in_progress",
            "output": [],
            "usage": None,
        }
        where = {"response_id": identifier, "item_id": "item_said", "output_index": 0, "content_index": 0, "event_id": "event_4"}
        usage = {
            "total_tokens": tokens.input_total + tokens.output,
            "input_tokens": tokens.input_total,
            "output_tokens": tokens.output,
            "input_token_details": {
                "text_tokens": tokens.input_total - HEARD,
                "audio_tokens": HEARD,
                "cached_tokens": tokens.cache_read,
                "cached_tokens_details": {"text_tokens": tokens.cache_read, "audio_tokens": 0},
            },
            "output_token_details": {"text_tokens": max(0, tokens.output - SPOKEN), "audio_tokens": min(SPOKEN, tokens.output)},
        }
        done = {**head, "status": "completed", "usage": usage}
        await self._say(
            [{"type": "response.created", "event_id": "event_5", "response": head}],
            [{"type": "response.output_text.delta", **where, "delta": piece} for piece in self.script.pieces()],
            [{"type": "response.done", "event_id": "event_6", "response": done}],
            self._bill(identifier, "openai", model, tokens),
        )

    async def _transcription(self, model: str) -> None:
        heard = {"text_tokens": 0, "audio_tokens": HEARD}
        counts = {"total_tokens": HEARD + 7, "input_tokens": HEARD, "output_tokens": 7}
        usage = {"type": "tokens", **counts, "input_token_details": heard}
        identifier = f"item_fake{self.next_id()}"
        self.bills.add(self._bill(identifier, "openai", model, Tokens(HEARD, 0, 0, 0, 7, 0)))
        kind = "conversation.item.input_audio_transcription.completed"
        await self.socket.send(
            {
                "type": kind,
                "event_id": "event_7",
                "item_id": identifier,
                "content_index": 0,
                "transcript": "hello",
                "usage": usage,
            }
        )

    async def _gpt_live(self) -> None:
        session: dict[str, Any] = {"id": f"live_fake{self.next_id()}", "object": "live.session"}
        while (kind := (frame := await self.socket.receive()).get("type")) != "session.close":
            if kind == "session.start":
                session |= frame.get("session", {})
                await self.socket.send({"type": "session.started", "event_id": "event_8", "session": session})
                usage = {"seconds": LIVE_SECONDS / 2}
                await self.socket.send({"type": "session.usage.updated", "event_id": "event_9", "usage": usage})
        end = {"type": "session.closed", "event_id": "event_10", "reason": "close_requested", "session": session}
        await self.socket.send({**end, "usage": {"seconds": LIVE_SECONDS}})

    async def _gemini_live(self) -> None:
        model = "gemini-live-2.5-flash"
        while True:
            frame = await self.socket.receive()
            if "setup" in frame:
                model = str(frame["setup"].get("model", model)).removeprefix("models/")
                await self.socket.send({"setupComplete": {}}, binary=True)
            elif _turn_is_complete(frame):
                tokens = tokens_for(self.script, json.dumps(frame).encode())
                usage = {
                    "promptTokenCount": tokens.input,
                    "responseTokenCount": tokens.output,
                    "totalTokenCount": tokens.input + tokens.output,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
                    "responseTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.output}],
                }
                said = [{"serverContent": {"modelTurn": {"parts": [{"text": piece}]}}} for piece in self.script.pieces()]
                ending: list[dict[str, Any]] = [{"serverContent": {"generationComplete": True}}]
                ending.append({"serverContent": {"turnComplete": True}, "usageMetadata": usage})
                bill = self._bill(f"live_fake{self.next_id()}", "gemini", model, tokens)
                await self._say([], said, ending, bill, binary=True)


def _turn_is_complete(frame: dict[str, Any]) -> bool:
    """Both spellings of protobuf JSON are taken, and sent: google-genai mixes them."""
    content = frame.get("clientContent") or frame.get("client_content") or {}
    return bool(content.get("turnComplete") or content.get("turn_complete"))
