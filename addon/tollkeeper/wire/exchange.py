"""A request and its answer, whole: what recordings and archives hold, read by the very meter that reads live traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError
from tollkeeper.core.usage import Reading, UsageSource

from .dialects import SESSIONS
from .meter import Meter
from .recorded_session import read_session, session_turns
from .request import decode_body, prompt_text, read_ask, settled_endpoint
from .routes import endpoint_for, model_in_query, named_by_header
from .sessions import Turn


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
            return (urlsplit(self.url if "://" in self.url else f"//{self.url}").hostname or "").lower()
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
        if exchange.cut and not exchange.response_body:  # what was said on it was billed, and nobody wrote it down
            lost = ("frames-not-recorded",)
            model = model_in_query(exchange.path) or None
            return endpoint, ask, Reading(source=UsageSource.UNMETERED, model=model, complete=False, flags=lost)
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


def exchange_turns(endpoint: Endpoint, exchange: Exchange) -> tuple[Turn, ...]:
    """The turns of a recorded WebSocket whose frames are read, each a call of its own; none for any other exchange."""
    if not exchange.is_socket or endpoint.dialect not in SESSIONS or exchange.status >= 400 or not exchange.response_body:
        return ()
    return session_turns(endpoint, model_in_query(exchange.path), exchange.response_body).turns


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
