"""Amazon's event stream, ``application/vnd.amazon.eventstream``: raw bytes in any split in, one JSON object per message out.

A message is two lengths, their CRC-32, headers, a payload, and a CRC-32 of all before it, every number big-endian
(docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html).
"""

import binascii
import json
from base64 import b64decode
from struct import error as StructError
from struct import unpack_from
from zlib import crc32

from . import MAX_ELEMENT_BYTES

EXCEPTION = ":exception"
"""The key under which a failure's class stands in what comes out."""

_PRELUDE_BYTES, _CRC_BYTES = 12, 4
_SMALLEST = _PRELUDE_BYTES + _CRC_BYTES
_MAX_NAME_BYTES = 80
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7 (bytes, text) say their own length."""
_TEXT = 7


class EventStreamReader:
    """Cuts a byte stream into its messages.

    An event comes out as ``{"<event type>": payload}``, the form in which Amazon's SDKs give it; a ``chunk`` of Bedrock's InvokeModel
    as the vendor's own event that is packed in it; an exception or error as ``{":exception": "<class>"}``, without its message.

    A message over ``limit`` bytes is passed over and counted in ``skipped``. One whose CRC is wrong is passed over and counted in
    ``damaged``; when that is the CRC of the lengths, no later message can be found and the rest is ignored.
    """

    __slots__ = ("_limit", "_lost", "_passing", "_pending", "damaged", "skipped")

    def __init__(self, limit: int = MAX_ELEMENT_BYTES) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._passing = 0
        self._lost = False
        self.skipped = 0
        self.damaged = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Every message that ``data`` completes, as JSON."""
        found: list[bytes] = []
        if self._passing:
            passed = min(self._passing, len(data))
            self._passing -= passed
            data = data[passed:]
        if not data or self._lost:
            return found
        pending = self._pending
        pending += data
        start = 0
        while len(pending) - start >= _PRELUDE_BYTES:
            size, header_size, crc = unpack_from(">III", pending, start)
            if crc32(memoryview(pending)[start : start + 8]) != crc or size < _SMALLEST + header_size:
                self._lost = True
                self.damaged += 1
                pending.clear()
                return found
            if size > self._limit:
                self.skipped += 1
                here = min(size, len(pending) - start)
                self._passing = size - here
                start += here
                continue
            if len(pending) - start < size:
                break
            message = bytes(memoryview(pending)[start : start + size])
            start += size
            element = self._message(message, header_size)
            if element is not None:
                found.append(element)
        del pending[:start]
        return found

    def close(self) -> list[bytes]:
        """Nothing: a message that was not finished says nothing."""
        self._pending.clear()
        return []

    def _message(self, message: bytes, header_size: int) -> bytes | None:
        (crc,) = unpack_from(">I", message, len(message) - _CRC_BYTES)
        if crc32(memoryview(message)[:-_CRC_BYTES]) != crc:
            self.damaged += 1
            return None
        headers_end = _PRELUDE_BYTES + header_size
        headers = text_headers(message[_PRELUDE_BYTES:headers_end])
        if headers is None:
            self.damaged += 1
            return None
        return element(headers, message[headers_end:-_CRC_BYTES])


def text_headers(block: bytes) -> dict[str, str] | None:
    """The headers of a message whose value is text, by name; None when the block is damaged."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name, kind = block[at + 1 : name_end], block[name_end]
            at = name_end + 1
            if kind in _FIXED_SIZES:
                at += _FIXED_SIZES[kind]
                continue
            if kind not in {6, _TEXT}:
                return None
            (size,) = unpack_from(">H", block, at)
            at += 2 + size
            if at > len(block):
                return None
            if kind == _TEXT:
                found[name.decode("utf-8", "replace")] = block[at - size : at].decode("utf-8", "replace")
    except (IndexError, StructError):
        return None
    return found if at == len(block) else None


def element(headers: dict[str, str], payload: bytes) -> bytes:
    """One message as a JSON object."""
    kind = headers.get(":message-type", "event")
    if kind != "event":
        failure = headers.get(":exception-type") or headers.get(":error-code") or kind
        return json.dumps({EXCEPTION: failure[:_MAX_NAME_BYTES]}).encode()
    event = headers.get(":event-type", "")[:_MAX_NAME_BYTES]
    if event == "chunk" and (inner := _packed(payload)) is not None:
        return inner
    return b"{" + json.dumps(event).encode() + b":" + (payload.strip() or b"null") + b"}"


def _packed(payload: bytes) -> bytes | None:
    """What ``{"bytes": "<base64>"}`` holds (``PayloadPart`` of Bedrock's InvokeModelWithResponseStream)."""
    try:
        part = json.loads(payload)
        return b64decode(part["bytes"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
