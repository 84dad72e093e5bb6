"""Gemini ``generateContent`` and ``streamGenerateContent`` (https://ai.google.dev/api/generate-content)."""

import json
from typing import Any

from .answer import Answer, Question, Tokens, tokens_for


def generate(question: Question, model: str) -> Answer:
    """``POST …:generateContent``: one JSON object."""
    script = question.script
    tokens = tokens_for(script, question.body)
    body = _chunk(question, model, "".join(script.pieces()), tokens, finish=True)
    return Answer(content_type="application/json; charset=UTF-8", content=(_dump(body),), **_common(question, model, tokens))


def stream(question: Question, model: str) -> Answer:
    """``POST …:streamGenerateContent``: SSE with ``alt=sse``, else one JSON array written piecemeal.

    Every chunk carries counts so far; the last one is right.
    """
    script = question.script
    tokens = tokens_for(script, question.body)
    sse = "alt=sse" in question.query
    begin, between, end = ("", "", "") if sse else ("[", ",\r\n", "]\r\n")
    chunks = []
    for number, piece in enumerate(script.pieces()):
        so_far = tokens._replace(output=min(tokens.output, number + 1 + tokens.reasoning))
        text = _dump(_chunk(question, model, piece, so_far, finish=False))
        chunks.append(b"data: " + text + b"\r\n\r\n" if sse else (between if number else begin).encode() + text)
    last = _dump(_chunk(question, model, "", tokens, finish=True))
    return Answer(
        content_type="text/event-stream" if sse else "application/json; charset=UTF-8",
        streamed=True,
        content=tuple(chunks),
        usage=(b"data: " + last + b"\r\n\r\n" if sse else between.encode() + last,),
        ending=() if sse else (end.encode(),),
        **_common(question, model, tokens),
    )


def count_tokens(question: Question) -> Answer:
    """``POST …:countTokens``: free."""
    return Answer(
        content_type="application/json", content=(_dump({"totalTokens": tokens_for(question.script, question.body).input}),)
    )


def _common(question: Question, model: str, tokens: Tokens) -> dict[str, Any]:
    return {"provider": "google", "model": model, "id": _id(question), "tokens": tokens}


def _id(question: Question) -> str:
    return question.script.id or f"fake{question.id}"


def _chunk(question: Question, model: str, text: str, tokens: Tokens, *, finish: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = "STOP"
    prompt = tokens.input + tokens.cache_read
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": tokens.output - tokens.reasoning}
    if tokens.cache_read:
        usage["cachedContentTokenCount"] = tokens.cache_read
    if tokens.reasoning:
        usage["thoughtsTokenCount"] = tokens.reasoning
    usage["totalTokenCount"] = prompt + tokens.output
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": _id(question)}


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
