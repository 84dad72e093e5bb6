"""What a Realtime session's frames say of it besides its turns: its settings, and how much the next response will have to read.

The whole conversation goes into each response, so the next one reads what the last one read and wrote, and what came since.
"""

from collections.abc import Mapping

from tollkeeper.core.call import Ask
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.material import schema_text, weigh
from tollkeeper.wire.reading_asks import positive
from tollkeeper.wire.sessions import OpenTurn

MAX_OUTPUT_TOKENS = 4096
"""What ``inf`` means at most Realtime models (developers.openai.com/api/docs/models); gpt-realtime-2 may give more."""

_BYTES_PER_TEXT_TOKEN = 4
_AUDIO_TOKENS_PER_CLIP = 4000
"""Input audio is held for in clips of this many tokens, what the price book holds for one media part."""

_PCM_BYTES_PER_SECOND = 48_000
_G711_BYTES_PER_SECOND = 8_000
_HEARD_TOKENS_PER_SECOND = 10
_SPOKEN_TOKENS_PER_SECOND = 20
"""User audio is a token each 100 ms, the assistant's each 50 ms (developers.openai.com/api/docs/guides/realtime-costs)."""

_G711 = frozenset({"g711_ulaw", "g711_alaw", "audio/pcmu", "audio/pcma"})


class Context:
    """The settings and the weight of one session's conversation."""

    def __init__(self, model: str) -> None:
        self.model: str | None = model_name(model)
        self.transcription_model: str | None = None
        self.starts_by_itself = False
        """Whether responses, or transcriptions in a session of those, begin without the client's word."""
        self._instruction_bytes = 0
        self._max_output_tokens: int | None = None
        self._in_rate = self._out_rate = _PCM_BYTES_PER_SECOND
        self._known_tokens = 0
        self._new_text_bytes = 0
        self._new_audio_bytes = 0
        self._text_messages = 0
        self._spoken_bytes: dict[int, int] = {}

    def session(self, session: Mapping[str, Json]) -> None:
        """Take the settings that the provider confirms. GA puts them under ``audio.input`` and ``audio.output``."""
        heard, spoken = member(member(session, "audio"), "input"), member(member(session, "audio"), "output")
        self.model = model_name(session.get("model")) or self.model
        transcription = member(heard, "transcription") or member(session, "input_audio_transcription")
        self.transcription_model = model_name(transcription.get("model")) or self.transcription_model
        detection = heard.get("turn_detection") if "turn_detection" in heard else session.get("turn_detection")
        kind = name(session.get("type")) or name(session.get("object")) or ""
        only_transcribes = "transcription" in kind
        answers = isinstance(detection, dict) and detection.get("create_response") is not False
        self.starts_by_itself = answers and not only_transcribes
        cap = session.get("max_output_tokens", session.get("max_response_output_tokens"))
        self._max_output_tokens = positive(cap)
        text = weigh((session.get("instructions"),)).text_bytes
        self._instruction_bytes = text + len(schema_text(session.get("tools")).encode("utf-8", "replace"))
        self._in_rate = _rate(heard.get("format", session.get("input_audio_format")))
        self._out_rate = _rate(spoken.get("format", session.get("output_audio_format")))

    def client(self, payload: Mapping[str, Json]) -> None:
        """Weigh what the client puts into the conversation."""
        kind = payload.get("type")
        if kind == "input_audio_buffer.append":
            self._new_audio_bytes += _decoded_bytes(payload.get("audio"))
        elif kind == "conversation.item.create":
            item = member(payload, "item")
            parts = item.get("content")
            self._text_messages += item.get("type", "message") == "message" and item.get("role", "user") == "user"
            for part in parts[:1000] if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    self._new_audio_bytes += _decoded_bytes(part.get("audio"))
            self._new_text_bytes += weigh((_without_audio(parts), item.get("output"), item.get("arguments"))).text_bytes

    def ask(self, response: Mapping[str, Json]) -> Ask:
        """What the next response may use, at most as far as one can tell."""
        cap = positive(response.get("max_output_tokens", response.get("max_response_output_tokens"))) or self._max_output_tokens
        own = weigh((response.get("instructions"), response.get("input"))).text_bytes
        seen = self._known_tokens * _BYTES_PER_TEXT_TOKEN
        heard = self._new_audio_bytes * _HEARD_TOKENS_PER_SECOND // self._in_rate
        return Ask(
            model=model_name(response.get("model")) or self.model,
            streamed=True,
            fresh=False,  # its history is with the provider
            max_output_tokens=cap or MAX_OUTPUT_TOKENS,
            input_bytes=min(MAX_COUNT, self._instruction_bytes + self._new_text_bytes + seen + own),
            media_parts=min(1000, -(-heard // _AUDIO_TOKENS_PER_CLIP)),
        )

    def used(self, usage: Usage) -> None:
        """A response was billed: the next one starts from there."""
        self._known_tokens = min(MAX_COUNT, usage.total_input_tokens + usage.output_tokens)

    def begins(self) -> None:
        """A response begins: what came so far is in it."""
        self._known_tokens = min(
            MAX_COUNT,
            self._known_tokens
            + self._new_text_bytes // _BYTES_PER_TEXT_TOKEN
            + self._new_audio_bytes * _HEARD_TOKENS_PER_SECOND // self._in_rate,
        )
        self._new_text_bytes = self._new_audio_bytes = 0

    def heard(self, number: int, base64_chars: int) -> None:
        """The assistant spoke in turn ``number``."""
        self._spoken_bytes[number] = min(self._spoken_bytes.get(number, 0) + base64_chars * 3 // 4, MAX_COUNT)

    def estimate(self, turn: OpenTurn) -> tuple[Usage, ...]:
        """What a response that broke off had used, by the sound and text that went past."""
        spoken = self._spoken_bytes.get(turn.number, 0) * _SPOKEN_TOKENS_PER_SECOND // self._out_rate
        heard = min(self._known_tokens, MAX_COUNT)
        if not spoken and not heard:
            return ()
        turn.notes.counted = True
        turn.notes.flags |= {"estimated-output", "estimated-input"}
        units = {"audio_output_tokens": spoken} if spoken else {}
        return (Usage(model=turn.notes.model, input_tokens=heard, output_tokens=spoken, units=units),)

    def forget(self, number: int) -> None:
        """Turn ``number`` is over."""
        self._spoken_bytes.pop(number, None)

    def take_text_messages(self) -> int:
        """User messages put in as items since the last time; xAI bills each."""
        taken, self._text_messages = self._text_messages, 0
        return taken


def _decoded_bytes(audio: Json) -> int:
    return min(len(audio) * 3 // 4, MAX_COUNT) if isinstance(audio, str) else 0


def _without_audio(parts: Json) -> list[Json]:
    """The texts of a message's parts: base64 is no text."""
    found = [part for part in parts[:1000] if isinstance(part, dict)] if isinstance(parts, list) else []
    return [part.get("text") or part.get("transcript") for part in found]


def _rate(audio_format: Json) -> int:
    """Bytes of one second: PCM of 24 kHz and 16 bits unless it is G.711."""
    kind = name(audio_format.get("type")) if isinstance(audio_format, dict) else name(audio_format)
    return _G711_BYTES_PER_SECOND if kind in _G711 else _PCM_BYTES_PER_SECOND
