"""The road of one call, without mitmproxy: admit it, let it through, listen to the answer, settle it.

Everything here takes and returns values; ``hooks`` turns mitmproxy's events into these calls.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from tollkeeper.core.admission import Admission
from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.charge import Bill
from tollkeeper.core.decision import ALLOWED, Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import LedgerError, WireError
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.policy.decide import decide
from tollkeeper.policy.message import refusal_message
from tollkeeper.policy.plan import plan
from tollkeeper.pricing.complete import complete
from tollkeeper.wire.inject import UsageChunkFilter, asks_for_usage, inject_usage_request
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.refuse import refusal
from tollkeeper.wire.request import prompt_text, read_ask, set_model

from .passage import Passage
from .stages import Stages

logger = logging.getLogger(__name__)

FAULT = "tollkeeper failed while checking this call and its policy is open"
LARGE_BODY_BYTES = 262_144
"""Bodies above this are parsed off the event loop: ``json.loads`` of 10 MB holds every stream for 25 ms."""


class Road:
    """The stages in order, for one process."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages

    async def admit(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        principal: Principal,
        attribution: Attribution,
        *,
        bound: bool = False,
    ) -> Passage:
        """Decide about a call before it leaves and hold what it may cost.

        ``body`` is decoded (no content-encoding); ``bound`` says that nobody may change it. The passage says what to send,
        or carries the refusal. Raises ``LedgerError`` when the policy says that a ledger fault closes the road.
        """
        stages = self.stages
        at = stages.clock()
        ask = await self._read_ask(endpoint, body) if endpoint.metering is Metering.METERED else Ask()
        call = Call(id=new_id(at), started_at=at, endpoint=endpoint, ask=ask, principal=principal, attribution=attribution)
        stages.counters.calls += 1
        passage = Passage(call=call, body=body, path=path)
        if endpoint.metering is not Metering.METERED:
            stages.counters.unmetered += endpoint.metering is Metering.UNMETERED
            passage.decision = replace(ALLOWED, reason=endpoint.reason)
            return passage
        await self._decide(passage, at, rewritable=not bound)
        if passage.decision.verdict is Verdict.REFUSE:
            stages.counters.refused += 1
            message = refusal_message(passage.decision, at)
            passage.refusal = refusal(endpoint, ask, message)
            passage.settled = True
            return passage
        if passage.decision.verdict is Verdict.REWRITE and passage.decision.model is not None:
            stages.counters.rewritten += 1
            passage.path, passage.outgoing = set_model(endpoint, path, body, passage.decision.model)
        if not bound and asks_for_usage(endpoint, ask):
            passage.outgoing = inject_usage_request(body if passage.outgoing is None else passage.outgoing)
            passage.injected = True
        return passage

    def unread(self, endpoint: Endpoint, principal: Principal, attribution: Attribution) -> Passage:
        """A call that leaves although a fault of ours kept it from being read: recorded as unmetered, with that reason."""
        at = self.stages.clock()
        blind = replace(endpoint, metering=Metering.UNMETERED, dialect=None, reason=FAULT)
        call = Call(id=new_id(at), started_at=at, endpoint=blind, principal=principal, attribution=attribution)
        self.stages.counters.unmetered += 1
        return Passage(call=call, decision=replace(ALLOWED, reason=FAULT))

    async def _read_ask(self, endpoint: Endpoint, body: bytes) -> Ask:
        if len(body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(read_ask, endpoint, body)
        return read_ask(endpoint, body)

    async def _decide(self, passage: Passage, at: int, *, rewritable: bool) -> None:
        stages, call = self.stages, passage.call
        planned = plan(stages.policy, call, lambda model: stages.book.hold(call, model), at, rewritable=rewritable)
        try:
            if isinstance(planned, Decision):  # refused without a look at money
                passage.decision = planned
                await stages.ledger.settle(Settlement(call=call, decision=planned, outcome=Outcome.REFUSED, ended_at=at))
                return
            passage.decision = await self._hold(planned)
            passage.held = True
        except LedgerError as error:
            stages.counters.ledger_errors += 1
            stages.counters.last_fault = str(error)
            logger.warning("ledger: %s", error)
            if stages.policy.on_ledger_error == "closed":
                raise
            passage.decision = replace(ALLOWED, reason="ledger unavailable")
            passage.notes = ("ledger-unavailable",)

    async def _hold(self, admission: Admission) -> Decision:
        admitted = await self.stages.ledger.admit(admission)
        return decide(admission, admitted, self.stages.policy)

    def listen(self, passage: Passage, status: int, headers: Mapping[str, str]) -> None:
        """Put a meter on the answer whose head has just come. ``headers`` have lower-case names."""
        call = passage.call
        passage.status = status
        passage.meter = Meter(call.endpoint, call.ask, status, headers)
        if passage.injected and 200 <= status < 300:
            passage.strainer = UsageChunkFilter()

    async def settle(self, passage: Passage, outcome: Outcome, *, cut: bool, sent: bool = True) -> None:
        """Record what a call cost, once; later calls do nothing.

        ``cut``: the answer did not end by itself. ``sent``: the request reached the provider, so that it may bill what went in.
        """
        if passage.settled:
            return
        passage.settled = True
        reading = await self._read(passage, cut=cut, sent=sent)
        if outcome is not Outcome.OK and reading.source is UsageSource.REPORTED:
            # A client that leaves right after the last event has had its whole answer.
            outcome = Outcome.OK
        if outcome is Outcome.OK and (reading.error or (passage.status or 200) >= 400):
            outcome = Outcome.ERROR
        call = self._billed_call(passage)
        bill = self.stages.book.bill(call, reading) if reading.calls or reading.provider_cost_usd is not None else Bill()
        first_byte_ms = None if passage.first_byte_at is None else (passage.first_byte_at - call.started_at) // 1000
        settlement = Settlement(
            call=passage.call,
            decision=passage.decision,
            reading=replace(reading, visible_output="", flags=(*reading.flags, *passage.notes)),
            bill=bill,
            outcome=outcome,
            status=passage.status,
            ended_at=self.stages.clock(),
            first_byte_ms=first_byte_ms,
        )
        passage.body = b""
        passage.meter = passage.strainer = passage.unpacker = None
        try:
            await self.stages.ledger.settle(settlement)
        except LedgerError as error:
            self.stages.counters.ledger_errors += 1
            self.stages.counters.last_fault = str(error)
            logger.error("ledger: call %s could not be settled: %s", passage.call.id, error)  # noqa: TRY400 — no trace for people

    async def _read(self, passage: Passage, *, cut: bool, sent: bool) -> Reading:
        call = passage.call
        if call.endpoint.metering is Metering.FREE:
            return Reading(source=UsageSource.NONE)
        if call.endpoint.metering is Metering.UNMETERED:
            return Reading(source=UsageSource.UNMETERED)
        if passage.meter is None:
            if not sent:
                return Reading(source=UsageSource.NONE, complete=False)
            reading = Reading(source=UsageSource.PARTIAL, complete=False, flags=("no-answer",))
        else:
            reading = passage.meter.close(cut=cut)
        if reading.source not in {UsageSource.COUNTED, UsageSource.PARTIAL}:
            return reading
        body = passage.body
        # Counting tokens is CPU work of milliseconds to seconds: never on the event loop.
        return await asyncio.to_thread(complete, reading, call, lambda: prompt_text(call.endpoint, body))

    @staticmethod
    def _billed_call(passage: Passage) -> Call:
        call, model = passage.call, passage.decision.model
        if passage.decision.verdict is not Verdict.REWRITE or model is None:
            return call
        return replace(call, ask=replace(call.ask, model=model), endpoint=replace(call.endpoint, model_in_path=None))


def decoded(body: bytes, encodings: str) -> bytes:
    """A request body without its content-encoding; raises ``WireError`` past the expansion cap or when damaged."""
    if not encodings or encodings.strip().lower() == "identity":
        return body
    from tollkeeper.wire.request import decode_body

    return decode_body(body, encodings)


__all__ = ["Road", "WireError", "decoded"]
