"""xAI's own API over gRPC, as its SDK speaks it: chat, sampling, pictures, video, and what was deferred.

Reference: docs.x.ai/developers/cost-tracking, github.com/xai-org/xai-proto. Usage in a stream is cumulative: the last one is the bill.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.errors import WireError
from tollkeeper.wire.counts import Json, member, model_name, name, text
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.framing.grpc import GrpcReader, frame, unframe
from tollkeeper.wire.material import texts
from tollkeeper.wire.protobuf import Message, put, read
from tollkeeper.wire.reading_asks import SEARCHES_UNBOUNDED, at_least_one, positive
from tollkeeper.wire.row import XAI_GRPC

from .xai_messages import METHODS, STREAMS, USED, Method
from .xai_reader import XaiReader

_ANSWERED = frozenset({"ROLE_ASSISTANT", "ROLE_TOOL", "ROLE_FUNCTION"})
_SERVER_TOOLS = frozenset(word.removeprefix("SERVER_SIDE_TOOL_").lower() for word in USED.values())
_SEARCHES = frozenset({2, 3})
"""``SearchMode``: on and auto."""
_LONGEST_SECONDS = 15
_SIZES = {1: "480p", 2: "720p", 3: "1080p"}
MAX_PICTURES = 128
MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""What a packed request may unpack to; the SDK sends 20 MiB at most."""


class XaiGrpc:
    """The dialect ``xai-grpc``, and its bytes (``wire.binary``)."""

    name = XAI_GRPC
    answers = Answers.BINARY

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. ``body`` is what ``request`` made of a message."""
        inputs = (body.get("messages"), body.get("prompt"))
        history = [turn for turn in _list(body.get("messages")) if isinstance(turn, dict)]
        schemas = sum(len(piece.encode("utf-8", "replace")) for piece in _schemas(body))
        return Ask(
            model=model_name(body.get("model")),
            streamed=endpoint.path.lower() in STREAMS,
            max_output_tokens=positive(body.get("max_tokens")),
            choices=at_least_one(body.get("n")),
            fresh=_is_fresh(body, history),
            input_bytes=schemas + sum(len(piece.encode("utf-8", "replace")) for piece in texts(inputs)),
            media_parts=sum("image_url" in part or "file" in part for part in _parts(history)),
            service_tier=name(body.get("service_tier")),
            server_tools=_server_tools(body),
            earlier_id=name(body.get("request_id")),
            **_media(endpoint, body),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts((body.get("messages"), body.get("prompt")))
        yield from _schemas(body)

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. The cap is set by field number (``with_cap``)."""
        return ("max_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return XaiReader(endpoint, ask, headers)

    def framer(self, endpoint: Endpoint, headers: Mapping[str, str], limit: int) -> "MessageReader":
        """See ``Binary``."""
        return MessageReader(_method(endpoint).answer, headers.get("grpc-encoding", ""), limit)

    def request(self, endpoint: Endpoint, body: bytes) -> Mapping[str, Json] | None:
        """See ``Binary``. A recorder's bare message is read as well."""
        try:
            return read(unframe(body, MAX_REQUEST_BYTES), _method(endpoint).ask)
        except WireError:
            return None

    def with_model(self, endpoint: Endpoint, body: bytes, model: str) -> bytes:
        """See ``Binary``."""
        number = _method(endpoint).model
        if number is None:
            raise WireError(f"{endpoint.path} names no model that could be changed")
        return frame(put(unframe(body, MAX_REQUEST_BYTES), number, model))

    def with_cap(self, endpoint: Endpoint, body: bytes, tokens: int) -> bytes:
        """See ``Binary``."""
        number = _method(endpoint).cap
        if number is None:
            raise WireError(f"{endpoint.path} has no cap on output that could be set")
        return frame(put(unframe(body, MAX_REQUEST_BYTES), number, tokens))


class MessageReader:
    """A framer of gRPC messages that gives each as JSON; one that is damaged is skipped and counted."""

    def __init__(self, message: Message, encoding: str, limit: int) -> None:
        self._message = message
        self._inner = GrpcReader(encoding, limit)
        self._damaged = 0

    @property
    def skipped(self) -> int:
        """Messages that were too long, packed in an unknown way, or damaged."""
        return self._inner.skipped + self._damaged

    def feed(self, data: bytes) -> list[bytes]:
        """See ``Framer``."""
        return self._translated(self._inner.feed(data))

    def close(self) -> list[bytes]:
        """See ``Framer``."""
        return self._translated(self._inner.close())

    def _translated(self, messages: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for message in messages:
            try:
                found.append(json.dumps(read(message, self._message), ensure_ascii=False).encode("utf-8", "replace"))
            except WireError:
                self._damaged += 1
        return found


def _method(endpoint: Endpoint) -> Method:
    return METHODS[endpoint.path.lower()]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _parts(history: Iterable[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
    for turn in history:
        yield from (part for part in _list(turn.get("content")) if isinstance(part, dict))


def _schemas(body: Mapping[str, Json]) -> Iterator[str]:
    for tool in _list(body.get("tools")):
        if isinstance(tool, dict):
            yield from (text(member(tool, "function").get(key)) for key in ("name", "description", "parameters"))
    yield text(member(body, "response_format").get("schema"))


def _is_fresh(body: Mapping[str, Json], history: Iterable[Mapping[str, Json]]) -> bool:
    made = any(turn.get("role") in _ANSWERED or "encrypted_content" in turn for turn in history)
    return not made and "previous_response_id" not in body


def _server_tools(body: Mapping[str, Json]) -> int:
    offered = any(isinstance(tool, dict) and not _SERVER_TOOLS.isdisjoint(tool) for tool in _list(body.get("tools")))
    if offered:
        return min(positive(body.get("max_turns")) or SEARCHES_UNBOUNDED, 1000)
    search = member(body, "search_parameters")
    if search.get("mode") in _SEARCHES:
        return min(positive(search.get("max_search_results")) or SEARCHES_UNBOUNDED, 1000)
    return 0


def _media(endpoint: Endpoint, body: Mapping[str, Json]) -> dict[str, Json]:
    """What pictures and film are billed by, as bounds."""
    if endpoint.operation not in {"image_generation", "video"}:
        return {}
    shown = len(_list(body.get("image"))) + len(_list(body.get("images")))
    units = {"input_images": min(shown, MAX_PICTURES)} if shown else {}
    if endpoint.operation == "image_generation":
        return {"units": {"output_images": min(at_least_one(body.get("n")), MAX_PICTURES), **units}}
    size = _SIZES.get(body.get("resolution", 1))
    seconds = min(positive(body.get("duration")) or _LONGEST_SECONDS, 3_600)
    return {"units": {"video_seconds": seconds, **units}, "terms": {"video_size": size} if size else {}}
