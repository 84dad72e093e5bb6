"""OpenAI's two surfaces: Chat Completions and Responses (https://platform.openai.com/docs/api-reference)."""

import json
from typing import Any

from .answer import CREATED_AT, Answer, Question, Tokens, tokens_for

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def chat(question: Question) -> Answer:
    """``POST /v1/chat/completions``: the usage chunk comes only when ``stream_options.include_usage`` asks for it.

    With that option OpenAI also puts ``"usage":null`` into every other chunk, and so does this.
    """
    document, script = question.document, question.script
    model = str(document.get("model", "gpt-4o-mini"))
    tokens = tokens_for(script, question.body)
    call_id = script.id or f"chatcmpl-fake{question.id}"
    common: dict[str, Any] = {"model": model, "id": call_id, "tokens": tokens, "provider": "openai"}
    head = f'"created":{CREATED_AT},"model":{_dump(model)},"service_tier":"default","system_fingerprint":"fp_fake","choices":['
    if not document.get("stream"):
        message: dict[str, Any] = {"role": "assistant", "content": "".join(script.pieces()), "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        start = f'{{"id":{_dump(call_id)},"object":"chat.completion",{head}'
        text = f'{start}{_dump(choice)}],"usage":{_dump(_chat_usage(tokens))}}}'
        return Answer(content_type=JSON, content=(text.encode(),), **common)
    asked = bool((document.get("stream_options") or {}).get("include_usage"))
    start = f'data: {{"id":{_dump(call_id)},"object":"chat.completion.chunk",{head}'
    tail = '],"usage":null,"obfuscation":"fake"}\n\n' if asked else '],"obfuscation":"fake"}\n\n'

    def chunk(delta: str, finish: str = "null") -> bytes:
        return f'{start}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}{tail}'.encode()

    usage = f'{start}],"usage":{_dump(_chat_usage(tokens))},"obfuscation":"fake"}}\n\n'.encode()
    return Answer(
        content_type=SSE,
        streamed=True,
        opening=(chunk('{"role":"assistant","content":"","refusal":null}'),),
        content=tuple(chunk(f'{{"content":{_dump(piece)}}}') for piece in script.pieces()),
        usage=(chunk("{}", '"stop"'), *((usage,) if asked else ())),
        ending=(b"data: [DONE]\n\n",),
        **common,
    )


def responses(question: Question) -> Answer:
    """``POST /v1/responses``: usage is in ``response.completed``, the last event."""
    document, script = question.document, question.script
    model = str(document.get("model", "gpt-5-mini"))
    tokens = tokens_for(script, question.body)
    call_id = script.id or f"resp_fake{question.id}"
    common: dict[str, Any] = {"model": model, "id": call_id, "tokens": tokens, "provider": "openai"}
    text = "".join(script.pieces())
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_fake", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    done = _response(call_id, model, status="completed", output=[item], usage=_responses_usage(tokens))
    if not document.get("stream"):
        return Answer(content_type=JSON, content=(_dump(done).encode(),), **common)
    begun = _response(call_id, model, status="in_progress", output=[], usage=None)
    where = {"item_id": "msg_fake", "output_index": 0, "content_index": 0}
    opening: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **where, "part": part | {"text": ""}},
    ]
    deltas = [{"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []} for piece in script.pieces()]
    closing = [
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]
    events = [_event(number, event) for number, event in enumerate([*opening, *deltas, *closing])]
    last = _event(len(events), {"type": "response.completed", "response": done})
    first = len(opening)
    return Answer(
        content_type=SSE,
        streamed=True,
        opening=tuple(events[:first]),
        content=tuple(events[first : first + len(deltas)]),
        usage=(*events[first + len(deltas) :], last),
        **common,
    )


def _response(call_id: str, model: str, *, status: str, output: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
    settings = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0, "metadata": {}}
    head = {"id": call_id, "object": "response", "created_at": CREATED_AT, "status": status, "error": None, "model": model}
    return {**head, "incomplete_details": None, "instructions": None, "output": output, **settings, "usage": usage}


def _chat_usage(tokens: Tokens) -> dict[str, Any]:
    read = {"cached_tokens": tokens.cache_read, "audio_tokens": 0}
    if tokens.write_5m:
        read["cache_write_tokens"] = tokens.write_5m
    return {
        "prompt_tokens": tokens.input_total,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input_total + tokens.output,
        "prompt_tokens_details": read,
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
    }


def _responses_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input_total,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.write_5m},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input_total + tokens.output,
    }


def _event(number: int, event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {_dump(event | {'sequence_number': number})}\n\n".encode()


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
