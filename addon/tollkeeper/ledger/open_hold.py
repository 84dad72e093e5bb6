"""Money set aside, as the journal remembers it until the call is over."""

from dataclasses import dataclass

from tollkeeper.core.call import Call

from .quantities import Amounts
from .row import Row
from .window import Touch


@dataclass(slots=True)
class OpenHold:
    """Money set aside for a call that is still going on."""

    seq: int
    amount: int
    counted_at: int
    expires_at: int
    touches: tuple[Touch, ...]
    buckets: str
    model: str
    verdict: str
    would: str
    budget: str
    tokens: int = 0
    requests: int = 0
    policy: str = ""
    actions: str = ""
    call: Call | None = None
    identity: Row | None = None

    @property
    def held(self) -> Amounts:
        """What it holds, by unit."""
        return Amounts(self.amount, self.tokens, self.requests, 1 if self.requests else 0)
