"""What a policy document says, as values: the parser makes them, everything else reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tollkeeper.core.amounts import Unit
from tollkeeper.core.decision import Target
from tollkeeper.core.principal import Assurance

from .alerting import AlertRule
from .globs import Glob
from .windows import WindowSpec

SCHEMA = 1
"""The newest document schema this code reads."""


class Mode(StrEnum):
    """Whether a policy acts, tells the client, or only watches."""

    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"


class OnFailure(StrEnum):
    """What happens to a call when a part of Tollkeeper fails: it goes through unseen, or it is refused."""

    OPEN = "open"
    CLOSED = "closed"


class OnNoIdentity(StrEnum):
    """What happens to a call when nothing proves who makes it."""

    DEFAULT = "default"
    """It is booked to whoever is logged in on this machine."""
    MARK = "mark"
    """It goes on as anonymous, and stands so in every report."""
    REFUSE = "refuse"
    OPEN = "open"
    """The same as ``default``."""
    CLOSED = "closed"
    """The same as ``refuse``."""

    @property
    def refuses(self) -> bool:
        """Whether such calls are refused."""
        return self in {OnNoIdentity.REFUSE, OnNoIdentity.CLOSED}


class UnknownModel(StrEnum):
    """What happens to a call to a model without a known price."""

    CEILING = "ceiling"
    """Hold and count it at the ceiling rate."""
    REFUSE = "refuse"
    ALLOW = "allow"
    """Hold nothing; what it may have cost still counts once it is over."""


class Websockets(StrEnum):
    """What an enforcing policy does with WebSockets whose frames we read; those we cannot read are refused under either word."""

    METER = "meter"
    """Let them through; every turn is a call that must fit its budgets."""
    REFUSE = "refuse"
    """Answer 426, so that a client which also speaks HTTP goes back to it."""


class OnRewriteError(StrEnum):
    """What happens when a provider answers 400 to a request that was rewritten."""

    SURFACE = "surface"
    """The client gets that answer."""
    RESEND = "resend"
    """The request is sent once more as the client wrote it, if it has room for that; both tries are recorded."""


class RefusalStyle(StrEnum):
    """How a refused client is told."""

    ERROR = "error"
    """An error in the provider's shape: every client stops at once."""
    MESSAGE = "message"
    """An ordinary answer with the text in it, for people at interactive tools: a script would take it for an answer."""


class PlanTraffic(StrEnum):
    """Whether traffic that a subscription pays for counts against budgets in dollars."""

    APART = "apart"
    """It is recorded with its list price and stays out of budgets: nothing is owed for it."""
    COUNT = "count"
    """It is held and counted at its list price, as if it were metered."""


class Share(StrEnum):
    """Whether a budget is one amount for all it covers, or one amount for each."""

    POOL = "pool"
    EACH = "each"


class HoldSize(StrEnum):
    """What is held for a call while a budget is nearly used up."""

    ESTIMATE = "estimate"
    """What such calls usually take, with the answer capped at it, so that one call does not block all others."""
    WORST = "worst"
    """The most it may cost, always; no answer is ever cut."""


class Field(StrEnum):
    """What of a call a rule can be scoped by or divided by. The order here is the order inside bucket keys: it is stored."""

    PRINCIPAL = "principal"
    PROJECT = "project"
    MODEL = "model"
    PROVIDER = "provider"
    GROUP = "group"
    ISSUER = "issuer"
    ASSURANCE = "assurance"
    OPERATION = "operation"
    BRANCH = "branch"
    TOOL = "tool"
    SESSION = "session"
    RUN = "run"
    AGENT_CLASS = "agent_class"
    OS_USER = "os_user"
    PROCESS = "process"
    CONTAINER = "container"


OF_PRINCIPAL = frozenset({Field.GROUP, Field.ISSUER, Field.ASSURANCE})
"""What is true of a principal, not of one call: where a budget is divided by principal, these choose whom it is for."""
CLAIMED = frozenset({Field.TOOL, Field.SESSION, Field.AGENT_CLASS})
"""What a client says of itself: anyone can say it."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Words for thinking effort, least first."""

