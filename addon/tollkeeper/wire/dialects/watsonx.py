"""IBM watsonx.ai: text generation, embeddings and rerank; its chat answers are OpenAI's with ``model_id``.

Reference: cloud.ibm.com/apidocs/watsonx-ai. In a generation stream each event repeats the running ``generated_token_count``; the
first one states ``input_token_count``, the others 0.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, name
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader
from .openai_chat import ChatReader

_IN, _OUT = "input_token_count", "generated_token_count"


class Watsonx(FlatDialect):
    """The dialect ``watsonx``."""

    name = "watsonx"
    inputs = ("messages", "input", "inputs", "query")
    schemas = ("tools", "response_format")
    caps = (("max_completion_tokens",), ("max_tokens",), ("parameters", "max_new_tokens"))
    model_key = "model_id"

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        stated = super().cap_path(endpoint, body)
        return stated if "messages" in body or stated != self.caps[0] else self.caps[2]

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return WatsonxReader(endpoint, ask)


class WatsonxReader(FlatReader):
    """Reads one answer: the largest running figures, or OpenAI's ``usage``."""

    probes = (b"token_count", b'"usage"', b'"errors"', b'"finish_reason":"', b'"finish_reason": "')

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__(endpoint, ask)
        self._read = self._written = 0

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        notes.identity(payload, "model_id")
        errors = payload.get("errors")
        if isinstance(errors, list) and errors:
            notes.failed(errors[0])
        results = [one for one in _list(payload.get("results")) if isinstance(one, dict)]
        finished = any(name(one.get("stop_reason")) not in {None, "not_finished"} for one in results)
        usage = payload.get("usage")
        if has_counts(usage):
            self.keep(usage)
            finished = True
        elif any(has_count(one, key) for one in (payload, *results) for key in (_IN, _OUT)):
            read = sum(count(one.get(_IN), notes.flags) for one in (payload, *results))
            self._read = max(self._read, read)
            self._written = max(self._written, sum(count(one.get(_OUT), notes.flags) for one in results))
            self.keep({_IN: self._read, _OUT: self._written})
        choices = [one for one in _list(payload.get("choices")) if isinstance(one, dict)]
        notes.ended = notes.ended or finished or any(choice.get("finish_reason") for choice in choices)
        notes.final = notes.final or (finished and bool(self.usage))

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if not self.usage:
            return ()
        if _OUT in self.usage:
            return (Usage(model=self.model, input_tokens=self._read, output_tokens=self._written),)
        return (inclusive_usage(self.usage, self.model, self.endpoint.traits, self.notes.flags),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from texts(one.get("generated_text") for one in _list(payload.get("results")) if isinstance(one, dict))
        yield from ChatReader(self.endpoint, self.ask).visible(payload)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
