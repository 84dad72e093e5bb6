"""Gemini Live over a WebSocket, on the Gemini API and on Vertex AI: every generation re-reads the session and is billed by itself.

A turn begins by the client's words (``clientContent`` with ``turnComplete``, ``realtimeInput`` with text or the end of an activity, a
``toolResponse``), or by the model itself once it hears that the user has stopped. Usage stands beside the end of a generation; sessions of
older models often state none. Reference: ai.google.dev/api/live, ai.google.dev/gemini-api/docs/live-guide.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.clock import Clock
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, count, member, model_name, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.material import schema_text, texts
from tollkeeper.wire.reading_asks import positive
from tollkeeper.wire.sessions import Opening, OpenTurn, Refused, SessionReader, Turn

from .gemini_counts import SEARCH, bills_queries, disjoint, note_tier, pick, tool_fees

MAX_OUTPUT_TOKENS = 8_192
"""Held for one generation that names no cap: the most that Live models say at once (ai.google.dev/gemini-api/docs/models)."""

_FIGURES = {
    "prompt": "prompt_token_count",
    "cached": "cached_content_token_count",
    "tool_use": "tool_use_prompt_token_count",
    "thoughts": "thoughts_token_count",
    "answer": "response_token_count",
}
_DETAILS = {
    "prompt": "prompt_tokens_details",
    "cached": "cache_tokens_details",
    "tool_use": "tool_use_prompt_tokens_details",
    "answer": "response_tokens_details",
}
_BYTES_PER_TOKEN = 3
_HEARD_TOKENS_PER_SECOND, _HEARD_BYTES_PER_SECOND = 32, 32_000
"""Sound goes in as 16-bit PCM of 16 kHz (Live guide) and counts 32 tokens a second (ai.google.dev/gemini-api/docs/tokens)."""
_SPOKEN_TOKENS_PER_SECOND, _SPOKEN_BYTES_PER_SECOND = 25, 48_000
"""It comes out as 16-bit PCM of 24 kHz; 25 tokens a second (ai.google.dev/gemini-api/docs/pricing: $12 per million, $0.018 a minute)."""
_FRAME_TOKENS = 258
_MAX_PARTS = 1_000


class GeminiLiveSession:
    """Reads one Live socket. Only one turn is under way at a time."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self.notes = Notes(model=_bare(model))
        self._endpoint = endpoint
        self._cap: int | None = None
        self._tools: Json = None
        self._known_tokens = 0
        """What the session held when the last generation ended, as the provider counts."""
        self._new_tokens = 0
        self._numbers = 0
        self._turn: OpenTurn | None = None
        self._is_over = False
        """The open turn has ended; its usage may still come in a message of its own."""
        self._generations: list[Usage] = []
        self._running: Usage | None = None
        self._queries: set[str] = set()
        self._spoken_bytes = 0
        self._over: list[Turn] = []

    def client(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``."""
        setup = member(payload, "setup")
        if setup:
            self._set_up(setup)
            return None
        content = pick(payload, "client_content")
        realtime = pick(payload, "realtime_input")
        response = pick(payload, "tool_response")
        self._heard(realtime)
        for said in (content, response, member({"": realtime}, "").get("text")):
            self._new_tokens = min(
                MAX_COUNT,
                self._new_tokens + sum(len(one.encode("utf-8", "replace")) for one in texts((said,))) // _BYTES_PER_TOKEN,
            )
        starts = isinstance(content, dict) and pick(content, "turn_complete") is True
        if isinstance(realtime, dict):
            starts = starts or isinstance(realtime.get("text"), str) or pick(realtime, "activity_end") is not None
        if not starts and not isinstance(response, dict):
            return None
        return None if self._turn is not None and not self._is_over else self._open()

    def server(self, payload: Mapping[str, Json]) -> Opening | None:
        """See ``SessionReader``. A generation that nobody asked for was begun by the end of the user's speech."""
        notes = self.notes
        ready = pick(payload, "setup_complete")
        if isinstance(ready, dict):
            notes.response_id = name(pick(ready, "session_id")) or notes.response_id
        usage = pick(payload, "usage_metadata")
        content = pick(payload, "server_content")
        content = content if isinstance(content, dict) else {}
        tool_call = pick(payload, "tool_call")
        opening: Opening | None = None
        begins = isinstance(tool_call, dict) or pick(content, "model_turn") is not None or isinstance(usage, dict)
        if self._is_over and (pick(content, "model_turn") is not None or isinstance(tool_call, dict)):
            self._close(cut=False)
        if begins and self._turn is None:
            opening = self._open()
        if self._turn is None:
            return opening
        if payload.get("error"):
            self._turn.notes.failed(payload["error"])
        self._listen(self._turn, content, tool_call)
        if isinstance(usage, dict):
            self._used(usage)
        if isinstance(tool_call, dict):
            self._end_generation()
        if pick(content, "turn_complete") is True:
            self._is_over = True
            self._end_generation()
        if self._is_over and (self._generations or not pick(content, "turn_complete")):
            self._close(cut=False)
        return opening

    def refuse(self, opening: Opening, message: str) -> Refused:
        """See ``SessionReader``. Live knows no error frame: it closes the socket, and so do we, behind a frame that tells why."""
        if self._turn is not None and self._turn.number == opening.number:
            self._forget()
        error = {"code": 400, "message": message, "status": "FAILED_PRECONDITION"}
        # google-genai reads the code of a frame it does not know at its top level, and fails without a word where there is none.
        return Refused(to_client=json.dumps({**error, "error": error}, ensure_ascii=False).encode(), ends_session=True)

    def take_turns(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        if not self._over:
            return ()
        over, self._over = tuple(self._over), []
        return over

    def finish(self) -> tuple[Turn, ...]:
        """See ``SessionReader``."""
        if self._turn is not None:
            self._close(cut=not self._is_over)
        return self.take_turns()

    def _set_up(self, setup: Mapping[str, Json]) -> None:
        self.notes.model = _bare(setup.get("model")) or self.notes.model
        config = pick(setup, "generation_config")
        self._cap = positive(pick(config, "max_output_tokens")) if isinstance(config, dict) else None
        self._tools = setup.get("tools")
        said = (*texts((pick(setup, "system_instruction"),)), schema_text(self._tools))
        self._new_tokens = sum(len(one.encode("utf-8", "replace")) for one in said) // _BYTES_PER_TOKEN

    def _open(self) -> Opening:
        if self._turn is not None:
            self._close(cut=not self._is_over)
        self._numbers += 1
        model = self.notes.model
        fees = tool_fees(self._tools, model or "")
        ask = Ask(
            model=model,
            streamed=True,
            fresh=False,  # its history is with the provider
            max_output_tokens=self._cap or MAX_OUTPUT_TOKENS,
            input_bytes=min(MAX_COUNT, (self._known_tokens + self._new_tokens) * _BYTES_PER_TOKEN),
            server_tools=fees.pop(SEARCH, 0),
            units=fees,
        )
        self._turn = OpenTurn(number=self._numbers, ask=ask, notes=Notes(model=model))
        return Opening(number=self._numbers, ask=ask)

    def _heard(self, realtime: Json) -> None:
        """Sound and pictures that the client sends, as tokens: they are in every prompt from then on."""
        if not isinstance(realtime, dict):
            return
        chunks = pick(realtime, "media_chunks")
        for chunk in (realtime.get("audio"), realtime.get("video"), *(chunks[:_MAX_PARTS] if isinstance(chunks, list) else ())):
            data = chunk.get("data") if isinstance(chunk, dict) else None
            if isinstance(data, str):
                is_sound = str(pick(chunk, "mime_type")).startswith("audio")
                seconds_tokens = len(data) * 3 // 4 * _HEARD_TOKENS_PER_SECOND // _HEARD_BYTES_PER_SECOND
                self._new_tokens = min(MAX_COUNT, self._new_tokens + (seconds_tokens if is_sound else _FRAME_TOKENS))

    def _listen(self, turn: OpenTurn, content: Mapping[str, Json], tool_call: Json) -> None:
        """What the model says, and what it searched for."""
        for part in _parts(pick(content, "model_turn")):
            turn.say(part.get("text"))
            code = pick(part, "executable_code")
            turn.say(code.get("code") if isinstance(code, dict) else None)
            data = pick(part, "inline_data")
            sound = data.get("data") if isinstance(data, dict) else None
            if isinstance(sound, str):
                self._spoken_bytes = min(MAX_COUNT, self._spoken_bytes + len(sound) * 3 // 4)
        for said in texts((member({"": tool_call}, "").get("functionCalls"),)):
            turn.say(said)
        grounding = pick(content, "grounding_metadata")
        queries = pick(grounding, "web_search_queries") if isinstance(grounding, dict) else None
        if isinstance(queries, list) and len(self._queries) < _MAX_PARTS:
            self._queries |= {query for query in queries[:100] if isinstance(query, str) and query}

    def _used(self, usage: Mapping[str, Json]) -> None:
        """Keep the figures of the generation under way; the last ones of it count."""
        turn = self._turn
        if turn is None or not any(pick(usage, key) is not None for key in (*_FIGURES.values(), "total_token_count")):
            return
        flags = turn.notes.flags
        figures = {side: count(pick(usage, key), flags) for side, key in _FIGURES.items()}
        total = count(pick(usage, "total_token_count"), flags)
        stated = sum(figures.values()) - figures["cached"]
        if total and total not in {stated, stated - figures["thoughts"]}:  # Live leaves thoughts out of its total
            flags.add("total-differs")
        turn.notes.keep_raw(usage)
        turn.notes.term("traffic_type", pick(usage, "traffic_type"))
        note_tier(turn.notes, pick(usage, "service_tier"))
        details = {side: pick(usage, key) for side, key in _DETAILS.items()}
        self._running = disjoint(figures, details, self.notes.model, {}, flags)
        self._known_tokens = min(MAX_COUNT, self._running.total_input_tokens + self._running.output_tokens)
        self._new_tokens = 0

    def _end_generation(self) -> None:
        """A tool call and the end of a turn each end a generation; the next one is billed its whole prompt again."""
        if self._running is None:
            return
        queries = len(self._queries) if bills_queries(self.notes.model or "") else min(1, len(self._queries))
        if queries:
            self._running = replace(self._running, units={**self._running.units, SEARCH: queries})
        self._queries.clear()
        self._generations.append(self._running)
        self._running = None

    def _close(self, *, cut: bool) -> None:
        """End the open turn. Where nothing was stated, sound that went past is counted by its seconds."""
        turn = self._turn
        if turn is None:
            return
        self._end_generation()
        spoken = self._spoken_bytes * _SPOKEN_TOKENS_PER_SECOND // _SPOKEN_BYTES_PER_SECOND
        turn.calls = tuple(self._generations)
        turn.notes.final = bool(self._generations) and not cut
        if not self._generations and spoken:
            known = min(MAX_COUNT, self._known_tokens + self._new_tokens)
            turn.calls = (
                Usage(model=self.notes.model, input_tokens=known, output_tokens=spoken, units={"audio_output_tokens": spoken}),
            )
            turn.notes.counted = True
            turn.notes.flags |= {"estimated-output", "estimated-input", "usage-missing"}
            self._known_tokens, self._new_tokens = min(MAX_COUNT, known + spoken), 0
        elif not self._generations:
            turn.notes.flags.add("usage-missing")
        self._over.append(turn.close(cut=cut))
        self._forget()

    def _forget(self) -> None:
        self._turn, self._is_over, self._running = None, False, None
        self._generations.clear()
        self._queries.clear()
        self._spoken_bytes = 0


def gemini_live_session(endpoint: Endpoint, model: str, clock: Clock) -> SessionReader:
    """A reader for one Live socket; the model is named by its first frame."""
    return GeminiLiveSession(endpoint, model)


def _bare(model: Json) -> str | None:
    """``models/x`` and ``projects/…/models/x`` as ``x``."""
    return model_name(model.rpartition("/")[2]) if isinstance(model, str) else None


def _parts(turn: Json) -> Iterator[Mapping[str, Json]]:
    parts = turn.get("parts") if isinstance(turn, dict) else None
    yield from (part for part in (parts[:_MAX_PARTS] if isinstance(parts, list) else ()) if isinstance(part, dict))
