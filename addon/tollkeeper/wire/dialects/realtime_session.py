"""OpenAI Realtime over a WebSocket, as OpenAI, Azure and xAI speak it, in its GA and beta shapes: each response is a turn.

A response begins by the client's ``response.create`` or by itself, when voice activity ends. For the second kind a turn is opened
in advance, so that its hold stands before any audio can start it; it is bound to the next response and opened anew after each.
Transcriptions of the user's audio are billed besides, at a model of their own. xAI bills the time a session is open instead.
Reference: platform.openai.com/docs/api-reference/realtime, developers.openai.com/api/docs/guides/realtime-costs, docs.x.ai (voice).
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, member, model_name, name, rounded_up
from tollkeeper.wire.dialect import Notes, error_class
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.sessions import MAX_OPEN_TURNS, Opening, OpenTurn, Refused, SessionReader, Turn
from tollkeeper.wire.stated_cost import note_stated_cost

from .live_session import SLICE_SECONDS
from .realtime_context import Context
from .realtime_transcripts import transcription_turn

_TEXT_DELTAS = frozenset(
    {
        "response.text.delta", "response.output_text.delta", "response.function_call_arguments.delta",
        "response.audio_transcript.delta", "response.output_audio_transcript.delta",
    }
)  # fmt: skip
_AUDIO_DELTAS = frozenset({"response.audio.delta", "response.output_audio.delta"})
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


class RealtimeSession:
    """Reads one Realtime socket."""

    def __init__(self, endpoint: Endpoint, model: str, clock: Clock, *, by_time: bool = False) -> None:
        self.notes = Notes(model=model or None)
        self._endpoint = endpoint
        self._context = Context(model)
        self._clock = clock
        self._by_time = by_time
        self._paid_until = clock()
        self._paid_seconds = 0
        self._numbers = 0
        self._asked: deque[tuple[str, OpenTurn]] = deque()
        """Turns that the client asked for and that have not begun, with the ids of their events."""
        self._standing: OpenTurn | None = None
        """The turn held in advance for a response that voice activity may start."""
        self._running: dict[str, OpenTurn] = {}
        self._over: list[Turn] = []

    def client(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``."""
        kind = payload.get("type")
        self._context.client(payload)
        if kind != "response.create":
            return None
        if len(self._asked) >= MAX_OPEN_TURNS:
            self._close(self._asked.popleft()[1], cut=True)
        turn = self._new_turn(self._context.ask(member(payload, "response")))
        self._asked.append((name(payload.get("event_id")) or "", turn))
        return Opening(number=turn.number, ask=turn.ask)

    def server(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``."""
        kind = payload.get("type")
        if not isinstance(kind, str):
            return None
        if kind in _TEXT_DELTAS or kind in _AUDIO_DELTAS:
            self._said(payload, audio=kind in _AUDIO_DELTAS)
        elif kind in {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}:
            self._context.session(member(payload, "session"))
            self.notes.model = self._context.model or self.notes.model
            self.notes.response_id = self.notes.response_id or name(member(payload, "session").get("id"))
            return self._stand_ready()
        elif kind == "response.created":
            return self._created(member(payload, "response"))
        elif kind == "response.done":
            self._done(member(payload, "response"), payload.get("usage"))
            return self._stand_ready()
        elif kind == _TRANSCRIBED:
            self._transcribed(payload)
        elif kind == "error":
            self._failed(payload)
        return None

    def refuse(self, opening: Opening, message: str) -> Refused:
        """See ``SessionReader``: an ``error`` event, as the provider sends for a bad request; it leaves the session open.

        A response that began by itself is cancelled too; what it used until then is still read. When the hold in advance is refused
        the session ends: its next response could not be stopped in time.
        """
        error = {"type": "invalid_request_error", "code": None, "message": message, "param": None, "event_id": None}
        to_client = json.dumps({"type": "error", "event_id": f"event_tollkeeper_{opening.number}", "error": error}).encode()
        if self._standing is not None and self._standing.number == opening.number:
            self._standing = None
            return Refused(to_client=to_client, ends_session=True)
        if self._asked and self._asked[-1][1].number == opening.number:
            self._asked.pop()
            return Refused(to_client=to_client)
        begun = next((key for key, turn in self._running.items() if turn.number == opening.number), None)
        cancel = {"type": "response.cancel", **({"response_id": begun} if begun else {})}
        return Refused(to_client=to_client, to_server=json.dumps(cancel).encode())

    def take_turns(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        if not self._over:
            return ()
        over, self._over = tuple(self._over), []
        return over

    def finish(self) -> tuple[Turn, ...]:
        """See ``SessionReader``. A turn held in advance that never came is over without a cost."""
        for turn in [*self._running.values(), *(turn for _, turn in self._asked)]:
            self._close(turn, cut=True)
        self._running.clear()
        self._asked.clear()
        standing, self._standing = self._standing, None
        if self._by_time and (seconds := self._unpaid_seconds()):
            turn = standing or self._new_turn(self._context.ask({}))
            turn.calls = (Usage(model=self._context.model, units={"audio_seconds": seconds}),)
            self._over.append(turn.close(cut=False))
        elif standing is not None:
            self._release(standing)
        return self.take_turns()

    def _new_turn(self, ask: Ask) -> OpenTurn:
        self._numbers += 1
        if self._by_time:  # tokens cost nothing here; one of output is as little as can be asked
            ask = replace(ask, max_output_tokens=1, input_bytes=0, media_parts=0, units={"audio_seconds": SLICE_SECONDS})
        return OpenTurn(number=self._numbers, ask=ask, notes=Notes(model=self._context.model))

    def _stand_ready(self) -> Opening | None:
        """Open the turn in advance where responses start by themselves; let it go where they no longer do."""
        if self._context.starts_by_itself and self._standing is None:
            self._standing = self._new_turn(self._context.ask({}))
            return Opening(number=self._standing.number, ask=self._standing.ask, in_advance=True)
        if not self._context.starts_by_itself and self._standing is not None:
            self._release(self._standing)
            self._standing = None
        return None

    def _created(self, response: Mapping[str, Json]) -> Opening | None:
        """Bind a response that begins: to the oldest one asked for, else to the one held in advance, else it is a new turn."""
        identity = name(response.get("id")) or f"unnamed-{self._numbers}"
        if identity in self._running:
            return None
        if len(self._running) >= MAX_OPEN_TURNS:
            self._close(self._running.pop(next(iter(self._running))), cut=True)
        opening: Opening | None = None
        if self._asked:
            _, turn = self._asked.popleft()
        elif self._standing is not None:
            turn, self._standing = self._standing, None
        else:
            turn = self._new_turn(self._context.ask(response))
            opening = Opening(number=turn.number, ask=turn.ask)
        turn.notes.response_id = identity
        self._running[identity] = turn
        self._context.begins()
        return opening

    def _said(self, payload: Mapping[str, Json], *, audio: bool) -> None:
        turn = self._running.get(name(payload.get("response_id")) or "")
        delta = payload.get("delta")
        if turn is None or not isinstance(delta, str):
            return
        if audio:
            self._context.heard(turn.number, len(delta))
        else:
            turn.say(delta)

    def _done(self, response: Mapping[str, Json], beside: Json) -> None:
        """A response is over. ``beside``: the event's own usage, where xAI's figures stand; its ``response.usage`` is empty."""
        identity = name(response.get("id")) or ""
        turn = self._running.pop(identity, None)
        if turn is None and not identity and len(self._running) == 1:
            turn = self._running.popitem()[1]
        if turn is None and self._asked:  # its beginning was lost: it is the oldest that was asked for
            turn = self._asked.popleft()[1]
        if turn is None:  # nobody asked for it, or it was refused
            turn = self._new_turn(self._context.ask(response))
        notes = turn.notes
        notes.response_id = notes.response_id or identity or None
        notes.model = model_name(response.get("model")) or notes.model
        if (error := member(response, "status_details").get("error")) is not None or response.get("status") == "failed":
            notes.error = _code(error)
        usage = next((one for one in (response.get("usage"), beside) if isinstance(one, dict) and has_counts(one)), None)
        if usage is not None:
            notes.keep_raw(usage)
            note_stated_cost(usage, notes)
            notes.final = True
            turn.calls = (inclusive_usage(usage, notes.model, self._endpoint.traits, notes.flags),)
            self._context.used(turn.calls[0])
            if notes.error and not turn.calls[0].total_input_tokens and not turn.calls[0].output_tokens:
                turn.calls = ()  # a failed response states zeros (openai-python #2502)
        if self._by_time:
            turn.calls = (Usage(model=notes.model, units=self._timed_units(member({"": beside}, ""))),)
        self._close(turn, cut=False)

    def _transcribed(self, payload: Mapping[str, Json]) -> None:
        self._numbers += 1
        turn = transcription_turn(self._numbers, payload, self._context, self._endpoint)
        if turn is not None:
            self._over.append(turn)

    def _failed(self, payload: Mapping[str, Json]) -> None:
        """An error event names the client's event that caused it, or none; one that no ``response.create`` caused ends no turn."""
        error = member(payload, "error")
        about = name(error.get("event_id")) or ""
        known = next((index for index, (event, _) in enumerate(self._asked) if event and event == about), None)
        if known is None and self._asked and not about and name(error.get("code")) in _REFUSES_RESPONSE:
            known = 0
        if known is None:
            return
        _, turn = self._asked[known]
        del self._asked[known]
        turn.notes.error = _code(error)
        self._close(turn, cut=False)

    def _close(self, turn: OpenTurn, *, cut: bool) -> None:
        if cut and not turn.calls and turn.notes.response_id and not self._by_time:
            turn.calls = self._context.estimate(turn)
        self._over.append(turn.close(cut=cut))
        self._context.forget(turn.number)

    def _release(self, turn: OpenTurn) -> None:
        self._over.append(turn.close_unused())

    def _unpaid_seconds(self) -> int:
        return max(0, -(-(self._clock() - self._paid_until) // US_PER_SECOND))

    def _timed_units(self, usage: Mapping[str, Json]) -> dict[str, int]:
        """What xAI bills: seconds of connection since the last time, and text messages the client put in.

        The ``billable_audio_seconds`` that it states are those of the whole session so far (no schema has them; by captures of two
        clients' authors): they count where the clock has less, as it has for recorded frames.
        """
        unpaid, messages = self._unpaid_seconds(), self._context.take_text_messages()
        self._paid_until += unpaid * US_PER_SECOND
        stated = rounded_up(usage.get("billable_audio_seconds"), self.notes.flags)
        seconds = max(unpaid, stated - self._paid_seconds)
        self._paid_seconds += seconds
        units = {"audio_seconds": seconds, "input_text_messages": messages}
        return {unit: found for unit, found in units.items() if found}


_REFUSES_RESPONSE = frozenset({"conversation_already_has_active_response", "insufficient_quota", "rate_limit_exceeded"})


def _code(error: Json) -> str:
    found = name(error.get("code")) if isinstance(error, dict) else None
    return found or error_class(error) or "error"


def realtime_session(endpoint: Endpoint, model: str, clock: Clock) -> SessionReader:
    """A reader of one Realtime socket."""
    return RealtimeSession(endpoint, model, clock)


def xai_realtime_session(endpoint: Endpoint, model: str, clock: Clock) -> SessionReader:
    """A reader of one socket of xAI's voice agents: the same frames, billed by the time they are open and by the text put in."""
    return RealtimeSession(endpoint, model, clock, by_time=True)
