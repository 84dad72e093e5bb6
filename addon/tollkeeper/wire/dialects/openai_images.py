"""OpenAI Images (generations, edits, variations), and every host that speaks it.

Newer models are billed by tokens and state them; DALL·E and the hosts of open models are billed by the picture and state nothing, so
the pictures of the answer are counted and priced by the size and quality asked for; xAI states its cost.
Reference: platform.openai.com/docs/api-reference/images, docs.x.ai/developers/cost-tracking.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, counts_only, member, model_name, name
from tollkeeper.wire.dialect import MAX_RAW_OBJECTS, AnswerReader, Answers, body_error
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts, weigh
from tollkeeper.wire.reading_asks import flag, whole
from tollkeeper.wire.stated_cost import note_stated_cost

from .picture_tokens import PARTIAL_TOKENS, picture_tokens, sides
from .whole import WholeReader

MAX_PICTURES = 128
_BY_TOKENS = re.compile(r"(?:^|[/.:])(?:chatgpt|gpt)-image|gpt-[\d.]+-image", re.IGNORECASE)
_DALL_E = re.compile(r"dall-?e-?([23])", re.IGNORECASE)
_MEGAPIXEL = 1024 * 1024
_TEXT_TOKENS = 600
"""Held for what newer models write besides the picture."""
_PICTURES_IN = ("image", "images", "mask", "image_url", "reference_images")


class OpenAIImages:
    """The dialect ``openai-images``."""

    name = "openai-images"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. A multipart body comes as its fields: figures as text, files as uploads."""
        model = model_name(body.get("model"))
        pictures = min(whole(body.get("n")) or whole(body.get("num_images")) or whole(body.get("variants")) or 1, MAX_PICTURES)
        size, pixels = _size(body)
        quality = name(body.get("quality"))
        if (dall_e := _DALL_E.search(model or endpoint.model_in_path or "")) is not None:
            size, pixels = (size, pixels) if size else ("1024x1024", _MEGAPIXEL)
            quality = (quality or "standard") if dall_e[1] == "3" else None  # the second takes none
        pictures_in = sum(_number_of(body.get(key)) for key in _PICTURES_IN)
        streamed = flag(body.get("stream"))
        if _BY_TOKENS.search(model or endpoint.model_in_path or ""):
            partial = min(whole(body.get("partial_images")) or 0, 3) if streamed else 0
            units = {"image_output_tokens": _tokens(model or "", pixels, quality, partial) * pictures}
        else:
            units = {"output_images": pictures} | ({"output_pixels": pixels * pictures} if pixels else {})
            if pictures_in:
                units["input_images"] = pictures_in
        terms = {key: value for key, value in (("image_size", size), ("image_quality", quality)) if value}
        return Ask(
            model=model,
            streamed=streamed,
            choices=pictures,
            input_bytes=weigh((body.get("prompt"), body.get("negative_prompt"))).text_bytes,
            media_parts=pictures_in,
            units={unit: min(found, MAX_COUNT) for unit, found in units.items()},
            units_measured="output_images" in units,
            terms=terms,
            service_tier=name(body.get("service_tier")),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts((body.get("prompt"), body.get("negative_prompt")))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. A picture has no cap."""
        return ()

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ImagesReader(endpoint, ask)


class ImagesReader(WholeReader):
    """Reads one answer. A stream bills each finished picture by its own usage."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._ask = ask
        self._usages: list[Mapping[str, Json]] = []
        self._pictures = 0
        self._stated = False

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        kind = payload.get("type")
        if kind == "error" or payload.get("error"):
            self.notes.failed(payload.get("error") or payload)
        if isinstance(kind, str) and kind.endswith(".completed"):
            self._pictures += 1
            self._take(payload)
            self.notes.ended = True
            self.notes.final = self._pictures >= self._ask.choices

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        notes.identity(payload)
        if (error := body_error(dict(payload))) is not None:
            notes.error = error
        for key in ("data", "images", "artifacts", "output"):
            listed = payload.get(key)
            if isinstance(listed, list) and listed:
                self._pictures = min(len(listed), MAX_PICTURES)
                break
        self._take(payload)
        notes.final = True

    def _take(self, payload: Mapping[str, Json]) -> None:
        notes, usage = self.notes, payload.get("usage")
        notes.term("service_tier", payload.get("service_tier"))
        for key in ("size", "quality"):
            notes.term(f"image_{key}", payload.get(key))
        note_stated_cost(member(payload, "inference_status"), notes)  # DeepInfra's own shape
        if isinstance(usage, dict):
            note_stated_cost(usage, notes)
            if has_counts(usage):
                self._usages = [*self._usages[-MAX_PICTURES:], usage]
                notes.raw[:] = [*notes.raw[1 - MAX_RAW_OBJECTS :], counts_only(usage)]
        self._stated = self._stated or bool(self._usages) or notes.cost_usd is not None

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        notes = self.notes
        model = notes.model or self._ask.model
        if self._usages:
            for key in ("image_size", "image_quality"):
                notes.terms.pop(key, None)  # tokens tell it all
            return (_sum([_by_tokens(usage, model, self._endpoint, notes.flags) for usage in self._usages]),)
        if notes.error and not self._pictures:
            return ()
        notes.terms = {**self._ask.terms, **notes.terms}
        notes.counted = not self._stated
        return (self._counted(model),)

    def _counted(self, model: str | None) -> Usage:
        """What was asked for, in as many pictures as came."""
        units = dict(self._ask.units)
        if self._pictures and "output_images" in units:
            units["output_images"] = self._pictures
            if pixels := units.get("output_pixels"):
                units["output_pixels"] = min(pixels // self._ask.choices * self._pictures, MAX_COUNT)
        tokens = units.get("image_output_tokens", 0)
        return Usage(model=model, output_tokens=tokens, units={unit: found for unit, found in units.items() if found})


def _by_tokens(usage: Mapping[str, Json], model: str | None, endpoint: Endpoint, flags: set[str]) -> Usage:
    """Stated tokens. Where the output is not told apart it is all picture: only the models that also write text tell it."""
    read = inclusive_usage(usage, model, endpoint.traits, flags)
    if isinstance(usage.get("output_tokens_details"), dict) or not read.output_tokens:
        return read
    return replace(read, units={**read.units, "image_output_tokens": read.output_tokens})


def _sum(usages: list[Usage]) -> Usage:
    first, *others = usages
    for other in others:
        units = {unit: first.units.get(unit, 0) + other.units.get(unit, 0) for unit in {*first.units, *other.units}}
        first = replace(
            first,
            input_tokens=first.input_tokens + other.input_tokens,
            cache_read_tokens=first.cache_read_tokens + other.cache_read_tokens,
            output_tokens=first.output_tokens + other.output_tokens,
            units=units,
        )
    return first


def _size(body: Mapping[str, Json]) -> tuple[str | None, int]:
    """The size as providers write it (``1024x1024``, ``auto``, ``2k``) and its pixels, 0 when it does not tell them."""
    stated = body.get("size") or body.get("resolution")
    if not isinstance(stated, str):
        width, height = whole(body.get("width")), whole(body.get("height"))
        stated = f"{width}x{height}" if width and height else None
    if stated is None:
        return None, 0
    if (found := sides(stated)) is None:
        return name(stated), 0
    return f"{found[0]}x{found[1]}", found[0] * found[1]


def _tokens(model: str, pixels: int, quality: str | None, partial: int) -> int:
    """The most output tokens of one picture."""
    return picture_tokens(model, pixels, quality) + partial * PARTIAL_TOKENS + _TEXT_TOKENS


def _number_of(value: Json) -> int:
    if isinstance(value, list):
        return min(len(value), MAX_PICTURES)
    return 1 if value else 0
