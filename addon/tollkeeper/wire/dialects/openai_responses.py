"""OpenAI Responses (and its compaction), as api.openai.com, Azure, the Codex backend, Copilot, OpenRouter and xAI speak it.

Reference: platform.openai.com/docs/api-reference/responses; tool fees: platform.openai.com/docs/pricing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import EMPTY, MAX_COUNT, Usage
from tollkeeper.wire.counts import Json, count, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.plans import windows_of_event
from tollkeeper.wire.reading_asks import SEARCH, SEARCH_PREVIEW, SEARCHES_UNBOUNDED, effort_of, positive
from tollkeeper.wire.row import RETRIEVE
from tollkeeper.wire.stated_cost import note_copilot_cost, note_stated_cost

from .picture_tokens import picture_tokens, sides

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"})
_UNDER_WAY = frozenset({"queued", "in_progress"})
_STATE = ("previous_response_id", "conversation")
_SERVER_TOOLS = ("web_search", "file_search")
_OLDER_SEARCH = "web_search_preview"
_XAI_TOOLS = {
    "web_search_calls": "web_search_requests",
    "x_search_calls": "social_search_requests",
    "code_interpreter_calls": "code_execution_requests",
    "code_execution_calls": "code_execution_requests",
    "file_search_calls": "file_search_requests",
    "collections_search_calls": "file_search_requests",
    "attachment_search_calls": "attachment_search_requests",
}
"""xAI counts its billed tools itself: opened pages cost there, and a search of X is no item of OpenAI's (docs.x.ai/developers/pricing)."""
_MAX_ITEMS = 10_000
_TOLD = frozenset({"user", "developer", "system"})


