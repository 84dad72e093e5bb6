"""HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/): its entries as exchanges, in whichever way their recorder spells them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlencode

from .archive_fields import base64_bytes, headers, moment, status
from .counts import Json, member, text
from .exchange import Exchange
from .multipart import is_multipart

MAX_FRAMES = 1_000_000
_FORM = "multipart/form-data"


def entries_of(document: Json) -> list[Json] | None:
    """The ``log.entries`` of a HAR; None when the document is none."""
    entries = member(document, "log").get("entries")
    return entries if isinstance(entries, list) else None


def parse_har(document: bytes) -> Json:
    """The JSON of a HAR; a byte that is no UTF-8 costs its own character only. Raises ``ValueError``, ``RecursionError``."""
    try:
        return json.loads(document)
    except UnicodeDecodeError:
        return json.loads(document.decode("utf-8", "replace"))


def exchange_of(entry: Json, place: str) -> Exchange:
    """One entry as an exchange that is called ``place``. Raises ``ValueError`` or ``TypeError`` for one that is damaged."""
    request, response = member(entry, "request"), member(entry, "response")
    url = text(request.get("url"))
    if not url:
        raise ValueError('it has no "request.url"')
    content = member(response, "content")
    frames = entry.get("_webSocketMessages")
    if isinstance(frames, list):
        return _socket(request, frames, status(response.get("status")), place, entry)
    fields = headers(response.get("headers"))
    if kind := text(content.get("mimeType")):
        fields.setdefault("content-type", kind)
    exchange = Exchange(
        id=place,
        method=text(request.get("method")) or "POST",
        url=url,
        request_headers=headers(request.get("headers")),
        request_body=_posted(member(request, "postData")),
        status=status(response.get("status")),
        response_headers=fields,
        response_body=_body(content, "content.text"),
        # Recorders leave "text" out, or empty, where they did not keep the body: nothing tells how much of an answer there was.
        cut=bool(response.get("_error")) or not text(content.get("text")),
        started_at=moment(entry.get("startedDateTime")),
    )
    # HAR 1.2 knows no frames: of a socket without Chrome's field for them nothing is recorded, whatever stands in "content".
    return replace(exchange, response_body=b"", cut=True) if exchange.is_socket and exchange.status < 400 else exchange


def _socket(request: Mapping[str, Json], frames: list[Json], code: int, place: str, entry: Mapping[str, Json]) -> Exchange:
    """A WebSocket in the way that Chrome adds its frames to HAR: ``type`` is ``send`` or ``receive``, binary ``data`` is base64."""
    lines = [
        json.dumps({"direction": "sent" if frame.get("type") == "send" else "received", "data": frame.get("data")})
        for frame in frames[:MAX_FRAMES]
        if isinstance(frame, dict)
    ]
    return Exchange(
        id=place,
        method="WEBSOCKET",
        url=text(request.get("url")),
        request_headers=headers(request.get("headers")),
        status=code,
        response_body="\n".join(lines).encode(),
        started_at=moment(entry.get("startedDateTime")),
    )


def _body(holder: Mapping[str, Json], field: str) -> bytes:
    body = text(holder.get("text"))
    if text(holder.get("encoding")).lower() == "base64":
        return base64_bytes(body, field)
    return body.encode("utf-8", "surrogatepass")


def _posted(post: Mapping[str, Json]) -> bytes:
    """What was sent: ``text`` where it is there, else made anew from ``params``, which are what some recorders keep of a form."""
    body = _body(post, "postData.text")
    listed = post.get("params")
    params = [param for param in listed if isinstance(param, dict)] if isinstance(listed, list) else []
    if text(post.get("mimeType")).lower().startswith(_FORM) or any(param.get("fileName") for param in params):
        _, mark, below = (b"", b"", b"") if is_multipart(body) else body.partition(b"\r\n--")
        body = b"--" + below if mark else body  # Firefox keeps a form's headers above it
        return body if is_multipart(body) or not params else _form(params)
    pairs = [(text(param.get("name")), text(param.get("value"))) for param in params]
    return body or urlencode(pairs, errors="surrogatepass").encode()


def _form(params: Sequence[Mapping[str, Json]]) -> bytes:
    """RFC 7578. Of a file most recorders keep the name only: it is as long as what they kept."""
    kept = "".join(text(param.get("value")) for param in params)
    boundary = f"--{sha256(kept.encode('utf-8', 'surrogatepass')).hexdigest()}"  # no text holds the hash of itself
    pieces = []
    for param in params:
        file = f'; filename="{_quoted(param["fileName"])}"' if param.get("fileName") else ""
        head = f'Content-Disposition: form-data; name="{_quoted(param.get("name"))}"{file}'
        pieces.append(f"{boundary}\r\n{head}\r\n\r\n{text(param.get('value'))}\r\n")
    return "".join((*pieces, f"{boundary}--\r\n")).encode("utf-8", "surrogatepass")


def _quoted(value: Json) -> str:
    """A name that ends neither its quotes nor its line (RFC 7578, 2: percent-encoded as forms of browsers are)."""
    return text(value).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
