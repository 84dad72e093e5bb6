"""One row of the ledger, as the stages hand it over and as readers get it back."""

from dataclasses import field
from enum import StrEnum

from .call import Call
from .charge import Bill
from .decision import ALLOWED, Decision
from .usage import Reading, UsageSource
from .value import dataclass


class Kind(StrEnum):
    """What an entry does to the money (after TigerBeetle's two-phase transfer)."""

    HOLD = "hold"
    SETTLE = "settle"
    VOID = "void"
    EXPIRE = "expire"
    ADJUST = "adjust"
    REFUSE = "refuse"


class Outcome(StrEnum):
    """How a call ended, for people."""

    OK = "ok"
    ERROR = "error"
    ABORTED = "aborted"
    CUT = "cut"
    REFUSED = "refused"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Everything known when a call is over."""

    call: Call
    decision: Decision = ALLOWED
    reading: Reading = field(default_factory=lambda: Reading(source=UsageSource.NONE))
    bill: Bill = field(default_factory=Bill)
    outcome: Outcome = Outcome.OK
    status: int | None = None
    ended_at: int = 0
    first_byte_ms: int | None = None
