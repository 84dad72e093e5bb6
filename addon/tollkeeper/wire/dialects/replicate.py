"""Replicate's predictions: created by one request, finished in another.

Reference: replicate.com/docs/reference/http#predictions, replicate.com/docs/billing. Official models are billed by what they took and
gave (tokens, images), all others by the time their hardware ran, failed and cancelled runs included. A prediction says the same
figures whenever it is read: they are billed once, by its id.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name, rounded_up
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_OVER: Final = frozenset({"succeeded", "failed", "canceled", "aborted"})
_UNITS: Final = {
    "image_count": "output_images",
    "character_input_count": "input_characters",
    "audio_output_duration": "audio_output_seconds",
    "video_output_duration_seconds": "video_seconds",
}
"""Metrics of official models beside tokens, as their predictions state them."""


class Replicate(FlatDialect):
    """The dialect ``replicate``."""

    name = "replicate"
    inputs = ("prompt", "messages", "system_prompt", "text", "texts", "input_text", "negative_prompt")
    schemas = ()
    caps = (("input", "max_tokens"), ("input", "max_new_tokens"), ("input", "max_completion_tokens"))
    model_key = "version"

    def request(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """The model's own input."""
        return member(body, "input")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ReplicateReader(endpoint, ask)


class ReplicateReader(FlatReader):
    """Reads one prediction, finished or not."""

    probes = (b'"metrics"', b'"status"', b'"error"')

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        notes.identity(payload)
        status = name(payload.get("status"))
        notes.pending = status is not None and status not in _OVER
        notes.repeatable = notes.response_id is not None
        if status == "failed":
            notes.error = "prediction_failed"
        metrics = member(payload, "metrics")
        if status in _OVER and metrics:
            self.keep(metrics)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        metrics, flags = self.usage, self.notes.flags
        units = {unit: found for key, unit in _UNITS.items() if (found := rounded_up(metrics.get(key), flags))}
        read, written = (count(metrics.get(f"{side}_token_count"), flags) for side in ("input", "output"))
        if not units and not read and not written:
            if not has_count(metrics, "predict_time"):
                return ()
            units["hardware_milliseconds"] = rounded_up(metrics["predict_time"], flags, 1000)
        return (Usage(model=self._name(), input_tokens=read, output_tokens=written, units=units),)

    def _name(self) -> str | None:
        """``owner/model`` where either side says it: a version's hash has no price, a model has."""
        return next((one for one in (self.notes.model, self.ask.model) if one and "/" in one), self.model)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from texts((payload.get("output"),))
