"""Past traffic from files: HAR 1.2 and JSON lines, plain or gzipped, as exchanges in the order of the file.

A damaged record is yielded as an ``ArchiveError`` in its place and never stops the rest; the caller opens the file and owns it.
"""

import base64
import binascii
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO

from tollkeeper.core.clock import from_datetime

from .counts import Json, member, text
from .exchange import Exchange

MAX_RECORD_BYTES = 192 * 1024 * 1024
"""One line: two bodies of 64 MiB in base64."""

MAX_HAR_BYTES = 1024 * 1024 * 1024
MAX_CHUNKS = 1_000_000
_HAR_START = re.compile(rb'\s*\{\s*"log"\s*:')
_LINES_START = re.compile(rb"\s*\{")
_LINES_LATER = re.compile(rb'(?!\s*\[)[^\x00]*?\n[ \t]*\{[ \t]*"')
_FLOW_START = re.compile(rb"\d{1,9}:")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GZIP = b"\x1f\x8b"
_STEP_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ArchiveError:
    """A record that could not be read: its id or place, and why."""

    id: str
    message: str


def archive_kind(head: bytes) -> str | None:
    """What a file is by its first bytes: ``har``, ``jsonl``, ``gzip``, ``flows`` (mitmproxy's own), None when it is none of them."""
    head = head.removeprefix(_BOM)
    if head.startswith(_GZIP):
        return "gzip"
    if _HAR_START.match(head):
        return "har"
    if _LINES_START.match(head):
        return "jsonl"
    if _FLOW_START.match(head):
        return "flows"
    return "jsonl" if _LINES_LATER.match(head) else None  # a damaged first line must not cost the rest of the file


def read_archive(stream: IO[bytes], name: str) -> Iterator[Exchange | ArchiveError]:
    """Every exchange of a HAR or JSON-lines file, gzipped or not. ``name`` is what messages call the file. Never raises for content."""
    head = io.BufferedReader(_Raw(stream), 1 << 20)
    kind = archive_kind(head.peek(4096)[:4096])
    if kind == "gzip":
        head = io.BufferedReader(_Raw(_Gunzip(head)), 1 << 20)
        try:
            kind = archive_kind(head.peek(4096)[:4096])
        except (OSError, EOFError, zlib.error) as error:
            yield ArchiveError(name, f"not readable as gzip ({error})")
            return
    if kind == "har":
        yield from _har(head, name)
    elif kind == "jsonl":
        yield from _lines(head, name)
    else:
        yield ArchiveError(name, "neither HAR nor JSON lines")


class _Raw(io.RawIOBase):
    """Any readable stream as a raw one, so that its start can be looked at without being taken."""

    def __init__(self, stream: "IO[bytes] | _Gunzip") -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._stream.read(len(view)) or b""
        view[: len(data)] = data
        return len(data)


