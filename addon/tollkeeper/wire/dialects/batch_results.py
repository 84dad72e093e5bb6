"""Results of a batch, line by line: each is an answer of its own, billed once however often the file is read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.batch_asks import BATCH_TIER
from tollkeeper.wire.counts import Json, name
from tollkeeper.wire.dialect import AnswerReader, Notes

MAX_RESULTS = 100_000
"""The most lines kept apart: Anthropic's batches end there. What follows is added up by model, and can no longer be told from a repeat."""


@dataclass(frozen=True, slots=True)
class Line:
    """One result: a fresh reader of its shape, its answer, the provider's id of it, and the client's own."""

    reader: AnswerReader
    answer: Mapping[str, Json]
    response_id: str | None
    custom_id: str | None


type ReadLine = Callable[[Endpoint, Mapping[str, Json]], Line | None]


class ResultsReader:
    """Reads every line by the reader of its own shape. ``batch`` is the batch's or file's id: it makes ids for lines without one."""

    def __init__(self, endpoint: Endpoint, read_line: ReadLine, batch: str) -> None:
        self.notes = Notes(repeatable=True)
        self._endpoint = replace(endpoint, operation="batch")  # each line is an answer, not one that is read again
        self._read_line = read_line
        self._batch = name(batch)
        self._calls: list[Usage] = []
        self._beyond: dict[str, Usage] = {}
        self._lines = 0

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return True

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def plain(self, body: bytes) -> None:
        """A file of another kind: nothing was billed for reading it."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        line = self._read_line(self._endpoint, payload)
        self._lines += 1
        if line is None:
            return
        notes, reader = self.notes, line.reader
        if self._batch is not None:
            notes.results_of = (self._batch,)
            notes.response_id = self._batch
        notes.terms["service_tier"] = BATCH_TIER
        reader.body(line.answer)
        found = reader.notes
        notes.flags |= found.flags
        notes.model = found.model or notes.model
        notes.refusal = notes.refusal or found.refusal
        if found.terms.get("inference_geo"):
            notes.terms["inference_geo"] = found.terms["inference_geo"]
        known = line.response_id or f"{self._batch}#{line.custom_id or self._lines}"
        for position, usage in enumerate(reader.calls()):
            response_id = known if position == 0 else f"{known}/{position}"
            self._keep(replace(usage, model=usage.model or found.model, response_id=response_id[:160], custom_id=line.custom_id))
        notes.final = notes.final or bool(self._calls)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.event(payload)
        self.notes.ended = True

    def _keep(self, usage: Usage) -> None:
        if len(self._calls) < MAX_RESULTS:
            self._calls.append(usage)
            return
        self.notes.flags.add("batch-too-long")
        before = self._beyond.get(usage.model or "")
        self._beyond[usage.model or ""] = usage if before is None else _added(before, usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. Every line is final by itself: a file that broke off is billed as far as it was read."""
        return (*self._calls, *self._beyond.values())

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        return iter(())


def _added(one: Usage, other: Usage) -> Usage:
    units = {unit: one.units.get(unit, 0) + other.units.get(unit, 0) for unit in {*one.units, *other.units}}
    return replace(
        one,
        input_tokens=one.input_tokens + other.input_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_5m_tokens=one.cache_write_5m_tokens + other.cache_write_5m_tokens,
        cache_write_1h_tokens=one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        units=units,
    )
