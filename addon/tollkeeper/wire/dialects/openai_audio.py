"""OpenAI audio: transcription and translation (sound in), speech (sound out), and every host that speaks them.

Transcriptions are billed by tokens (``usage.type`` ``tokens``) or by duration (``duration``, whole seconds); answers that state
neither are counted from their own duration, the time stamps of subtitles, or the uploaded recording. Speech is billed by the
character or by tokens of sound, and states nothing unless it is streamed as events.
Reference: platform.openai.com/docs/api-reference/audio; console.groq.com/docs/speech-to-text.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, decimal, model_name, text
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes, body_error
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts, weigh
from tollkeeper.wire.multipart import Upload
from tollkeeper.wire.reading_asks import flag
from tollkeeper.wire.sound import most_seconds, seconds_of
from tollkeeper.wire.stated_cost import note_stated_cost
from tollkeeper.wire.traits import TEN_SECONDS

INPUT_TOKENS_PER_SECOND = 10
"""Sound as the gpt-4o transcribers count it: 54 for 5.49 s in recorded answers, $0.006 a minute at $6 per million (OpenAI's pricing)."""
OUTPUT_TOKENS_PER_SECOND = Fraction(1250, 60)
"""Speech of gpt-4o-mini-tts: $0.015 a minute at $12 per million tokens (OpenAI's pricing)."""
TRANSCRIPT_TOKENS_PER_SECOND = 8
SLOWEST_CHARACTERS_PER_SECOND = 5
"""For what speech is held at most: "hello", spoken slowly, took a second in a recorded answer."""
_LEAST_SPEECH_SECONDS = 12
_UNMEASURED = "unmeasured_audio"
"""One recording of unknown length: it has no price, so it stands in every report at its ceiling."""

_BY_TOKENS = re.compile(r"gpt-4o(?:-mini)?-transcribe", re.IGNORECASE)
_SPOKEN_BY_TOKENS = re.compile(r"gpt-.*tts|gpt-audio|gpt-.*-audio", re.IGNORECASE)
_STAMP = re.compile(rb"(?:(\d{1,3}):)?(\d{2}):(\d{2})[.,](\d{3})")


class OpenAITranscription:
    """The dialect ``openai-transcription``."""

    name = "openai-transcription"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. A multipart body comes as its fields; OpenRouter takes the sound as base64 in JSON."""
        model = model_name(body.get("model"))
        seconds, measured = _length(body)
        least = 10 if TEN_SECONDS in endpoint.traits else 1
        whole = max(least, ceil(seconds)) if seconds else 0
        units: dict[str, int] = {}
        if whole and _BY_TOKENS.search(model or endpoint.model_in_path or ""):
            units = {
                "audio_input_tokens": whole * INPUT_TOKENS_PER_SECOND + INPUT_TOKENS_PER_SECOND,
                "output_tokens": whole * TRANSCRIPT_TOKENS_PER_SECOND + 100,
            }
        elif whole:
            units = {"audio_input_seconds": whole}
        return Ask(
            model=model,
            streamed=flag(body.get("stream")),
            input_bytes=weigh((body.get("prompt"),)).text_bytes,
            units={unit: min(found, MAX_COUNT) for unit, found in units.items()},
            units_measured=measured,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield text(body.get("prompt"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. A transcript has no cap."""
        return ()

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return TranscriptReader(endpoint, ask)


class TranscriptReader:
    """Reads one transcript, as JSON, events, plain text or subtitles."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._ask = ask
        self._usage: Mapping[str, Json] | None = None
        self._seconds: Fraction | None = None
        self._stated = False

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b"usage" in data or b".done" in data or b'"error"' in data or b'"duration"' in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        self.notes.ended = self.notes.ended or data.strip() == b"[DONE]"

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        if payload.get("type") == "error" or payload.get("error"):
            self.notes.failed(payload.get("error") or payload)
        self._take(payload)
        if payload.get("type") == "transcript.text.done":
            self.notes.ended = True
            self.notes.final = self._stated

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.notes.identity(payload)
        if (error := body_error(dict(payload))) is not None:
            self.notes.error = error
        self._take(payload)
        self.notes.final = True

    def plain(self, body: bytes) -> None:
        """The whole answer, when it is no JSON: a transcript, or subtitles that tell when the last word was."""
        stamps = _STAMP.findall(body)
        if stamps:
            self._seconds = max(_stamp(*found) for found in stamps) or None

    def _take(self, payload: Mapping[str, Json]) -> None:
        notes, usage = self.notes, payload.get("usage")
        if isinstance(usage, dict):
            note_stated_cost(usage, notes)
            if has_counts(usage):
                self._usage, self._stated = usage, True
                notes.keep_raw(usage)
            elif (seconds := _seconds(usage.get("seconds"))) is not None:
                self._seconds, self._stated = seconds, True
                notes.keep_raw(usage)
        if not self._stated:
            self._seconds = _seconds(payload.get("duration")) or _last_end(payload) or self._seconds

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        notes, model = self.notes, self.notes.model or self._ask.model
        if self._usage is not None:
            return (inclusive_usage(self._usage, model, self._endpoint.traits, notes.flags),)
        if notes.error and self._seconds is None:
            return ()
        if self._stated and self._seconds is not None:
            return (Usage(model=model, units={"audio_input_seconds": self._billed(self._seconds)}),)
        notes.counted = True
        units = dict(self._ask.units)
        if "audio_input_tokens" in units:
            tokens, written = units["audio_input_tokens"], units.get("output_tokens", 0)
            return (Usage(model=model, input_tokens=tokens, output_tokens=written, units={"audio_input_tokens": tokens}),)
        if self._seconds is not None and not (self._ask.units_measured and self._ask.units):
            return (Usage(model=model, units={"audio_input_seconds": self._billed(self._seconds)}),)
        if not units:
            notes.flags.add("duration-unknown")
            return (Usage(model=model, units={_UNMEASURED: 1}),)
        if not self._ask.units_measured:
            notes.flags.add("duration-by-size")
        return (Usage(model=model, units=units),)

    def _billed(self, seconds: Fraction) -> int:
        """Whole seconds, as OpenAI bills them (6 for 5.49 s); Groq bills ten at least."""
        return min(max(10 if TEN_SECONDS in self._endpoint.traits else 1, ceil(seconds)), MAX_COUNT)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. Only where transcripts are billed by tokens."""
        if "audio_input_tokens" in self._ask.units:
            kind = payload.get("type")
            yield text(payload.get("delta")) if kind == "transcript.text.delta" else "" if kind else text(payload.get("text"))


class OpenAISpeech:
    """The dialect ``openai-speech``."""

    name = "openai-speech"
    answers = Answers.OPAQUE

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        model = model_name(body.get("model"))
        characters = sum(len(one) for one in texts((body.get("input"),)))
        by_tokens = _SPOKEN_BY_TOKENS.search(model or endpoint.model_in_path or "") is not None
        units = {"input_characters": characters}
        if by_tokens:
            seconds = characters // SLOWEST_CHARACTERS_PER_SECOND + _LEAST_SPEECH_SECONDS
            units = {"audio_output_tokens": ceil(seconds * OUTPUT_TOKENS_PER_SECOND)}
        return Ask(
            model=model,
            streamed=body.get("stream_format") == "sse" or flag(body.get("stream")),
            input_bytes=weigh((body.get("input"), body.get("instructions"))).text_bytes,
            units={unit: min(found, MAX_COUNT) for unit, found in units.items() if found},
            units_measured=not by_tokens,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts((body.get("input"), body.get("instructions")))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. Speech has no cap."""
        return ()

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return SpeechReader(endpoint, ask)


class SpeechReader:
    """Reads spoken sound: its length where tokens are billed, its events where it comes as such."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._ask = ask
        self._usage: Mapping[str, Json] | None = None
        self._tokens: int | None = None

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b".done" in data or b'"error"' in data or b"usage" in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        self.notes.ended = self.notes.ended or data.strip() == b"[DONE]"

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        if payload.get("type") == "error" or payload.get("error"):
            self.notes.failed(payload.get("error") or payload)
        self.body(payload)
        if payload.get("type") == "speech.audio.done":
            self.notes.ended = self.notes.final = True

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        usage = payload.get("usage")
        if isinstance(usage, dict):
            note_stated_cost(usage, self.notes)
            if has_counts(usage):
                self._usage = usage
                self.notes.keep_raw(usage)

    def media(self, head: bytes, size: int) -> None:
        """The sound: its first bytes, and how many there were."""
        seconds = seconds_of(head, size)
        if seconds is not None:
            self._tokens = min(max(1, ceil(seconds * OUTPUT_TOKENS_PER_SECOND)), MAX_COUNT)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        notes, model, units = self.notes, self._ask.model, dict(self._ask.units)
        if self._usage is not None:
            read = inclusive_usage(self._usage, model, self._endpoint.traits, notes.flags)
            return (
                (replace(read, units={**read.units, "audio_output_tokens": read.output_tokens}),)
                if read.output_tokens
                else (read,)
            )
        if notes.error:
            return ()
        notes.counted = True
        if "audio_output_tokens" in units:
            tokens = units["audio_output_tokens"] if self._tokens is None else self._tokens
            notes.flags.add("estimated-output")
            return (Usage(model=model, output_tokens=tokens, units={"audio_output_tokens": tokens}),)
        return (Usage(model=model, units=units),) if units else ()

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. Sound is no text."""
        yield from ()


def _length(body: Mapping[str, Json]) -> tuple[Fraction | int | None, bool]:
    """The length of the recording sent, or a bound by its size; and whether it was measured."""
    upload = body.get("file")
    if isinstance(upload, list):
        upload = upload[0] if upload else None
    if isinstance(upload, Upload):
        measured = seconds_of(upload.view)
        return (measured, True) if measured is not None else (most_seconds(upload.size), False)
    inline = body.get("input_audio")
    data = inline.get("data") if isinstance(inline, dict) else upload
    if isinstance(data, str) and data and not data[:8].lower().startswith("http"):
        return _inline_length(data)
    return None, False


def _inline_length(data: str) -> tuple[Fraction | int | None, bool]:
    start = data.find(",") + 1 if data.startswith("data:") else 0
    size = (len(data) - start) * 3 // 4
    try:
        head = base64.b64decode(data[start : start + 360_000 & ~3] if start == 0 else data[start : start + 360_000])
    except (binascii.Error, ValueError):
        return most_seconds(size), False
    measured = seconds_of(head, size)
    return (measured, True) if measured is not None else (most_seconds(size), False)


def _seconds(value: Json) -> Fraction | None:
    number = None if isinstance(value, bool) else decimal(str(value) if isinstance(value, float) else value)
    if number is None or not 0 < number <= MAX_COUNT:
        return None
    return Fraction(number)


def _last_end(payload: Mapping[str, Json]) -> Fraction | None:
    """Where the last segment or word ends."""
    for key in ("segments", "words"):
        listed = payload.get(key)
        last = listed[-1] if isinstance(listed, list) and listed else None
        if isinstance(last, dict) and (found := _seconds(last.get("end"))) is not None:
            return found
    return None


def _stamp(hours: bytes, minutes: bytes, seconds: bytes, thousandths: bytes) -> Fraction:
    return int(hours or b"0") * 3600 + int(minutes) * 60 + int(seconds) + Fraction(int(thousandths), 1000)
