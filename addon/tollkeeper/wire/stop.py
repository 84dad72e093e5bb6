"""Ending a stream before its end, in good form: the events that a client needs to take what it has as a whole answer.

Only where a client asked for a stream of server-sent events in a dialect that has an end for "it became too long". Bytes go out event by
event then, since an end can only stand between two of them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tollkeeper.core.call import Ask, Endpoint

from .counts import Json, member
from .dialects import DIALECTS
from .row import CHAT, GENERATE, MESSAGES, RESPONSES
from .spoken import event

BYTES_PER_TOKEN: Final = 4
"""Of visible text, as a running estimate: o200k_base has 4.4 in English prose, 3.5 in dense JSON (docs/pricing.md)."""
MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""An event that is longer is passed on as it comes, and no end is put in any more."""

STOPPABLE: Final = frozenset({CHAT, RESPONSES, MESSAGES, GENERATE})


class StreamStop:
    """Passes a stream of server-sent events on until its running estimate passes ``limit_tokens``; ``stopped`` says that it did."""

    def __init__(self, endpoint: Endpoint, ask: Ask, limit_tokens: int) -> None:
        self._dialect = endpoint.dialect or ""
        self._reader = DIALECTS[self._dialect].reader(endpoint, ask, {})
        self._limit_bytes = limit_tokens * BYTES_PER_TOKEN
        self._pending = b""
        self._seen_bytes = 0
        self._head: dict[str, Json] = {}
        self._items: list[Json] = []
        self._said: list[str] = []
        self._block: Json = None
        self._number = 0
        self._passing = False
        self.stopped = False

    def feed(self, piece: bytes) -> bytes:
        """What goes to the client of this piece: whole events, and the end where it comes to that."""
        if self.stopped:
            return b""
        if self._passing:
            return piece
        self._pending += piece
        if len(self._pending) > MAX_EVENT_BYTES:
            self._passing, out, self._pending = True, self._pending, b""
            return out
        out = b""
        for whole in self._whole_events():
            out += whole
            self._take(whole)
            if self._seen_bytes > self._limit_bytes:
                self.stopped, self._pending = True, b""
                return out + b"".join(self._end())
        return out

    def flush(self) -> bytes:
        """What is left at the end of the stream."""
        out, self._pending = self._pending, b""
        return b"" if self.stopped else out

    def _whole_events(self) -> Iterator[bytes]:
        while True:
            ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := self._pending.find(mark)) >= 0]
            if not ends:
                return
            whole, self._pending = self._pending[: min(ends)], self._pending[min(ends) :]
            yield whole

    def _take(self, whole: bytes) -> None:
        data = b"".join(line[5:].strip() for line in whole.splitlines() if line.startswith(b"data:"))
        if not data.startswith(b"{"):
            return
        try:
            payload = json.loads(data)
        except (ValueError, RecursionError):
            return
        self._seen_bytes += sum(len(text.encode("utf-8", "replace")) for text in self._reader.visible(payload) if text)
        self._note(payload)

    def _note(self, payload: Mapping[str, Json]) -> None:
        kind = payload.get("type")
        if self._dialect == MESSAGES:
            if kind == "content_block_start":
                self._block = payload.get("index")
            elif kind == "content_block_stop":
                self._block = None
        elif self._dialect == RESPONSES:
            self._number = payload["sequence_number"] if type(payload.get("sequence_number")) is int else self._number
            if kind in {"response.created", "response.in_progress"}:
                self._head = dict(member(payload, "response"))
            elif kind == "response.output_item.done":
                self._items.append(payload.get("item"))
                self._said.clear()
            elif kind == "response.output_text.delta":
                self._said.append(str(payload.get("delta", "")))
        elif not self._head:
            self._head = {
                key: payload[key] for key in ("id", "object", "created", "model", "modelVersion", "responseId") if key in payload
            }

    def _unfinished(self) -> Iterator[Json]:
        """The message that the end cuts through, as far as it came."""
        if self._said:
            part = {"type": "output_text", "text": "".join(self._said), "annotations": []}
            yield {"id": "msg_tollkeeper", "type": "message", "status": "incomplete", "role": "assistant", "content": [part]}

    def _end(self) -> Iterator[bytes]:
        tokens = self._seen_bytes // BYTES_PER_TOKEN
        if self._dialect == MESSAGES:
            if type(self._block) is int:
                yield event({"type": "content_block_stop", "index": self._block}, named=True)
            delta = {"stop_reason": "max_tokens", "stop_sequence": None}
            yield event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}}, named=True)
            yield event({"type": "message_stop"}, named=True)
        elif self._dialect == RESPONSES:
            details = {"reason": "max_output_tokens"}
            response: dict[str, Any] = {**self._head, "status": "incomplete", "incomplete_details": details}
            response["output"] = [*self._items, *self._unfinished()]
            yield event({"type": "response.incomplete", "sequence_number": self._number + 1, "response": response}, named=True)
        elif self._dialect == CHAT:
            yield event({**self._head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
            yield b"data: [DONE]\n\n"
        else:
            candidate = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "MAX_TOKENS", "index": 0}
            yield event({**self._head, "candidates": [candidate]})
