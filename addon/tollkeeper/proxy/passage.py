"""One call on its way through the proxy: what is known so far."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tollkeeper.core.call import Call
from tollkeeper.core.decision import ALLOWED, Decision
from tollkeeper.wire.framing.decoders import Decoder
from tollkeeper.wire.inject import UsageChunkFilter
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.refuse import Reply

type Tap = Callable[[bytes], Iterable[bytes]]


@dataclass(slots=True, kw_only=True)
class Passage:
    """A call between admission and settlement. ``body`` is the client's own, decoded; it is dropped at settlement."""

    call: Call
    decision: Decision = ALLOWED
    body: bytes = b""
    path: str = ""
    outgoing: bytes | None = None
    """The body to send instead of the client's, None when nothing changed."""
    refusal: Reply | None = None
    held: bool = False
    injected: bool = False
    meter: Meter | None = None
    strainer: UsageChunkFilter | None = None
    unpacker: Decoder | None = None
    status: int | None = None
    first_byte_at: int | None = None
    settled: bool = False
    notes: tuple[str, ...] = ()

    def tap(self, clock: Callable[[], int]) -> Tap:
        """The function every received piece passes through; the last call gets ``b""``.

        It returns generators: mitmproxy sends what is yielded before it resumes them, so the client's bytes leave first and the meter
        reads afterwards. It must never return ``b""`` for a piece, which would end a chunked body early (mitmproxy PR #8242).
        """
        meter, strainer, unpacker = self.meter, self.strainer, self.unpacker
        assert meter is not None  # noqa: S101 — set by the road before the tap is asked for

        def pass_on(piece: bytes) -> Iterable[bytes]:
            if self.first_byte_at is None:
                self.first_byte_at = clock()
            if piece:
                yield piece
                meter.feed(piece)

        def strain(piece: bytes) -> Iterable[bytes]:
            if self.first_byte_at is None:
                self.first_byte_at = clock()
            assert strainer is not None  # noqa: S101
            plain = piece
            if unpacker is not None:
                plain = unpacker.feed(piece) if piece else unpacker.close()
            kept = strainer.feed(plain) if plain else None
            if not piece:
                kept = (kept or b"") + strainer.flush()
            if kept:
                yield kept
            if piece:
                meter.feed(piece)

        return pass_on if strainer is None else strain
