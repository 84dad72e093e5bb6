"""Sound in and out: tokens or seconds as stated, else the length of the recording, the subtitles, the characters, the speech itself."""

import base64
import io
import json
import wave
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from tollkeeper.wire.sound import MAX_SECONDS, most_seconds, seconds_of
from wire.junk import documents
from wire.samples import JSON, SSE, read, some_splits, sse
from wire.test_multipart import form

TRANSCRIBE = endpoint_for("openai", "api.openai.com", "POST", "/v1/audio/transcriptions")
TRANSLATE = endpoint_for("azure", "h", "POST", "/openai/deployments/whisper/audio/translations?api-version=2024-06-01")
GROQ = endpoint_for("groq", "api.groq.com", "POST", "/openai/v1/audio/transcriptions")
OPENROUTER = endpoint_for("openrouter", "openrouter.ai", "POST", "/api/v1/audio/transcriptions")
SPEECH = endpoint_for("openai", "api.openai.com", "POST", "/v1/audio/speech")
PLAIN = {"content-type": "text/plain; charset=utf-8"}
MP3 = {"content-type": "audio/mpeg"}

TOKENS = {
    "type": "tokens",
    "input_tokens": 74,
    "input_token_details": {"audio_tokens": 54, "text_tokens": 20},
    "output_tokens": 16,
    "total_tokens": 90,
}
STREAM = sse(
    {"type": "transcript.text.delta", "delta": "The sun"},
    {"type": "transcript.text.delta", "delta": " was setting."},
    {"type": "transcript.text.done", "text": "The sun was setting.", "usage": TOKENS},
)
SRT = b"1\r\n00:00:00,000 --> 00:00:04,200\r\nThe sun\r\n\r\n2\r\n00:01:04,200 --> 01:02:05,400\r\nwas setting.\r\n"
VTT = b"WEBVTT\n\n00:00.000 --> 00:04.200\nThe sun\n\n00:04.200 --> 00:05.400\nwas setting.\n"


