"""Google's embeddings: ``embedContent`` and ``batchEmbedContents``, and ``predict`` of the embedding models on Vertex AI.

Reference: ai.google.dev/api/embeddings; cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api and
…/multimodal-embeddings-api. Newer models state what they used, older ones nothing: then the input is counted.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, decimal, member, model_name, text
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.material import texts, weigh

from .gemini_counts import disjoint, pick
from .whole import WholeReader

_MAX_ITEMS = 10_000
MULTIMODAL = "multimodalembedding"
"""The family that is billed by picture, by second of film and by character, and states none of them (cloud.google.com pricing)."""


class GeminiEmbed:
    """The dialect ``gemini-embed``."""

    name = "gemini-embed"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        material = weigh(_inputs(body))
        model = endpoint.model_in_path or model_name(body.get("model"))
        multimodal = bool(model and MULTIMODAL in model)
        return Ask(
            model=model.rpartition("/")[2] if model else None,
            input_bytes=material.text_bytes,
            media_parts=0 if multimodal else material.media_parts,
            units=_multimodal_units(body) if multimodal else {},
            units_measured=multimodal,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts(_inputs(body))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. Vectors have no cap: a field that the APIs ignore."""
        return ("parameters", "maxOutputTokens")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return EmbedReader(endpoint, ask)


class EmbedReader(WholeReader):
    """Reads one answer; vectors are not looked at."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__()
        self._ask = ask
        self._model = endpoint.model_in_path or ask.model
        self._call: Usage | None = None

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``. A large answer is skimmed: then only its figures are here, ``token_counts`` those of each prediction."""
        notes, flags = self.notes, self.notes.flags
        if payload.get("error"):
            notes.failed(payload["error"])
        usage = member(payload, "usageMetadata")
        predictions = payload.get("predictions")
        stated = payload.get("token_counts") or _token_counts(predictions)
        if usage:
            self._from_usage(usage)
        elif isinstance(stated, list) and stated:
            characters = count(member(payload, "metadata").get("billableCharacterCount"), flags)
            tokens = sum(count(one, flags) for one in stated[:_MAX_ITEMS])
            notes.keep_raw({"token_count": tokens, "billableCharacterCount": characters})
            units = {"input_characters": characters} if characters else {}
            self._call = Usage(model=self._model, input_tokens=tokens, units=units)
        elif self._model and MULTIMODAL in self._model and isinstance(predictions, list) and predictions:
            self._call = Usage(model=self._model, units=_multimodal_usage(predictions, self._ask))
            notes.counted = True
        notes.ended = True
        notes.final = self._call is not None

    def _from_usage(self, usage: Mapping[str, Json]) -> None:
        flags = self.notes.flags
        prompt = pick(usage, "prompt_token_count")
        total = pick(usage, "total_token_count")
        if prompt is None and total is None:
            return
        self.notes.keep_raw(usage)
        details = {"prompt": pick(usage, "prompt_token_details") or pick(usage, "prompt_tokens_details")}
        figures = {"prompt": count(total if prompt is None else prompt, flags)}
        self._call = disjoint(figures, details, self._model, {}, flags)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        return () if self._call is None else (self._call,)


def _token_counts(predictions: Json) -> list[Json]:
    found = []
    for prediction in predictions[:_MAX_ITEMS] if isinstance(predictions, list) else ():
        statistics = member(member({"": prediction}, ""), "embeddings").get("statistics")
        if isinstance(statistics, dict) and statistics.get("token_count") is not None:
            found.append(statistics["token_count"])
    return found


def _inputs(body: Mapping[str, Json]) -> Iterator[Json]:
    """What is embedded; the names of models and tasks around it are not."""
    requests = body.get("requests")
    for request in (body, *(requests[:_MAX_ITEMS] if isinstance(requests, list) else ())):
        if isinstance(request, dict):
            yield from (request.get("content"), request.get("contents"), request.get("title"))
    yield from (_only_input(instance) for instance in _instances(body))


def _only_input(instance: Mapping[str, Json]) -> Json:
    return {key: value for key, value in instance.items() if key in {"content", "title", "text", "image", "video", "prompt"}}


def _instances(body: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    instances = body.get("instances")
    yield from (one for one in (instances[:_MAX_ITEMS] if isinstance(instances, list) else ()) if isinstance(one, dict))


def _multimodal_units(body: Mapping[str, Json]) -> dict[str, int]:
    """What such a request will be billed by, as far as it says: the length of a whole film is not known before it is embedded."""
    units = {"input_images": 0, "input_characters": 0, "input_video_seconds": 0}
    for instance in _instances(body):
        units["input_images"] += "image" in instance
        units["input_characters"] += len("".join(text(instance.get("text")).split()))
        if isinstance(instance.get("video"), dict):
            segment = member(instance["video"], "videoSegmentConfig")
            start, end = decimal(segment.get("startOffsetSec")), decimal(segment.get("endOffsetSec"))
            units["input_video_seconds"] += 120 if end is None else max(0, min(120, int(end - (start or 0))))
    return {unit: found for unit, found in units.items() if found}


def _multimodal_usage(predictions: list[Json], ask: Ask) -> dict[str, int]:
    images, seconds = 0, 0
    for prediction in predictions[:_MAX_ITEMS]:
        if isinstance(prediction, dict):
            images += "imageEmbedding" in prediction
            seconds += _film_seconds(prediction.get("videoEmbeddings"))
    units = {
        "input_images": images,
        "input_video_seconds": seconds,
        "input_characters": ask.units.get("input_characters", 0),
    }
    return {unit: found for unit, found in units.items() if found}


def _film_seconds(segments: Json) -> int:
    """From the start of the first segment to the end of the last."""
    flags: set[str] = set()
    spans = [one for one in (segments if isinstance(segments, list) else ()) if isinstance(one, dict)]
    end = max((count(one.get("endOffsetSec"), flags) for one in spans), default=0)
    start = min((count(one.get("startOffsetSec"), flags) for one in spans), default=0)
    return min(86_400, max(0, end - start))
