"""Small answers in the shapes that providers really send, and helpers to read them."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Reading
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.routes import endpoint_for

SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}

CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
RESPONSES = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages?beta=true")
GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GENERATE = endpoint_for("gemini", "generativelanguage.googleapis.com", "POST", GEMINI_PATH + "?alt=sse")
ALL = (CHAT, RESPONSES, MESSAGES, GENERATE)


def sse(*events: Any, named: bool = False, end: str = "\n") -> bytes:
    """Events as a stream; text stands for itself."""
    out = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        name = f"event: {event['type']}{end}" if named and isinstance(event, dict) else ""
        out.append(f"{name}data: {data}{end}{end}")
    return "".join(out).encode("utf-8", "surrogatepass")


def read(
    endpoint: Endpoint,
    body: bytes,
    headers: Mapping[str, str] = SSE,
    *,
    status: int = 200,
    cut: bool = False,
    ask: Ask | None = None,
    at: list[int] | None = None,
) -> Reading:
    """The reading of a body fed in pieces that end at the positions ``at``."""
    meter = Meter(endpoint, ask or Ask(model="asked", streamed=True), status, headers)
    for piece in pieces(body, at or []):
        meter.feed(piece)
    return meter.close(cut=cut)


def pieces(body: bytes, at: list[int]) -> Iterator[bytes]:
    """``body`` cut at the positions ``at``."""
    start = 0
    for end in [*sorted(set(at)), len(body)]:
        if start < end <= len(body):
            yield body[start:end]
            start = end


def some_splits(body: bytes, seed: int, number: int = 12) -> Iterator[list[int]]:
    """Every byte apart, then a few random ways to cut."""
    yield list(range(1, len(body)))
    chance = random.Random(seed)
    for _ in range(number):
        yield [chance.randrange(1, max(2, len(body))) for _ in range(chance.randrange(1, 12))]


def chunk(content: str | None = None, **more: Any) -> dict[str, Any]:
    """One chat chunk."""
    delta = {"content": content} if content is not None else {}
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18", "choices": choices, **more}


FINISH = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
CHAT_STREAM = sse(chunk("Hello "), chunk("wörld \u2028"), FINISH, chunk(choices=[], usage=CHAT_USAGE), "[DONE]")
PLAIN_CHAT_STREAM = sse(chunk("Hello "), chunk("wörld \u2028"), FINISH, "[DONE]")

MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude-sonnet-4-5",
        "content": [],
        "usage": {
            "input_tokens": 2068,
            "output_tokens": 3,
            "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            "service_tier": "standard",
        },
    },
}
TEXT_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bonjour"}}
MESSAGE_DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"input_tokens": 22397, "output_tokens": 86, "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}},
}
MESSAGE_STREAM = sse(MESSAGE_START, {"type": "ping"}, TEXT_DELTA, MESSAGE_DELTA, {"type": "message_stop"}, named=True)

RESPONSE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 80,
}
SEARCH_CALL = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "toll"}}
RESPONSE_STREAM = sse(
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5-mini", "usage": None, "error": None}},
    {"type": "response.output_text.delta", "delta": "Hallo", "obfuscation": "abcdef"},
    {"type": "response.output_item.done", "item": SEARCH_CALL},
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "model": "gpt-5-mini",
            "status": "completed",
            "service_tier": "flex",
            "output": [SEARCH_CALL, {"type": "message", "content": [{"type": "output_text", "text": "Hallo"}]}],
            "usage": RESPONSE_USAGE,
        },
    },
    named=True,
)


def gemini(text: str, usage: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
    """One Gemini chunk."""
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    whole: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
    return whole if usage is None else {**whole, "usageMetadata": usage}


GEMINI_CHUNKS = (
    gemini("Ciao", {"trafficType": "ON_DEMAND"}),
    gemini(' "mondo" ]}', {"promptTokenCount": 12, "candidatesTokenCount": 169, "totalTokenCount": 181}),
    gemini(
        "!",
        {
            "promptTokenCount": 12,
            "cachedContentTokenCount": 2,
            "candidatesTokenCount": 79,
            "thoughtsTokenCount": 30,
            "toolUsePromptTokenCount": 4,
            "totalTokenCount": 125,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 7}],
        },
        "STOP",
    ),
)
GEMINI_STREAM = sse(*GEMINI_CHUNKS, end="\r\n")
GEMINI_ARRAY = b"[" + b"\n,\r\n".join(json.dumps(chunk, indent=1).encode() for chunk in GEMINI_CHUNKS) + b"\n]\n"

STREAMS: tuple[tuple[Endpoint, bytes, Mapping[str, str]], ...] = (
    (CHAT, CHAT_STREAM, SSE),
    (CHAT, PLAIN_CHAT_STREAM, SSE),
    (MESSAGES, MESSAGE_STREAM, SSE),
    (RESPONSES, RESPONSE_STREAM, SSE),
    (GENERATE, GEMINI_STREAM, SSE),
    (GENERATE, GEMINI_ARRAY, JSON),
)