def sound(seconds: float) -> bytes:
    """A recording: 16-bit mono WAV at 8 kHz."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * int(seconds * 8000))
    return out.getvalue()


def mp3(frames: int) -> bytes:
    """MPEG 1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes and 1,152 samples a frame."""
    return (b"\xff\xfb\x90\x00" + b"\0" * 413) * frames


def sent(endpoint: Any = TRANSCRIBE, recording: bytes = b"", model: str = "whisper-1", **more: str) -> Any:
    fields = [("model", model.encode()), *((key, value.encode()) for key, value in more.items())]
    return read_ask(endpoint, form(*fields, ("file", recording or sound(12.3), "a.wav")))


def transcript(payload: Any, endpoint: Any = TRANSCRIBE, ask: Any = None) -> Reading:
    return read(endpoint, json.dumps(payload).encode(), JSON, ask=ask or sent(endpoint))


def spoken(**members: Any) -> Any:
    return read_ask(SPEECH, json.dumps(members).encode())


def test_stated_tokens_are_the_bill() -> None:
    reading = transcript({"text": "The sun.", "usage": TOKENS}, ask=sent(model="gpt-4o-transcribe"))
    (usage,) = reading.calls
    assert reading.source is UsageSource.REPORTED
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("gpt-4o-transcribe", 74, 16)
    assert usage.units == {"audio_input_tokens": 54}


@pytest.mark.parametrize("more", [{}, {"duration": 5.489999771118164, "segments": [{"end": 4.8}], "language": "english"}])
def test_stated_seconds_are_the_bill(more: dict[str, Any]) -> None:
    reading = transcript({"text": "x", "usage": {"type": "duration", "seconds": 6}, **more})
    assert (reading.source, dict(reading.calls[0].units)) == (UsageSource.REPORTED, {"audio_input_seconds": 6})


def test_seconds_with_a_cost_beside_them_are_taken_with_it() -> None:
    body = {"model": "openai/whisper-1", "input_audio": {"data": base64.b64encode(sound(5.5)).decode(), "format": "wav"}}
    ask = read_ask(OPENROUTER, json.dumps(body).encode())
    assert (dict(ask.units), ask.units_measured) == ({"audio_input_seconds": 6}, True)
    reading = transcript({"text": "x", "usage": {"seconds": 6, "cost": 0.0006}}, OPENROUTER, ask)
    assert (reading.provider_cost_usd, dict(reading.calls[0].units)) == (Decimal("0.0006"), {"audio_input_seconds": 6})


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [
        ({"text": "x", "duration": 5.495999813079834}, 6),
        ({"text": "x", "duration": "8.470000267028809", "task": "transcribe"}, 9),
        ({"text": "x", "segments": [{"end": 4.0}, {"start": 4.0, "end": 7.5}]}, 8),
        ({"text": "x", "words": [{"word": "x", "start": 0, "end": 1.2}]}, 2),
    ],
)
def test_a_length_stated_outside_the_usage_is_counted(payload: dict[str, Any], seconds: int) -> None:
    ask = read_ask(TRANSCRIBE, form(("model", b"whisper-1")))
    reading = transcript(payload, ask=ask)
    assert (reading.source, dict(reading.calls[0].units)) == (UsageSource.COUNTED, {"audio_input_seconds": seconds})


@pytest.mark.parametrize("body", [b"do you hear me", b"[Music]", b"data: so I said", b"", SRT, VTT])
def test_an_answer_that_states_nothing_is_billed_by_the_recording_sent(body: bytes) -> None:
    reading = read(TRANSCRIBE, body, PLAIN, ask=sent(response_format="text"))
    assert (reading.source, dict(reading.calls[0].units), reading.flags) == (UsageSource.COUNTED, {"audio_input_seconds": 13}, ())


def test_subtitles_tell_the_length_where_the_recording_does_not() -> None:
    ask = sent(recording=b"\x1aE\xdf\xa3 webm" + b"\7" * 900_000)
    assert (dict(ask.units), ask.units_measured) == ({"audio_input_seconds": 601}, False)
    assert read(TRANSCRIBE, SRT, PLAIN, ask=ask).calls[0].units == {"audio_input_seconds": 3726}
    assert read(TRANSCRIBE, VTT, {"content-type": "text/vtt"}, ask=ask).calls[0].units == {"audio_input_seconds": 6}
    bounded = read(TRANSCRIBE, b"words", PLAIN, ask=ask)
    assert (bounded.calls[0].units, bounded.flags) == ({"audio_input_seconds": 601}, ("duration-by-size",))


def test_a_length_that_nothing_tells_is_loud() -> None:
    reading = read(TRANSCRIBE, b"words", PLAIN, ask=read_ask(TRANSCRIBE, b""))
    assert (dict(reading.calls[0].units), reading.flags) == ({"unmeasured_audio": 1}, ("duration-unknown",))


def test_groq_bills_ten_seconds_at_least() -> None:
    assert sent(GROQ, sound(2.0), "whisper-large-v3").units == {"audio_input_seconds": 10}
    assert transcript({"text": "x", "duration": 2.1}, GROQ).calls[0].units == {"audio_input_seconds": 13}
    empty = read_ask(GROQ, form(("model", b"whisper-large-v3")))
    assert transcript({"text": "x", "duration": 2.1}, GROQ, empty).calls[0].units == {"audio_input_seconds": 10}


def test_a_stream_is_billed_by_its_last_event_and_any_split_reads_alike() -> None:
    ask = sent(model="gpt-4o-mini-transcribe", stream="true")
    assert ask.streamed
    whole = read(TRANSCRIBE, STREAM, SSE, ask=ask)
    assert (whole.source, whole.complete, whole.calls[0].input_tokens) == (UsageSource.REPORTED, True, 74)
    for at in some_splits(STREAM, 3):
        assert read(TRANSCRIBE, STREAM, SSE, ask=ask, at=at) == whole


def test_a_stream_cut_anywhere_is_charged_for_the_sound_that_was_sent() -> None:
    ask = sent(model="gpt-4o-transcribe", stream="true")
    for end in range(len(STREAM)):
        reading = read(TRANSCRIBE, STREAM[:end], SSE, ask=ask, cut=True)
        (usage,) = reading.calls
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        assert usage.input_tokens in {74, 140}
        assert usage.units["audio_input_tokens"] in {54, 140}
    assert read(TRANSCRIBE, STREAM[:-200], SSE, ask=ask, cut=True).visible_output.startswith("The sun")


def test_a_path_may_name_the_model_and_the_prompt_of_a_form_is_read() -> None:
    body = form(("prompt", b"Names: Ada"), ("file", sound(1), "a.wav"))
    assert (TRANSLATE.model_in_path, dict(read_ask(TRANSLATE, body).units)) == ("whisper", {"audio_input_seconds": 1})
    assert prompt_text(TRANSLATE, body) == "Names: Ada"


def test_speech_is_billed_by_the_character() -> None:
    ask = spoken(model="tts-1", input="héllo 😀", voice="nova")
    reading = read(SPEECH, mp3(40), MP3, ask=ask)
    assert (reading.source, dict(reading.calls[0].units)) == (UsageSource.COUNTED, {"input_characters": 7})


def test_speech_by_tokens_is_estimated_from_how_long_it_plays() -> None:
    ask = spoken(model="gpt-4o-mini-tts", input="hello " * 30, instructions="warmly")
    reading = read(SPEECH, mp3(383), MP3, ask=ask, at=list(range(1, 3000)))  # 9.98 s
    (usage,) = reading.calls
    assert (reading.source, usage.output_tokens, dict(usage.units)) == (UsageSource.COUNTED, 208, {"audio_output_tokens": 208})
    assert reading.flags == ("estimated-output",)
    assert usage.output_tokens <= ask.units["audio_output_tokens"]
    unknown = read(SPEECH, b"\x01" * 5000, {"content-type": "audio/aac"}, ask=ask)
    assert unknown.calls[0].units == ask.units


def test_speech_streamed_as_events_states_its_tokens() -> None:
    ask = spoken(model="gpt-4o-mini-tts", input="hi", stream_format="sse")
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    stream = sse({"type": "speech.audio.delta", "audio": "A" * 50_000}, {"type": "speech.audio.done", "usage": usage})
    reading = read(SPEECH, stream, SSE, ask=ask)
    (read_usage,) = reading.calls
    assert (reading.source, ask.streamed) == (UsageSource.REPORTED, True)
    assert (read_usage.input_tokens, read_usage.output_tokens, dict(read_usage.units)) == (14, 101, {"audio_output_tokens": 101})


def test_lengths_are_told_by_the_heads_of_recordings() -> None:
    flac = b"fLaC\0\0\0\x22" + b"\0" * 10 + (44_100 << 44 | 1 << 41 | 15 << 36 | 441_000).to_bytes(8, "big") + b"\0" * 40
    ogg = b"OggS" + b"\0" * 24 + b"OpusHead\1\1" + (312).to_bytes(2, "little") + b"\0" * 400
    ogg += b"OggS\0\4" + (48_000 * 3 + 312).to_bytes(8, "little") + b"\0" * 50
    moov = (124).to_bytes(4, "big") + b"moov" + (116).to_bytes(4, "big") + b"mvhd\0\0\0\0" + b"\0" * 8
    moov += (1000).to_bytes(4, "big") + (7_500).to_bytes(4, "big") + b"\0" * 88
    m4a = (16).to_bytes(4, "big") + b"ftypM4A " + b"\0" * 4 + (508).to_bytes(4, "big") + b"mdat" + b"\0" * 500 + moov
    tagged = b"ID3\4\0\0\0\0\1\0" + b"\0" * 128 + mp3(100)
    xing = bytearray(mp3(3))
    xing[36:48] = b"Xing" + (1).to_bytes(4, "big") + (1000).to_bytes(4, "big")
    endless = sound(2)[:4] + b"\xff\xff\xff\xff" + sound(2)[8:40] + b"\xff\xff\xff\xff" + sound(2)[44:]
    assert seconds_of(sound(2.5)) == Fraction(5, 2)
    assert seconds_of(endless) == 2
    assert (seconds_of(flac), seconds_of(ogg), seconds_of(m4a)) == (10, 3, Fraction(15, 2))
    assert seconds_of(tagged) == Fraction(41_700 * 8, 128_000)
    assert seconds_of(bytes(xing)) == Fraction(1000 * 1152, 44_100)
    assert seconds_of(mp3(1), 41_700) == Fraction(41_700 * 8, 128_000)
    assert seconds_of(b"nothing known") is None


@given(
    st.sampled_from([b"RIFF    WAVEfmt ", b"fLaC", b"OggS", b"\0\0\0\x10ftypM4A ", b"\xff\xfb", b"ID3", b""]),
    st.binary(max_size=300),
)
def test_no_recording_breaks_the_look_at_it(head: bytes, rest: bytes) -> None:
    found = seconds_of(head + rest)
    assert found is None or 0 < found <= MAX_SECONDS
    assert 0 <= most_seconds(len(rest)) <= MAX_SECONDS


@given(
    documents(
        ("usage", "duration", "segments", "words", "text", "error", "type", "input_audio", "file", "data", "input", "model")
    )
)
@settings(max_examples=150, deadline=None)
def test_no_shape_of_answer_or_request_breaks_the_reading(payload: dict[str, Any]) -> None:
    raw = json.dumps(payload).encode()
    for endpoint in (TRANSCRIBE, GROQ, SPEECH):
        asked = read_ask(endpoint, raw)
        assert all(0 < count <= MAX_COUNT for count in asked.units.values())
        for found in (read(endpoint, raw, JSON, ask=asked), read(endpoint, sse(payload, payload), SSE, ask=asked)):
            counts = [n for call in found.calls for n in (call.input_tokens, call.output_tokens, *call.units.values())]
            assert all(0 <= one <= MAX_COUNT for one in counts)
