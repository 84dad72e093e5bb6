"""Perplexity's asynchronous chat: asked by one request, answered in another.

Reference: docs.perplexity.ai/api-reference/async-chat-completions-post. The request stands under ``request``, the finished answer under
``response``; it says the same whenever it is read, so it is billed once, by its id.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.wire.counts import Json, member, name
from tollkeeper.wire.dialect import AnswerReader

from .openai_chat import ChatReader, OpenAIChat


class PerplexityAsync(OpenAIChat):
    """The dialect ``perplexity-async``."""

    name = "perplexity-async"

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        return super().read_ask(endpoint, member(body, "request"))

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from super().prompt(endpoint, member(body, "request"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("request", "max_tokens")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return AsyncReader(endpoint, ask)


class AsyncReader(ChatReader):
    """Reads one answer, finished or not."""

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        notes.identity(payload)
        status = (name(payload.get("status")) or "").lower()
        answer = member(payload, "response")
        super().body({**answer, "id": notes.response_id})
        if status == "failed":
            notes.error = notes.error or "failed"
        notes.pending = not answer and status in {"created", "queued", "in_progress"}
        notes.repeatable = notes.response_id is not None

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from super().visible(member(payload, "response"))
