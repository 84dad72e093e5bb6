"""Anthropic message batches: the requests come with the submission, the answers as JSON lines.

Reference: docs.claude.com/en/api/creating-message-batches, /en/api/retrieving-message-batch-results.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.wire.batch_asks import gathered
from tollkeeper.wire.counts import Json, member, name
from tollkeeper.wire.dialect import AnswerReader, Answers

from .anthropic_messages import MessagesReader
from .batch_file import FileReader, line_asks
from .batch_results import Line, ResultsReader


class AnthropicBatch:
    """The dialect ``anthropic-batch``: making a batch."""

    name = "anthropic-batch"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        requests = body.get("requests")
        lines = (item for item in requests if isinstance(item, dict)) if isinstance(requests, list) else iter(())
        return gathered(line_asks(endpoint, lines))

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        return iter(())

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return SubmissionReader()


class SubmissionReader(FileReader):
    """Reads the id of a batch that was just made."""

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        super().body(payload)
        self.notes.pending = self.notes.response_id is not None and self.notes.error is None


class AnthropicBatchResults:
    """The dialect ``anthropic-batch-results``."""

    name = "anthropic-batch-results"
    answers = Answers.LINES

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        return Ask()

    prompt, cap_path = AnthropicBatch.prompt, AnthropicBatch.cap_path

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ResultsReader(endpoint, _line, endpoint.path.rpartition("/batches/")[2].partition("/")[0])


def _line(endpoint: Endpoint, payload: Mapping[str, Json]) -> Line | None:
    """``{"custom_id", "result": {"type": "succeeded", "message": …}}``; errored, canceled and expired ones are not billed."""
    message = member(payload, "result").get("message")
    if not isinstance(message, dict):
        return None
    return Line(MessagesReader(endpoint, Ask()), message, name(message.get("id")), name(payload.get("custom_id")))
