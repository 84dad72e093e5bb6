"""The meter: listens to one answer as it streams past, and says at the end what it used.

It is handed every chunk after the client was; it never raises, never changes a byte, and holds bounded memory.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError
from tollkeeper.core.usage import Reading, Usage, UsageSource

from .counts import Json, decimal
from .dialect import AnswerReader, Answers, body_error
from .dialects import DIALECTS
from .framing.decoders import Decoder, decoder_for
from .framing.json_array import JsonArrayReader
from .framing.ndjson import NdjsonReader
from .framing.sse import SseReader

MAX_BODY_BYTES = 32 * 1024 * 1024
"""How much of an unstreamed answer is kept to be read at its end."""

MAX_RETAINED_BYTES = 512 * 1024
"""How much of a stream is kept in case it is cut: 100,000 tokens of text deltas take about five times that, then it is a sample."""

MAX_ERROR_BYTES = 256 * 1024
_SKIMMED_BYTES = 64 * 1024
_HIT_HEADERS = ("cf-aig-cache-status", "helicone-cache", "x-portkey-cache-status")


class _Framer(Protocol):
    skipped: int

    def feed(self, data: bytes) -> list[bytes]: ...

    def close(self) -> list[bytes]: ...


class Meter:
    """Reads one answer. ``headers`` are the answer's, with lower-case names."""

    def __init__(self, endpoint: Endpoint, ask: Ask, status: int, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._ask = ask
        self._status = status
        self._headers = headers
        dialect = DIALECTS.get(endpoint.dialect or "") if endpoint.metering is Metering.METERED else None
        self._reader: AnswerReader | None = dialect.reader(endpoint, ask, headers) if dialect and status < 400 else None
        self._answers = dialect.answers if dialect else Answers.AUTO
        self._flags: set[str] = set()
        self._framer: _Framer | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head = b""
        self._retained: list[bytes] = []
        self._retained_bytes = 0
        self._stream_bytes = 0
        self._dead = False
        self._sniffed = False
        self._closed: Reading | None = None
        self._body_limit = MAX_BODY_BYTES if status < 400 else MAX_ERROR_BYTES
        self._decoder: Decoder | None = None
        try:
            self._decoder = decoder_for(headers.get("content-encoding", ""))
        except WireError:
            self._give_up("encoding-unknown")

    def feed(self, chunk: bytes) -> None:
        """Listen to one piece of the answer, as it came. Never raises."""
        if self._dead or self._closed is not None:
            return
        try:
            self._take(chunk if self._decoder is None else self._decoder.feed(chunk))
        except WireError:
            self._give_up("answer-unreadable")
        except Exception:  # whatever is wrong here must never reach the client's stream
            self._give_up("meter-fault")

    def close(self, *, cut: bool) -> Reading:
        """What the answer used. ``cut``: it did not end by itself. Never raises; a second call gives the same reading."""
        if self._closed is None:
            try:
                self._finish()
            except WireError:
                self._give_up("answer-unreadable")
            except Exception:
                self._give_up("meter-fault")
            self._closed = self._reading(cut=cut)
            self._body.clear()
            self._retained.clear()
            self._reader = self._framer = None
        return self._closed

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if not self._sniffed:
            data = self._head + data
            self._head = b""
            if not self._sniff(data):
                self._head = data
                return
        framer = self._framer
        if framer is None:
            self._gather(data)
            return
        for element in framer.feed(data):
            self._element(element)

    def _sniff(self, data: bytes) -> bool:
        """Choose the framing by what the bytes are; False while only white space has come."""
        start = data.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
        if not start:
            return False
        self._sniffed = True
        if self._status >= 400 or self._reader is None or self._answers is Answers.OPAQUE:
            return True
        content_type = self._headers.get("content-type", "").lower()
        first = start[:1]
        if first == b"[":
            self._framer = JsonArrayReader()
        elif first == b"{":
            lines = self._answers is Answers.LINES or any(word in content_type for word in ("ndjson", "jsonl", "json-seq"))
            self._framer = NdjsonReader() if lines else None
        elif first in {b"d", b"e", b"i", b"r", b":"}:
            self._framer = SseReader()
        return True

    def _gather(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._answers is Answers.OPAQUE and self._status < 400:
            return
        if self._body_bytes > self._body_limit:
            self._give_up("answer-too-large")
        else:
            self._body.append(data)

    def _element(self, element: bytes) -> None:
        reader = self._reader
        if reader is None:
            return
        if reader.wants(element):
            payload = _parse(element)
            if isinstance(payload, dict):
                reader.event(payload)
            else:
                reader.mark(element)
        elif element[:1] != b"{":
            reader.mark(element)
        size = len(element)
        self._stream_bytes += size
        if reader.notes.final:
            if self._retained:
                self._retained.clear()
        elif self._retained_bytes + size <= MAX_RETAINED_BYTES:
            self._retained_bytes += size
            self._retained.append(element)

    def _finish(self) -> None:
        if self._dead:
            return
        if self._decoder is not None:
            self._take(self._decoder.close())
        if self._head:
            self._sniffed = True
            self._gather(self._head)
            self._head = b""
        if self._framer is not None:
            for element in self._framer.close():
                self._element(element)
            if self._framer.skipped:
                self._flags.add("event-too-large")
        elif self._reader is not None and self._body_bytes and self._answers is Answers.OPAQUE:
            self._reader.body({})
        elif self._reader is not None and self._body:
            self._whole_body(self._reader)

    def _whole_body(self, reader: AnswerReader) -> None:
        body = b"".join(self._body)
        self._body = [body]
        if self._endpoint.operation == "embeddings" and len(body) > _SKIMMED_BYTES:
            payload: Json = _skim(body)
        else:
            payload = _parse(body)
        if isinstance(payload, dict):
            reader.body(payload)
        else:
            self._flags.add("answer-unreadable")

    def _give_up(self, flag: str) -> None:
        self._flags.add(flag)
        self._dead = True
        self._body.clear()
        self._retained.clear()
        self._head = b""

    def _reading(self, *, cut: bool) -> Reading:
        metering = self._endpoint.metering
        if self._status >= 400:
            return self._failed()
        if metering is not Metering.METERED or self._reader is None:
            unmetered = metering is Metering.UNMETERED
            return Reading(
                source=UsageSource.UNMETERED if unmetered else UsageSource.NONE,
                complete=not cut,
                flags=_sorted({*self._flags, *([self._endpoint.reason] if unmetered else [])}),
            )
        return self._metered(self._reader, cut=cut)

    def _failed(self) -> Reading:
        try:
            error = body_error(_parse(b"".join((*self._body, self._head))))
        except (RecursionError, ValueError):
            error = None
        error = f"http_{self._status}" if error is None or error == "error" or error.isdigit() else error
        return Reading(source=UsageSource.NONE, error=error, flags=_sorted(self._flags))

    def _metered(self, reader: AnswerReader, *, cut: bool) -> Reading:
        notes = reader.notes
        fallback = self._ask.model or self._endpoint.model_in_path
        calls = tuple(call if call.model else replace(call, model=fallback) for call in reader.calls())
        self._flags |= notes.flags
        hit = any(self._headers.get(header, "").upper() == "HIT" for header in _HIT_HEADERS)
        source = UsageSource.NONE if hit else self._source(reader, calls, cut=cut)
        text, scale = ("", 1.0) if source not in {UsageSource.PARTIAL, UsageSource.COUNTED} else self._visible(reader)
        if source is UsageSource.PARTIAL and notes.error and not calls and not text:
            source = UsageSource.NONE  # it failed before it said anything
        cost = notes.cost_usd
        if cost is None:
            stated = decimal(self._headers.get("x-litellm-response-cost"))
            cost = stated if stated is not None and stated >= 0 else None
        return Reading(
            source=source,
            calls=() if source is UsageSource.NONE else calls,
            model=notes.model or fallback,
            response_id=notes.response_id,
            terms=dict(notes.terms),
            provider_cost_usd=None if hit else cost,
            error=notes.error,
            complete=(notes.ended or self._framer is None) and not (cut and not notes.final),
            raw=tuple(notes.raw),
            flags=_sorted(self._flags | ({"gateway-cache-hit"} if hit else set())),
            visible_output=text,
            visible_output_scale=scale,
        )

    def _source(self, reader: AnswerReader, calls: tuple[Usage, ...], *, cut: bool) -> UsageSource:
        notes = reader.notes
        if notes.final and calls:
            return UsageSource.REPORTED
        if cut or (self._framer is not None and not notes.ended):
            return UsageSource.PARTIAL
        if calls:
            return UsageSource.REPORTED
        if not notes.error:
            return UsageSource.COUNTED
        # A stream that failed had begun: what it had said by then is charged, as when it breaks off without a word.
        return UsageSource.NONE if self._framer is None else UsageSource.PARTIAL

    def _visible(self, reader: AnswerReader) -> tuple[str, float]:
        pieces: list[str] = []
        for payload in self._payloads():
            try:
                pieces.extend(text for text in reader.visible(payload) if text)
            except (TypeError, ValueError, AttributeError, RecursionError):
                self._flags.add("output-unreadable")
        scale = self._stream_bytes / self._retained_bytes if self._retained_bytes else 1.0
        return "".join(pieces), max(1.0, scale)

    def _payloads(self) -> Iterable[Mapping[str, Json]]:
        for element in self._retained if self._framer is not None else self._body:
            payload = _parse(element)
            if isinstance(payload, dict):
                yield payload


def _parse(data: bytes) -> Json:
    """A JSON value with its fractions as text; None when it is none, or too deep, or has a figure of thousands of digits."""
    try:
        return json.loads(data, parse_float=str)
    except (ValueError, RecursionError):
        return None


def _skim(body: bytes) -> Json:
    """Model and usage of a large embeddings answer, without a million fractions: it holds no text they could hide in."""
    found: dict[str, Json] = {}
    decoder = json.JSONDecoder(parse_float=str)
    for key in (b'"usage"', b'"model"'):
        at = body.rfind(key)
        if at < 0:
            continue
        tail = body[at + len(key) : at + len(key) + 16_384].decode("utf-8", "replace").lstrip()
        try:
            found[key.strip(b'"').decode()] = decoder.raw_decode(tail[1:].lstrip())[0]
        except (ValueError, RecursionError):
            continue
    return found


def _sorted(flags: set[str]) -> tuple[str, ...]:
    return tuple(sorted(flag for flag in flags if flag))
