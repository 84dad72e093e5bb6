"""GPT-Live over a WebSocket: the voice is billed by the second it is connected, and what it delegates to a Responses model besides.

The provider states the seconds so far in ``session.usage.updated`` and, finally, in ``session.closed``; silence counts too. They are booked
in slices, each a turn of its own, so that a budget is asked again while a conversation goes on. Delegated responses come as the
events of a Responses stream in an envelope.
Reference: developers.openai.com/api/docs/guides/voice-websockets, …/voice-latency-cost; the event types of openai-python 3.54.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, counts_only, decimal, member, model_name, name
from tollkeeper.wire.dialect import Notes, error_class
from tollkeeper.wire.sessions import Opening, OpenTurn, Refused, SessionReader, Turn

from .responses_session import ResponsesSession

SLICE_SECONDS = 300
"""What is held for at a time; a conversation that goes on is held for anew."""

_DELEGATED = 1_000_000
"""Delegated responses are numbered from here on."""


class LiveSession:
    """Reads one Live socket."""

    def __init__(self, endpoint: Endpoint, model: str, clock: Clock) -> None:
        self.notes = Notes(model=model_name(model))
        self._clock = clock
        self._delegated = ResponsesSession(endpoint, "", clock)
        self._slice: OpenTurn | None = None
        self._numbers = 0
        self._started_at: int | None = None
        self._known_seconds = self._booked_seconds = 0
        self._over: list[Turn] = []

    def client(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``. The session begins with ``session.start``, which names the model."""
        if payload.get("type") != "session.start" or self._slice is not None:
            return None
        self.notes.model = model_name(member(payload, "session").get("model")) or self.notes.model
        return self._next_slice()

    def server(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``."""
        kind = payload.get("type")
        if kind == "response.event":
            return self._delegate(member(payload, "event"))
        if kind == "session.started":
            self._started_at = self._clock()
            self.notes.response_id = name(member(payload, "session").get("id"))
        elif kind == "session.usage.updated":
            self._note_seconds(payload)
            if self._slice is not None and self._known_seconds - self._booked_seconds >= SLICE_SECONDS:
                self._book(cut=False)
                return self._next_slice(in_advance=True)
        elif kind == "session.closed":
            self._note_seconds(payload)
            self._book(cut=False)
        elif kind == "error" and self._started_at is None and self._slice is not None:
            self._slice.notes.error = error_class(payload.get("error")) or "error"
            self._book(cut=False)
        return None

    def refuse(self, opening: Opening, message: str) -> Refused:
        """See ``SessionReader``. Nothing but its end stops a session that has begun."""
        if opening.number >= _DELEGATED:
            return self._delegated.refuse(replace(opening, number=opening.number - _DELEGATED), message)
        has_begun = self._started_at is not None
        self._slice = None
        error = {"type": "invalid_request_error", "code": "budget_exceeded", "message": message, "param": None}
        frame = {"type": "error", "event_id": f"event_tollkeeper_{opening.number}", "error": error}
        return Refused(to_client=json.dumps(frame, ensure_ascii=False).encode(), ends_session=has_begun)

    def take_turns(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        delegated = [replace(turn, number=turn.number + _DELEGATED) for turn in self._delegated.take_turns()]
        over, self._over = (*self._over, *delegated), []
        return over

    def finish(self) -> tuple[Turn, ...]:
        """See ``SessionReader``. Without the provider's last word the seconds are those of our own clock."""
        if self._slice is not None and self._started_at is not None:
            elapsed = max(0, -(-(self._clock() - self._started_at) // US_PER_SECOND))
            if elapsed > self._known_seconds:
                self._known_seconds = min(MAX_COUNT, elapsed)
                self._slice.notes.counted = True
                self._slice.notes.flags.add("seconds-by-clock")
        self._book(cut=True)
        delegated = [replace(turn, number=turn.number + _DELEGATED) for turn in self._delegated.finish()]
        return (*self.take_turns(), *delegated)

    def _delegate(self, event: Mapping[str, Json]) -> Opening | None:
        opening = self._delegated.server(event)
        return None if opening is None else replace(opening, number=opening.number + _DELEGATED)

    def _next_slice(self, *, in_advance: bool = False) -> Opening:
        self._numbers += 1
        # Billed by time alone: a token of output is as little as can be asked.
        units = {"audio_seconds": SLICE_SECONDS}
        ask = Ask(model=self.notes.model, streamed=True, fresh=False, max_output_tokens=1, units=units)
        self._slice = OpenTurn(number=self._numbers, ask=ask, notes=Notes(model=self.notes.model))
        return Opening(number=self._numbers, ask=ask, in_advance=in_advance)

    def _note_seconds(self, payload: Mapping[str, Json]) -> None:
        """The provider's running total, which never falls."""
        usage = member(payload, "usage")
        stated = decimal(usage.get("seconds"))
        if stated is None or self._slice is None:
            return
        if stated < 0 or stated > MAX_COUNT:
            self._slice.notes.flags.add("count-negative" if stated < 0 else "count-too-large")
            return
        self._known_seconds = max(self._known_seconds, int(stated.to_integral_value(ROUND_CEILING)))
        self._slice.notes.raw[:] = [counts_only(usage)]

    def _book(self, *, cut: bool) -> None:
        turn, self._slice = self._slice, None
        if turn is None:
            return
        seconds = self._known_seconds - self._booked_seconds
        self._booked_seconds = self._known_seconds
        turn.notes.response_id = self.notes.response_id
        if not seconds and self._started_at is None:
            self._over.append(turn.close(cut=False) if turn.notes.error else turn.close_unused())
            return
        turn.calls = (Usage(model=self.notes.model, units={"audio_seconds": seconds} if seconds else {}),)
        turn.notes.final = not turn.notes.counted
        self._over.append(turn.close(cut=cut))


def live_session(endpoint: Endpoint, model: str, clock: Clock) -> SessionReader:
    """A reader of one GPT-Live socket."""
    return LiveSession(endpoint, model, clock)
