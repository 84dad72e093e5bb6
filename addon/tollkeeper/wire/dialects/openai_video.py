"""Video made in the background: OpenAI's ``/videos`` (create, remix, edit, extend), xAI's ``/videos/generations``, and their relatives.

Making a video is billed by the second and its size; the answer to its creation says what is being made, polls repeat it.
Reference: developers.openai.com/api/reference (Videos), docs.x.ai/developers/model-capabilities/video/generation.
"""

import re
from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, member, model_name, name, text
from tollkeeper.wire.dialect import AnswerReader, Answers, body_error
from tollkeeper.wire.material import weigh
from tollkeeper.wire.reading_asks import whole
from tollkeeper.wire.row import RETRIEVE
from tollkeeper.wire.stated_cost import note_stated_cost

from .whole import WholeReader

MAX_SECONDS = 3_600
LONGEST_SECONDS = 20
"""Held where neither the request nor its model tells a length: the longest clip that OpenAI makes."""

_DEFAULTS = ((re.compile(r"sora-2", re.IGNORECASE), 4, "720x1280"), (re.compile(r"grok-imagine", re.IGNORECASE), 8, "480p"))
"""What is made where the request says nothing (OpenAI's reference; xAI's as observed by a reseller of it)."""
_EXTENDS = re.compile(r"/(?:extensions|extend)$")
STATED_LATER = frozenset({"xai", "openrouter", "together"})
"""Who states the cost of a video once it is made: it is billed from the polls then, and held for until one comes."""
_DONE = frozenset({"done", "completed", "succeeded", "complete"})
_FAILED = frozenset({"failed", "error", "cancelled", "canceled", "expired"})


class OpenAIVideo:
    """The dialect ``openai-video``."""

    name = "openai-video"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. A multipart body comes as its fields."""
        model = model_name(body.get("model"))
        usual = next((known for known in _DEFAULTS if known[0].search(model or endpoint.model_in_path or "")), None)
        stated = next(
            (found for key in ("seconds", "duration", "n_seconds", "duration_seconds") if (found := whole(body.get(key)))), None
        )
        seconds = min(stated or (usual[1] if usual else LONGEST_SECONDS), MAX_SECONDS)
        clips = min(whole(body.get("n_variants")) or whole(body.get("n")) or 1, 64)
        pictures = sum(bool(body.get(key)) for key in ("input_reference", "image", "image_url"))
        units = {"video_seconds": seconds * clips} | (
            {"input_images": pictures} if pictures and endpoint.provider == "xai" else {}
        )
        size = _size(body) or (usual[2] if usual else None)
        return Ask(
            model=model,
            choices=clips,
            input_bytes=weigh((body.get("prompt"),)).text_bytes,
            units={unit: min(found, MAX_COUNT) for unit, found in units.items()},
            units_measured=stated is not None or usual is not None,
            terms={"video_size": size} if size else {},
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield text(body.get("prompt"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. The length is no cap."""
        return ()

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return VideoReader(endpoint, ask)


class VideoReader(WholeReader):
    """Reads what a video's creation answers: the job, or xAI's bare ``request_id``."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._ask = ask
        self._is_poll = endpoint.operation == RETRIEVE
        self._seconds: int | None = None
        self._stated = False

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        notes.identity(payload)
        notes.response_id = notes.response_id or name(payload.get("request_id"))
        status = payload.get("status")
        if payload.get("error") or (isinstance(status, str) and status.lower() in _FAILED):
            notes.error = body_error(dict(payload)) or "failed"
        seconds = next((found for key in ("seconds", "duration", "n_seconds") if (found := whole(payload.get(key)))), None)
        if seconds is not None and not _EXTENDS.search(self._endpoint.path):  # of an extension it is the whole clip's
            self._seconds = min(seconds, MAX_SECONDS)
        if size := _size(payload):
            notes.terms["video_size"] = size
        usage = payload.get("usage")
        for figures in (usage, payload.get("outputs")):  # Together states it beside the film
            if isinstance(figures, dict):
                note_stated_cost(figures, notes)
                notes.keep_raw(figures)
        self._stated = notes.cost_usd is not None
        if self._is_poll:
            self._polled(payload)
        notes.pending = self._endpoint.provider in STATED_LATER and not self._stated and not self._is_poll
        notes.final = not notes.pending

    def _polled(self, payload: Mapping[str, Json]) -> None:
        """An answer to a poll: once the job has ended it states what it cost, as often as it is asked."""
        notes = self.notes
        notes.response_id = name(self._endpoint.path.rpartition("/")[2])
        video = member(payload, "video")
        self._seconds = self._seconds or whole(video.get("duration"))
        status = payload.get("status")
        is_over = self._stated or notes.error is not None or (isinstance(status, str) and status.lower() in _DONE)
        if is_over and notes.response_id:
            notes.repeatable, notes.results_of = True, (notes.response_id,)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. A job that failed at once is not billed."""
        notes = self.notes
        if notes.error or notes.pending or (self._is_poll and not self._stated):
            return ()
        notes.terms = {**self._ask.terms, **notes.terms}
        notes.counted = not self._stated
        units = dict(self._ask.units)
        if self._seconds is not None:
            units["video_seconds"] = min(self._seconds * self._ask.choices, MAX_COUNT)
        elif not self._ask.units_measured:
            notes.flags.add("duration-unknown")
        return (Usage(model=notes.model or self._ask.model, units={unit: found for unit, found in units.items() if found}),)


def _size(body: Mapping[str, Json]) -> str | None:
    for key in ("size", "resolution", "quality"):
        if stated := name(body.get(key)):
            return stated.lower()
    width, height = whole(body.get("width")), whole(body.get("height"))
    return f"{width}x{height}" if width and height else None
