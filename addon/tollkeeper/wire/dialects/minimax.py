"""MiniMax's native API: OpenAI's chat with an error inside a good answer, and speech by the character.

Reference: platform.minimax.io/docs/api-reference. ``base_resp.status_code`` is 0 when all went well, whatever the HTTP status.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name
from tollkeeper.wire.dialect import AnswerReader

from .openai_chat import ChatReader, OpenAIChat


class MiniMax(OpenAIChat):
    """The dialect ``minimax``."""

    name = "minimax"

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from super().prompt(endpoint, body)
        if isinstance(body.get("text"), str):
            yield body["text"]

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return MiniMaxReader(endpoint, ask)


class MiniMaxReader(ChatReader):
    """Reads one answer: OpenAI's usage, or the characters that were spoken."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__(endpoint, ask)
        self._spoken: Json = None

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return super().wants(data) or b'"base_resp"' in data or b'"usage_characters"' in data

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        super().body(payload)
        status = name(member(payload, "base_resp").get("status_code"))
        if status not in {None, "0"}:
            self.notes.error = status
        extra = member(payload, "extra_info")
        if has_count(extra, "usage_characters"):
            self._spoken = extra["usage_characters"]
            self.notes.keep_raw({"usage_characters": self._spoken})
            self.notes.ended = self.notes.final = True

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        found = count(self._spoken, self.notes.flags)
        spoken = (Usage(model=self.notes.model or self._ask.model, units={"input_characters": found}),) if found else ()
        return super().calls() or spoken
