"""Bedrock's Converse and ConverseStream: one shape for every vendor's chat models.

Reference: docs.aws.amazon.com/bedrock/latest/APIReference, API_runtime_Converse and API_runtime_ConverseStream.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, member, model_name, name, text
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.framing.eventstream import EXCEPTION
from tollkeeper.wire.material import schema_text
from tollkeeper.wire.reading_asks import SEARCHES_UNBOUNDED, positive

from .bedrock_shapes import (
    REQUEST_ID_HEADER,
    block_texts,
    converse_usage,
    failure,
    has_converse_counts,
    named_model,
    note_path_terms,
    note_terms,
    trace_units,
    weigh_blocks,
)

_GROUNDING = "nova_grounding"
_EXCEPTION = EXCEPTION.encode()


class BedrockConverse:
    """The dialect ``bedrock-converse``."""

    name = "bedrock-converse"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        tools = member(body, "toolConfig").get("tools")
        tools = tools if isinstance(tools, list) else []
        material = weigh_blocks(
            (body.get("messages"), body.get("system"), _schemas_apart(tools), member(body, "promptVariables"))
        )
        messages = body.get("messages")
        history = messages if isinstance(messages, list) else []
        grounded = any(name(member(tool, "systemTool").get("name")) == _GROUNDING for tool in tools)
        return Ask(
            model=endpoint.model_in_path,
            streamed=endpoint.path.lower().endswith("-stream"),
            max_output_tokens=positive(member(body, "inferenceConfig").get("maxTokens")),
            fresh=not any(isinstance(turn, dict) and turn.get("role") == "assistant" for turn in history),
            input_bytes=material.text_bytes + len(schema_text(tools).encode("utf-8", "replace")),
            media_parts=material.media_parts,
            cache_write_ttl=material.cache_write_ttl,
            service_tier=name(member(body, "serviceTier").get("type")),
            server_tools=SEARCHES_UNBOUNDED if grounded else 0,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from block_texts((body.get("messages"), body.get("system"), member(body, "promptVariables")))
        yield schema_text(member(body, "toolConfig").get("tools"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("inferenceConfig", "maxTokens")

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ConverseReader(endpoint, Notes(response_id=name(headers.get(REQUEST_ID_HEADER))))


class ConverseReader:
    """Reads one answer: a body that states its usage, or a stream whose ``metadata`` event does, after ``messageStop``."""

    def __init__(self, endpoint: Endpoint, notes: Notes) -> None:
        self.notes = notes
        self.notes.model = self.notes.model or named_model(endpoint)
        note_path_terms(endpoint, self.notes)
        self._usage: Mapping[str, Json] | None = None
        self._guardrail: dict[str, int] = {}
        self._searches = 0

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return (
            b'"metadata"' in data
            or b'"messageStop"' in data
            or _EXCEPTION in data
            or b'"usage"' in data
            or b"server_tool_use" in data
        )

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        if failure(payload, self.notes):
            return
        if "messageStop" in payload:
            self.notes.ended = True
            self._stopped(member(payload, "messageStop"))
        self._tool_block(member(member(payload, "contentBlockStart"), "start"))
        if "metadata" in payload:
            self.notes.ended = True
            self._figures(member(payload, "metadata"))

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        content = member(member(payload, "output"), "message").get("content")
        for block in content if isinstance(content, list) else ():
            self._tool_block(block)
        self.notes.ended = True
        self._stopped(payload)
        self._figures(payload)

    def _stopped(self, holder: Mapping[str, Json]) -> None:
        """A guardrail or the model's own filter (docs.aws.amazon.com/bedrock, Converse ``stopReason``)."""
        if holder.get("stopReason") in ("guardrail_intervened", "content_filtered", "refusal"):
            self.notes.refused(holder["stopReason"])

    def _tool_block(self, block: Json) -> None:
        used = member(block, "toolUse")
        if used.get("type") == "server_tool_use" and used.get("name") == _GROUNDING:
            self._searches += 1

    def _figures(self, payload: Mapping[str, Json]) -> None:
        notes = self.notes
        note_terms(notes, member(payload, "serviceTier").get("type"), member(payload, "performanceConfig").get("latency"))
        trace = member(payload, "trace")
        if units := trace_units(trace.get("guardrail"), notes.flags):
            self._guardrail = units
        if routed := model_name(text(member(trace, "promptRouter").get("invokedModelId")).rpartition("/")[2]):
            notes.model = routed
        usage = payload.get("usage")
        if isinstance(usage, dict) and has_converse_counts(usage):
            self._usage = usage
            notes.final = True
            notes.keep_raw(usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self._usage is None:
            return ()
        flags = self.notes.flags
        usage = converse_usage(self._usage, self.notes.model, flags)
        units = {**usage.units, **self._guardrail}
        if self._searches and "web_search_requests" not in units:
            units["web_search_requests"] = count(self._searches, flags)
        return (replace(usage, units=units),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from block_texts((member(payload, "contentBlockDelta").get("delta"), member(payload, "output").get("message")))


def _schemas_apart(tools: list[Json]) -> list[Json]:
    """The cache marks among the tools: their text is weighed as a schema."""
    return [{"cachePoint": tool["cachePoint"]} for tool in tools if isinstance(tool, dict) and "cachePoint" in tool]
