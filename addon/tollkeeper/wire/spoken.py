"""A refusal said as an ordinary answer of the model, for people at interactive tools (``refusal = "message"``).

Only dialects that talk have one; a script that calls another gets the error. Shapes: each provider's API reference for answers and streams.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from tollkeeper.core.call import Ask, Endpoint

from .refuse import Reply
from .row import CHAT, GENERATE, MESSAGES, RESPONSES

JSON: Final = "application/json"
SSE: Final = "text/event-stream; charset=utf-8"
NAME: Final = "tollkeeper"

NEVER_SPOKEN_TO: Final = ("gemini-cli",)
"""Clients whose side calls want JSON and go round when they get prose: six times, 88 seconds (docs/refusals.md)."""


def spoken(endpoint: Endpoint, ask: Ask, path: str, client: str, message: str, at: int) -> Reply | None:
    """The refusal as an answer with status 200, streamed if it was asked for so; None where only an error will do.

    ``path`` is as on the wire, ``client`` what the client is called, ``at`` UTC microseconds.
    """
    speak = _SPEAKERS.get(endpoint.dialect or "")
    if speak is None or endpoint.operation not in {"chat", "generate_content"} or client.startswith(NEVER_SPOKEN_TO):
        return None
    model, seconds = ask.model or endpoint.model_in_path or NAME, at // 1_000_000
    body, content_type = speak(ask, model, message, seconds)
    if endpoint.dialect == GENERATE and ask.streamed and "alt=sse" not in path:
        body, content_type = b"[%b]" % body.removeprefix(b"data: ").strip(), JSON
    return Reply(200, {"content-type": content_type, "x-should-retry": "false"}, body)


def event(payload: Mapping[str, Any], *, named: bool = False) -> bytes:
    """One server-sent event; ``named``: with its type as the event's name."""
    head = b"event: %b\n" % str(payload["type"]).encode() if named else b""
    return b"%bdata: %b\n\n" % (head, _dump(payload))


def _chat(ask: Ask, model: str, message: str, seconds: int) -> tuple[bytes, str]:
    head: dict[str, Any] = {"id": f"chatcmpl-{NAME}", "created": seconds, "model": model}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if not ask.streamed:
        choice = {"index": 0, "message": {"role": "assistant", "content": message, "refusal": None}, "logprobs": None}
        return _dump(
            {**head, "object": "chat.completion", "choices": [{**choice, "finish_reason": "stop"}], "usage": usage}
        ), JSON
    head["object"] = "chat.completion.chunk"
    first = {"index": 0, "delta": {"role": "assistant", "content": message}, "finish_reason": None}
    events = event({**head, "choices": [first]}) + event(
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    )
    if ask.usage_requested:
        events += event({**head, "choices": [], "usage": usage})
    return events + b"data: [DONE]\n\n", SSE


def _responses(ask: Ask, model: str, message: str, seconds: int) -> tuple[bytes, str]:
    part = {"type": "output_text", "text": message, "annotations": []}
    item: dict[str, Any] = {"id": f"msg_{NAME}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    usage = {
        "input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0,
    }  # fmt: skip
    done: dict[str, Any] = {
        "id": f"resp_{NAME}", "object": "response", "created_at": seconds, "status": "completed", "model": model, "output": [item],
        "usage": usage, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
    }  # fmt: skip
    if not ask.streamed:
        return _dump(done), JSON
    begun = {**done, "status": "in_progress", "output": [], "usage": None}
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    steps: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **where, "delta": message, "logprobs": []},
        {"type": "response.output_text.done", **where, "text": message, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    return b"".join(event({**step, "sequence_number": number}, named=True) for number, step in enumerate(steps)), SSE


def _messages(ask: Ask, model: str, message: str, _seconds: int) -> tuple[bytes, str]:
    usage = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    head: dict[str, Any] = {"id": f"msg_{NAME}", "type": "message", "role": "assistant", "model": model, "usage": usage}
    if not ask.streamed:
        content = [{"type": "text", "text": message}]
        return _dump({**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None}), JSON
    steps: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": message}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
    return b"".join(event(step, named=True) for step in steps), SSE


def _generate(ask: Ask, model: str, message: str, _seconds: int) -> tuple[bytes, str]:
    candidate = {"content": {"role": "model", "parts": [{"text": message}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": NAME}
    if not ask.streamed:
        return _dump(body), JSON
    return event(body), SSE


_SPEAKERS: Final[Mapping[str, Callable[[Ask, str, str, int], tuple[bytes, str]]]] = MappingProxyType(
    {CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GENERATE: _generate}
)


def _dump(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
