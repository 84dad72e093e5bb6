"""Connections to AI hosts that are recognised and never opened: recorded as unmetered with the reason, and subject to block rules."""

import asyncio
import logging
from dataclasses import replace

from tollkeeper.core.call import Attribution, Call, Endpoint, Metering
from tollkeeper.core.decision import ALLOWED, Decision, Verdict
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.gate.hosts import KnownHost, bare_name
from tollkeeper.identity.answers import Refused, Why
from tollkeeper.policy.plan import plan

from .stages import Stages

logger = logging.getLogger(__name__)

OPERATION = "connection"
ONLY_H2 = "this client speaks HTTP/2 only, which is not read here"


class Unopened:
    """Judges and records, one entry a connection. No request is seen, so a connection is all there is to count."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(
        self, known: KnownHost, host: str, principal: Principal, attribution: Attribution, fault: Refused | None = None
    ) -> str | None:
        """Record the connection, and say why it must not be made; None when it may. Call it from the event loop."""
        stages = self._stages
        at = stages.clock()
        endpoint = Endpoint(
            provider=known.provider,
            host=bare_name(host) or host,
            path="",
            operation=OPERATION,
            metering=Metering.UNMETERED,
            reason=known.reason or ONLY_H2,
        )
        call = Call(id=new_id(at), started_at=at, endpoint=endpoint, principal=principal, attribution=attribution)
        if fault is not None and fault.why is not Why.MISSING:
            call = replace(call, identity_fault=fault.reason, identity_remedy=fault.remedy)
        planned = plan(stages.policy, call, lambda model: stages.book.hold(call, model), at, rewritable=False)
        decision = planned if isinstance(planned, Decision) else planned.objection or ALLOWED
        refused = stages.policy.enforces and decision.verdict is Verdict.REFUSE
        stages.counters.calls += 1
        stages.counters.unmetered += 1
        stages.counters.refused += refused
        settlement = Settlement(
            call=call,
            decision=decision,
            reading=Reading(source=UsageSource.NONE if refused else UsageSource.UNMETERED),
            outcome=Outcome.REFUSED if refused else Outcome.OK,
            ended_at=at,
        )
        task = asyncio.get_running_loop().create_task(self._record(settlement))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return (decision.reason or decision.rule or "a rule of the policy") if refused else None

    async def _record(self, settlement: Settlement) -> None:
        try:
            await self._stages.ledger.settle(settlement)
        except LedgerError as error:
            self._stages.counters.ledger_errors += 1
            self._stages.counters.last_fault = str(error)
            logger.error("ledger: a connection to %s could not be recorded: %s", settlement.call.endpoint.host, error)  # noqa: TRY400

    async def drain(self) -> None:
        """Wait for what is being recorded."""
        if self._tasks:
            await asyncio.wait(self._tasks)
