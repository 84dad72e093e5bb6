"""What a policy document says, as values: the parser makes them, everything else reads them."""

from dataclasses import dataclass, field
from enum import StrEnum

from .globs import Glob
from .windows import WindowSpec

SCHEMA = 1
"""The newest document schema this code reads."""


class Mode(StrEnum):
    """Whether a policy acts or only watches."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class OnFailure(StrEnum):
    """What happens to a call when a part of Tollkeeper fails: it goes through unseen, or it is refused."""

    OPEN = "open"
    CLOSED = "closed"


class UnknownModel(StrEnum):
    """What happens to a call to a model without a known price."""

    CEILING = "ceiling"
    """Hold and count it at the ceiling rate."""
    REFUSE = "refuse"
    ALLOW = "allow"
    """Hold nothing; what it may have cost still counts once it is over."""


class Share(StrEnum):
    """Whether a budget is one amount for all it covers, or one amount for each."""

    POOL = "pool"
    EACH = "each"


class Field(StrEnum):
    """What of a call a budget can be scoped by or divided by. The order here is the order inside bucket keys: it is stored."""

    PRINCIPAL = "principal"
    PROJECT = "project"
    MODEL = "model"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An amount over a window.

    ``scope`` restricts the calls it covers: every field named must match one of its globs. ``per`` divides it, empty for a
    pool. ``rewrite`` are the models offered, best first, when a call has no room; empty means refuse. ``mode`` is the budget's
    own: ``observe`` makes it watch inside an enforcing document.
    """

    name: str
    amount_nanousd: int
    window: WindowSpec
    scope: tuple[tuple[Field, tuple[Glob, ...]], ...] = ()
    per: tuple[Field, ...] = ()
    mode: Mode = Mode.ENFORCE
    rewrite: tuple[str, ...] = ()
    message: str = ""

    @property
    def share(self) -> Share:
        """``each`` when the budget is divided."""
        return Share.EACH if self.per else Share.POOL


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Policy:
    """A whole document. ``name`` is its file name (no folders), ``digest`` the SHA-256 of its text in hex.

    Two policies are the same only when they are one object (compare digests otherwise): a policy of 10,000 budgets is a
    dictionary key on the hot path.
    """

    name: str = "built-in"
    digest: str = ""
    mode: Mode = Mode.OBSERVE
    on_fault: OnFailure = OnFailure.OPEN
    on_ledger_error: OnFailure = OnFailure.OPEN
    unknown_model: UnknownModel = UnknownModel.CEILING
    budgets: tuple[Budget, ...] = ()
    by_name: dict[str, Budget] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {budget.name: budget for budget in self.budgets})

    @property
    def enforces(self) -> bool:
        """Whether anything may be blocked at all."""
        return self.mode is Mode.ENFORCE
