"""Messages of Amazon's event stream, as Bedrock writes them."""

import base64
import json
from struct import pack
from typing import Any
from zlib import crc32

EVENT_STREAM = {"content-type": "application/vnd.amazon.eventstream"}


def text_header(name: str, value: str) -> bytes:
    """A header of type 7."""
    return bytes([len(name)]) + name.encode() + b"\x07" + pack(">H", len(value.encode())) + value.encode()


def message(headers: bytes, payload: bytes) -> bytes:
    """One message with its lengths and checksums."""
    prelude = pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + pack(">I", crc32(prelude)) + headers + payload
    return whole + pack(">I", crc32(whole))


def event(kind: str, payload: Any) -> bytes:
    """An event of a stream."""
    headers = (
        text_header(":event-type", kind)
        + text_header(":content-type", "application/json")
        + text_header(":message-type", "event")
    )
    return message(headers, json.dumps(payload).encode())


def chunk(payload: Any, padding: str = "abc") -> bytes:
    """A vendor's event as InvokeModelWithResponseStream packs it."""
    packed = base64.b64encode(payload if isinstance(payload, bytes) else json.dumps(payload).encode()).decode()
    return event("chunk", {"bytes": packed, "p": padding})


def exception(kind: str, text: str = "a text of the provider's") -> bytes:
    """A failure in the midst of a stream."""
    headers = text_header(":exception-type", kind) + text_header(":content-type", "application/json")
    return message(headers + text_header(":message-type", "exception"), json.dumps({"message": text}).encode())