class OpenAIResponses:
    """The dialect ``openai-responses``."""

    name = "openai-responses"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        material = weigh((body.get("input"), body.get("instructions")))
        schemas = schema_text(body.get("tools")) + schema_text(member(body, "text").get("format"))
        return Ask(
            model=model_name(body.get("model")),
            streamed=body.get("stream") is True,
            max_output_tokens=positive(body.get("max_output_tokens")),
            fresh=not any(body.get(key) for key in _STATE) and not _has_answer(body.get("input")),
            input_bytes=material.text_bytes + len(schemas.encode("utf-8", "replace")),
            media_parts=material.media_parts,
            cache_write_ttl=material.cache_write_ttl,
            service_tier=name(body.get("service_tier")),
            effort=effort_of(member(body, "reasoning").get("effort")),
            server_tools=_server_tools(body),
            units=_units(body),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts((body.get("instructions"), body.get("input")))
        yield schema_text(body.get("tools"))
        yield schema_text(member(body, "text").get("format"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_output_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ResponsesReader(endpoint, ask)


class ResponsesReader:
    """Reads one answer: usage stands in the event that ends the response."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._ask = ask
        self._usage: Mapping[str, Json] | None = None
        self._tool_usage: Mapping[str, Json] = {}
        self._tools: Json = None
        self._items: list[Mapping[str, Json]] = []
        self._begun = False

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        if not self._begun:
            self._begun = True
            return True
        if b'.delta"' in data[:80]:  # nine events in ten
            return b'"usage"' in data
        if b'"usage"' in data and (b'"usage":null' not in data or b'"usage":{' in data):
            return True
        if (
            b'"error"' in data
            or b'"response.failed"' in data
            or b'"response.incomplete"' in data
            or b'"response.completed"' in data
        ):
            return True
        if b'"response.refusal.done"' in data[:80] or b'"codex.rate_limits"' in data[:80]:
            return True
        return b"_call" in data and b"response.output_item.done" in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        kind = name(payload.get("type"))
        if kind == "error":
            self.notes.failed(payload.get("error") or {"code": payload.get("code")})
            return
        if kind == "response.refusal.done":
            self.notes.refused("refusal")
            return
        if kind == "codex.rate_limits":
            self.notes.plan_windows = windows_of_event(payload)
            return
        if kind == "response.output_item.done":
            item = payload.get("item")
            if isinstance(item, dict) and len(self._items) < _MAX_ITEMS:
                self._items.append(item)
            return
        response = payload.get("response")
        if isinstance(response, dict):
            self._take(response)
            note_copilot_cost(payload, self.notes)
            if kind in _ENDS:
                self.notes.ended = True
                self.notes.final = self._usage is not None

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        if payload.get("error") and "output" not in payload:
            self.notes.failed(payload["error"])
        self._take(payload, whole=True)
        self.notes.ended = True
        self.notes.final = self._usage is not None

    def _take(self, response: Mapping[str, Json], *, whole: bool = False) -> None:
        notes = self.notes
        notes.identity(response)
        notes.term("service_tier", response.get("service_tier"))
        if isinstance(response.get("error"), dict):
            notes.error = name(response["error"].get("code")) or name(response["error"].get("type")) or "error"
        self._tool_usage = member(response, "tool_usage") or self._tool_usage
        self._tools = response.get("tools") or self._tools
        self._note_background(response, whole=whole)
        if member(response, "incomplete_details").get("reason") == "content_filter":
            notes.refused("content_filter")
        output = response.get("output")
        if isinstance(output, list) and output:
            self._items = [item for item in output[:_MAX_ITEMS] if isinstance(item, dict)]
            if any(part.get("type") == "refusal" for item in self._items for part in _parts(item.get("content"))):
                notes.refused("refusal")
        usage = response.get("usage")
        if isinstance(usage, dict) and has_counts(usage):
            self._usage = usage
            notes.keep_raw(usage)
            note_stated_cost(usage, notes)
        note_copilot_cost(response, notes)

    def _note_background(self, response: Mapping[str, Json], *, whole: bool) -> None:
        """A background response goes on without its client: whoever reads it at its end has the bill, and may read it twice.

        platform.openai.com/docs/guides/background.
        """
        notes, status = self.notes, name(response.get("status"))
        left = whole and self._endpoint.operation != RETRIEVE and status in _UNDER_WAY
        if response.get("background") is not True and not left:
            return
        notes.repeatable = True
        notes.pending = status in _UNDER_WAY
        if notes.pending:
            notes.flags.add("background")
        elif notes.response_id is not None and self._endpoint.operation == RETRIEVE:
            notes.results_of = (notes.response_id,)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. Hosted tools are not in ``usage``: they are counted from the output items."""
        if self._endpoint.operation == RETRIEVE and not self.notes.repeatable:
            return ()  # it was billed to whoever asked for it, while it was made
        model = self.notes.model or self._ask.model
        if self._usage is None:
            drawn = self._image_call()
            self.notes.counted = bool(drawn)
            return (*drawn, Usage(model=model)) if drawn else ()  # the last one takes what is counted from the text
        self.notes.counted = False
        usage = inclusive_usage(self._usage, model, self._endpoint.traits, self.notes.flags)
        return (replace(usage, units={**usage.units, **self._tool_units()}), *self._image_call())

    def _tool_units(self) -> dict[str, int]:
        flags = self.notes.flags
        if told := member(self._usage, "server_side_tool_usage_details"):
            return {unit: found for key, unit in _XAI_TOOLS.items() if (found := count(told.get(key), flags))}
        searches = sum(1 for item in self._items if item.get("type") == "web_search_call" and _is_search(item))
        stated = member(self._tool_usage, "web_search").get("num_requests")
        units = {
            self._search_unit(): count(stated, flags) if stated is not None else searches,
            "file_search_requests": sum(1 for item in self._items if item.get("type") == "file_search_call"),
            "code_interpreter_sessions": len(
                {name(item.get("container_id")) for item in self._items if item.get("type") == "code_interpreter_call"}
            ),
        }
        return {unit: found for unit, found in units.items() if found}

    def _search_unit(self) -> str:
        """The older tool has a price of its own; where both are offered nothing tells which one searched."""
        kinds = [kind for tool in _parts(self._tools) if (kind := str(tool.get("type", ""))).startswith("web_search")]
        return SEARCH_PREVIEW if kinds and all(kind.startswith(_OLDER_SEARCH) for kind in kinds) else SEARCH

    def _image_call(self) -> tuple[Usage, ...]:
        """What the image tool drew, at its own model: by the tokens that are stated, else by the pictures that were finished."""
        flags, image = self.notes.flags, member(self._tool_usage, "image_gen")
        tools = [tool for tool in _parts(self._tools) if tool.get("type") == "image_generation"]
        model = next((found for tool in tools if (found := model_name(tool.get("model")))), "gpt-image-1")
        if any(count(image.get(key), flags) for key in ("input_tokens", "output_tokens")):
            self.notes.raw.append({"image_gen": _numbers(image)})
            return (inclusive_usage(image, model, frozenset(), flags),)
        drawn = [item for item in self._items if item.get("type") == "image_generation_call" and item.get("status") != "failed"]
        if not drawn:
            return ()
        flags.add("estimated-images")
        tokens = min(MAX_COUNT, sum(_picture_tokens(model, item, tools) for item in drawn))
        return (Usage(model=model, output_tokens=tokens, units={"image_output_tokens": tokens}),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. Audio deltas are base64 and ``obfuscation`` is padding: neither is text."""
        kind, delta = payload.get("type"), payload.get("delta")
        if isinstance(kind, str) and isinstance(delta, str) and "audio.delta" not in kind:
            yield delta
        output = payload.get("output")
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict):
                yield from texts(item.get(key) for key in ("content", "summary", "arguments", "input", "code"))


def _parts(content: Json) -> list[Mapping[str, Json]]:
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _picture_tokens(model: str, item: Mapping[str, Json], tools: list[Mapping[str, Json]]) -> int:
    """Of one picture, by its own quality and size; else by those that the tool was set to."""
    stated = {**(tools[0] if len(tools) == 1 else {}), **{key: value for key, value in item.items() if value is not None}}
    width, height = sides(stated.get("size")) or (0, 0)
    return picture_tokens(model, width * height, stated.get("quality"))


def _numbers(usage: Mapping[str, Json]) -> Mapping[str, Json]:
    return {key: value for key, value in usage.items() if type(value) is int}


def _is_search(item: Mapping[str, Json]) -> bool:
    """Opening a page and finding in it cost nothing (platform.openai.com/docs/pricing, "web search")."""
    return bool(member(item, "action").get("type", "search") == "search")


def _has_answer(turns: Json) -> bool:
    """Whether the input holds anything that a model made, or that answers it. Codex sends its tools as an item of the developer's."""
    for turn in turns if isinstance(turns, list) else ():
        if (
            isinstance(turn, dict)
            and turn.get("role") not in _TOLD
            and (turn.get("role") or turn.get("type", "message") != "message")
        ):
            return True
    return False


def _units(body: Mapping[str, Json]) -> Mapping[str, int]:
    """What it may be billed besides, for the hold: a picture at the ceiling, and the older search tool at its own price."""
    searches = _server_tools(body)
    older = searches and any(str(tool.get("type", "")).startswith(_OLDER_SEARCH) for tool in _parts(body.get("tools")))
    return {**({"output_images": 1} if _may_draw(body) else EMPTY), **({SEARCH_PREVIEW: searches} if older else EMPTY)}


def _may_draw(body: Mapping[str, Json]) -> bool:
    """Whether it may call the image tool, whose tokens are billed besides at a picture model's price: held for at the ceiling."""
    tools = body.get("tools")
    return any(
        isinstance(tool, dict) and tool.get("type") == "image_generation" for tool in (tools if isinstance(tools, list) else ())
    )


def _server_tools(body: Mapping[str, Json]) -> int:
    tools = body.get("tools")
    kinds = [str(tool.get("type", "")) for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict)]
    if not any(kind.startswith(_SERVER_TOOLS) for kind in kinds):
        return 0
    return min(positive(body.get("max_tool_calls")) or SEARCHES_UNBOUNDED, 1000)
