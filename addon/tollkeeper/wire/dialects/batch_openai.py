"""OpenAI batches, and all who copied them: Azure, Groq, Together, Mistral (``batch/jobs``), Alibaba, Moonshot, Z.ai.

The batch object repeats a running total; the bill is read where each request's own usage stands: in the output file, line by line.
Reference: platform.openai.com/docs/api-reference/batch, docs.mistral.ai/capabilities/batch, docs.together.ai/docs/batch-inference.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.wire.batch_asks import gathered
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.row import RETRIEVE

from .batch_file import FileReader, line_asks
from .batch_results import Line, ResultsReader
from .openai_chat import ChatReader
from .openai_responses import ResponsesReader

_OVER = frozenset({"failed", "expired", "cancelled", "canceled", "success", "completed", "timeout_exceeded"})
_INPUTS = ("input_file_id", "input_files")
_OUTPUTS = ("output_file_id", "output_file", "error_file_id", "error_file")


class OpenAIBatch:
    """The dialect ``openai-batch``: making a batch, and looking how far it is."""

    name = "openai-batch"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. The requests stand in a file that was uploaded before; Mistral also takes them inline."""
        found = next((body[key] for key in _INPUTS if body.get(key)), None)
        file = name(found[0] if isinstance(found, list) and found else found)
        requests = body.get("requests")
        lines = (item for item in requests if isinstance(item, dict)) if isinstance(requests, list) else iter(())
        return gathered(line_asks(endpoint, lines), model=model_name(body.get("model")), batch_file=file)

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        return iter(())

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return BatchReader(endpoint)


class BatchReader(FileReader):
    """Reads a batch object: its id when it is made, its files when it is over. Its own totals are not the bill."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._asked = endpoint.operation != RETRIEVE

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        batch = member(payload, "job") or payload  # Together wraps it
        super().body(batch)
        notes.model = model_name(batch.get("model"))
        if self._asked:
            notes.pending = notes.error is None
            return
        if notes.response_id is None:
            return
        # The file of errors states no usage: it stands for the results only where there are no others.
        files = [file for key in _OUTPUTS if (file := name(batch.get(key))) is not None][:1]
        notes.links = dict.fromkeys(files, notes.response_id)
        status = name(batch.get("status"))
        if status is not None and status.lower() in _OVER and not files:
            notes.results_of = (notes.response_id,)  # it ended without a single answer


class OpenAIBatchResults:
    """The dialect ``openai-batch-results``: a file's content, which may be a batch's output. Any other file states no usage."""

    name = "openai-batch-results"
    answers = Answers.LINES

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        return Ask()

    prompt, cap_path = OpenAIBatch.prompt, OpenAIBatch.cap_path

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ResultsReader(endpoint, _line, _file_of(endpoint.path))


def _line(endpoint: Endpoint, payload: Mapping[str, Json]) -> Line | None:
    """``{"id": "batch_req_…", "custom_id", "response": {"status_code": 200, "body": …}, "error": null}``."""
    response = payload.get("response")
    if not isinstance(response, dict) or not isinstance(body := response.get("body"), dict):
        return None
    is_response = body.get("object") == "response" or ("output" in body and "choices" not in body)
    reader = ResponsesReader(endpoint, Ask()) if is_response else ChatReader(endpoint, Ask())
    # A line's own id, its request's, its answer's: whichever is there is the same in every copy of the file.
    ids = (payload.get("id"), response.get("request_id"), body.get("id"))
    return Line(reader, body, next((known for value in ids if (known := name(value))), None), name(payload.get("custom_id")))


def _file_of(path: str) -> str:
    """The id of the file, or of the batch where results have no file of their own."""
    return path.rpartition("/")[0].rpartition("/")[2]
