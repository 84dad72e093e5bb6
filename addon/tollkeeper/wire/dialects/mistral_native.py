"""What Mistral serves besides OpenAI's shapes: conversations and agents, document reading (OCR), transcription.

Reference: docs.mistral.ai/api. Connectors (web search, code) are billed by the request, and what they put into the prompt,
``connector_tokens``, as input. OCR is billed by the page, a dearer one where it is annotated; audio by the second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_CONNECTORS: Final = {
    "web_search": "web_search_requests",
    "web_search_premium": "premium_search_requests",
    "code_interpreter": "code_execution_requests",
    "image_generation": "output_images",
    "document_library": "file_search_requests",
}


class MistralNative(FlatDialect):
    """The dialect ``mistral-native``."""

    name = "mistral-native"
    inputs = ("inputs", "instructions", "document")
    turns = ("inputs",)
    caps = (("completion_args", "max_tokens"),)

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        ask = super().read_ask(endpoint, body)
        stored = endpoint.path.partition("/conversations/")[2] != ""
        inputs = body.get("inputs")
        entries = [one for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
        told = any(str(one.get("type")) in {"message.output", "function.result", "tool.execution"} for one in entries)
        tools = body.get("tools")
        kinds = {str(tool.get("type")) for tool in tools if isinstance(tool, dict)} if isinstance(tools, list) else set()
        searches = 10 if kinds & {"web_search", "web_search_premium"} else 0
        return replace(ask, fresh=ask.fresh and not stored and not told, server_tools=searches)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return MistralReader(endpoint, ask)


class MistralReader(FlatReader):
    """Reads one answer, whichever of these it is."""

    probes = (b'"usage', b'"error', b".error", b'"model"', b".done")

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__(endpoint, ask)
        self._annotated = False

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        outputs = [one for one in _list(payload.get("outputs")) if isinstance(one, dict)]
        for holder in (payload, *outputs):
            notes.identity(holder)
        kind = payload.get("type")
        if kind == "conversation.response.error" or payload.get("error"):
            notes.failed(payload.get("error") or {"code": payload.get("code")})
        pages = [page for page in _list(payload.get("pages")) if isinstance(page, dict)]
        pictures = [one for page in pages for one in _list(page.get("images")) if isinstance(one, dict)]
        self._annotated = bool(payload.get("document_annotation")) or any(one.get("image_annotation") for one in pictures)
        usage = payload.get("usage")
        read = member(payload, "usage_info")
        if isinstance(usage, dict) and (has_counts(usage) or has_count(usage, "prompt_audio_seconds")):
            self.keep(usage)
        elif has_count(read, "pages_processed"):
            self.keep(read)
        if isinstance(kind, str) and kind.endswith(".done") and kind != "tool.execution.done":
            notes.ended = notes.ended or bool(self.usage)
            notes.final = notes.final or bool(self.usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        usage, flags = self.usage, self.notes.flags
        if not usage:
            return ()
        if has_count(usage, "pages_processed"):
            unit = "annotated_document_pages" if self._annotated else "document_pages"
            return (Usage(model=self.model, units={unit: count(usage["pages_processed"], flags)}),)
        if self.endpoint.operation == "transcription" and (heard := count(usage.get("prompt_audio_seconds"), flags)):
            return (Usage(model=self.model, units={"audio_input_seconds": heard}),)  # the tokens beside it are not billed
        plain = inclusive_usage(usage, self.model, frozenset(), flags)
        used = member(usage, "connectors")
        units = {unit: found for key, unit in _CONNECTORS.items() if (found := count(used.get(key), flags))}
        return (
            replace(
                plain,
                input_tokens=plain.input_tokens + count(usage.get("connector_tokens"), flags),
                units={**plain.units, **units},
            ),
        )

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from texts((payload.get("content"), payload.get("text"), payload.get("arguments")))
        yield from texts(one.get("content") for one in _list(payload.get("outputs")) if isinstance(one, dict))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
