"""The road of one call, without mitmproxy: admit it, let it through, listen to the answer, settle it.

Everything here takes and returns values; ``hooks`` turns mitmproxy's events into these calls.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tollkeeper.core.admission import Admission
from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.charge import Bill
from tollkeeper.core.decision import ALLOWED, Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import ConfigError, LedgerError, WireError
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import PlanWindow, Reading, UsageSource
from tollkeeper.identity.answers import Refused, Why
from tollkeeper.ledger.once import read_upload
from tollkeeper.policy.candidates import output_bound
from tollkeeper.policy.decide import decide
from tollkeeper.policy.group_table import in_groups
from tollkeeper.policy.headers import header_labels
from tollkeeper.policy.message import refusal_message, steering_text
from tollkeeper.policy.model import PlanTraffic, RefusalStyle
from tollkeeper.policy.plan import identity_objection, plan_with
from tollkeeper.pricing.complete import complete
from tollkeeper.wire.attribution import attribute, claims_in
from tollkeeper.wire.batch_asks import with_parts
from tollkeeper.wire.inject import UsageChunkFilter, asks_for_usage, inject_usage_request
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.plans import plan_of, windows_in
from tollkeeper.wire.refuse import Reply, refusal
from tollkeeper.wire.request import prompt_text, read_request
from tollkeeper.wire.row import RETRIEVE
from tollkeeper.wire.sessions import Turn
from tollkeeper.wire.spoken import spoken
from tollkeeper.wire.steer import steered
from tollkeeper.wire.stop import STOPPABLE, StreamStop

from .carry_out import carry_out
from .passage import Passage
from .pins import Pin, Pins, staying
from .quill import pen_for
from .stages import Stages

logger = logging.getLogger(__name__)

FAULT = "tollkeeper failed while checking this call and its policy is open"
LARGE_BODY_BYTES = 262_144
"""Bodies above this are parsed off the event loop: ``json.loads`` of 10 MB holds every stream for 25 ms."""

MANY_LINES = 64
"""A bill of more lines (a batch's results) is priced and written off the event loop: 50,000 of them take seconds."""

BATCH_UNSEEN = "batch-file-unseen"
"""Flag of a batch whose file was not uploaded through us: what it asks is not known until its results are read."""

type Fields = Sequence[tuple[bytes, bytes]]


class Road:
    """The stages in order, for one process."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self.pins = Pins(stages.ledger.path)
        self._settling = 0

    async def admit(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        principal: Principal,
        attribution: Attribution,
        *,
        fields: Fields = (),
        bound: bool = False,
        handshake: bool = False,
        fault: Refused | None = None,
        tags: Fields = (),
    ) -> Passage:
        """Decide about a call before it leaves and hold what it may cost.

        ``body`` is decoded (no content-encoding); ``fields`` are the request's headers; ``bound`` says that nobody may change the
        body; ``handshake`` that this only opens a session, whose turns are admitted one by one; ``fault`` why a proof that came
        with it is not accepted; ``tags`` are headers that label the call and do not leave. The passage says what to send, or carries
        the refusal. Raises ``LedgerError`` when the policy says that a ledger fault closes the road.
        """
        stages = self.stages
        at = stages.clock()
        claims = claims_in((*fields, *tags) if tags else fields)
        endpoint, ask, attribution = await self._read_request(endpoint, body, attribution, claims)
        if stages.policy.headers and (said := header_labels(stages.policy.headers, (*fields, *tags))):
            attribution = replace(attribution, tags=tuple(sorted((*attribution.tags, *said))))
        call = Call(
            id=new_id(at),
            started_at=at,
            endpoint=endpoint,
            ask=ask,
            principal=in_groups(stages.policy, principal),
            attribution=attribution,
            plan=plan_of(endpoint, fields),
            plan_counts=stages.policy.plan_traffic is PlanTraffic.COUNT,
        )
        if fault is not None:
            call = self._doubted(call, fault)
        stages.counters.calls += 1
        passage = Passage(call=call, body=body, path=path)
        if ask.batch_file is not None and not ask.parts:
            passage.notes = (BATCH_UNSEEN,)
        objection = identity_objection(stages.policy, call)
        if objection is not None and stages.policy.enforces:
            return await self._admitted(passage, at, bound=True, fields=fields, objection=objection)
        if endpoint.metering is Metering.FREE or endpoint.operation == RETRIEVE:
            passage.decision = replace(objection or ALLOWED, verdict=Verdict.ALLOW, reason=endpoint.reason)
            return passage
        if endpoint.metering is Metering.UNMETERED:
            stages.counters.unmetered += 1
            bound = True
        if handshake:
            passage.decision = replace(ALLOWED, reason=endpoint.reason)
            return passage
        return await self._admitted(passage, at, bound=bound, fields=fields)

    async def admit_turn(self, session: Call, ask: Ask, body: bytes = b"", *, bound: bool = False) -> Passage:
        """Decide about one turn of a session, as ``admit`` does about a call. ``session`` is the call that opened it.

        ``body`` is the frame that asks, where that is a request by itself; without one nothing can be rewritten, nor when ``bound``.
        Raises ``LedgerError`` as ``admit`` does.
        """
        at = self.stages.clock()
        call = replace(session, id=new_id(at), started_at=at, ask=ask)
        self.stages.counters.calls += 1
        passage = await self._admitted(Passage(call=call, body=body, path=call.endpoint.path), at, bound=bound or not body)
        # Frames go both ways all the time, so there is no first byte of an answer to hold back: the turn itself waits for the disk.
        if passage.on_disk is not None and (error := await passage.on_disk) is not None and not self.goes_on(error):
            await self.settle(passage, Outcome.ABORTED, cut=True, sent=False)
            raise error
        return passage

    def _doubted(self, call: Call, fault: Refused) -> Call:
        """A call whose proof is wrong; where there is none at all, the policy's ``on_no_identity`` speaks."""
        if fault.why is Why.MISSING:
            return call
        counters = self.stages.counters
        counters.identity_refusals += 1
        counters.last_identity = fault.reason
        return replace(call, identity_fault=fault.reason, identity_remedy=fault.remedy)

    async def _admitted(
        self, passage: Passage, at: int, *, bound: bool, fields: Fields = (), objection: Decision | None = None
    ) -> Passage:
        stages = self.stages
        passage.fields, passage.asked_path, passage.is_bound = tuple(fields), passage.path, bound
        ask = passage.call.ask
        pin = None if ask.fresh or bound else self.pins.of(passage.call, passage.body, at)
        if pin is not None:
            passage.call = replace(passage.call, ask=replace(ask, fresh=True))
        await self._decide(passage, at, rewritable=not bound, objection=objection, pin=pin)
        if passage.decision.verdict is Verdict.REFUSE:
            stages.counters.refused += 1
            passage.message = refusal_message(passage.decision, at)
            passage.refusal = self.say_no(passage, at)
            passage.settled = True
            return passage
        if (problem := await self.write(passage)) is not None:  # what was asked has no room, and nothing can be put in its place
            passage.message = problem
            passage.refusal = self.say_no(passage, at)
            await self.settle(passage, Outcome.ABORTED, cut=True, sent=False)
        elif pin is not None and passage.decision.model_asked is None:
            self.pins.note(passage.call, passage.body, None, at)
        return passage

    def say_no(self, passage: Passage, at: int) -> Reply:
        """The refusal in the client's own terms: an error, or where the policy wants it and the client can take it, an answer."""
        call = passage.call
        if self.stages.policy.refusal is RefusalStyle.MESSAGE:
            reply = spoken(call.endpoint, call.ask, passage.path, call.attribution.client, passage.message, at)
            if reply is not None:
                return reply
        return refusal(call.endpoint, passage.message)

    async def write(self, passage: Passage) -> str | None:
        """Prepare what is sent, as the decision wants it; why it cannot be, where it cannot."""
        call, decision = passage.call, passage.decision
        endpoint, ask = call.endpoint, call.ask
        if decision.verdict is Verdict.REWRITE:
            try:
                out = await carry_out(call, passage.path, passage.body, passage.fields, decision)
            except (WireError, ConfigError) as error:
                return f"Tollkeeper cannot change this request as {decision.rule or 'the policy'} wants it: {error}"
            passage.path, passage.outgoing, passage.outgoing_fields, passage.to = out.path, out.body, out.fields, out.to
            passage.served, passage.repairs = out.call, out.notes
            self.stages.counters.rewritten += 1
            if out.call.model != call.model and not passage.is_bound:
                self.pins.note(call, passage.body, out.call.model, call.started_at)
            endpoint, ask = out.call.endpoint, out.call.ask
        if decision.warnings and not passage.is_bound and self.stages.policy.steering and self.stages.policy.enforces:
            with contextlib.suppress(WireError):  # a body that is no JSON has no place for it
                passage.outgoing = (
                    steered(endpoint, passage.outgoing or passage.body, steering_text(decision)) or passage.outgoing
                )
        if not passage.is_bound and asks_for_usage(endpoint, ask):
            passage.outgoing = inject_usage_request(passage.body if passage.outgoing is None else passage.outgoing)
            passage.injected = True
        return None

    def unread(self, endpoint: Endpoint, principal: Principal, attribution: Attribution) -> Passage:
        """A call that leaves although a fault of ours kept it from being read: recorded as unmetered, with that reason."""
        at = self.stages.clock()
        blind = replace(endpoint, metering=Metering.UNMETERED, dialect=None, reason=FAULT)
        call = Call(id=new_id(at), started_at=at, endpoint=blind, principal=principal, attribution=attribution)
        self.stages.counters.unmetered += 1
        return Passage(call=call, decision=replace(ALLOWED, reason=FAULT))

    async def _read_request(
        self, endpoint: Endpoint, body: bytes, base: Attribution, claims: Mapping[str, str]
    ) -> tuple[Endpoint, Ask, Attribution]:
        if endpoint.metering is not Metering.METERED:
            return endpoint, Ask(), attribute(base, claims)
        if len(body) > LARGE_BODY_BYTES:
            endpoint, ask, attribution = await asyncio.to_thread(read_request, endpoint, body, base, claims)
        else:
            endpoint, ask, attribution = read_request(endpoint, body, base, claims)
        if ask.batch_file is not None and not ask.parts:
            ask = with_parts(ask, await self._uploaded(endpoint, ask.batch_file))
        return endpoint, ask, attribution

    async def _uploaded(self, endpoint: Endpoint, file_id: str) -> tuple[Ask, ...]:
        """What a batch's file asks, read when it was uploaded through us; nothing when it was not, or cannot be looked up."""
        try:
            return await asyncio.to_thread(read_upload, self.stages.ledger.path, endpoint.provider, file_id)
        except LedgerError as error:
            logger.warning("ledger: the upload %s of a batch cannot be looked up: %s", file_id[:64], error)
            return ()

    async def _decide(
        self, passage: Passage, at: int, *, rewritable: bool, objection: Decision | None = None, pin: Pin | None = None
    ) -> None:
        stages, call = self.stages, passage.call
        planned = objection or plan_with(stages.policy, call, pen_for(stages, call, rewritable=rewritable), at)
        if pin is not None and not isinstance(planned, Decision):
            planned = staying(planned, pin)
        try:
            if isinstance(planned, Decision):  # refused without a look at money
                passage.decision = planned
                await stages.ledger.settle(Settlement(call=call, decision=planned, outcome=Outcome.REFUSED, ended_at=at))
                return
            admitted, passage.on_disk = await stages.ledger.admit_early(planned)
            passage.decision = decide(planned, admitted, stages.policy)
            passage.held = True
        except LedgerError as error:
            if not self.goes_on(error):
                raise
            passage.decision = replace(ALLOWED, reason="ledger unavailable")
            passage.notes = ("ledger-unavailable",)

    def goes_on(self, error: LedgerError) -> bool:
        """Note that the ledger failed; whether the policy lets calls go on without it."""
        counters = self.stages.counters
        counters.ledger_errors += 1
        counters.last_fault = str(error)
        logger.warning("ledger: %s", error)
        return self.stages.policy.on_ledger_error != "closed"

    async def hold(self, admission: Admission) -> Decision:
        """Ask the ledger, and say what its answer means. Raises ``LedgerError``."""
        admitted = await self.stages.ledger.admit(admission)
        return decide(admission, admitted, self.stages.policy)

    def listen(self, passage: Passage, status: int, headers: Mapping[str, str]) -> None:
        """Put a meter on the answer whose head has just come. ``headers`` have lower-case names."""
        call = passage.served or passage.call
        passage.status = status
        passage.meter = Meter(call.endpoint, call.ask, status, headers)
        if call.plan:
            passage.plan_windows = windows_in(headers)
        if passage.injected and 200 <= status < 300:
            passage.strainer = UsageChunkFilter()
        if self.stages.policy.mid_stream_stop and self.stages.policy.enforces and passage.held and not passage.is_bound:
            self._watch(passage, call, status, headers)

    @staticmethod
    def _watch(passage: Passage, call: Call, status: int, headers: Mapping[str, str]) -> None:
        """Have a stream end where its running estimate passes the output that was held for."""
        is_sse = "event-stream" in headers.get("content-type", "") and "content-encoding" not in headers
        if call.endpoint.dialect in STOPPABLE and call.ask.streamed and is_sse and status == 200 and call.ask.choices == 1:
            limit = output_bound(call.ask, passage.decision.clamp_output_tokens)
            passage.stop = StreamStop(call.endpoint, call.ask, limit)

    async def settle(self, passage: Passage, outcome: Outcome, *, cut: bool, sent: bool = True, turn: Turn | None = None) -> None:
        """Record what a call cost, once; later calls do nothing.

        ``cut``: the answer did not end by itself. ``sent``: the request reached the provider, so that it may bill what went in.
        ``turn``: the call is a turn of a session, and this is what its frames said.
        """
        if passage.settled:
            return
        passage.settled = True
        self._settling += 1
        try:
            await self._settle(passage, outcome, cut, sent, turn)
        finally:
            self._settling -= 1

    async def close(self) -> None:
        """Close the ledger, once all that is being settled is in it."""
        while self._settling:
            await asyncio.sleep(0.02)
        await self.stages.ledger.close()

    async def _settle(self, passage: Passage, outcome: Outcome, cut: bool, sent: bool, turn: Turn | None) -> None:
        reading = await self._read(passage, cut=cut, sent=sent, turn=turn)
        if outcome is not Outcome.OK and reading.source is UsageSource.REPORTED:
            # A client that leaves right after the last event has had its whole answer.
            outcome = Outcome.OK
        if outcome is Outcome.OK and (reading.error or (passage.status or 200) >= 400):
            outcome = Outcome.ERROR
        call = passage.served or passage.call
        if call.model != passage.call.model:
            self.pins.answered(passage.call, reading.response_id, call.model, call.started_at)
        bill = await self._bill(call, reading)
        windows = reading.plan_windows or passage.plan_windows
        if windows:
            self.stages.counters.note_windows(call, windows, self.stages.clock())
        first_byte_ms = None if passage.first_byte_at is None else (passage.first_byte_at - call.started_at) // 1000
        settlement = Settlement(
            call=passage.call,
            decision=passage.decision,
            reading=_recorded(reading, passage.notes, windows),
            bill=bill,
            outcome=outcome,
            status=passage.status,
            ended_at=self.stages.clock(),
            first_byte_ms=first_byte_ms,
        )
        self.stages.estimates.learn(settlement)
        passage.body = b""
        passage.meter = passage.strainer = passage.unpacker = None
        try:
            if len(bill.lines) > MANY_LINES:
                await asyncio.to_thread(self.stages.ledger.settle_now, settlement)
            else:
                await self.stages.ledger.settle(settlement)
        except LedgerError as error:
            self.stages.counters.ledger_errors += 1
            self.stages.counters.last_fault = str(error)
            logger.error("ledger: call %s could not be settled: %s", passage.call.id, error)  # noqa: TRY400 — no trace for people

    async def _bill(self, call: Call, reading: Reading) -> Bill:
        if not reading.calls and reading.provider_cost_usd is None:
            return Bill()
        if len(reading.calls) > MANY_LINES:
            return await asyncio.to_thread(self.stages.book.bill, call, reading)
        return self.stages.book.bill(call, reading)

    async def _read(self, passage: Passage, *, cut: bool, sent: bool, turn: Turn | None = None) -> Reading:
        call = passage.served or passage.call
        if call.endpoint.metering is Metering.FREE:
            return Reading(source=UsageSource.NONE)
        if call.endpoint.metering is Metering.UNMETERED:
            return Reading(source=UsageSource.UNMETERED)
        if turn is not None:
            reading = turn.reading
        elif passage.meter is None:
            if not sent:
                return Reading(source=UsageSource.NONE, complete=False)
            reading = Reading(source=UsageSource.PARTIAL, complete=False, flags=("no-answer",))
        else:
            reading = passage.meter.close(cut=cut)
        if reading.source not in {UsageSource.COUNTED, UsageSource.PARTIAL}:
            return reading
        body = passage.body
        # Counting tokens is CPU work of milliseconds to seconds: never on the event loop.
        asked = turn.prompt if turn is not None else ""
        return await asyncio.to_thread(complete, reading, call, lambda: asked or prompt_text(call.endpoint, body))


def _recorded(reading: Reading, notes: tuple[str, ...], windows: tuple[PlanWindow, ...]) -> Reading:
    """A reading as it is recorded: without text, with what the road noted and the plan's windows."""
    if not notes and not reading.visible_output and windows == reading.plan_windows:
        return reading
    return replace(reading, visible_output="", flags=(*reading.flags, *notes), plan_windows=windows)


def decoded(body: bytes, encodings: str) -> bytes:
    """A request body without its content-encoding; raises ``WireError`` past the expansion cap or when damaged."""
    if not encodings or encodings.strip().lower() == "identity":
        return body
    from tollkeeper.wire.request import decode_body

    return decode_body(body, encodings)


__all__ = ["Road", "WireError", "decoded"]