class _Gunzip:
    """gzip read in small steps: of a file that was cut off, all that can be had is given before the error is."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._inner = zlib.decompressobj(31)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._inner.eof:
                self._rest = self._inner.unused_data or self._stream.read(_STEP_BYTES)
                if self._rest[:1] != _GZIP[:1]:  # the end, or padding after it
                    return b""
                self._inner = zlib.decompressobj(31)
            made = self._inner.decompress(self._rest, size)
            self._rest = self._inner.unconsumed_tail
            if made:
                return made
            if not self._rest and not self._inner.eof:
                self._rest = self._stream.read(_STEP_BYTES)
                if not self._rest:
                    raise EOFError("the gzip data is cut off")


def _lines(stream: IO[bytes], name: str) -> Iterator[Exchange | ArchiveError]:
    number = 0
    while True:
        number += 1
        place = f"{name}#{number}"
        try:
            line = stream.readline(MAX_RECORD_BYTES + 1)
            if len(line) > MAX_RECORD_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(1 << 20)
                yield ArchiveError(place, f"the line is longer than {MAX_RECORD_BYTES} bytes")
                continue
        except (OSError, EOFError, zlib.error) as error:
            yield ArchiveError(place, f"the file ends or breaks here ({error})")
            return
        if not line:
            return
        line = line.removeprefix(_BOM).strip()
        if not line:
            continue
        yield _read(line, place)


def _read(line: bytes, place: str) -> Exchange | ArchiveError:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return ArchiveError(place, f"not JSON ({type(error).__name__})")
    if not isinstance(record, dict):
        return ArchiveError(place, "not a JSON object")
    identity = text(record.get("id")) or place
    try:
        return _of_record(record, identity)
    except (ValueError, TypeError, binascii.Error) as error:
        return ArchiveError(identity, str(error)[:200])


def _of_record(record: Mapping[str, Json], identity: str) -> Exchange:
    url = text(record.get("url"))
    if not url:
        raise ValueError('it has no "url"')
    lengths = record.get("chunk_lengths")
    lengths = lengths[:MAX_CHUNKS] if isinstance(lengths, list) else []
    hint = text(record.get("provider"))
    return Exchange(
        id=identity,
        provider=hint if _PROVIDER.fullmatch(hint) else None,
        method=text(record.get("method")) or "POST",
        url=url,
        request_headers=_headers(record.get("request_headers")),
        request_body=_base64(record.get("request_body"), "request_body"),
        status=_status(record.get("status")),
        response_headers=_headers(record.get("response_headers")),
        response_body=_base64(record.get("response_body"), "response_body"),
        chunk_lengths=tuple(length for length in lengths if type(length) is int and length > 0),
    )


def _har(stream: IO[bytes], name: str) -> Iterator[Exchange | ArchiveError]:
    try:
        document = stream.read(MAX_HAR_BYTES + 1)
        if len(document) > MAX_HAR_BYTES:
            yield ArchiveError(name, f"the HAR is larger than {MAX_HAR_BYTES} bytes")
            return
        log = member(json.loads(document.removeprefix(_BOM)), "log")
    except (ValueError, RecursionError, OSError, EOFError, zlib.error) as error:
        yield ArchiveError(name, f"not a readable HAR ({type(error).__name__}: it may be cut off)")
        return
    entries = log.get("entries")
    if not isinstance(entries, list):
        yield ArchiveError(name, 'the HAR has no "log.entries"')
        return
    for number, entry in enumerate(entries, 1):
        place = f"{name}#{number}"
        try:
            yield _of_entry(entry, place)
        except (ValueError, TypeError, binascii.Error) as error:
            yield ArchiveError(place, str(error)[:200])


def _of_entry(entry: Json, place: str) -> Exchange:
    request, response = member(entry, "request"), member(entry, "response")
    url = text(request.get("url"))
    if not url:
        raise ValueError('it has no "request.url"')
    content = member(response, "content")
    body = text(content.get("text"))
    encoded = content.get("encoding") == "base64"
    status = _status(response.get("status"))
    frames = entry.get("_webSocketMessages") if isinstance(entry, dict) else None
    if isinstance(frames, list):
        return _of_socket(request, frames, status, place, entry)
    return Exchange(
        id=place,
        method=text(request.get("method")) or "POST",
        url=url,
        request_headers=_headers(request.get("headers")),
        request_body=text(member(request, "postData").get("text")).encode("utf-8", "surrogatepass"),
        status=status,
        response_headers=_headers(response.get("headers")),
        response_body=_base64(body, "content.text") if encoded else body.encode("utf-8", "surrogatepass"),
        # Recorders leave "text" out where they did not keep the body: nothing tells how much of an answer there was.
        cut=bool(response.get("_error")) or not isinstance(content.get("text"), str),
        started_at=_moment(entry.get("startedDateTime")),
    )


def _of_socket(request: Mapping[str, Json], frames: list[Json], status: int, place: str, entry: Mapping[str, Json]) -> Exchange:
    """A WebSocket in the way that Chrome adds its frames to HAR: ``type`` is ``send`` or ``receive``, binary ``data`` is base64."""
    lines = [
        json.dumps({"direction": "sent" if frame.get("type") == "send" else "received", "data": frame.get("data")})
        for frame in frames[:MAX_CHUNKS]
        if isinstance(frame, dict)
    ]
    return Exchange(
        id=place,
        method="WEBSOCKET",
        url=text(request.get("url")),
        request_headers=_headers(request.get("headers")),
        status=status,
        response_body="\n".join(lines).encode(),
        started_at=_moment(entry.get("startedDateTime")),
    )


def answered_at(exchange: Exchange) -> int | None:
    """When an exchange took place, UTC microseconds: by the answer's ``date`` header, else as the recorder says; None when unknown."""
    stated = exchange.response_headers.get("date", "")
    try:
        moment = parsedate_to_datetime(stated) if stated else None
    except ValueError:
        moment = None
    if moment is None:
        return exchange.started_at
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _moment(value: Json) -> int | None:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _status(value: Json) -> int:
    return value if type(value) is int and 0 <= value < 1000 else 0


def _headers(value: Json) -> dict[str, str]:
    """Header fields by lower-case name, several of one name joined as RFC 9110 5.3 says; HAR keeps a list, JSON lines a mapping."""
    pairs: list[tuple[str, str]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            pairs.extend((key, text(one)) for one in (inner if isinstance(inner, list) else [inner]))
    elif isinstance(value, list):
        pairs.extend((text(item.get("name")), text(item.get("value"))) for item in value if isinstance(item, dict))
    found: dict[str, str] = {}
    for key, one in pairs[:1000]:
        lower = key.lower()
        found[lower] = f"{found[lower]}, {one}" if lower in found else one
    return found


def _base64(value: Json, field: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise TypeError(f'"{field}" is not text in base64')
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f'"{field}" is not base64 ({error})') from error
