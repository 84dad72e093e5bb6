"""What many small dialects share: requests of one flat object, answers that state their figures unasked."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, member, model_name
from tollkeeper.wire.dialect import Answers, Notes
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import positive

_ANSWERED = frozenset({"assistant", "model", "tool", "chatbot"})


class FlatDialect:
    """A request whose text stands under a few keys. Subclasses name the keys and make the reader."""

    name = ""
    answers = Answers.AUTO
    inputs: ClassVar[tuple[str, ...]] = ("messages", "prompt", "input")
    """Where text that counts as input stands."""
    turns: ClassVar[tuple[str, ...]] = ("messages",)
    """Where earlier turns stand."""
    schemas: ClassVar[tuple[str, ...]] = ("tools",)
    caps: ClassVar[tuple[tuple[str, ...], ...]] = (("max_tokens",),)
    """Where a cap on output may stand; the first is where one would be put."""
    model_key: ClassVar[str] = "model"
    streams_unless_told: ClassVar[bool] = False

    def request(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """The object that holds the text, where it is not the body itself."""
        return body

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        inner = self.request(endpoint, body)
        material = weigh(inner.get(key) for key in self.inputs)
        schemas = "".join(schema_text(inner.get(key)) for key in self.schemas)
        stream = body.get("stream")
        caps = [cap for path in self.caps if (cap := positive(_at(body, path)))]
        history = [turn for key in self.turns for turn in _list(inner.get(key)) if isinstance(turn, dict)]
        return Ask(
            model=model_name(body.get(self.model_key)) or endpoint.model_in_path,
            streamed=stream is True or (self.streams_unless_told and stream is not False),
            max_output_tokens=min(caps, default=None),
            fresh=not any(str(turn.get("role")).lower() in _ANSWERED for turn in history),
            input_bytes=material.text_bytes + len(schemas.encode("utf-8", "replace")),
            media_parts=material.media_parts,
            cache_write_ttl=material.cache_write_ttl,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        inner = self.request(endpoint, body)
        yield from texts(inner.get(key) for key in self.inputs)
        for key in self.schemas:
            yield schema_text(inner.get(key))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return next((path for path in self.caps if _at(body, path) is not None), self.caps[0])


class FlatReader:
    """A reader whose stream elements and whole bodies are read alike. Subclasses fill ``take``, ``calls`` and ``visible``."""

    probes: ClassVar[tuple[bytes, ...]] = (b'"usage"', b'"error"')
    """A stream element without any of these says nothing that must be kept."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self.endpoint = endpoint
        self.ask = ask
        self.usage: Mapping[str, Json] = {}

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return any(probe in data for probe in self.probes)

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        if data.strip() == b"[DONE]":
            self.notes.ended = True
            self.notes.final = self.notes.final or bool(self.usage)

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.take(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.take(payload)
        self.notes.ended = True
        self.notes.final = self.notes.final or bool(self.usage)

    def take(self, payload: Mapping[str, Json]) -> None:
        """Learn from one element."""

    def keep(self, usage: Mapping[str, Json]) -> None:
        """Take ``usage`` for the bill, in place of what was kept before."""
        self.usage = usage
        self.notes.keep_raw(usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        return ()

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from ()

    @property
    def model(self) -> str | None:
        """The served model, else the one asked for."""
        return self.notes.model or self.ask.model


def _at(body: Mapping[str, Json], path: tuple[str, ...]) -> Json:
    for key in path[:-1]:
        body = member(body, key)
    return body.get(path[-1])


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
