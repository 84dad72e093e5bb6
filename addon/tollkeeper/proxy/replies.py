"""Answers of our own, as mitmproxy sends them."""

import json

from mitmproxy import http

from tollkeeper.core.call import Endpoint
from tollkeeper.wire.refuse import Reply, refusal


def refusal_for(endpoint: Endpoint | None, message: str) -> Reply:
    """A refusal in the shape of the endpoint's provider; plain text where none is known."""
    if endpoint is None:
        return Reply(status=400, headers={"content-type": "text/plain"}, body=message.encode())
    return refusal(endpoint, message)


def as_response(reply: Reply) -> http.Response:
    """A reply for a flow."""
    return http.Response.make(reply.status, reply.body, dict(reply.headers))


def error_response(status: int, reason: str) -> http.Response:
    """What is said to a request that is no call at all."""
    error = {"type": "invalid_request_error", "message": f"Tollkeeper refused this request: {reason}", "code": None}
    body = json.dumps({"type": "error", "error": error})
    return http.Response.make(status, body, {"content-type": "application/json", "x-should-retry": "false"})
