"""The meter: listens to one answer as it streams past, and says at the end what it used.

It is handed every chunk after the client was; it never raises, never changes a byte, and holds bounded memory.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError
from tollkeeper.core.usage import Reading, Usage, UsageSource

from .binary import Framer
from .counts import Json, name, parse
from .dialect import MEDIA_HEAD_BYTES, AnswerReader, Answers, MediaReader, Notes, PlainReader, TrailerReader, body_error
from .dialects import BINARY, DIALECTS
from .framing.decoders import Decoder, decoder_for
from .framing.elide import StringElider
from .framing.eventstream import EventStreamReader
from .framing.json_array import JsonArrayReader
from .framing.ndjson import NdjsonReader
from .framing.sse import SseReader
from .row import RETRIEVE, UPLOAD
from .skim import skim
from .stated_cost import cost_in_headers

MAX_BODY_BYTES = 32 * 1024 * 1024
"""How much of an unstreamed answer is kept to be read at its end."""

MAX_RETAINED_BYTES = 512 * 1024
"""How much of a stream is kept in case it is cut: 100,000 tokens of text deltas take about five times that, then it is a sample."""

MAX_EXCERPT_CHARS = 32 * 1024
"""How much of the text of one event is kept that alone is too long to be: half from its head, half from its tail."""

SAMPLED_EVENTS = 64
"""How many of a stream's newest events tell how much of it is output."""

MAX_ERROR_BYTES = 256 * 1024
_NO_ANSWER = frozenset({204, 205, *range(300, 400)})
"""A redirect or an empty answer made nothing; who follows the redirect is metered there (RFC 9110, 15.3.5, 15.3.6 and 15.4)."""
_BOM = b"\xef\xbb\xbf"
_SKIMMED_BYTES = 64 * 1024
_NO_LINKS: Mapping[str, str] = MappingProxyType({})
_WITH_PICTURES = frozenset({"image_generation", "speech", "video"})
"""Operations whose JSON holds media as base64: its long strings are cut as they come."""
_HIT_HEADERS = ("cf-aig-cache-status", "helicone-cache", "x-portkey-cache-status", "x-bt-cached")
_JSON_LINES = ("ndjson", "jsonl", "json-seq", "stream+json")
_MEDIA = ("image/", "audio/", "video/")


