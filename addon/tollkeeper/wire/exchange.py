"""A request and its answer, whole: what recordings and archives hold, read by the very meter that reads live traffic."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError
from tollkeeper.core.usage import Reading, UsageSource

from .counts import Json
from .dialect import MAX_RAW_OBJECTS
from .dialects import SESSIONS
from .meter import Meter
from .request import decode_body, prompt_text, read_ask, settled_endpoint
from .routes import endpoint_for, model_in_query, named_by_header
from .sessions import UNUSED, Turn, parse_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One recorded exchange. Header names are lower-case. ``provider`` is the recorder's own word, if it has one.

    ``chunk_lengths`` are the sizes in which the answer came, where the recorder kept them; ``cut`` says that it did not end by itself.
    ``started_at`` is UTC microseconds, None when nothing says it.
    """

    id: str
    method: str
    url: str
    provider: str | None = None
    request_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_body: bytes = field(default=b"", repr=False)
    status: int = 0
    response_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    response_body: bytes = field(default=b"", repr=False)
    chunk_lengths: tuple[int, ...] = ()
    cut: bool = False
    started_at: int | None = None

    @property
    def host(self) -> str:
        """The host of the URL, lower-case, without a port; empty when there is none."""
        try:
            return (urlsplit(self.url).hostname or "").lower()
        except ValueError:
            return ""

    @property
    def path(self) -> str:
        """The path of the URL with its query."""
        rest = self.url.partition("://")[2] or self.url
        slash = rest.find("/")
        return rest[slash:] if slash >= 0 else "/"

    @property
    def is_socket(self) -> bool:
        """Whether it was a WebSocket; its answer's body is then its frames, as ``read_session`` takes them."""
        return self.method == "WEBSOCKET" or self.status == 101 or self.url[:6].lower().startswith(("ws://", "wss://"))

    @property
    def prompt(self) -> bytes:
        """The request body without its content-encoding, as far as it can be decoded."""
        try:
            return decode_body(self.request_body, _encoding(self.request_headers, self.request_body))
        except WireError:
            return b""


def read_exchange(exchange: Exchange, provider: str) -> tuple[Endpoint, Ask, Reading]:
    """What the exchange was and what it used. ``provider`` is whose host it went to, by the gate's names."""
    method = "WEBSOCKET" if exchange.is_socket else exchange.method
    endpoint = named_by_header(endpoint_for(provider, exchange.host, method, exchange.path), exchange.request_headers)
    body = exchange.prompt
    ask = read_ask(endpoint, body) if endpoint.metering is Metering.METERED else Ask()
    endpoint = settled_endpoint(endpoint, ask)
    if provider.startswith("unknown:") and endpoint.metering is Metering.METERED and not _asks(endpoint, ask):
        endpoint = replace(endpoint, metering=Metering.UNMETERED, dialect=None, operation="other", reason="not a known AI host")
    if not exchange.status and not exchange.response_body:
        return endpoint, ask, Reading(source=UsageSource.NONE, complete=False, flags=("no-answer",))
    if exchange.is_socket and endpoint.dialect in SESSIONS and exchange.status < 400:
        return endpoint, ask, read_session(endpoint, model_in_query(exchange.path), exchange.response_body)
    encoding = _encoding(exchange.response_headers, exchange.response_body)
    meter = Meter(endpoint, ask, exchange.status, {**exchange.response_headers, "content-encoding": encoding})
    start = 0
    for length in exchange.chunk_lengths:
        if length > 0:
            meter.feed(exchange.response_body[start : start + length])
            start += length
    if start < len(exchange.response_body):
        meter.feed(exchange.response_body[start:])
    return endpoint, ask, meter.close(cut=exchange.cut)


def read_session(endpoint: Endpoint, model: str, recorded: bytes) -> Reading:
    """A recorded WebSocket as one reading: the calls of all its turns, in order.

    ``recorded`` holds a JSON object a line: ``direction`` (``sent`` or ``received``) and ``data``, a frame as JSON or as its text.
    The reading is ``reported`` as soon as one turn's figures are; turns of which less is known leave the flag ``turns-differ``.
    """
    reader = SESSIONS[endpoint.dialect or ""](endpoint, model, lambda: 0)
    turns: list[Turn] = []
    for line in recorded.splitlines():
        record = parse_frame(line) or {}
        frame = _frame(record.get("data"))
        if frame is not None:
            (reader.client if record.get("direction") == "sent" else reader.server)(frame)
            turns += reader.take_turns()
    turns += reader.finish()
    readings = [turn.reading for turn in turns if UNUSED not in turn.reading.flags]
    if not readings:
        return Reading(source=UsageSource.NONE, model=reader.notes.model, flags=("no-turns",))
    sources = {reading.source for reading in readings}
    source = next(each for each in _SURENESS if each in sources)
    flags = {flag for reading in readings for flag in reading.flags}
    return Reading(
        source=source,
        calls=tuple(call for reading in readings for call in reading.calls if reading.source is source),
        model=reader.notes.model or readings[-1].model,
        response_id=readings[-1].response_id,
        terms=readings[-1].terms,
        error=next((reading.error for reading in readings if reading.error), None),
        complete=readings[-1].complete,
        raw=tuple(raw for reading in readings for raw in reading.raw)[-MAX_RAW_OBJECTS:],
        flags=tuple(sorted(flags | ({"turns-differ"} if len(sources) > 1 else set()))),
        visible_output="" if source is UsageSource.REPORTED else "".join(reading.visible_output for reading in readings),
    )


_SURENESS = (UsageSource.REPORTED, UsageSource.COUNTED, UsageSource.PARTIAL, UsageSource.UNMETERED, *UsageSource)
"""Which of its turns' sources a recorded session is said to have: the surest."""


def _frame(data: Json) -> Mapping[str, Json] | None:
    """A frame as its recorder kept it: as JSON, as text, or as base64 where it was binary."""
    if not isinstance(data, str):
        return data if isinstance(data, dict) else None
    found = parse_frame(data.encode("utf-8", "surrogatepass"))
    if found is not None:
        return found
    try:
        return parse_frame(base64.b64decode(data, validate=True))
    except ValueError:
        return None


def exchange_prompt(endpoint: Endpoint, exchange: Exchange) -> str:
    """The text that went in, for counting what nobody reported."""
    return prompt_text(endpoint, exchange.prompt)


def _encoding(headers: Mapping[str, str], body: bytes) -> str:
    """The content-encoding; where the recorder lost the header, what the first bytes say (RFC 1952 2.3.1, RFC 8878 3.1.1)."""
    stated = headers.get("content-encoding", "")
    if stated:
        return stated
    return "gzip" if body.startswith(b"\x1f\x8b\x08") else "zstd" if body.startswith(b"\x28\xb5\x2f\xfd") else ""


def _asks(endpoint: Endpoint, ask: Ask) -> bool:
    """Telemetry imitates the paths of APIs: on an unknown host only a body that asks a model counts as a call."""
    return ask.model is not None or endpoint.model_in_path is not None
