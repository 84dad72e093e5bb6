"""Reads one answer of xAI's gRPC API: messages as JSON, under the names of their fields."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, count, member, name, text
from tollkeeper.wire.dialect import Notes
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.row import RETRIEVE
from tollkeeper.wire.stated_cost import note_stated_cost
from tollkeeper.wire.traits import REASONING_OUTSIDE

from .xai_messages import STREAMS

STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
"""gRPC's status codes in their order (grpc.github.io/grpc/core/md_doc_statuscodes.html)."""

BILLED_TOOLS = {
    "WEB_SEARCH": "web_search_requests",
    "X_SEARCH": "social_search_requests",
    "CODE_EXECUTION": "code_execution_requests",
    "COLLECTIONS_SEARCH": "file_search_requests",
    "ATTACHMENT_SEARCH": "attachment_search_requests",
}
"""Tools that cost by the call; the others cost the tokens they add (docs.x.ai/developers/pricing)."""

_LAST = frozenset({"REASON_STOP", "REASON_MAX_LEN", "REASON_MAX_CONTEXT", "REASON_TIME_LIMIT"})
"""Finishes after which nothing follows; ``REASON_TOOL_CALLS`` also stands between the rounds of server-side tools."""
_FAILED = frozenset({"FAILED", "EXPIRED"})
_COMPLETED = "TOOL_CALL_STATUS_COMPLETED"
_MAX_OUTPUTS = 4096


class XaiReader:
    """Reads one answer: the last usage is the bill, the cost that stands in it is what xAI charges."""

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._ask = ask
        self._is_stream = endpoint.path.lower() in STREAMS
        self._usage: dict[str, Json] | None = None
        self._made: dict[str, int] = {}
        self._tools: Counter[str] = Counter()
        self._whole = False
        self.notes.repeatable = endpoint.operation == RETRIEVE
        self._status(headers)

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``. Every message holds the figures so far."""
        return True

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        if "request_id" in payload and "usage" not in payload:
            notes.response_id = name(payload.get("request_id"))
            notes.pending = notes.ended = True
            return
        if self._endpoint.operation == RETRIEVE:
            payload = self._retrieved(payload)
        notes.identity(payload)
        notes.response_id = notes.response_id or self._ask.earlier_id
        notes.term("service_tier", text(payload.get("service_tier")).removeprefix("SERVICE_TIER_").lower())
        usage = payload.get("usage")
        if isinstance(usage, dict) and (has_counts(usage) or usage.get("cost_in_usd_ticks") is not None):
            self._usage = usage
            notes.keep_raw(usage)
        self._outputs(payload)
        self._media(payload)
        if not self._is_stream:
            notes.ended = self._whole = True
        notes.final = self._whole and self._usage is not None

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``. A recorder may keep a message as JSON."""
        self.event(payload)

    def trailers(self, fields: Mapping[str, str]) -> None:
        """How the call ended, in gRPC's own words."""
        if self._status(fields):
            self.notes.ended = self._whole = True
            self.notes.final = self._usage is not None

    def _status(self, fields: Mapping[str, str]) -> bool:
        """Whether the call ended well; a failure is named."""
        stated = fields.get("grpc-status", "").strip()
        if stated and stated != "0":
            code = int(stated) if stated.isdecimal() and len(stated) < 3 else -1
            self.notes.error = STATUS[code] if 0 < code < len(STATUS) else "UNKNOWN"
        return stated == "0"

    def _retrieved(self, payload: Mapping[str, Json]) -> Mapping[str, Json]:
        """What was deferred, once it is there: its figures are stated again whenever it is asked for."""
        notes, status = self.notes, payload.get("status")
        if status in _FAILED:
            notes.error = str(status)
        inner = member(payload, "response")
        if error := member(inner, "error"):
            notes.error = name(error.get("code")) or "error"
        if (status in _FAILED or inner) and self._ask.earlier_id:
            notes.results_of = (self._ask.earlier_id,)
        return inner

    def _outputs(self, payload: Mapping[str, Json]) -> None:
        for output in _outputs(payload):
            finish = output.get("finish_reason")
            if finish:
                self.notes.ended = True
                self._whole = self._whole or (finish in _LAST and self._ask.choices == 1)
            for call in _calls(member(output, "delta")):
                if call.get("status") == _COMPLETED:
                    self._tools[text(call.get("type")).removeprefix("TOOL_CALL_TYPE_").removesuffix("_TOOL")] += 1

    def _media(self, payload: Mapping[str, Json]) -> None:
        pictures = payload.get("images")
        if isinstance(pictures, list):
            self._made["output_images"] = min(sum(1 for picture in pictures if isinstance(picture, dict) and picture), MAX_COUNT)
        if seconds := count(member(payload, "video").get("duration"), self.notes.flags):
            self._made["video_seconds"] = seconds

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self._usage is None and not self._made:
            return ()
        notes, usage = self.notes, self._usage or {}
        # The fees of tools join the stated cost with the last chunk: before it, what was seen of them is priced here.
        used = usage.get("server_side_tools_used")
        if self._whole or used or not self._tools:
            note_stated_cost(usage, notes)
        tools = Counter(text(tool).removeprefix("SERVER_SIDE_TOOL_") for tool in used) if isinstance(used, list) else self._tools
        found = inclusive_usage(_inclusive(usage), notes.model or self._ask.model, frozenset({REASONING_OUTSIDE}), notes.flags)
        units = {**found.units, **self._made}
        if self._made and (shown := self._ask.units.get("input_images")):
            units["input_images"] = shown
        for tool, unit in BILLED_TOOLS.items():
            if tools[tool]:
                units[unit] = min(tools[tool], MAX_COUNT)
        if sources := count(usage.get("num_sources_used"), notes.flags):
            units["search_sources"] = sources
        return (replace(found, units=units),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. What a server-side tool said is no output of the model."""
        inner = payload if "outputs" in payload else member(payload, "response")
        for output in _outputs(inner):
            yield text(output.get("text"))
            for holder in (member(output, "delta"), member(output, "message")):
                if holder.get("role") == "ROLE_TOOL":
                    continue
                yield text(holder.get("content"))
                yield text(holder.get("reasoning_content"))
                for call in _calls(holder):
                    yield text(member(call, "function").get("name"))
                    yield text(member(call, "function").get("arguments"))


def _outputs(payload: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    outputs = payload.get("outputs")
    if isinstance(outputs, list):
        yield from (output for output in outputs[:_MAX_OUTPUTS] if isinstance(output, dict))


def _calls(holder: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    calls = holder.get("tool_calls")
    if isinstance(calls, list):
        yield from (call for call in calls[:_MAX_OUTPUTS] if isinstance(call, dict))


def _inclusive(usage: Mapping[str, Json]) -> dict[str, Json]:
    """xAI's usage under OpenAI's names; ``prompt_tokens`` holds the cached and the picture tokens."""
    return {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "reasoning_tokens": usage.get("reasoning_tokens"),
        "prompt_tokens_details": {
            "cached_tokens": usage.get("cached_prompt_text_tokens"),
            "image_tokens": usage.get("prompt_image_tokens"),
        },
    }
