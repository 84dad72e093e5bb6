"""One WebSocket on the road, without mitmproxy: its session is read, and each turn of it passes the road as a call of its own.

A frame is looked at before it is sent on. One that begins a turn waits for the ledger; every other goes straight through.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from tollkeeper.core.call import Attribution, Call
from tollkeeper.core.entry import Outcome
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import ANONYMOUS
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.identity.channels import Resolution
from tollkeeper.wire.attribution import attribute
from tollkeeper.wire.dialects import SESSIONS
from tollkeeper.wire.plans import windows_in
from tollkeeper.wire.sessions import Opening, Refused, SessionReader, Turn, Watched, parse_frame

from .passage import Passage
from .road import LARGE_BODY_BYTES, Road

_COUNTED = frozenset({UsageSource.COUNTED, UsageSource.PARTIAL})

UNREADABLE = "frames-unreadable"
"""Flag of a session of which no frame could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a frame, and what is sent besides, as text frames. ``content`` None: it is not sent on."""

    content: bytes | None
    to_client: bytes = b""
    to_server: bytes = b""
    ends_session: bool = False
    reason: str = "Tollkeeper failed while checking this session and its policy is closed"
    """What the close frame says, for clients that show nothing else."""

    @property
    def speaks(self) -> bool:
        """Whether anything is to be sent or closed besides the frame."""
        return self.ends_session or bool(self.to_client or self.to_server)


CUT_OFF = Verdict(content=None, ends_session=True)
STOPPING = Verdict(content=None, ends_session=True, reason="Tollkeeper is stopping; connect again")
"""Of a session whose turns have been settled: whatever it would do now could not be recorded."""


class Socket:
    """A session under way. ``handshake`` is the passage of its upgrade; ``is_bound``: nobody may change what the client says in it.

    ``who`` is who opened it: a session lasts for hours, so each turn asks again whether that still holds.
    """

    def __init__(
        self, road: Road, reader: SessionReader, handshake: Passage, *, is_bound: bool = False, who: Resolution | None = None
    ) -> None:
        self.road = road
        self.who = who
        self.reader = reader
        self.handshake = handshake
        self.is_bound = is_bound
        self._turns: dict[int, Passage] = {}
        self._in_advance: set[int] = set()
        self._unheard: set[int] = set()
        """Turns that the client asked for and the provider has not said anything since."""
        self._recorded = self._read = self._unread = 0
        self._settling: set[asyncio.Task[None]] = set()
        self._ended = False

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way; one that is only held in advance is not."""
        return bool(self._settling or self._turns.keys() - self._in_advance)

    @property
    def passages(self) -> Iterable[Passage]:
        """The turns whose holds must be kept alive."""
        return tuple(self._turns.values())

    async def frame(self, content: bytes, *, from_client: bool) -> Verdict:
        """Read one frame before it is sent on. Raises nothing that the road does not."""
        if self._ended:
            return STOPPING
        payload = await asyncio.to_thread(parse_frame, content) if len(content) > LARGE_BODY_BYTES else parse_frame(content)
        if payload is None:
            self._unread += 1
            return Verdict(content=content)
        self._read += 1
        if self._unheard and not from_client:
            self._note_first_byte()
        opening = self.reader.client(payload) if from_client else self.reader.server(payload)
        verdict = Verdict(content=content)
        await self._record(self.reader.take_turns())
        if opening is not None:
            verdict = await self._open(opening, payload, content, from_client=from_client)
            await self._record(self.reader.take_turns())
        return verdict

    async def end(self, outcome: Outcome) -> None:
        """The socket is gone: turns still open are settled as far as they came. A session without any is recorded by itself."""
        if self._ended:
            return
        self._ended = True
        if self._settling:
            await asyncio.gather(*self._settling)
        await self._record(self.reader.finish(), broken=outcome)
        for passage in self._turns.values():  # the reader knows nothing of them any more
            await self.road.settle(passage, outcome, cut=True)
        self._turns.clear()
        if self._recorded or self.handshake.settled:
            self.handshake.settled = True
            return
        unread = self._unread > 0 and not self._read
        source, flags = (UsageSource.UNMETERED, (UNREADABLE,)) if unread else (UsageSource.NONE, ("no-turns",))
        reading = Reading(source=source, flags=flags, complete=outcome is Outcome.OK)
        turn = Turn(number=0, ask=self.handshake.call.ask, reading=reading)
        await self.road.settle(self.handshake, Outcome.OK, cut=False, turn=turn)

    async def _open(self, opening: Opening, payload: Mapping[str, Any], content: bytes, *, from_client: bool) -> Verdict:
        """Ask for a turn's money; what is sent on is the frame, the frame with another model in it, or a refusal."""
        session, body = self._still(self.handshake.call), b""
        if opening.is_request:
            session, body = _attributed(session, payload), content
        try:
            passage = await self.road.admit_turn(session, opening.ask, body, bound=self.is_bound)
        except LedgerError as error:
            message = f"Tollkeeper cannot record this call, so it is refused: {error}"
            return self._refused(opening, message, content, from_client=from_client)
        if passage.refusal is not None:
            self._recorded += 1
            return self._refused(opening, passage.message, content, from_client=from_client)
        passage.plan_windows, self.handshake.plan_windows = self.handshake.plan_windows, ()
        self._turns[opening.number] = passage
        if isinstance(self.reader, Watched):
            passage.turn_so_far = partial(self.reader.so_far, opening.number)
        if opening.in_advance:
            self._in_advance.add(opening.number)
        elif from_client:
            self._unheard.add(opening.number)
        return Verdict(content=content if passage.outgoing is None else passage.outgoing)

    def _still(self, session: Call) -> Call:
        """The session's call, as nobody's where the proof that opened it is over: a policy that enforces refuses the turn."""
        fault = self.road.stages.desk.doubt(self.who)
        if fault is None:
            return session
        counters = self.road.stages.counters
        counters.identity_refusals += 1
        counters.last_identity = fault.reason
        return replace(session, principal=ANONYMOUS, identity_fault=fault.reason, identity_remedy=fault.remedy)

    def _refused(self, opening: Opening, message: str, content: bytes, *, from_client: bool) -> Verdict:
        said: Refused = self.reader.refuse(opening, message)
        return Verdict(
            content=None if from_client else content,
            to_client=said.to_client,
            to_server=said.to_server,
            ends_session=said.ends_session,
            reason=message,
        )

    async def _record(self, turns: Iterable[Turn], *, broken: Outcome = Outcome.CUT) -> None:
        for turn in turns:
            passage = self._turns.pop(turn.number, None)
            self._unheard.discard(turn.number)
            self._in_advance.discard(turn.number)
            if passage is None:
                passage = Passage(call=self._besides(turn))
            self._recorded += 1
            complete = turn.reading.complete
            settling = self.road.settle(passage, Outcome.OK if complete else broken, cut=not complete, turn=turn)
            if turn.reading.source in _COUNTED and not self._ended:
                # Counting tokens takes up to a second; the frame that waits here is somebody's voice.
                task = asyncio.get_running_loop().create_task(settling)
                self._settling.add(task)
                task.add_done_callback(self._settling.discard)
            else:
                await settling

    def _besides(self, turn: Turn) -> Call:
        """A call that nothing was held for: it was billed besides a turn, or its turn was refused and began all the same."""
        session = self.handshake.call
        at = self.road.stages.clock()
        self.road.stages.counters.calls += 1
        return replace(session, id=new_id(at), started_at=at, ask=turn.ask)

    def _note_first_byte(self) -> None:
        """The first frame after a question is taken for the beginning of its answer."""
        now = self.road.stages.clock()
        for number in self._unheard:
            self._turns[number].first_byte_at = now
        self._unheard.clear()


def _attributed(session: Call, payload: Mapping[str, Any]) -> Call:
    """The session's call with what the frame says of itself: it knows its question better than the upgrade an hour ago.

    The session's labels stay, as those of this sidecar do in ``attribute``: budgets go by them, and by the headers among them.
    """
    said = attribute(Attribution(tags=session.attribution.tags), {}, payload)
    known = {field.name: value for field in fields(Attribution) if (value := getattr(said, field.name))}
    return replace(session, attribution=replace(session.attribution, **known)) if known else session


def open_socket(
    road: Road, handshake: Passage, model: str, headers: Mapping[str, str], *, is_bound: bool, who: Resolution | None = None
) -> Socket | None:
    """The session that an upgrade opens, None when nothing here reads its frames.

    ``model`` is the one that the URL names, ``headers`` are the answer's, with lower-case names; ``who`` is who asked for it.
    """
    endpoint = handshake.call.endpoint
    if handshake.call.plan:
        handshake.plan_windows = windows_in(headers)
    new_session = SESSIONS.get(endpoint.dialect or "")
    if new_session is None:
        return None
    return Socket(road, new_session(endpoint, model, road.stages.clock), handshake, is_bound=is_bound, who=who)