type FieldGlobs = tuple[tuple[Field, tuple[Glob, ...]], ...]
type LabelGlobs = tuple[tuple[str, tuple[Glob, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which calls: every field and label named must match one of its globs, and the CEL condition must hold."""

    fields: FieldGlobs = ()
    labels: LabelGlobs = ()
    when: str = ""

    @property
    def is_any(self) -> bool:
        """Whether it covers every call."""
        return not (self.fields or self.labels or self.when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What happens, rung by rung, to a call without room: cut its answer, ask a cheaper model, then refuse, or only warn.

    ``clamp`` allows cutting the answer to what is left, down to ``least_output_tokens``, and thinking effort down to ``effort``.
    ``downgrade`` are tried in order. ``is_soft``: the ladder ends in a warning instead of a refusal.
    """

    clamp: bool = False
    least_output_tokens: int = 1_024
    effort: str = ""
    downgrade: tuple[Target, ...] = ()
    is_soft: bool = False
    anytime: bool = False
    """Conversations under way may be moved too, not only fresh ones."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the chain."""
        return tuple(target.model for target in self.downgrade if target.model)


REFUSE = Ladder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An amount over a window.

    ``scope`` restricts the calls it covers: every field named must match one of its globs; ``labels`` and ``when`` likewise. ``per``
    divides it, empty for a pool; ``per_labels`` are labels it is divided by besides. ``amount_nanousd`` is in ``unit``, None for
    ``unlimited``. ``rewrite`` are the models offered, best first, when a call has no room; empty means refuse. ``mode`` is the
    budget's own: ``observe`` makes it watch inside an enforcing document. ``rollover_most`` is what may be carried over from the
    window before, 0 for nothing.
    """

    name: str
    amount_nanousd: int | None
    window: WindowSpec
    scope: FieldGlobs = ()
    per: tuple[Field, ...] = ()
    mode: Mode = Mode.ENFORCE
    message: str = ""
    unit: Unit = Unit.USD
    labels: LabelGlobs = ()
    when: str = ""
    per_labels: tuple[str, ...] = ()
    on_exceed: Ladder = REFUSE
    warn_at: tuple[int, ...] = ()
    rollover_most: int = 0
    min_assurance: Assurance | None = None
    rule: str = ""
    """The rule that set it, where that is no budget of the document: a rate of ``[model.NAME]``."""

    @property
    def share(self) -> Share:
        """``each`` when the budget is divided."""
        return Share.EACH if self.per or self.per_labels else Share.POOL

    @property
    def rewrite(self) -> tuple[str, ...]:
        """The models to move to."""
        return self.on_exceed.models

    @property
    def named_rule(self) -> str:
        """``budget.day``."""
        return self.rule or f"budget.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """Which models those in its scope may ask, and how much one request may take.

    Of several rules over one call, all must let it pass, and the smallest cap holds. ``exempt`` are scopes the rule does not speak
    of. ``rates`` are its ``max_parallel`` and ``max_per_minute``, as budgets.
    """

    name: str
    scope: Scope = field(default_factory=Scope)
    exempt: tuple[Scope, ...] = ()
    allow: tuple[Glob, ...] = ()
    deny: tuple[Glob, ...] = ()
    max_cost_nanousd: int | None = None
    max_output_tokens: int | None = None
    max_effort: str = ""
    rates: tuple[Budget, ...] = ()
    on_exceed: Ladder = REFUSE
    mode: Mode = Mode.ENFORCE
    min_assurance: Assurance | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way out of a route; of several, each is taken for its share of calls."""

    target: Target
    percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where calls in its scope go instead of where they were sent; ``fallback`` when that fails before the first byte."""

    name: str
    scope: Scope = field(default_factory=Scope)
    splits: tuple[Split, ...] = ()
    fallback: tuple[Target, ...] = ()
    mode: Mode = Mode.ENFORCE
    anytime: bool = False


class Others(StrEnum):
    """What happens to connections that go to no AI host."""

    TUNNEL = "tunnel"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """``[egress]``: what may leave besides calls to AI hosts. ``allow`` and ``internal`` are patterns of ``gate.host_patterns``."""

    others: Others = Others.TUNNEL
    allow: tuple[str, ...] = ()
    """Hosts let through under ``REFUSE``."""
    internal: tuple[str, ...] = ()
    """Hosts that may have private addresses under ``strict``."""
    strict: bool = False


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
    on_no_identity: OnNoIdentity = OnNoIdentity.OPEN
    unknown_model: UnknownModel = UnknownModel.CEILING
    websockets: Websockets = Websockets.METER
    plan_traffic: PlanTraffic = PlanTraffic.APART
    hold: HoldSize = HoldSize.ESTIMATE
    on_rewrite_error: OnRewriteError = OnRewriteError.SURFACE
    refusal: RefusalStyle = RefusalStyle.ERROR
    mid_stream_stop: bool = False
    """Streams end when their running estimate passes what was held for them."""
    steering: bool = False
    """What is nearly used up is told to the agent at the end of its turn."""
    egress: EgressRules = EgressRules()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """``[groups]`` turned round: the groups of each member, by name or by ``NAME at ISSUER``."""
    budgets: tuple[Budget, ...] = ()
    models: tuple[ModelRule, ...] = ()
    routes: tuple[Route, ...] = ()
    alerts: tuple[AlertRule, ...] = ()
    headers: frozenset[str] = frozenset()
    """Request headers that rules go by, lower case: whoever reads a call keeps each as the label ``header:NAME``."""
    by_name: dict[str, Budget] = field(init=False, repr=False)
    by_rule: dict[str, Budget] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {budget.name: budget for budget in self.budgets})
        rates = {rate.name: rate for rule in self.models for rate in rule.rates}
        object.__setattr__(self, "by_rule", {**self.by_name, **rates})

    @property
    def enforces(self) -> bool:
        """Whether anything may be blocked at all."""
        return self.mode is Mode.ENFORCE
