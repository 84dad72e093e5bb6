"""Reading an answer of Bedrock's InvokeModel: the vendor's shape is told by its keys, Amazon's own counts stand around it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.framing.eventstream import EXCEPTION
from tollkeeper.wire.inclusive import has_counts, inclusive_usage

from .anthropic_messages import MessagesReader
from .bedrock_converse import ConverseReader
from .bedrock_shapes import (
    LATENCY_HEADER,
    REQUEST_ID_HEADER,
    SERVICE_TIER_HEADER,
    block_texts,
    failure,
    has_converse_counts,
    named_model,
    note_path_terms,
    note_terms,
    trace_units,
)

MAX_PICTURES = 100
_METRICS = "amazon-bedrock-invocationMetrics"
_MESSAGES = frozenset(
    {"message", "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "error"}
)
_PROBES = (
    b'"usage"', b'"message_stop"', b'"error"', b"invocationMetrics", b"oken_count", b"TokenCount", b'"metadata"', b'"messageStop"',
    b'finish_reason"', b'"stop_reason"', b"guardrail", EXCEPTION.encode(),
)  # fmt: skip
_HEADERS = (
    ("inputTokenCount", "x-amzn-bedrock-input-token-count"),
    ("outputTokenCount", "x-amzn-bedrock-output-token-count"),
    ("cacheReadInputTokenCount", "x-amzn-bedrock-cache-read-input-token-count"),
    ("cacheWriteInputTokenCount", "x-amzn-bedrock-cache-write-input-token-count"),
)
_INPUT = ("inputTextTokenCount", "prompt_token_count")
_OUTPUT = ("totalOutputTextTokenCount", "generation_token_count")
"""Titan's and Llama's words. In a stream they are cumulative, and null where nothing is said."""

_FINISHED = ("finish_reason", "stop_reason", "completionReason", "finishReason")


class InvokeReader:
    """Reads one answer of any vendor."""

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        self.notes = Notes(model=named_model(endpoint))
        note_path_terms(endpoint, self.notes)
        note_terms(self.notes, headers.get(SERVICE_TIER_HEADER), headers.get(LATENCY_HEADER))
        self._ask = ask
        self._endpoint = endpoint
        self._named = self.notes.model
        self._request_id = name(headers.get(REQUEST_ID_HEADER))
        self._messages = MessagesReader(endpoint, ask)
        self._messages.notes = self.notes
        self._converse = ConverseReader(endpoint, self.notes)
        self._inclusive: Mapping[str, Json] | None = None
        self._stated: dict[str, Json] = {}
        self._amazon: dict[str, Json] = {key: headers[header] for key, header in _HEADERS if headers.get(header)}
        self._guardrail: dict[str, int] = {}
        self._pictures = 0

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return any(probe in data for probe in _PROBES)

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        if failure(payload, self.notes):
            return
        notes = self.notes
        kind = payload.get("type")
        if isinstance(kind, str) and kind in _MESSAGES:
            self._messages.event(payload)
        elif "metadata" in payload or "messageStop" in payload or "contentBlockStart" in payload:
            self._converse.event(payload)
        else:
            self._figures(payload)
            if any(payload.get(key) for key in _FINISHED) or payload.get("amazon-bedrock-guardrailAction") == "INTERVENED":
                notes.ended = True
        self._around(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        kind = payload.get("type")
        if isinstance(kind, str) and kind in {"message", "error"}:
            self._messages.body(payload)
        elif has_converse_counts(payload.get("usage")):
            self._converse.body(payload)
        else:
            self._figures(payload)
            if isinstance(payload.get("error"), str) and payload["error"]:
                self.notes.failed(payload["error"])  # Nova Canvas: a picture that was filtered out
        self._around(payload)
        self.notes.ended = self.notes.final = True

    def _figures(self, payload: Mapping[str, Json]) -> None:
        notes, usage = self.notes, payload.get("usage")
        if isinstance(usage, dict) and has_counts(usage):
            notes.identity(payload)
            self._inclusive = usage
            notes.keep_raw(usage)
        for key in (*_INPUT, *_OUTPUT):
            if has_count(payload, key):
                self._stated[key] = payload[key]
        results = payload.get("results")
        if isinstance(results, list) and any(isinstance(one, dict) and "tokenCount" in one for one in results):
            counts = [count(one.get("tokenCount"), notes.flags) for one in results[:MAX_PICTURES] if isinstance(one, dict)]
            self._stated["totalOutputTextTokenCount"] = sum(counts)
        for key in ("images", "artifacts"):
            pictures = payload.get(key)
            if isinstance(pictures, list):
                self._pictures = min(sum(1 for one in pictures if one), MAX_PICTURES)

    def _around(self, payload: Mapping[str, Json]) -> None:
        """Amazon's additions to the vendor's event."""
        notes = self.notes
        if self._named:
            notes.model = self._named  # the path says which price list; the vendor's own name of the model does not
        notes.response_id = notes.response_id or self._request_id
        metrics = member(payload, _METRICS)
        if metrics:
            self._amazon = {key: metrics[key] for key, _ in _HEADERS if has_count(metrics, key)}
            notes.ended = notes.final = True
        units = trace_units(member(payload, "amazon-bedrock-trace").get("guardrail"), notes.flags)
        if units:
            self._guardrail = units

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. The vendor's figures, else Amazon's, else what the vendor says piece by piece."""
        if self._endpoint.operation == "rerank" and self._ask.units:
            return (Usage(model=self.notes.model, units=dict(self._ask.units)),) if self.notes.ended else ()
        calls = self._messages.calls() or self._converse.calls() or self._other()
        besides = {**self._guardrail, **(self._ask.units if self._endpoint.operation == "embeddings" else {})}
        if calls and besides:
            calls = (replace(calls[0], units={**calls[0].units, **besides}), *calls[1:])
        return calls

    def _other(self) -> tuple[Usage, ...]:
        notes = self.notes
        if self._inclusive is not None:
            return (inclusive_usage(self._inclusive, notes.model, self._endpoint.traits, notes.flags),)
        if self._pictures:
            notes.terms.update(self._ask.terms)
            return (Usage(model=notes.model, units={"output_images": self._pictures}),)
        amazon, flags = self._amazon, notes.flags
        if amazon:
            notes.keep_raw(amazon)
            return (
                Usage(
                    model=notes.model,
                    input_tokens=count(amazon.get("inputTokenCount"), flags),
                    cache_read_tokens=count(amazon.get("cacheReadInputTokenCount"), flags),
                    cache_write_5m_tokens=count(amazon.get("cacheWriteInputTokenCount"), flags),
                    output_tokens=count(amazon.get("outputTokenCount"), flags),
                ),
            )
        if not self._stated:
            return ()
        notes.keep_raw(self._stated)
        read, written = (
            next((count(self._stated[key], flags) for key in keys if key in self._stated), 0) for keys in (_INPUT, _OUTPUT)
        )
        return (Usage(model=notes.model, input_tokens=read, output_tokens=written),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        kind = payload.get("type")
        if isinstance(kind, str) and kind in _MESSAGES:
            yield from self._messages.visible(payload)
            return
        yield from self._converse.visible(payload)
        yield from block_texts(
            payload.get(key)
            for key in (
                "outputText",
                "generation",
                "completion",
                "text",
                "generations",
                "outputs",
                "choices",
                "completions",
                "results",
            )
        )
