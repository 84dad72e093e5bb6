"""The messages of xAI's gRPC API that say what a call asks and uses: field numbers of xai-proto (github.com/xai-org/xai-proto)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tollkeeper.wire.protobuf import Field, Message, Size, Text, Whole


def _words(prefix: str, words: str) -> Mapping[int, str]:
    """The names of an enum's values: ``3:STOP`` is value 3."""
    pairs = (word.partition(":") for word in words.split())
    return MappingProxyType({int(value): prefix + word for value, _, word in pairs})


TIERS = _words("", "1:default 2:priority")
FINISHES = _words("REASON_", "1:MAX_LEN 2:MAX_CONTEXT 3:STOP 4:TOOL_CALLS 5:TIME_LIMIT")
ROLES = _words("ROLE_", "1:USER 2:ASSISTANT 3:SYSTEM 4:FUNCTION 5:TOOL 6:DEVELOPER")
STATES = _words("", "1:DONE 2:EXPIRED 3:PENDING 4:FAILED")
CALL_STATES = _words("TOOL_CALL_STATUS_", "0:IN_PROGRESS 1:COMPLETED 2:INCOMPLETE 3:FAILED")
USED = _words(
    "SERVER_SIDE_TOOL_",
    "1:WEB_SEARCH 2:X_SEARCH 3:CODE_EXECUTION 4:VIEW_IMAGE 5:VIEW_X_VIDEO 6:COLLECTIONS_SEARCH 7:MCP 8:ATTACHMENT_SEARCH "
    "10:IMAGE_SEARCH 11:IMAGE_GENERATION",
)
"""The server-side calls that succeeded, which are the billed ones."""
CALLED = _words(
    "TOOL_CALL_TYPE_",
    "1:CLIENT_SIDE_TOOL 2:WEB_SEARCH_TOOL 3:X_SEARCH_TOOL 4:CODE_EXECUTION_TOOL 5:COLLECTIONS_SEARCH_TOOL 6:MCP_TOOL "
    "7:ATTACHMENT_SEARCH_TOOL 10:IMAGE_GENERATION_TOOL",
)
"""The calls that the model attempted."""

USAGE = Message(
    "usage",
    {
        1: Whole("completion_tokens"),
        2: Whole("prompt_tokens"),
        3: Whole("total_tokens"),
        4: Whole("prompt_text_tokens"),
        5: Whole("prompt_image_tokens"),
        6: Whole("reasoning_tokens"),
        7: Whole("cached_prompt_text_tokens"),
        8: Whole("num_sources_used"),
        9: Whole("server_side_tools_used", repeated=True, words=USED),
        11: Whole("cost_in_usd_ticks"),
    },
)
_FUNCTION = Message("function", {1: Text("name"), 2: Text("arguments")})
_CALL = Message(
    "tool_calls", {2: Whole("type", words=CALLED), 3: Whole("status", words=CALL_STATES), 10: _FUNCTION}, repeated=True
)
_SAID: Mapping[int, Field] = {1: Text("content"), 2: Whole("role", words=ROLES), 3: _CALL, 4: Text("reasoning_content")}
_RESPONSE: Mapping[int, Field] = {
    1: Text("id"),
    2: Message("outputs", {1: Whole("finish_reason", words=FINISHES), 3: Message("message", _SAID)}, repeated=True),
    6: Text("model"),
    9: USAGE,
    15: Whole("service_tier", words=TIERS),
}
RESPONSE = Message("response", _RESPONSE)
CHUNK = Message(
    "chunk",
    {
        1: Text("id"),
        2: Message("outputs", {1: Message("delta", _SAID), 3: Whole("finish_reason", words=FINISHES)}, repeated=True),
        4: Text("model"),
        6: USAGE,
        12: Whole("service_tier", words=TIERS),
    },
)
_SAMPLED = Message("outputs", {1: Whole("finish_reason", words=FINISHES), 3: Text("text")}, repeated=True)
SAMPLE = Message("sample", {**_RESPONSE, 2: _SAMPLED})
COMPACTED = Message("compacted", {1: Text("id"), 4: USAGE})
STARTED = Message("started", {1: Text("request_id")})
DEFERRED = Message("deferred", {1: RESPONSE, 2: Whole("status", words=STATES)})
_IMAGE_URL: Mapping[int, Field] = {1: Size("image_url"), 3: Text("file_id")}
IMAGES = Message("images", {1: Message("images", {1: Size("base64"), 3: Size("url")}, repeated=True), 2: Text("model"), 3: USAGE})
VIDEO = Message(
    "video",
    {
        1: Whole("status", words=STATES),
        2: Message(
            "response",
            {1: Message("video", {4: Whole("duration")}), 2: Text("model"), 3: USAGE, 6: Message("error", {1: Text("code")})},
        ),
    },
)

