"""Gemini batches: requests inline or in a file; answers inside the batch object, or in a file of JSON lines.

Reference: ai.google.dev/api/batch-api, ai.google.dev/gemini-api/docs/batch-api.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.wire.batch_asks import gathered
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.row import RETRIEVE

from .batch_file import line_asks
from .batch_results import Line, ResultsReader
from .gemini_generate import GenerateReader

_OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


class GeminiBatch:
    """The dialect ``gemini-batch``: making a batch, and looking how far it is, with the answers once it is over."""

    name = "gemini-batch"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. Protobuf JSON takes names in camel and in snake case."""
        batch = member(body, "batch")
        config = member(batch, "inputConfig") or member(batch, "input_config")
        file = name(config.get("fileName")) or name(config.get("file_name"))
        requests = member(config, "requests").get("requests")
        lines = (item for item in requests if isinstance(item, dict)) if isinstance(requests, list) else iter(())
        return gathered(line_asks(endpoint, lines), model=endpoint.model_in_path, batch_file=file)

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        return iter(())

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("generationConfig", "maxOutputTokens")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return OperationReader(endpoint)


class OperationReader(ResultsReader):
    """Reads the operation: its name when it is made, its answers or their file when it is over."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, _line, "")
        self._asked = endpoint.operation != RETRIEVE

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes, batch = self.notes, member(payload, "metadata") or payload
        notes.ended = True
        notes.response_id = self._batch = name(payload.get("name")) or name(batch.get("name"))
        notes.model = (model_name(batch.get("model")) or "").removeprefix("models/") or None
        if payload.get("error"):
            notes.failed(payload["error"])
        if self._asked:
            notes.pending = notes.error is None
            return
        notes.pending = True  # until the answers themselves are here
        if self._batch is None:
            return
        output = member(payload, "response") or member(batch, "output")
        file = name(output.get("responsesFile"))
        if file is not None:
            notes.links = {file: self._batch}
            return
        answers = member(output, "inlinedResponses").get("inlinedResponses")
        for answer in answers if isinstance(answers, list) else ():
            if isinstance(answer, dict):
                self.event(answer)
        notes.pending = not (name(batch.get("state")) or "").endswith(_OVER)
        if not notes.pending:
            notes.results_of = (self._batch,)


class GeminiBatchResults:
    """The dialect ``gemini-batch-results``: a file that is downloaded. One that is no batch's output states no usage."""

    name = "gemini-batch-results"
    answers = Answers.LINES

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        return Ask()

    prompt, cap_path = GeminiBatch.prompt, GeminiBatch.cap_path

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        file = endpoint.path.rpartition("/files/")[2].partition("/")[0].partition(":")[0]
        return ResultsReader(endpoint, _line, f"files/{file}")


def _line(endpoint: Endpoint, payload: Mapping[str, Json]) -> Line | None:
    """``{"metadata": {"key": …}, "response": …}`` inside the batch, ``{"key": …, "response": …}`` in a file."""
    response = payload.get("response")
    if not isinstance(response, dict):
        return None
    key = name(payload.get("key")) or name(member(payload, "metadata").get("key"))
    return Line(GenerateReader(endpoint, Ask()), response, name(response.get("responseId")), key)
