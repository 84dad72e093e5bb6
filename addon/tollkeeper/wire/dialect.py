"""What a dialect is: pure functions over one request shape, and a small reader of one answer shape.

A new provider of a known shape is a line in ``providers``, a deviation a name in ``traits``; a new shape is one module in ``dialects``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import PlanWindow, Usage
from tollkeeper.core.value import dataclass

from .counts import Json, counts_only, decimal, member, model_name, name

MAX_RAW_OBJECTS = 8
MEDIA_HEAD_BYTES = 64 * 1024


class Answers(StrEnum):
    """How a dialect's answers are framed, where their bytes and content-type do not say."""

    AUTO = "auto"
    """SSE, a JSON array, one JSON object, or a binary framing by its content-type."""
    LINES = "lines"
    """One JSON object a line."""
    BINARY = "binary"
    """Messages that the dialect's own framer turns into JSON (``wire.binary``)."""
    OPAQUE = "opaque"
    """Media, unless it comes as events: only its start and size are looked at (``MediaReader``), else the reader is given an empty
    object at the end."""


@dataclass(slots=True)
class Notes:
    """What a reader has learned of one answer so far."""

    model: str | None = None
    response_id: str | None = None
    terms: dict[str, str] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    error: str | None = None
    ended: bool = False
    """The answer's own end mark was seen."""
    final: bool = False
    """Figures were seen that nothing will follow."""
    counted: bool = False
    """The figures are ours: from what was asked, delivered or uploaded, because the answer states none."""
    pending: bool = False
    """The answer only says that its work is under way: what that costs stands in a later answer."""
    repeatable: bool = False
    """The provider states these figures again whenever it is asked for ``response_id``."""
    results_of: tuple[str, ...] = ()
    """Earlier submissions that this answer is the whole result of."""
    links: dict[str, str] = field(default_factory=dict)
    """Other ids under which the results of an earlier submission will be read, each with that submission's id."""
    refusal: str | None = None
    """The provider's own refusal or filter, by its class."""
    plan_windows: tuple[PlanWindow, ...] = ()
    raw: list[Mapping[str, Json]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)

    def identity(self, payload: Mapping[str, Json], model_key: str = "model", id_key: str = "id") -> None:
        """Take the served model and the answer's id: the first id, the last model."""
        self.model = model_name(payload.get(model_key)) or self.model
        self.response_id = self.response_id or name(payload.get(id_key))

    def term(self, key: str, value: Json) -> None:
        """Keep what multiplies the price, in the provider's own word."""
        if isinstance(value, str) and (known := name(value)):
            self.terms[key] = known

    def keep_raw(self, usage: Mapping[str, Json]) -> None:
        """Replace the kept usage object: the last cumulative one is the bill."""
        self.raw[:] = [counts_only(usage)]

    def cost(self, value: Json, scale: Decimal = Decimal(1)) -> None:
        """Keep a cost the provider states, in USD after ``scale``."""
        stated = decimal(value)
        if stated is None:
            return
        if stated < 0:
            self.flags.add("cost-negative")
            return
        self.cost_usd = stated * scale

    def refused(self, value: Json) -> None:
        """Keep the class of a refusal by the model or a filter: the first one named."""
        self.refusal = self.refusal or name(value)

    def failed(self, error: Json) -> None:
        """Keep the class of an error object, never its message."""
        self.error = error_class(error) or "error"


class AnswerReader(Protocol):
    """Reads one answer. Every payload is a parsed JSON object; nothing here raises for any shape of it."""

    notes: Notes

    def wants(self, data: bytes) -> bool:
        """Might this raw stream element say something that must be kept? Substring probes only: it is asked for every event."""

    def mark(self, data: bytes) -> None:
        """A stream element that is no JSON, such as ``[DONE]``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """One stream element."""

    def body(self, payload: Mapping[str, Json]) -> None:
        """The whole answer, when it is one JSON object."""

    def calls(self) -> tuple[Usage, ...]:
        """The billed calls, by the figures seen so far."""

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """The model's output in one stream element or body, as the client saw it."""


@runtime_checkable
class TrailerReader(Protocol):
    """A reader that is told what came after the body, where gRPC says how a call ended."""

    def trailers(self, fields: Mapping[str, str]) -> None:
        """HTTP trailers, with lower-case names."""


@runtime_checkable
class PlainReader(Protocol):
    """A reader that also understands answers which are no JSON."""

    def plain(self, body: bytes) -> None:
        """The whole answer."""


@runtime_checkable
class MediaReader(Protocol):
    """A reader of media that can tell something by their first bytes and their size."""

    def media(self, head: bytes, size: int) -> None:
        """The start of the answer, at most ``MEDIA_HEAD_BYTES`` of it, and how long it was."""


class Dialect(Protocol):
    """One API shape."""

    name: str
    answers: Answers

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """What a request asks; None or the default where it says nothing."""

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """Every text that counts as input."""

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """Where this request's cap on output stands, or would."""

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """A fresh reader of one answer; ``headers`` are the answer's, with lower-case names."""


def error_class(error: Json) -> str | None:
    """The class a provider gives its error: ``type``, ``status`` or ``code``; a bare number only when nothing better is there."""
    if not isinstance(error, Mapping):
        return "error" if error else None
    known = [found for key in ("type", "status", "code") if (found := name(error.get(key))) and found != "error"]
    if known:
        return next((found for found in known if not found.isdigit()), known[0])
    return error_class(error["error"]) if isinstance(error.get("error"), Mapping) else "error"


def body_error(payload: Json) -> str | None:
    """The class of the error in an answer's body, in any shape that the providers use; None when it names none."""
    if isinstance(payload, list):
        payload = next((item for item in payload if isinstance(item, dict)), None)
    if not isinstance(payload, dict):
        return None
    inner = payload.get("error")
    if isinstance(inner, dict):
        return error_class(inner)
    if inner:
        return name(payload.get("code")) or "error"
    if isinstance(payload.get("detail"), str | list | Mapping):
        return name(member(payload, "detail").get("code")) or "error"
    return None
