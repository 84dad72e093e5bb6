"""What the policy says of a call, and which rule said so."""

from enum import StrEnum

from .amounts import Unit
from .value import dataclass


class Verdict(StrEnum):
    """What happens to a call."""

    ALLOW = "allow"
    REWRITE = "rewrite"
    """It leaves changed: for another model or provider, with a smaller answer, with less effort."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a call is sent instead: the model, and where said, the provider, its host and its key.

    ``key`` names where the key is kept (``env:NAME``, ``keyring:SERVICE/NAME``), never the key itself. ``timeout_ms`` is how long
    to wait for the first byte before the next target is tried; None leaves it to the client.
    """

    model: str | None = None
    provider: str = ""
    host: str = ""
    key: str = ""
    timeout_ms: int | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the call leaves its own provider."""
        return bool(self.provider or self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget as it stands for one bucket in its present window; one function fills it for enforcement, messages and screens.

    The amounts are in ``unit`` (whatever their names say: nano-dollars for dollars, else a plain count). ``amount_nanousd`` is what
    may be used in all: the document's amount with ``granted`` and ``carried`` (from the window before) added. ``resets_at`` is UTC
    microseconds, None where there is no reset (rolling, session, run, lifetime); ``zone`` is the IANA name it is shown in.
    """

    budget: str
    bucket: str
    amount_nanousd: int
    spent_nanousd: int
    held_nanousd: int
    window: str
    resets_at: int | None
    zone: str
    unit: Unit = Unit.USD
    granted: int = 0
    carried: int = 0
    rule: str = ""
    """The rule it stands for; ``budget.NAME`` when empty."""

    @property
    def room_nanousd(self) -> int:
        """What may still be held, never below 0."""
        return max(0, self.amount_nanousd - self.spent_nanousd - self.held_nanousd)

    @property
    def used_percent(self) -> int:
        """Spent and held in whole percent of the amount, rounded down; 100 for an amount of nothing."""
        if self.amount_nanousd <= 0:
            return 100
        return (self.spent_nanousd + self.held_nanousd) * 100 // self.amount_nanousd

    @property
    def named_rule(self) -> str:
        """``budget.day``, ``model.interns``."""
        return self.rule or f"budget.{self.budget}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A budget that a call took past one of its thresholds, or over its amount where that only warns (``percent`` 100)."""

    standing: Standing
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict for one call.

    In observe mode ``verdict`` is always allow and ``would`` says what enforce would have done. ``model`` is the model that
    will really be asked, ``model_asked`` what the client asked for when that differs. ``standing`` is the budget that decided.
    ``reason`` is one clause for people. ``rule`` is what made the decision: ``budget.NAME``, ``model.NAME``, ``route.NAME``,
    ``unknown_model``, ``on_no_identity``.

    A rewrite may change several things at once: ``target`` (another model or provider), ``clamp_output_tokens`` (the most the
    request may ask for), ``effort`` (the most thinking effort). What was held holds only if all of them are done.
    ``fallbacks`` are tried in order when the provider fails or is silent past its time before the first byte.
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
    provider: str | None = None
    target: Target | None = None
    clamp_output_tokens: int | None = None
    effort: str | None = None
    warnings: tuple[Warned, ...] = ()
    fallbacks: tuple[Target, ...] = ()
    keeps_conversation: bool = False
    """A rewrite of a conversation under way, because the policy says so: what only the old model can read must go."""


ALLOWED = Decision(verdict=Verdict.ALLOW, would=Verdict.ALLOW)
