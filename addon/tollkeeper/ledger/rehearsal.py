"""A ledger in memory, for trying a policy: the same admission and settlement as on the road, on a clock that is set."""

import sqlite3
from dataclasses import replace
from typing import Self

from tollkeeper.core.admission import Admission, Admitted
from tollkeeper.core.charge import Bill, CostSource, Priced
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.usage import Reading, Usage, UsageSource

from . import schema
from .journal import Journal


class Rehearsal:
    """Admits and settles calls as a ledger would. Nothing is written anywhere; use it with ``with``."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        schema.migrate(self._connection)
        self._connection.execute("PRAGMA foreign_keys=OFF")
        self._now = 0
        self._journal = Journal(self._connection, lambda: self._now)
        self._connection.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def admit(self, admission: Admission) -> Admitted:
        """Hold for a call at the moment it was asked."""
        self._now = max(self._now, admission.at)
        self._journal.refresh()
        return self._journal.admit(admission)

    def settle(self, admission: Admission, at: int, exposure_nanousd: int, usages: tuple[Usage, ...]) -> None:
        """End a call that was admitted, at what it came to."""
        self._now = max(self._now, at)
        self._journal.refresh()
        usage = usages[0] if usages else Usage()
        first = Priced(
            usage=usage,
            provider=admission.call.endpoint.provider,
            model=admission.call.model or "",
            cost_nanousd=exposure_nanousd,
            list_cost_nanousd=exposure_nanousd,
            exposure_nanousd=exposure_nanousd,
            source=CostSource.COMPUTED,
        )
        rest = (replace(first, usage=other, cost_nanousd=0, list_cost_nanousd=0, exposure_nanousd=0) for other in usages[1:])
        reading = Reading(source=UsageSource.REPORTED, calls=usages or (usage,))
        self._journal.settle(
            Settlement(call=admission.call, reading=reading, bill=Bill(lines=(first, *rest)), outcome=Outcome.OK, ended_at=at)
        )
