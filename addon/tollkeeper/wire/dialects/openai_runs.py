"""Assistants runs: the run states at its end what it used; steps repeat it in parts, and every poll repeats it whole.

Reference: platform.openai.com/docs/api-reference/runs. A run goes on without its client, so it is billed to whoever reads its end, once.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts, weigh
from tollkeeper.wire.reading_asks import positive

_TURNS = ("instructions", "additional_instructions", "additional_messages", "thread", "tool_outputs")
_OVER = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})


class OpenAIRuns:
    """The dialect ``openai-runs``."""

    name = "openai-runs"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. What the thread and the assistant already hold is not in the request."""
        material = weigh(body.get(key) for key in _TURNS)
        return Ask(
            model=model_name(body.get("model")),
            streamed=body.get("stream") is True,
            max_output_tokens=positive(body.get("max_completion_tokens")),
            fresh=False,
            input_bytes=material.text_bytes,
            media_parts=material.media_parts,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        return texts(body.get(key) for key in _TURNS)

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_completion_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return RunReader(endpoint)


class RunReader:
    """Reads a run, whole or as events: only a ``thread.run`` object counts, never its steps or messages."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.notes = Notes(repeatable=True)
        self._endpoint = endpoint
        self._usage: Mapping[str, Json] | None = None

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b'"thread.run"' in data or b'"error"' in data[:80]

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        self.notes.ended = self.notes.ended or data.strip() == b"[DONE]"

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.body(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        if payload.get("object") != "thread.run":
            if payload.get("error"):
                notes.failed(payload["error"])
            return
        notes.identity(payload)
        status = name(payload.get("status"))
        notes.ended = notes.ended or status in _OVER
        if isinstance(error := payload.get("last_error"), dict):
            notes.failed(error)
        usage = payload.get("usage")
        if isinstance(usage, dict) and has_counts(usage) and status in _OVER:
            self._usage = usage
            notes.keep_raw(usage)
            notes.final = True
        notes.pending = status not in _OVER
        if not notes.pending and notes.response_id is not None:
            notes.results_of = (notes.response_id,)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self._usage is None:
            return ()
        return (inclusive_usage(self._usage, self.notes.model, self._endpoint.traits, self.notes.flags),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        content = member(payload, "delta").get("content")
        for part in content if isinstance(content, list) else ():
            yield from texts((member({"": part}, ""),))
