"""A recorded WebSocket: its frames through the very reader that reads a live one."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import Reading, UsageSource

from .counts import Json
from .dialect import MAX_RAW_OBJECTS
from .dialects import SESSIONS
from .request import prompt_text
from .sessions import UNUSED, Turn, parse_frame

_GUESSED = frozenset({UsageSource.COUNTED, UsageSource.PARTIAL})
_SURENESS = (UsageSource.REPORTED, UsageSource.COUNTED, UsageSource.PARTIAL, UsageSource.UNMETERED, *UsageSource)
"""Which of its turns' sources a recorded session is said to have: the surest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSession:
    """The turns of a session that came to something, in order, and the model that it named."""

    turns: tuple[Turn, ...]
    model: str | None


def read_session(endpoint: Endpoint, model: str, recorded: bytes) -> Reading:
    """A recorded WebSocket as one reading; what its frames are, ``session_turns`` says."""
    session = session_turns(endpoint, model, recorded)
    return as_one([turn.reading for turn in session.turns], session.model)


def session_turns(endpoint: Endpoint, model: str, recorded: bytes) -> RecordedSession:
    """A recorded WebSocket, turn by turn.

    ``recorded`` holds a JSON object a line: ``direction`` (``sent`` or ``received``) and ``data``, a frame as JSON or as its text.
    """
    reader = SESSIONS[endpoint.dialect or ""](endpoint, model, lambda: 0)
    asked: dict[int, Mapping[str, Json]] = {}
    turns: list[Turn] = []

    def take(ended: Iterable[Turn]) -> None:
        for turn in ended:
            frame = asked.pop(turn.number, None)
            if UNUSED in turn.reading.flags:
                continue
            unasked = turn.prompt or frame is None or turn.reading.source not in _GUESSED
            turns.append(turn if unasked else replace(turn, prompt=prompt_text(endpoint, json.dumps(frame).encode())))

    for line in recorded.splitlines():
        record = parse_frame(line) or {}
        frame = _frame(record.get("data"))
        if frame is None:
            continue
        opening = (reader.client if record.get("direction") == "sent" else reader.server)(frame)
        if opening is not None and opening.is_request:
            asked[opening.number] = frame
        take(reader.take_turns())
    take(reader.finish())
    return RecordedSession(turns=tuple(turns), model=reader.notes.model)


def as_one(readings: Sequence[Reading], model: str | None = None) -> Reading:
    """The readings of a session's turns as one: the calls of all, in order.

    It is ``reported`` as soon as one turn's figures are; turns of which less is known leave the flag ``turns-differ``. What each
    turn costs goes by its own terms and its own stated cost: bill turn by turn.
    """
    if not readings:
        return Reading(source=UsageSource.NONE, model=model, flags=("no-turns",))
    sources = {reading.source for reading in readings}
    source = next(each for each in _SURENESS if each in sources)
    flags = {flag for reading in readings for flag in reading.flags}
    costs = [reading.provider_cost_usd for reading in readings if reading.provider_cost_usd is not None]
    return Reading(
        source=source,
        calls=tuple(call for reading in readings for call in reading.calls),
        model=model or readings[-1].model,
        response_id=readings[-1].response_id,
        terms=readings[-1].terms,
        provider_cost_usd=sum(costs, Decimal(0)) if len(costs) == len(readings) else None,
        error=next((reading.error for reading in readings if reading.error), None),
        complete=readings[-1].complete,
        raw=tuple(raw for reading in readings for raw in reading.raw)[-MAX_RAW_OBJECTS:],
        flags=tuple(sorted(flags | ({"turns-differ"} if len(sources) > 1 else set()))),
        visible_output="" if source is UsageSource.REPORTED else "".join(reading.visible_output for reading in readings),
    )


def _frame(data: Json) -> Mapping[str, Json] | None:
    """A frame as its recorder kept it: as JSON, as text, or as base64 where it was binary."""
    if not isinstance(data, str):
        return data if isinstance(data, dict) else None
    found = parse_frame(data.encode("utf-8", "surrogatepass"))
    if found is not None:
        return found
    try:
        return parse_frame(base64.b64decode(data, validate=True))
    except ValueError:
        return None
