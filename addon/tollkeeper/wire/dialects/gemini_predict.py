"""Google's ``predict``: pictures (Imagen), songs (Lyria) and films (Veo, long-running), on the Gemini API and on Vertex AI.

Reference: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api, …/veo-video-generation, …/lyria-music-generation.
An answer states no figures. Pictures and songs are counted in it. A film is billed by its seconds, which only the request tells: it is
billed when it is asked for, as asked for, under the id of its operation, and polling that operation is free.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, decimal, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.material import texts

from .gemini_counts import pick, resource_id
from .whole import WholeReader

IMAGES, UPSCALED, CAPTIONED, CLIPS, FILM = "output_images", "upscaled_images", "input_images", "audio_clips", "video_seconds"

_DEFAULT_SECONDS = 8
_DEFAULT_PICTURES = 4
_MAX_SAMPLES = 64
_MAX_SECONDS = 3_600
_SIZES = {"720p": "", "1080p": "1080p", "4k": "4k", "2160p": "4k"}
_PAYLOADS = ("bytesBase64Encoded", "gcsUri", "audioContent", "b64_json", "url", "uri")


class GeminiPredict:
    """The dialect ``gemini-predict``."""

    name = "gemini-predict"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        inputs = list(texts(_inputs(body)))
        model = endpoint.model_in_path or model_name(body.get("model")) or ""
        model = model.rpartition("/")[2]
        unit, number = _asked(endpoint, model, body)
        return Ask(
            model=model or None,
            input_bytes=sum(len(one.encode("utf-8", "replace")) for one in inputs),
            units={unit: number},
            units_measured=True,
            terms=_film_terms(member(body, "parameters")) if unit == FILM else {},
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts(_inputs(body))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. Pictures and films have no cap in tokens: a field that the APIs ignore."""
        return ("parameters", "maxOutputTokens")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return PredictReader(endpoint, ask)


class PredictReader(WholeReader):
    """Reads one answer: counts what came, or takes a film's seconds as they were asked for."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__()
        self._ask = ask
        self._model = ask.model or endpoint.model_in_path
        self._call: Usage | None = None

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``. Filtered pictures come without a picture, and are not billed."""
        notes = self.notes
        if payload.get("error"):
            notes.failed(payload["error"])
        unit, number = next(iter(self._ask.units.items()), (IMAGES, 0))
        made = payload.get("predictions") if "predictions" in payload else payload.get("data")
        if isinstance(made, list):
            number = sum(1 for one in made[:_MAX_SAMPLES] if _holds(one))
            if unit == CAPTIONED:
                number = min(len(made), 1)
            self._call = Usage(model=self._model, units={unit: number} if number else {})
        elif (operation := payload.get("name")) and not payload.get("error"):
            notes.response_id = resource_id(operation)
            notes.repeatable = notes.response_id is not None
            self._call = Usage(model=self._model, units={unit: number} if number else {})
        notes.terms |= self._ask.terms
        notes.counted = notes.ended = True
        notes.final = self._call is not None

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        return () if self._call is None else (self._call,)


def _asked(endpoint: Endpoint, model: str, body: Mapping[str, Json]) -> tuple[str, int]:
    """The unit that a model's answer is billed by, and at most how many of it."""
    parameters = member(body, "parameters")
    stated = pick(parameters, "sample_count")
    samples = _bounded(body.get("n") if stated is None else stated, _MAX_SAMPLES)
    if endpoint.operation == "video":
        return FILM, (samples or 1) * _film_seconds(body, parameters)
    if "lyria" in model:
        return CLIPS, samples or 1
    if model.startswith("imagetext"):
        return CAPTIONED, 1
    if parameters.get("mode") == "upscale" or "upscaleConfig" in parameters or "upscale" in model:
        return UPSCALED, samples or 1
    return IMAGES, samples or (1 if "n" in body or "instances" not in body else _DEFAULT_PICTURES)


def _film_terms(parameters: Mapping[str, Json]) -> dict[str, str]:
    """What a second's price goes by: a size above 720p, and whether there is sound (cloud.google.com/vertex-ai/generative-ai/pricing)."""
    stated = name(parameters.get("resolution"))
    size = _SIZES.get(stated.lower(), stated.lower()) if stated else ""
    silent = pick(parameters, "generate_audio") is False
    return {**({"video_size": size} if size else {}), **({"video_sound": "off"} if silent else {})}


def _film_seconds(body: Mapping[str, Json], parameters: Mapping[str, Json]) -> int:
    """A film is extended by seven seconds, and made eight seconds long when nothing is said (ai.google.dev/gemini-api/docs/video)."""
    instances = body.get("instances")
    extends = any(isinstance(one, dict) and "video" in one for one in (instances[:64] if isinstance(instances, list) else ()))
    return _bounded(pick(parameters, "duration_seconds"), _MAX_SECONDS) or (7 if extends else _DEFAULT_SECONDS)


def _bounded(value: Json, most: int) -> int:
    """A whole number between 1 and ``most``, 0 for anything else; text is taken, as clients send it."""
    number = decimal(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    return min(int(number), most) if number is not None and number >= 1 else 0


def _holds(prediction: Json) -> bool:
    return isinstance(prediction, dict) and any(prediction.get(key) for key in _PAYLOADS)


def _inputs(body: Mapping[str, Json]) -> Iterator[Json]:
    """The words of a request; pictures go in as base64 and cost nothing of their own."""
    yield body.get("prompt")
    instances = body.get("instances")
    for instance in instances[:64] if isinstance(instances, list) else ():
        if isinstance(instance, dict):
            yield from (instance.get("prompt"), pick(instance, "negative_prompt"))
