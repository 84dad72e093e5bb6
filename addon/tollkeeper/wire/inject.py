"""Asking a stream for its usage, and taking the answer to that question out again before the client sees it.

Only for OpenAI-shaped chat and completions: everyone else states usage unasked (docs/wire.md, "Asking for usage").
"""

import json
import re

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError

from .framing.sse import data_of
from .splice import Member, as_text, members, put
from .traits import USAGE_ASKABLE

MAX_HELD_BYTES = 4 * 1024 * 1024
"""A stream with an event longer than this is passed on as it comes: the chunk looked for has under 2 kB."""

_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
"""A line end and an empty line. A CR at the very end may be half of a CRLF: it waits for its next byte."""

_SEAM_BYTES = 3
"""How much of an event's end can have come before the piece that completes it."""

_NULL_AT_END = b',"usage":null}'
_NULL_MEMBER = b',"usage":null'
"""Quotes are escaped inside a JSON string, so these bytes are always a member; only its depth is to be found out."""


def asks_for_usage(endpoint: Endpoint, ask: Ask) -> bool:
    """Should ``include_usage`` be added to this request? Only where it is needed and the host is known to take it."""
    if endpoint.metering is not Metering.METERED or endpoint.dialect != "openai-chat" or endpoint.operation == "embeddings":
        return False
    return ask.streamed and not ask.usage_requested and USAGE_ASKABLE in endpoint.traits


def inject_usage_request(body: bytes) -> bytes:
    """The body with ``stream_options.include_usage`` true; other options and every other byte stay. Raises ``WireError``."""
    document = as_text(body)
    found, _ = members(document)
    options = [member for member in found if member.key == "stream_options"]
    if options and not isinstance(options[-1].value, dict):  # null, as some clients write it
        return put(document, ("stream_options",), '{"include_usage":true}').encode()
    return put(document, ("stream_options", "include_usage"), "true").encode()


class UsageChunkFilter:
    """Gives the client the bytes it would have had without our question.

    Taken out: the one chunk that only the question makes (``choices`` empty, ``usage`` an object), and the ``"usage":null`` that
    the question puts into all others. Bytes wait for the end of their own event, no longer. What is not SSE passes untouched.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_sse: bool | None = None

    def feed(self, data: bytes) -> bytes | None:
        """The bytes to send now, None when there are none yet."""
        buffer = self._buffer
        scanned = len(buffer)
        buffer += data
        if self._is_sse is None:
            self._is_sse = _looks_like_sse(buffer)
            scanned = 0
        if self._is_sse is None:
            return None
        if self._is_sse is False:
            return self._drain() or None
        ends = [match.end() for match in _EVENT_END.finditer(buffer, max(0, scanned - _SEAM_BYTES))]
        if not ends:
            if len(buffer) > MAX_HELD_BYTES:
                self._is_sse = False
                return self._drain()
            return None
        kept: list[bytes] = []
        start = 0
        for end in ends:
            kept.append(_strain(bytes(buffer[start:end])))
            start = end
        del buffer[:start]
        return b"".join(kept) or None

    def flush(self) -> bytes:
        """What is held when the stream ends: an event without its blank line, whole or cut."""
        rest = self._drain()
        if not self._is_sse:
            return rest
        if b'"choices":[]' in rest and b'"usage":{' in rest and not rest.rstrip(b"\r\n").endswith(b"}"):
            return b""  # a piece of the chunk that only our question made
        return _strain(rest)

    def _drain(self) -> bytes:
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def _looks_like_sse(head: bytearray) -> bool | None:
    start = bytes(head[:64]).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n \t")
    return start[:1] in {b"d", b"e", b"i", b"r", b":"} if start else None


def _strain(event: bytes) -> bytes:
    """One raw event without what the question added; ``b""`` for the chunk that it made."""
    if b'"usage"' not in event:
        return event
    end = len(event.rstrip(b"\r\n"))
    if (
        event[:5] == b"data:"
        and event.endswith(_NULL_AT_END, 0, end)
        and event.find(b"\n", 0, end) < 0
        and event.find(b"\r", 0, end) < 0
    ):
        return event[: end - len(_NULL_AT_END)] + b"}" + event[end:]  # last in its object, and its object is the outermost
    data = data_of(event.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    if event.count(_NULL_MEMBER) == 1 and event.count(b'"usage"') == 1 and _states_null(data or b""):
        return event.replace(_NULL_MEMBER, b"", 1)
    try:
        document = as_text(data or b"")
        found, _ = members(document)
    except WireError:
        return event
    values = {member.key: member.value for member in found}
    if values.get("choices") == [] and isinstance(values.get("usage"), dict):
        return b""
    if "usage" not in values or values["usage"] is not None:
        return event
    return event.replace(document.encode(), _without_usage(document, found).encode(), 1)


def _states_null(data: bytes) -> bool:
    """Whether the outermost object has a ``usage`` that is null: half the time of looking at its members one by one."""
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(payload, dict) and payload.get("usage", 0) is None


def _without_usage(document: str, found: list[Member]) -> str:
    index = next(at for at, member in enumerate(found) if member.key == "usage")
    if index:
        return document[: found[index - 1].end] + document[found[index].end :]
    if len(found) > 1:
        return document[: found[0].key_start] + document[found[1].key_start :]
    return document
