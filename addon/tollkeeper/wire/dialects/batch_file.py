"""Files uploaded for a batch: what they ask is read while they pass, so that the batch made of them can be checked against budgets.

Reference: platform.openai.com/docs/guides/batch (``POST /v1/files`` with ``purpose=batch``; Azure, Groq, Mistral, Together and others
alike), ai.google.dev/gemini-api/docs/batch-api (``POST /upload/v1beta/files``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.batch_asks import BARE_LINES, gathered, lines_of
from tollkeeper.wire.counts import Json, member, model_name, name, text
from tollkeeper.wire.dialect import AnswerReader, Answers, Dialect
from tollkeeper.wire.multipart import Upload

from .anthropic_messages import AnthropicMessages
from .gemini_generate import GeminiGenerate
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .whole import WholeReader

BATCH_PURPOSES = frozenset({"batch", "batch-api", "batch-inference"})
_CHAT, _RESPONSES, _MESSAGES, _GENERATE = OpenAIChat(), OpenAIResponses(), AnthropicMessages(), GeminiGenerate()
_BY_URL: tuple[tuple[str, Dialect, str], ...] = (
    ("/responses", _RESPONSES, ""),
    ("/messages", _MESSAGES, ""),
    ("/embeddings", _CHAT, "embeddings"),
    ("/moderations", _CHAT, "moderation"),
)


class BatchFile:
    """The dialect ``batch-file``."""

    name = "batch-file"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. Only a file that says it is for a batch is read; any other asks nothing."""
        if (bare := body.get(BARE_LINES)) is not None:  # Gemini takes them without a form
            return gathered(line_asks(endpoint, lines_of(bare))) if bare[:1] == b"{" else Ask()
        if "file" not in body:  # bare lines, of which there is but one
            return gathered(line_asks(endpoint, iter((body,))))
        upload = body.get("file")
        if isinstance(upload, list):
            upload = next((item for item in upload if isinstance(item, Upload)), None)
        if not isinstance(upload, Upload) or body.get("purpose") not in BATCH_PURPOSES:
            return Ask()
        return gathered(line_asks(endpoint, lines_of(upload.view)))

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``. An upload is not billed, so nothing is counted."""
        return iter(())

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return FileReader()


def line_asks(endpoint: Endpoint, lines: Iterator[Mapping[str, Json]]) -> Iterator[Ask]:
    """What each line asks: OpenAI's ``{custom_id, url, body}``, Anthropic's ``{custom_id, params}``, Gemini's ``{key, request}``."""
    for line in lines:
        if isinstance(body := line.get("body"), dict):
            url = text(line.get("url"))
            dialect, operation = next(((found, what) for tail, found, what in _BY_URL if tail in url), (_CHAT, ""))
            yield replace(_read(dialect, endpoint, body), operation=operation)
        elif isinstance(params := line.get("params"), dict):
            yield _read(_MESSAGES, endpoint, params)
        elif isinstance(request := line.get("request"), dict):
            yield _read(_GENERATE, endpoint, request)


def _read(dialect: Dialect, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
    try:
        return dialect.read_ask(endpoint, body)
    except (RecursionError, ValueError, TypeError, AttributeError):  # a shape nobody has thought of: held as a request of no text
        return Ask(model=model_name(body.get("model")))


class FileReader(WholeReader):
    """Reads the file's id; nothing is billed for keeping it."""

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``. Gemini wraps it: ``{"file": {"name": "files/abc"}}``."""
        self.notes.response_id = name(payload.get("id")) or name(member(payload, "file").get("name"))
        if payload.get("error"):
            self.notes.failed(payload["error"])
        self.notes.ended = True

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        return ()
