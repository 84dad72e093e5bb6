"""Anthropic Messages (https://docs.claude.com/en/api/messages, /en/docs/build-with-claude/streaming)."""

import json
from typing import Any

from .answer import Answer, Question, Tokens, tokens_for
from .script import Script

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def messages(question: Question) -> Answer:
    """``POST /v1/messages``: input counts in ``message_start``, the output count in ``message_delta``, a ``ping`` between."""
    document, script = question.document, question.script
    model = str(document.get("model", "claude-haiku-4-5"))
    tokens = tokens_for(script, question.body)
    call_id = script.id or f"msg_fake{question.id}"
    common: dict[str, Any] = {"model": model, "id": call_id, "tokens": tokens, "provider": "anthropic"}
    head = {"id": call_id, "type": "message", "role": "assistant", "model": model}
    if not document.get("stream"):
        content = [{"type": "text", "text": "".join(script.pieces())}]
        body = {**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": _usage(tokens, script)}
        return Answer(content_type=JSON, content=(_dump(body),), **common)
    start: dict[str, Any] = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = _usage(tokens._replace(output=1), script)
    block = {"type": "text", "text": ""}
    final: dict[str, Any] = {"output_tokens": tokens.output}
    if script.web_search_requests:
        final = {**final, "server_tool_use": {"web_search_requests": script.web_search_requests}}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return Answer(
        content_type=SSE,
        streamed=True,
        opening=(
            _event({"type": "message_start", "message": start}),
            _event({"type": "content_block_start", "index": 0, "content_block": block}),
            _event({"type": "ping"}),
        ),
        content=tuple(
            _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
            for piece in script.pieces()
        ),
        usage=(
            _event({"type": "content_block_stop", "index": 0}),
            _event({"type": "message_delta", "delta": ended, "usage": final}),
        ),
        ending=(_event({"type": "message_stop"}),),
        **common,
    )


def count_tokens(question: Question) -> Answer:
    """``POST /v1/messages/count_tokens``: free."""
    return Answer(content_type=JSON, content=(_dump({"input_tokens": tokens_for(question.script, question.body).input}),))


def _usage(tokens: Tokens, script: Script) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.write_5m + tokens.write_1h,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.write_5m, "ephemeral_1h_input_tokens": tokens.write_1h},
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }
    if script.web_search_requests:
        usage["server_tool_use"] = {"web_search_requests": script.web_search_requests}
    return usage


def _event(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), _dump(event))


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