_CONTENT = Message(
    "content",
    {1: Text("text"), 2: Message("image_url", _IMAGE_URL), 3: Message("file", {2: Size("data"), 5: Size("url")})},
    repeated=True,
)
_MESSAGE = Message(
    "messages",
    {
        1: _CONTENT,
        2: Whole("role", words=ROLES),
        4: replace(_CALL, fields={10: _FUNCTION}),
        5: Text("reasoning_content"),
        6: Size("encrypted_content"),
    },
    repeated=True,
)
_TOOL = Message(
    "tools",
    {
        1: Message("function", {1: Text("name"), 2: Text("description"), 4: Text("parameters")}),
        3: Message("web_search", {}),
        4: Message("x_search", {}),
        5: Message("code_execution", {}),
        6: Message("collections_search", {}),
        7: Message("mcp", {}),
        8: Message("attachment_search", {}),
        10: Message("image_generation", {}),
    },
    repeated=True,
)
COMPLETE = Message(
    "complete",
    {
        1: _MESSAGE,
        2: Text("model"),
        7: Whole("max_tokens"),
        8: Whole("n"),
        10: Message("response_format", {2: Text("schema")}),
        17: _TOOL,
        20: Message("search_parameters", {1: Whole("mode"), 8: Whole("max_search_results")}),
        22: Text("previous_response_id"),
        25: Whole("max_turns"),
        31: Whole("service_tier", words=TIERS),
    },
)
PROMPTS = Message("prompts", {1: Text("prompt", repeated=True), 3: Text("model"), 7: Whole("max_tokens"), 8: Whole("n")})
COMPACT = Message("compact", {1: Text("model"), 2: _MESSAGE})
DRAW = Message(
    "draw",
    {
        1: Text("prompt", repeated=True),
        2: Text("model"),
        3: Whole("n"),
        5: Message("image", _IMAGE_URL, repeated=True),
        17: Message("images", _IMAGE_URL, repeated=True),
    },
)
FILM = Message(
    "film",
    {
        1: Text("prompt", repeated=True),
        2: Message("image", _IMAGE_URL, repeated=True),
        3: Text("model"),
        4: Whole("duration"),
        8: Whole("resolution"),
        13: Message("images", _IMAGE_URL, repeated=True),
    },
)
EXTEND = Message("extend", {1: Text("prompt", repeated=True), 3: Text("model"), 4: Whole("duration")})
FETCH = Message("fetch", {1: Text("request_id")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC: what is sent and comes back, and where the request names its model and its cap on output."""

    ask: Message
    answer: Message
    model: int | None = None
    cap: int | None = None


_CHAT = Method(ask=COMPLETE, answer=RESPONSE, model=2, cap=7)
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "/xai_api.chat/getcompletion": _CHAT,
        "/xai_api.chat/getcompletionchunk": replace(_CHAT, answer=CHUNK),
        "/xai_api.chat/startdeferredcompletion": replace(_CHAT, answer=STARTED),
        "/xai_api.chat/getdeferredcompletion": Method(ask=FETCH, answer=DEFERRED),
        "/xai_api.chat/compactcontext": Method(ask=COMPACT, answer=COMPACTED, model=1),
        "/xai_api.sample/sampletext": Method(ask=PROMPTS, answer=SAMPLE, model=3, cap=7),
        "/xai_api.sample/sampletextstreaming": Method(ask=PROMPTS, answer=SAMPLE, model=3, cap=7),
        "/xai_api.image/generateimage": Method(ask=DRAW, answer=IMAGES, model=2),
        "/xai_api.video/generatevideo": Method(ask=FILM, answer=STARTED, model=3),
        "/xai_api.video/extendvideo": Method(ask=EXTEND, answer=STARTED, model=3),
        "/xai_api.video/getdeferredvideo": Method(ask=FETCH, answer=VIDEO),
    }
)
"""By path in lower case."""

STREAMS = frozenset({"/xai_api.chat/getcompletionchunk", "/xai_api.sample/sampletextstreaming"})
