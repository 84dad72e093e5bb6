"""One call on its way through the proxy: what is known so far."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tollkeeper.core.call import Call
from tollkeeper.core.decision import ALLOWED, Decision
from tollkeeper.core.usage import PlanWindow, Usage
from tollkeeper.ledger.writer import OnDisk
from tollkeeper.wire.destinations import Destination
from tollkeeper.wire.framing.decoders import Decoder
from tollkeeper.wire.inject import UsageChunkFilter
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.refuse import Reply
from tollkeeper.wire.stop import StreamStop

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
    outgoing_fields: tuple[tuple[bytes, bytes], ...] | None = None
    """The headers to send instead of the client's, None when nothing changed."""
    to: Destination | None = None
    """Where it goes instead of where the client sent it."""
    served: Call | None = None
    """The call as it was rewritten: what its answer is read and priced by. None when that is ``call``."""
    repairs: tuple[str, ...] = ()
    """What was translated or dropped so that another model takes the request."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """The client's own headers."""
    asked_path: str = ""
    """The client's own path."""
    is_bound: bool = False
    tried: int = 0
    """How many of the decision's fallbacks have been tried."""
    refusal: Reply | None = None
    message: str = ""
    """What the refusal says, without the provider's shape around it."""
    held: bool = False
    on_disk: OnDisk | None = None
    """Done once the hold is on disk, which the answer waits for."""
    injected: bool = False
    meter: Meter | None = None
    turn_so_far: Callable[[], tuple[tuple[Usage, ...], int] | None] | None = None
    """For a turn of a session, which has no meter: what ``Meter.so_far`` tells."""
    strainer: UsageChunkFilter | None = None
    unpacker: Decoder | None = None
    stop: StreamStop | None = None
    """What ends the stream before its time."""
    status: int | None = None
    first_byte_at: int | None = None
    settled: bool = False
    notes: tuple[str, ...] = ()
    plan_windows: tuple[PlanWindow, ...] = ()

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

    def stoppable(self, tap: Tap, on_stop: Callable[[], None]) -> Tap:
        """The tap behind which the stream may be ended; ``on_stop`` is told when it is. The meter hears all that came, as it came."""
        stop = self.stop
        assert stop is not None  # noqa: S101 — asked for only where there is one

        def watch(piece: bytes) -> Iterable[bytes]:
            kept = stop.feed(b"".join(tap(piece))) if not stop.stopped else b""
            if not piece:
                kept += stop.flush()
            if kept:
                yield kept
            if stop.stopped and piece:
                on_stop()

        return watch