class Meter:
    """Reads one answer. ``headers`` are the answer's, with lower-case names."""

    def __init__(self, endpoint: Endpoint, ask: Ask, status: int, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._ask = ask
        self._status = status
        self._headers = headers
        dialect = DIALECTS.get(endpoint.dialect or "") if endpoint.metering is Metering.METERED else None
        answered = status < 400 and status not in _NO_ANSWER
        self._reader: AnswerReader | None = dialect.reader(endpoint, ask, headers) if dialect and answered else None
        self._answers = dialect.answers if dialect else Answers.AUTO
        if self._answers is Answers.OPAQUE and "event-stream" in headers.get("content-type", "").lower():
            self._answers = Answers.AUTO
        with_pictures = endpoint.operation in _WITH_PICTURES and self._answers not in {Answers.OPAQUE, Answers.BINARY}
        self._elider = StringElider() if with_pictures else None
        self._flags: set[str] = set()
        self._framer: Framer | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head = b""
        self._retained: list[bytes] = []
        self._retained_bytes = 0
        self._excerpts: list[str] = []
        self._left_out_bytes = 0
        """How many bytes more than their own the excerpts stand for."""
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

    def trailers(self, fields: Mapping[str, str]) -> None:
        """What came after the body, with lower-case names. Never raises."""
        if self._closed is None and isinstance(self._reader, TrailerReader):
            self._reader.trailers(fields)

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
            self._excerpts.clear()
            self._reader = self._framer = None
        return self._closed

    def so_far(self) -> tuple[tuple[Usage, ...], int] | None:
        """The billed calls by the figures seen by now, and about how many bytes of output could be seen; None before a stream begins.

        For whoever watches: nothing is ended by it, and it reads the newest events only (0.2 ms), so the bytes are an estimate.
        """
        reader = self._reader
        if reader is None or self._framer is None or self._dead:
            return None
        sample = self._retained[-SAMPLED_EVENTS:]
        payloads = filter(lambda payload: isinstance(payload, dict), map(_parse, sample))
        try:
            said = sum(len(text.encode("utf-8", "replace")) for payload in payloads for text in reader.visible(payload) if text)
            return reader.calls(), said * self._stream_bytes // max(1, sum(map(len, sample)))
        except (TypeError, ValueError, AttributeError, RecursionError):
            return reader.calls(), 0

    def _take(self, data: bytes) -> None:
        if self._elider is not None:
            data = self._elider.feed(data)
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
        if self._answers is Answers.BINARY and self._reader is not None and data[:1] not in {b"{", b"["}:
            self._sniffed = True
            self._framer = BINARY[self._endpoint.dialect or ""].framer(self._endpoint, self._headers, MAX_BODY_BYTES)
            return True
        start = data.removeprefix(_BOM).lstrip(b" \t\r\n")
        if not start or _BOM.startswith(data):
            return False
        self._sniffed = True
        if self._status >= 400 or self._reader is None or self._answers is Answers.OPAQUE:
            return True
        content_type = self._headers.get("content-type", "").lower()
        if content_type.startswith(_MEDIA):
            self._answers = Answers.OPAQUE
            return True
        # The reader is asked last: looking at a protocol takes 20 µs.
        if content_type.startswith("text/") and "event-stream" not in content_type and isinstance(self._reader, PlainReader):
            return True  # a transcript may begin with anything
        first = start[:1]
        if first == b"\0" or ("vnd.amazon.eventstream" in content_type and first not in {b"{", b"["}):
            self._framer = EventStreamReader()  # its first four bytes are a length of less than 16 MiB
        elif first == b"[":
            self._framer = JsonArrayReader()
        elif first == b"{":
            lines = self._answers is Answers.LINES or any(word in content_type for word in _JSON_LINES)
            self._framer = NdjsonReader() if lines else None
        elif first in {b"d", b"e", b"i", b"r", b":"}:
            self._framer = SseReader()
        return True

    def _gather(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._answers is Answers.OPAQUE and self._status < 400:
            room = MEDIA_HEAD_BYTES - (self._body_bytes - len(data))
            if room > 0:
                self._body.append(data[:room])
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
            if self._excerpts:
                self._excerpts.clear()
        elif self._retained_bytes + size <= MAX_RETAINED_BYTES:
            self._retained_bytes += size
            self._retained.append(element)
        elif size > MAX_EXCERPT_CHARS and self._retained_bytes + MAX_EXCERPT_CHARS <= MAX_RETAINED_BYTES:
            self._excerpt(reader, element)

    def _excerpt(self, reader: AnswerReader, element: bytes) -> None:
        """Keep head and tail of what one long event says: whole it has no room, and without it a stream of one event cost nothing."""
        said = "".join(self._said(reader, _parse(element)))
        half = MAX_EXCERPT_CHARS // 2
        kept = said if len(said) <= MAX_EXCERPT_CHARS else said[:half] + said[-half:]
        if kept:
            self._excerpts.append(kept)
        self._retained_bytes += len(kept)
        self._left_out_bytes += (len(element) * len(kept) // len(said) if said else len(element)) - len(kept)

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
            if isinstance(self._framer, EventStreamReader) and self._framer.damaged:
                self._flags.add("event-damaged")
        elif self._reader is not None and self._body_bytes and self._answers is Answers.OPAQUE:
            if isinstance(self._reader, MediaReader):
                self._reader.media(b"".join(self._body), self._body_bytes)
            else:
                self._reader.body({})
        elif self._reader is not None and self._body:
            self._whole_body(self._reader)

    def _whole_body(self, reader: AnswerReader) -> None:
        body = b"".join(self._body)
        self._body = [body]
        if self._endpoint.operation == "embeddings" and len(body) > _SKIMMED_BYTES:
            payload: Json = skim(body)
        else:
            payload = _parse(body)
        if isinstance(payload, dict):
            reader.body(payload)
        elif isinstance(reader, PlainReader):
            reader.plain(body)
        elif b"}\n{" in body or b"}\r\n{" in body:
            self._framer = NdjsonReader()  # JSON lines under a content-type that does not say so
            for element in (*self._framer.feed(body), *self._framer.close()):
                self._element(element)
        else:
            self._flags.add("answer-unreadable")

    def _give_up(self, flag: str) -> None:
        self._flags.add(flag)
        self._dead = True
        self._body.clear()
        self._retained.clear()
        self._excerpts.clear()
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
        if error is None and (stated := self._headers.get("x-amzn-errortype")):
            error = name(stated.partition(":")[0])
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
        cost = notes.cost_usd if notes.cost_usd is not None else cost_in_headers(self._endpoint, self._headers)
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
            is_repeatable=notes.repeatable,
            results_of=() if cut else self._results_of(notes),
            links=dict(notes.links) if notes.links else _NO_LINKS,
            refusal=notes.refusal,
            plan_windows=notes.plan_windows,
        )

    def _results_of(self, notes: Notes) -> tuple[str, ...]:
        """What was polled and has failed is the result of its own id, though it states no figures."""
        failed = self._endpoint.operation == RETRIEVE and notes.repeatable and not notes.pending and notes.error is not None
        return (notes.response_id,) if failed and notes.response_id and not notes.results_of else notes.results_of

    def _source(self, reader: AnswerReader, calls: tuple[Usage, ...], *, cut: bool) -> UsageSource:
        notes = reader.notes
        stated = UsageSource.COUNTED if notes.counted else UsageSource.REPORTED
        if notes.final and calls:
            return stated
        if self._endpoint.operation in {RETRIEVE, UPLOAD} and not calls:
            return UsageSource.NONE
        if notes.pending and not calls:
            return UsageSource.DEFERRED  # it goes on without this client, who may leave at any time
        if cut or (self._framer is not None and not notes.ended):
            return UsageSource.PARTIAL
        if calls:
            return stated
        if not notes.error:
            return UsageSource.COUNTED
        # A stream that failed had begun: what it had said by then is charged, as when it breaks off without a word.
        return UsageSource.NONE if self._framer is None else UsageSource.PARTIAL

    def _visible(self, reader: AnswerReader) -> tuple[str, float]:
        elements = self._retained if self._framer is not None else self._body
        pieces = [*(text for element in elements for text in self._said(reader, _parse(element))), *self._excerpts]
        seen = self._retained_bytes + self._left_out_bytes
        return "".join(pieces), max(1.0, self._stream_bytes / seen if seen > 0 else 1.0)

    def _said(self, reader: AnswerReader, payload: Json) -> list[str]:
        """The output in one event or body, as far as its shape can be read."""
        pieces: list[str] = []
        if isinstance(payload, dict):
            try:
                pieces.extend(text for text in reader.visible(payload) if text)
            except (TypeError, ValueError, AttributeError, RecursionError):
                self._flags.add("output-unreadable")
        return pieces


def _parse(data: bytes) -> Json:
    """A JSON value with its fractions as text; None when it is none, or too deep, or has a figure of thousands of digits."""
    try:
        return parse(data)
    except (ValueError, RecursionError):
        return None


def _sorted(flags: set[str]) -> tuple[str, ...]:
    return tuple(sorted(flag for flag in flags if flag))
