"""Cloudflare Workers AI, ``/ai/run``: an envelope ``{"result": …, "success": …}`` around whatever a model answers, or SSE, or media.

Reference: developers.cloudflare.com/workers-ai. Bills are in neurons, $0.011 a thousand. The answer states them in ``cf-ai-neurons`` (or
``usage.neurons``), to the hundredth; text models state tokens as well, and are listed by the token.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, decimal, has_count, member, model_name, name, rounded_up
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_MAX_PARTS = 1024
_NEURON_USD = Decimal("0.000011")
"""developers.cloudflare.com/workers-ai/platform/pricing; the 10,000 a day that are included are not known to a single call."""


class WorkersAI(FlatDialect):
    """The dialect ``workers-ai``."""

    name = "workers-ai"
    inputs = ("messages", "prompt", "input", "text", "query", "contexts", "input_text", "image", "audio")
    schemas = ("tools", "response_format")
    caps = (("max_tokens",), ("max_completion_tokens",), ("input", "max_tokens"), ("input", "max_completion_tokens"))

    def request(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """The model's own input, where the body names the model beside it."""
        inner = body.get("input")
        return inner if isinstance(inner, dict) else body

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        ask = super().read_ask(endpoint, body)
        inner = self.request(endpoint, body)
        return replace(ask, streamed=ask.streamed or inner.get("stream") is True)

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        stated = super().cap_path(endpoint, body)
        return ("input", "max_tokens") if isinstance(body.get("input"), dict) and stated == self.caps[0] else stated

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return WorkersReader(endpoint, ask, headers)


class WorkersReader(FlatReader):
    """Reads one answer: tokens where they stand, neurons where they stand alone."""

    probes = (b'"usage"', b'"error', b'"success"', b'"finish_reason":"', b'"model"')

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        super().__init__(endpoint, ask)
        self._neurons = _neurons(headers.get("cf-ai-neurons"))
        self._parts: tuple[Mapping[str, Json], ...] = ()
        self._seconds = self._pictures = 0
        self.notes.response_id = name(headers.get("cf-ai-req-id"))
        self._cost()

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        result = member(payload, "result")
        errors = payload.get("errors")
        if payload.get("success") is False or payload.get("state") == "Failed" or payload.get("error"):
            notes.failed(errors[0] if isinstance(errors, list) and errors else payload.get("error"))
        for holder in (payload, result):
            notes.model = model_name(holder.get("model")) or notes.model
            usage = holder.get("usage")
            if has_counts(usage):
                self.keep(usage)
            stated = _neurons(member(holder, "usage").get("neurons"))
            self._neurons = stated if stated is not None else self._neurons
        choices = payload.get("choices")
        if isinstance(choices, list) and any(isinstance(one, dict) and one.get("finish_reason") for one in choices):
            notes.ended = True
        notes.response_id = notes.response_id or name(result.get("request_id"))
        notes.pending = name(result.get("status")) in {"queued", "running"}
        self._take_media(result)
        self._take_batch(result)
        self._cost()

    def _take_media(self, result: Mapping[str, Json]) -> None:
        told = member(result, "transcription_info")
        if has_count(told, "duration"):
            self._seconds = rounded_up(told["duration"], self.notes.flags)
        self._pictures = 1 if isinstance(result.get("image"), str) else self._pictures

    def _take_batch(self, result: Mapping[str, Json]) -> None:
        """``queueRequest``: the answers of many requests, each with a usage of its own."""
        responses = result.get("responses")
        if isinstance(responses, list) and not has_counts(result.get("usage")):
            if len(responses) > _MAX_PARTS:
                self.notes.flags.add("too-many-responses")
            usages = (member(member({"": one}, ""), "result").get("usage") for one in responses[:_MAX_PARTS])
            self._parts = tuple(usage for usage in usages if has_counts(usage))
            self.notes.repeatable = True

    def _cost(self) -> None:
        if self._neurons:
            self.notes.cost_usd = self._neurons * _NEURON_USD

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        flags, traits = self.notes.flags, self.endpoint.traits
        model = self.ask.model or self.notes.model  # the answer's own name lacks the author, and prices go by the whole
        if self.usage or self._parts:
            return tuple(inclusive_usage(usage, model, traits, flags) for usage in self._parts or (self.usage,))
        units: dict[str, int] = {}
        if self._neurons is not None:
            units["millineurons"] = min(MAX_COUNT, int(self._neurons * 1000))
        elif self._seconds:
            units["audio_input_seconds"] = self._seconds
        elif self._pictures:
            units["output_images"] = self._pictures
        return (Usage(model=model, units=units),) if units else ()

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        for holder in (payload, member(payload, "result")):
            yield from texts((holder.get("response"), holder.get("tool_calls"), holder.get("description"), holder.get("text")))
            choices = holder.get("choices")
            for choice in choices if isinstance(choices, list) else ():
                told = member({"": choice}, "")
                for part in (member(told, "delta"), member(told, "message")):
                    yield from texts((part.get("content"), part.get("reasoning_content"), part.get("tool_calls")))


def _neurons(value: Json) -> Decimal | None:
    stated = decimal(value)
    return stated if stated is not None and 0 <= stated <= MAX_COUNT else None
