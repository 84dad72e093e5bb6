"""What the policy says of a call, and which rule said so."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What happens to a call."""

    ALLOW = "allow"
    REWRITE = "rewrite"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget as it stands for one bucket in its present window; one function fills it for enforcement, messages and screens.

    ``resets_at`` is UTC microseconds, None for a rolling window; ``zone`` is the IANA name it is shown in.
    """

    budget: str
    bucket: str
    amount_nanousd: int
    spent_nanousd: int
    held_nanousd: int
    window: str
    resets_at: int | None
    zone: str

    @property
    def room_nanousd(self) -> int:
        """What may still be held, never below 0."""
        return max(0, self.amount_nanousd - self.spent_nanousd - self.held_nanousd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict for one call.

    In observe mode ``verdict`` is always allow and ``would`` says what enforce would have done. ``model`` is the model that
    will really be asked, ``model_asked`` what the client asked for when that differs. ``standing`` is the budget that decided.
    ``reason`` is one clause for people.
    """

    verdict: Verdict
    would: Verdict
    rule: str = ""
    reason: str = ""
    model: str | None = None
    hold_nanousd: int = 0
    standing: Standing | None = None
    remedy: str = ""
    model_asked: str | None = None


ALLOWED = Decision(verdict=Verdict.ALLOW, would=Verdict.ALLOW)
