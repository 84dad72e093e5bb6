"""Which answer a request gets: by path, whatever the host."""

import json
import re
from typing import Any

from . import anthropic, gemini, openai
from .answer import Answer, Question

_GEMINI = re.compile(r"/v1(?:beta|alpha)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)")
_MODELS = ("gpt-4o-mini", "gpt-5-mini", "claude-haiku-4-5", "gemini-2.5-flash")


def answer(question: Question) -> Answer:
    """The answer for one request; ``script.status`` of 400 or more makes it an error in the provider's shape."""
    if question.script.status >= 400:
        return _error(question)
    if question.method == "POST":
        match question.path:
            case "/v1/chat/completions":
                return openai.chat(question)
            case "/v1/responses":
                return openai.responses(question)
            case "/v1/messages":
                return anthropic.messages(question)
            case "/v1/messages/count_tokens":
                return anthropic.count_tokens(question)
        if found := _GEMINI.fullmatch(question.path):
            model, method = found.groups()
            if method == "countTokens":
                return gemini.count_tokens(question)
            return gemini.generate(question, model) if method == "generateContent" else gemini.stream(question, model)
    if question.path in {"/v1/models", "/v1beta/models"}:
        return _json({"object": "list", "data": [{"id": name, "object": "model"} for name in _MODELS]})
    return _json({"object": "other", "method": question.method, "path": question.path})


def _error(question: Question) -> Answer:
    status, message = question.script.status, "The fake provider was asked to fail."
    if "anthropic" in question.host:
        kind = "overloaded_error" if status == 529 else "api_error" if status >= 500 else "invalid_request_error"
        body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}
    elif "googleapis" in question.host:
        body = {"error": {"code": status, "message": message, "status": "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"}}
    else:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return _json(body, status=status)


def _json(body: dict[str, Any], *, status: int = 200) -> Answer:
    return Answer(content_type="application/json", content=(json.dumps(body).encode(),), status=status)
