"""Cohere's own API, versions 1 and 2: chat, generate, embed, rerank, classify, summarize.

Reference: docs.cohere.com/reference. ``billed_units`` is the bill; ``tokens`` beside it counts what Cohere adds itself and does not
bill (7 against 502), and ``cached_tokens`` is a part of those. Version 1 streams JSON lines, version 2 SSE.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_BILLED = ("input_tokens", "output_tokens", "image_tokens", "search_units", "images", "classifications")
_UNITS = {"search_units": "search_units", "images": "input_images", "classifications": "classifications"}

DOCUMENTS_PER_SEARCH = 100
DOCUMENT_BYTES = 1_500
"""One search is a query with up to 100 documents; a longer one than 500 tokens counts as several (cohere.com/pricing)."""


class Cohere(FlatDialect):
    """The dialect ``cohere``."""

    name = "cohere"
    inputs = (
        "messages", "message", "chat_history", "preamble", "prompt", "text", "texts", "inputs", "query", "documents", "examples",
    )  # fmt: skip
    turns = ("messages", "chat_history")
    schemas = ("tools", "response_format")

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        ask = super().read_ask(endpoint, body)
        images = body.get("images")
        if isinstance(images, list) and images:
            ask = replace(ask, media_parts=ask.media_parts + len(images), units={"input_images": len(images)})
        if endpoint.operation == "rerank":
            ask = replace(ask, units={"search_units": searches(body.get("documents"), ask.input_bytes)})
        return ask if body.get("conversation_id") is None else replace(ask, fresh=False)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return CohereReader(endpoint, ask)


class CohereReader(FlatReader):
    """Reads one answer: the billed units of its end."""

    probes = (
        b'"billed_units"',
        b'"tokens"',
        b'"message-',
        b'"stream-',
        b'"is_finished":true',
        b'"is_finished": true',
        b'"error"',
    )

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        delta, response = member(payload, "delta"), member(payload, "response")
        for holder in (payload, response):
            for key in ("id", "response_id", "generation_id"):
                notes.response_id = name(holder.get(key)) or notes.response_id
        for usage in (member(payload, "usage"), member(delta, "usage"), member(payload, "meta"), member(response, "meta")):
            if any(has_count(member(usage, units), key) for units in ("billed_units", "tokens") for key in _BILLED):
                self.keep(usage)
                notes.final = True
        if payload.get("is_finished") is True or payload.get("type") == "message-end":
            notes.ended = True
        finish = name(payload.get("finish_reason")) or name(delta.get("finish_reason")) or ""
        if finish.upper().startswith(("ERROR", "TIMEOUT")):
            notes.error = finish.lower()
        elif payload.get("error") or delta.get("error"):
            notes.failed(payload.get("error") or delta.get("error"))

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if not self.usage:
            return ()
        flags = self.notes.flags
        billed, told = member(self.usage, "billed_units"), member(self.usage, "tokens")
        if not any(has_count(billed, key) for key in _BILLED):
            flags.add("billed-units-missing")  # then what went through the model is the most it can be
            billed = told
        output, pictures = count(billed.get("output_tokens"), flags), count(billed.get("image_tokens"), flags)
        units = {ours: found for key, ours in _UNITS.items() if (found := count(billed.get(key), flags))}
        if pictures:
            units["image_input_tokens"] = pictures
        return (
            Usage(
                model=self.model,
                input_tokens=count(billed.get("input_tokens"), flags) + pictures,
                output_tokens=output,
                reasoning_tokens=min(output, count(told.get("reasoning_tokens"), flags)),
                units=units,
            ),
        )

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. The last line of a version 1 stream says everything again."""
        if payload.get("is_finished") is True:
            return
        message = member(member(payload, "delta"), "message") or member(payload, "message")
        yield from texts((payload.get("text"), message.get("content"), message.get("tool_plan"), message.get("tool_calls")))
        generations = payload.get("generations")
        for generation in generations if isinstance(generations, list) else ():
            yield from texts((member({"": generation}, "").get("text"),))


def searches(documents: Json, text_bytes: int) -> int:
    """The most searches that a rerank request can be billed as."""
    number = len(documents) if isinstance(documents, list) else 1
    return max(1, ceil((number + text_bytes // DOCUMENT_BYTES) / DOCUMENTS_PER_SEARCH))
