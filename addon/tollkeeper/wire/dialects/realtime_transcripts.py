"""Transcriptions of the user's audio in a Realtime session: a call of their own, at the transcription model's price."""

from collections.abc import Mapping
from decimal import ROUND_CEILING

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, counts_only, decimal, member, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.sessions import OpenTurn, Turn

from .realtime_context import Context


def transcription_turn(number: int, payload: Mapping[str, Json], context: Context, endpoint: Endpoint) -> Turn | None:
    """The call behind a ``…input_audio_transcription.completed`` event; None when it states no usage (older API versions, xAI).

    ``usage.type`` is ``tokens`` (audio in, text out) or ``duration`` (``seconds``, billed by the second, rounded up here).
    """
    usage = member(payload, "usage")
    model = context.transcription_model or ("whisper-1" if "seconds" in usage else None)
    notes = Notes(model=model, response_id=name(payload.get("item_id")), final=True)
    turn = OpenTurn(number=number, ask=Ask(model=model), notes=notes)
    if has_counts(usage):
        turn.calls = (inclusive_usage(usage, model, endpoint.traits, notes.flags),)
    elif (seconds := _seconds(usage.get("seconds"), notes)) is not None:
        turn.calls = (Usage(model=model, units={"audio_input_seconds": seconds}),)
    else:
        return None
    notes.raw.append(counts_only(usage))
    notes.flags.add("transcription")
    return turn.close(cut=False)


def _seconds(value: Json, notes: Notes) -> int | None:
    stated = decimal(value)
    if stated is None:
        return None
    if stated < 0 or stated > MAX_COUNT:
        notes.flags.add("count-negative" if stated < 0 else "count-too-large")
        return 0 if stated < 0 else MAX_COUNT
    return int(stated.to_integral_value(ROUND_CEILING))
