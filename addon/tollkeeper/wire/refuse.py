"""Saying no in the provider's own shape, in the status that real clients take at once.

Tried on 20 real clients: HTTP 400 is the only status that every one of them shows without trying again (docs/wire.md, "Refusing").
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote

from tollkeeper.core.call import Endpoint

from .counts import Json

STATUS = 400
_HEADERS: Mapping[str, str] = MappingProxyType({"content-type": "application/json", "x-should-retry": "false"})
"""``x-should-retry: false`` ends the retries of the Stainless SDKs and Claude Code. Never a ``retry-after``: six clients sleep on it."""

_GRPC_PATH = re.compile(r"/[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*", re.ASCII)
_GRPC_MESSAGE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

_FORBIDDEN = "credit balance is too low"
"""Claude Code prints a text of its own in place of any message that holds these words."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer made here."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Shape:
    body: Callable[[str], Json]
    headers: Mapping[str, str] = field(default_factory=dict)


def _openai(message: str) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _anthropic(message: str) -> Json:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": None}


def _google(message: str) -> Json:
    return {"error": {"code": STATUS, "message": message, "status": "INVALID_ARGUMENT"}}


def _mistral(message: str) -> Json:
    return {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None}


BY_DIALECT: Mapping[str, _Shape] = MappingProxyType(
    {
        "openai-chat": _Shape(_openai),
        "openai-responses": _Shape(_openai),
        "anthropic-messages": _Shape(_anthropic),
        "gemini-generate": _Shape(_google),
        "cohere": _Shape(lambda message: {"message": message}),
        "ollama": _Shape(lambda message: {"error": message}),
        "workers-ai": _Shape(
            lambda message: {"result": None, "success": False, "errors": [{"code": STATUS, "message": message}], "messages": []}
        ),
        "watsonx": _Shape(
            lambda message: {"errors": [{"code": "invalid_request_entity", "message": message}], "status_code": STATUS}
        ),
        "dashscope": _Shape(lambda message: {"code": "InvalidParameter", "message": message}),
        "replicate": _Shape(lambda message: {"title": "Invalid request", "detail": message, "status": STATUS}),
    }
)

BY_PROVIDER: Mapping[str, _Shape] = MappingProxyType(
    {
        "openrouter": _Shape(lambda message: {"error": {"code": STATUS, "message": message}}),
        "mistral": _Shape(_mistral),
        "xai": _Shape(lambda message: {"code": "invalid_request_error", "error": message}),
        "cohere": _Shape(lambda message: {"message": message}),
        "ollama": _Shape(lambda message: {"error": message}),
        "bedrock": _Shape(lambda message: {"message": message}, {"x-amzn-errortype": "ValidationException"}),
        "gemini": _Shape(_google),
        "vertex": _Shape(_google),
        "code-assist": _Shape(_google),
        "anthropic": _Shape(_anthropic),
        "anthropic-aws": _Shape(_anthropic),
    }
)
"""Hosts whose own error differs from their dialect's. The dialect goes first for Anthropic and Gemini bodies on foreign hosts."""

_DIALECT_FIRST = frozenset({"anthropic-messages", "gemini-generate", "openai-responses"})


def refusal(endpoint: Endpoint, message: str) -> Reply:
    """The refusal of a call that was never sent: status 400, the provider's error shape, ``message`` for people.

    The shape does not depend on streaming: every client looks at the status first, and the Google SDKs ask for SSE but want the
    bare object.
    """
    if _speaks_grpc(endpoint):
        return _grpc_refusal(message)
    if _FORBIDDEN in message.lower():
        message = message.replace("credit", "budget").replace("Credit", "Budget")
    by_dialect = BY_DIALECT.get(endpoint.dialect or "")
    by_provider = BY_PROVIDER.get(endpoint.provider)
    shape = by_dialect if endpoint.dialect in _DIALECT_FIRST else by_provider or by_dialect
    shape = shape or by_provider or _Shape(_openai)
    return Reply(STATUS, {**_HEADERS, **shape.headers}, json.dumps(shape.body(message), ensure_ascii=False).encode())


def _speaks_grpc(endpoint: Endpoint) -> bool:
    """Whether the client waits for a gRPC status: xAI's own API, whose paths name a service and a method."""
    return endpoint.provider == "xai" and _GRPC_PATH.fullmatch(endpoint.path) is not None


def _grpc_refusal(message: str) -> Reply:
    """A gRPC answer that holds nothing but its status (PROTOCOL-HTTP2.md, "Trailers-Only"), its message percent-encoded.

    INVALID_ARGUMENT is gRPC's 400: no client tries it again, while UNAVAILABLE and often RESOURCE_EXHAUSTED are.
    """
    headers = {"content-type": "application/grpc", "grpc-status": "3", "grpc-message": quote(message, safe=_GRPC_MESSAGE)}
    return Reply(200, {**headers, "x-should-retry": "false"}, b"")
