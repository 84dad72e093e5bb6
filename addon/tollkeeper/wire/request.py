"""Reading and rewriting what a client sends: the model, the bounds, the size. A rewrite changes only the bytes that must change."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote, unquote

from tollkeeper.core.call import Ask, Attribution, Endpoint, Metering
from tollkeeper.core.errors import WireError

from .attribution import attribute
from .batch_asks import BARE_LINES, MAX_BATCH_BYTES
from .counts import Json, document
from .dialects import BINARY, DIALECTS
from .dialects.any_shape import ATTEMPTS
from .framing.decoders import decoder_for
from .multipart import Upload, fields, is_multipart, set_field
from .row import NOT_A_CALL, UPLOAD
from .splice import as_text, members, put

MAX_PROMPT_CHARS = 2 * 1024 * 1024
"""Text gathered for counting; the counter samples beyond it anyway."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""The most a request body may unpack to: twice the largest body that any provider documents (32 MB, Anthropic and Bedrock)."""

_MODEL_IN_PATH = re.compile(
    r"(?i)/(?:deployments|engines|models|tunedModels|endpoints|serving-endpoints)/(?P<model>(?:(?!%3A|%2F)[^/:?#])+)(?=%3A|%2F|[:/?#]|$)"
)

_BEDROCK_MODEL = re.compile(r"(?i)/model/(?P<model>.+)/(?:converse|converse-stream|invoke|invoke-with-response-stream)$")


def read_ask(endpoint: Endpoint, body: bytes) -> Ask:
    """What a request asks of a model. Never raises: a body that is no JSON object gives an ask that knows its size only."""
    return _ask(endpoint, _read(endpoint, body), len(body))


def read_request(
    endpoint: Endpoint, body: bytes, base: Attribution, claims: Mapping[str, str]
) -> tuple[Endpoint, Ask, Attribution]:
    """What a request is, what it asks, and whom it says it comes from: its body is parsed once. Never raises.

    ``claims`` are its headers as ``attribution.claims_in`` picks them. An upload that holds no batch is free.
    """
    parsed = _read(endpoint, body)
    ask = _ask(endpoint, parsed, len(body))
    return settled_endpoint(endpoint, ask), ask, attribute(base, claims, parsed)


def settled_endpoint(endpoint: Endpoint, ask: Ask) -> Endpoint:
    """The endpoint, now that its request is known: an upload is metered only when it holds a batch's requests."""
    if endpoint.operation != UPLOAD or ask.parts:
        return endpoint
    return replace(endpoint, metering=Metering.FREE, dialect=None, reason=NOT_A_CALL)


def is_too_large(endpoint: Endpoint, length: str | None) -> bool:
    """Whether an upload of this ``content-length`` is passed on unread: more than any provider takes for a batch."""
    if endpoint.operation != UPLOAD or length is None or not (length.isascii() and length.isdigit()):
        return False
    return int(length[:20]) > MAX_BATCH_BYTES


def _ask(endpoint: Endpoint, parsed: Mapping[str, Json] | None, size: int) -> Ask:
    dialect = DIALECTS.get(endpoint.dialect or "")
    if dialect is None or parsed is None:
        return Ask(input_bytes=size)
    try:
        return dialect.read_ask(endpoint, parsed)
    except (RecursionError, ValueError, TypeError, AttributeError):  # a shape nobody has thought of must not stop a call
        return Ask(input_bytes=size)


def prompt_text(endpoint: Endpoint, body: bytes) -> str:
    """All text that counts as input, for counting tokens; at most ``MAX_PROMPT_CHARS`` of it. Never raises."""
    dialect = DIALECTS.get(endpoint.dialect or "")
    parsed = _read(endpoint, body)
    if dialect is None or parsed is None:
        return ""
    kept: list[str] = []
    room = MAX_PROMPT_CHARS
    try:
        for text in dialect.prompt(endpoint, parsed):
            if text:
                kept.append(text[:room])
                room -= len(text) + 1
            if room <= 0:
                break
    except (RecursionError, ValueError, TypeError, AttributeError):
        pass
    return "\n".join(kept)[:MAX_PROMPT_CHARS]


def set_model(endpoint: Endpoint, path: str, body: bytes, model: str) -> tuple[str, bytes]:
    """The path and body of the same request to another model. Raises ``WireError`` when the body cannot be rewritten.

    Where the path names the model it is changed there; where the body's top level does, there; every other byte stays.
    """
    if endpoint.model_in_path is not None:
        path = _set_in_path(path, endpoint.model_in_path, model)
    if (binary := BINARY.get(endpoint.dialect or "")) is not None:
        return path, binary.with_model(endpoint, body, model)
    if is_multipart(body):
        in_path = endpoint.model_in_path is not None and isinstance(fields(body).get("model"), Upload | None)
        return path, body if in_path else set_field(body, "model", model)
    document = as_text(body)
    found, _ = members(document)
    if any(member.key == "model" for member in found):
        return path, put(document, ("model",), json.dumps(model)).encode()
    if endpoint.model_in_path is None:
        raise WireError('the request names no model: neither its path nor a top-level "model" in its body')
    return path, body


def set_output_cap(endpoint: Endpoint, body: bytes, tokens: int) -> bytes:
    """The body with its cap on output lowered to ``tokens``, or added. A cap that is lower already stays. Raises ``WireError``."""
    dialect = DIALECTS.get(endpoint.dialect or "")
    if dialect is None:
        raise WireError(f"{endpoint.path} has no cap on output that could be set")
    if (binary := BINARY.get(dialect.name)) is not None:
        stated = read_ask(endpoint, body).max_output_tokens
        return body if stated is not None and stated <= tokens else binary.with_cap(endpoint, body, tokens)
    document = as_text(body)
    found, _ = members(document)
    parsed = {member.key: member.value for member in found}
    cap = dialect.read_ask(endpoint, parsed).max_output_tokens
    if cap is not None and cap <= tokens:
        return body
    return put(document, dialect.cap_path(endpoint, parsed), str(tokens)).encode()


def decode_body(body: bytes, encodings: str, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """A request body without its content-encoding. Raises ``WireError`` when it is damaged or unpacks to more than ``limit``."""
    decoder = decoder_for(encodings, limit)
    if decoder is None:
        return body
    return decoder.feed(body) + decoder.close()


def _read(endpoint: Endpoint, body: bytes) -> Mapping[str, Json] | None:
    binary = BINARY.get(endpoint.dialect or "")
    if binary is not None:
        return binary.request(endpoint, body)
    found = _object(body)
    return {BARE_LINES: body} if found is None and endpoint.operation == UPLOAD else found


def _object(body: bytes) -> Mapping[str, Json] | None:
    """A JSON object; or the fields of a form, with their figures as text and their files as ``Upload``."""
    if body[:2] == b"--" and is_multipart(body):
        return fields(body)
    try:
        parsed = json.loads(document(body))
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, list) and all(isinstance(one, dict) and "query" in one for one in parsed) and parsed:
        return {ATTEMPTS: parsed}  # Cloudflare's universal endpoint
    return parsed if isinstance(parsed, dict) else None


def _set_in_path(path: str, old: str, model: str) -> str:
    bare, mark, query = path.partition("?")
    for match in (*reversed(list(_MODEL_IN_PATH.finditer(bare))), *_BEDROCK_MODEL.finditer(bare)):
        if unquote(match["model"]) == old:
            return bare[: match.start("model")] + quote(model, safe="@-._~") + bare[match.end("model") :] + mark + query
    raise WireError(f"the model {old!r} is not found again in the path {bare!r}")
