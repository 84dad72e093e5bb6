"""OpenAI Responses over a WebSocket, as api.openai.com, the Codex backend and xAI speak it: each ``response.create`` is a turn.

The client's frame is the body of a Responses request, the provider's frames are the events of its stream. ``stream_id`` tells lanes
apart; within a lane turns are served in order. The provider may begin a turn by itself after ``response.steer``.
Reference: developers.openai.com/api/docs/guides/websocket-mode, docs.x.ai/developers/advanced-api-usage/websocket-mode.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.clock import Clock
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.sessions import MAX_OPEN_TURNS, Opening, OpenTurn, Refused, SessionReader, Turn

from .openai_responses import OpenAIResponses, ResponsesReader

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"})
_BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})
_DIALECT = OpenAIResponses()
_BYTES_PER_TOKEN = 4
_MAX_CONTEXTS = 256


class _Lane:
    """Turns that share a ``stream_id``, in the order in which they are served; the first may have begun."""

    __slots__ = ("turns",)

    def __init__(self) -> None:
        self.turns: deque[_Response] = deque()

    def lost_its_end(self, payload: Mapping[str, Json]) -> bool:
        """Whether another response than the one being served begins: the end of that one never came."""
        serving = self.turns[0].reader.notes.response_id if self.turns and self.turns[0].begun else None
        return serving is not None and name(member(payload, "response").get("id")) not in {None, serving}


class _Response:
    """One turn: the open turn, and the reader that knows the events of a Responses stream."""

    __slots__ = ("begun", "open", "reader")

    def __init__(self, number: int, ask: Ask, endpoint: Endpoint) -> None:
        self.reader = ResponsesReader(endpoint, ask)
        self.open = OpenTurn(number=number, ask=ask, notes=self.reader.notes)
        self.begun = False

    def close(self, *, cut: bool) -> Turn:
        self.open.calls = self.reader.calls()
        return self.open.close(cut=cut)


class ResponsesSession:
    """Reads one socket of Responses."""

    def __init__(self, endpoint: Endpoint, model: str, clock: Clock) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._lanes: dict[str, _Lane] = {}
        self._context_tokens: dict[str, int] = {}
        """What recent responses read and wrote: a turn that continues one is billed for all of it again."""
        self._latest = ""
        """The lane of the latest opening, which may yet be refused."""
        self._model = model
        self._numbers = 0
        self._open = 0
        self._over: list[Turn] = []

    def client(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``. Anything but ``response.create`` costs nothing by itself."""
        if payload.get("type") != "response.create":
            return None
        ask = _DIALECT.read_ask(self._endpoint, payload)
        before = self._context_tokens.get(name(payload.get("previous_response_id")) or "", 0)
        ask = replace(ask, streamed=True, input_bytes=min(MAX_COUNT, ask.input_bytes + before * _BYTES_PER_TOKEN))
        self._model = ask.model or self._model
        return self._begin(_lane_of(payload), ask, is_request=True)

    def server(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``. A response that nobody asked for in this lane is one that the provider began (steering)."""
        kind = name(payload.get("type")) or ""
        key = _lane_of(payload)
        if kind == "error":
            self._failed(key, payload)
            return None
        lane = self._lanes.get(key)
        opening: Opening | None = None
        if kind == "response.created" and lane is not None and lane.lost_its_end(payload):
            self._end(key, cut=True)
        if kind in _BEGINS and (lane is None or not lane.turns):
            model = model_name(member(payload, "response").get("model")) or self._model or None
            opening = self._begin(key, Ask(model=model, streamed=True, fresh=False))
            lane = self._lanes[key]
        if lane is None or not lane.turns:
            return opening
        turn = lane.turns[0]
        turn.begun = True
        turn.reader.event(payload)
        if "response" in payload:
            self.notes.model = turn.reader.notes.model or self.notes.model
        elif kind.endswith(".delta"):
            for text in turn.reader.visible(payload):
                turn.open.say(text)
        if kind in _ENDS:
            self._end(key, cut=False)
        return opening

    def refuse(self, opening: Opening, message: str) -> Refused:
        """See ``SessionReader``: the error frame on which Codex and the OpenAI SDKs stop (docs/wire.md, "Refusing").

        No frame stops a response that the provider began by itself: the session ends.
        """
        key = self._latest
        lane = self._lanes.get(key)
        if opening.is_request and lane is not None and lane.turns and lane.turns[-1].open.number == opening.number:
            lane.turns.pop()
            self._open -= 1
        error = {"type": "invalid_request_error", "code": None, "message": message, "param": None}
        frame: dict[str, Json] = {"type": "error", "status": 400, "error": error}
        if key:
            frame["stream_id"] = key
        return Refused(to_client=json.dumps(frame, ensure_ascii=False).encode(), ends_session=not opening.is_request)

    def take_turns(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        if not self._over:
            return ()
        over, self._over = tuple(self._over), []
        return over

    def so_far(self, number: int) -> tuple[tuple[Usage, ...], int] | None:
        """See ``Watched``."""
        for lane in self._lanes.values():
            for turn in lane.turns:
                if turn.open.number == number and turn.begun:
                    return turn.reader.calls(), turn.open.said
        return None

    def finish(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        for key, lane in self._lanes.items():
            while lane.turns:
                self._end(key, cut=True)
        return self.take_turns()

    def _begin(self, key: str, ask: Ask, *, is_request: bool = False) -> Opening:
        if self._open >= MAX_OPEN_TURNS:
            oldest = min((lane.turns[0].open.number, each) for each, lane in self._lanes.items() if lane.turns)
            self._end(oldest[1], cut=True)
        self._numbers += 1
        self._open += 1
        if len(self._lanes) >= MAX_OPEN_TURNS:
            self._lanes = {each: lane for each, lane in self._lanes.items() if lane.turns}
        self._lanes.setdefault(key, _Lane()).turns.append(_Response(self._numbers, ask, self._endpoint))
        self._latest = key
        return Opening(number=self._numbers, ask=ask, is_request=is_request)

    def _failed(self, key: str, payload: Mapping[str, Json]) -> None:
        """An error frame ends the turn that its lane is serving; without a lane, the only one there is."""
        lane = self._lanes.get(key)
        if (lane is None or not lane.turns) and not key:
            waiting = [each for each, found in self._lanes.items() if found.turns]
            key = waiting[0] if len(waiting) == 1 else key
            lane = self._lanes.get(key)
        if lane is not None and lane.turns:
            lane.turns[0].reader.event(payload)
            self._end(key, cut=False)

    def _end(self, key: str, *, cut: bool) -> None:
        turn = self._lanes[key].turns.popleft()
        self._open -= 1
        self._over.append(turn.close(cut=cut))
        reading = self._over[-1].reading
        if reading.response_id and reading.calls:
            if len(self._context_tokens) >= _MAX_CONTEXTS:
                del self._context_tokens[next(iter(self._context_tokens))]
            self._context_tokens[reading.response_id] = reading.calls[0].total_input_tokens + reading.calls[0].output_tokens


def _lane_of(payload: Mapping[str, Json]) -> str:
    return name(payload.get("stream_id")) or ""


def responses_session(endpoint: Endpoint, model: str, clock: Clock) -> SessionReader:
    """A reader of one Responses socket."""
    return ResponsesSession(endpoint, model, clock)
