"""Past traffic from files: HAR 1.2 and JSON lines, plain or gzipped, as exchanges in the order of the file.

A damaged record is yielded as an ``ArchiveError`` in its place and never stops the rest; the caller opens the file and owns it.
"""

import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO

from .archive_fields import base64_bytes, headers, http_date, status
from .counts import Json, text
from .exchange import Exchange
from .har import entries_of, exchange_of, parse_har

MAX_RECORD_BYTES = 192 * 1024 * 1024
"""One line: two bodies of 64 MiB in base64."""

MAX_HAR_BYTES = 1024 * 1024 * 1024
MAX_CHUNKS = 1_000_000
_HAR_START = re.compile(rb'\s*\{(?:\s*"log"\s*:|[ \t]*\r?\n\s*")')
"""``log`` is its first key, or it is laid out over several lines, as no JSON line is."""

_LINES_START = re.compile(rb"\s*\{")
_LINES_LATER = re.compile(rb'(?!\s*\[)[^\x00]*?\n[ \t]*\{[ \t]*"')
_FLOW_START = re.compile(rb"\d{1,9}:")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GZIP = b"\x1f\x8b"
_STEP_BYTES = 64 * 1024
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ArchiveError:
    """A record that could not be read: its id or place, and why. ``is_file``: nothing of the file could."""

    id: str
    message: str
    is_file: bool = False


type Read = Iterator[Exchange | ArchiveError]
type Reader = Callable[[BinaryIO, str], Read]
"""From a stream and what messages call it to what it holds."""


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


def read_archive(stream: IO[bytes], name: str, flows: Reader | None = None) -> Read:
    """Every exchange of an archive, gzipped or not; nothing for an empty one. ``name`` is what messages call it.

    ``flows`` reads mitmproxy's own files, for whoever has mitmproxy; it is given a stream that can be peeked into. The stream may be a
    pipe: it is read once, from front to back. Never raises for content.
    """
    try:
        head = _peekable(stream)
        kind = archive_kind(head.peek(_HEAD_BYTES)[:_HEAD_BYTES])
        if kind == "gzip":
            head = _peekable(_Gunzip(head))
            kind = archive_kind(head.peek(_HEAD_BYTES)[:_HEAD_BYTES])
        is_empty = kind is None and _is_blank(head)
    except (OSError, EOFError, zlib.error) as error:
        yield ArchiveError(name, f"cannot be read ({error})", is_file=True)
        return
    if kind == "har":
        yield from _har(head, name)
    elif kind == "jsonl":
        yield from _lines(head, name)
    elif kind == "flows" and flows is not None:
        yield from flows(head, name)
    elif not is_empty:
        yield ArchiveError(name, "is no HAR, no mitmproxy flow file and no JSON lines: nothing in it was read", is_file=True)


def _peekable(stream: "IO[bytes] | _Gunzip") -> io.BufferedReader:
    return io.BufferedReader(_Raw(stream), 1 << 20)


def _is_blank(stream: io.BufferedReader) -> bool:
    """Whether there is nothing in it but white space."""
    while piece := stream.read(_STEP_BYTES):
        if piece.removeprefix(_BOM).strip():
            return False
    return True


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


def _lines(stream: IO[bytes], name: str) -> Read:
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
        yield from _line(line, place, name if number == 1 else place)


def _line(line: bytes, place: str, name: str) -> Read:
    """One line: a record; or a whole HAR, whose first key was not ``log``."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        yield ArchiveError(place, f"not JSON ({type(error).__name__})")
        return
    if not isinstance(record, dict):
        yield ArchiveError(place, "not a JSON object")
        return
    if "url" not in record and (entries := entries_of(record)) is not None:
        yield from _entries(entries, name)
        return
    stated = record.get("id")
    identity = str(stated) if type(stated) is int else text(stated) or place
    try:
        yield _of_record(record, identity)
    except (ValueError, TypeError) as error:
        yield ArchiveError(identity, str(error)[:200])


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
        request_headers=headers(record.get("request_headers")),
        request_body=base64_bytes(record.get("request_body"), "request_body"),
        status=status(record.get("status")),
        response_headers=headers(record.get("response_headers")),
        response_body=base64_bytes(record.get("response_body"), "response_body"),
        chunk_lengths=tuple(length for length in lengths if type(length) is int and length > 0),
        cut=record.get("response_body") is None,
    )


def _har(stream: IO[bytes], name: str) -> Read:
    try:
        document = stream.read(MAX_HAR_BYTES + 1)
        if len(document) > MAX_HAR_BYTES:
            yield ArchiveError(name, f"the HAR is larger than {MAX_HAR_BYTES} bytes", is_file=True)
            return
        entries = entries_of(parse_har(document.removeprefix(_BOM)))
    except (ValueError, RecursionError, OSError, EOFError, zlib.error) as error:
        yield ArchiveError(name, f"not a readable HAR ({type(error).__name__}: it may be cut off)", is_file=True)
        return
    if entries is None:
        yield ArchiveError(name, 'the HAR has no "log.entries"', is_file=True)
        return
    yield from _entries(entries, name)


def _entries(entries: list[Json], name: str) -> Read:
    for number, entry in enumerate(entries, 1):
        place = f"{name}#{number}"
        try:
            yield exchange_of(entry, place)
        except (ValueError, TypeError) as error:
            yield ArchiveError(place, str(error)[:200])


def began_at(exchange: Exchange) -> int | None:
    """When an exchange began, UTC microseconds: as its recorder says, else about, by the answer's ``date`` header; None when unknown.

    Prices are those of the start of the request (``pricing.book``).
    """
    return exchange.started_at if exchange.started_at is not None else http_date(exchange.response_headers.get("date", ""))
