"""Alibaba's native API (DashScope): text and multimodal generation, embeddings, rerank, and tasks that are polled.

Reference: help.aliyun.com/zh/model-studio/qwen-api-reference. A stream repeats running figures in each event. A task (pictures, film) is
made by one request and read by others; its figures are billed once, by its id.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name, rounded_up
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_UNITS: Final = {
    "image_count": "output_images",
    "video_duration": "video_seconds",
    "duration": "audio_input_seconds",
    "characters": "input_characters",
}
_WAITING: Final = frozenset({"pending", "running", "suspended"})


class DashScope(FlatDialect):
    """The dialect ``dashscope``."""

    name = "dashscope"
    inputs = ("messages", "prompt", "history", "texts", "contents", "query", "documents", "text")
    turns = ("messages", "history")
    schemas = ()
    caps = (("parameters", "max_tokens"),)

    def request(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """What stands under ``input``."""
        return member(body, "input")

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from super().prompt(endpoint, body)
        yield from texts((member(body, "parameters").get("tools"),))

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return DashScopeReader(endpoint, ask)


class DashScopeReader(FlatReader):
    """Reads one answer: the last usage is the bill."""

    probes = (b'"usage"', b'"code"', b'"finish_reason":"stop"', b'"task_status"')

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        output = member(payload, "output")
        task, status = name(output.get("task_id")), (name(output.get("task_status")) or "").lower()
        notes.response_id = task or name(payload.get("request_id")) or notes.response_id
        notes.repeatable = task is not None
        notes.pending = status in _WAITING
        code = name(payload.get("code")) or name(output.get("code"))
        if status == "failed" or (code and not output.get("results") and code not in {"200", "Success"}):
            notes.error = code or "task_failed"
        usage = payload.get("usage")
        if isinstance(usage, dict) and (has_counts(usage) or any(has_count(usage, key) for key in _UNITS)):
            self.keep(usage)
        choices = output.get("choices")
        ends = [output, *(choice for choice in choices if isinstance(choice, dict))] if isinstance(choices, list) else [output]
        if any(name(end.get("finish_reason")) not in {None, "null"} for end in ends):
            notes.ended = True
            notes.final = bool(self.usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if not self.usage:
            return ()
        flags = self.notes.flags
        plain = inclusive_usage(self.usage, self.model, frozenset(), flags)
        units = dict(plain.units)
        for kind in ("image", "audio", "video"):  # parts of the input, stated beside it
            if found := count(self.usage.get(f"{kind}_tokens"), flags):
                units.setdefault(f"{kind}_input_tokens", min(found, plain.input_tokens))
        if not plain.input_tokens and not plain.output_tokens:
            units |= {unit: found for key, unit in _UNITS.items() if (found := rounded_up(self.usage.get(key), flags))}
        searched = member(member(self.usage, "plugins"), "search")
        if found := count(searched.get("count"), flags):
            units["web_search_requests"] = found
        return (replace(plain, units=units),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        output = member(payload, "output")
        yield from texts((output.get("text"), output.get("choices")))
