"""Putting into mitmproxy's request what the road has made of it."""

from mitmproxy import http

from tollkeeper.wire.framing.encoders import encode_body

from .headers import ascii_target
from .passage import Passage


def address(flow: http.HTTPFlow, passage: Passage, encoding: str, raw: bytes) -> None:
    """Body, path, headers and place, as far as they differ; ``raw`` is the body as it came, under ``encoding``."""
    request = flow.request
    if passage.outgoing is not None:
        request.raw_content = encode_body(passage.outgoing, encoding, raw)
    if passage.path and passage.path != ascii_target(request.path):
        request.path = passage.path
    if passage.outgoing_fields is not None:
        request.headers = http.Headers(passage.outgoing_fields)
    if passage.to is not None:
        request.data.host, request.data.port = passage.to.host, passage.to.port
    if passage.outgoing is not None and "transfer-encoding" not in request.headers:
        request.headers["content-length"] = str(len(request.raw_content or b""))


def as_it_came(flow: http.HTTPFlow, passage: Passage) -> None:
    """The client's own headers, path and place again, and its body for whoever writes it next."""
    endpoint = passage.call.endpoint
    flow.request.headers = http.Headers(passage.fields)
    flow.request.data.host, flow.request.data.port = endpoint.host, 443
    flow.request.path = passage.asked_path
    if passage.outgoing is None:
        passage.outgoing = passage.body
