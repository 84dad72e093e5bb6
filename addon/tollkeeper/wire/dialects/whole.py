"""What readers share whose answers come whole, each element an answer of its own, without any text for a client to see."""

from collections.abc import Iterator, Mapping

from tollkeeper.wire.counts import Json
from tollkeeper.wire.dialect import Notes


class WholeReader:
    """A reader that looks at everything. Subclasses fill ``body`` and ``calls``."""

    def __init__(self) -> None:
        self.notes = Notes()

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return True

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        self.notes.ended = self.notes.ended or data.strip() == b"[DONE]"

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.body(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from ()
