"""One request to a model: where it goes, what it asks, who sent it."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from .principal import ANONYMOUS, Principal
from .usage import EMPTY
from .value import dataclass

EMPTY_TERMS: Mapping[str, str] = MappingProxyType({})


class Metering(StrEnum):
    """What we can say about the cost of an endpoint."""

    METERED = "metered"
    """A dialect reads its usage."""
    FREE = "free"
    """The provider does not bill it (token counting, model lists)."""
    UNMETERED = "unmetered"
    """We cannot read its usage: recorded with the reason, never taken for free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a URL on a known AI host is.

    ``operation`` is the OpenTelemetry GenAI operation name where one exists (``chat``, ``embeddings``, ``generate_content``,
    ``text_completion``), ``dialect`` the name of the module in ``wire/dialects`` that reads it, or None.
    """

    provider: str
    host: str
    path: str
    operation: str
    metering: Metering
    dialect: str | None = None
    reason: str = ""
    model_in_path: str | None = None
    traits: frozenset[str] = frozenset()
    """Deviations of this host and surface from its dialect, by the names of ``wire.traits``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request's body asks of a model. All bounds are the client's own words; None means not said."""

    model: str | None = None
    streamed: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    """Answers asked for (``n``, ``candidateCount``)."""
    fresh: bool = True
    """No assistant turn, no server-side history, no signature: a rewrite is safe (docs/policy.md)."""
    usage_requested: bool = True
    """False only when a stream will carry no usage unless we ask for it (OpenAI chat without ``include_usage``)."""
    input_bytes: int = 0
    """UTF-8 bytes of text that count as input, media payloads excluded."""
    media_parts: int = 0
    """Images, files and audio clips in the request."""
    cache_write_ttl: str | None = None
    """``"5m"`` or ``"1h"``: the dearest prompt-cache write the request asks for."""
    service_tier: str | None = None
    effort: str | None = None
    """How much thinking the request asks for, in its own word (``low``, ``high``); None where it does not say."""
    server_tools: int = 0
    """Upper bound of billed server-tool requests the ask allows (Anthropic ``max_uses``, …)."""
    operation: str = ""
    """The operation of one part of a batch, where it is another than the endpoint's."""
    requests: int = 1
    """How many alike requests this ask stands for; its figures are those of the average one, rounded up."""
    parts: tuple["Ask", ...] = ()
    """What a batch asks, alike requests together."""
    fallback_models: tuple[str, ...] = ()
    """Models that may answer instead, as the request names them (OpenRouter ``models``, Cloudflare's list of attempts)."""
    batch_file: str | None = None
    """The uploaded file that holds a batch's requests."""
    earlier_id: str | None = None
    """The provider's id of an earlier submission that this request asks about, where its body names it."""
    units: Mapping[str, int] = EMPTY
    """Upper bounds of what else the answer is billed by, under the names of ``Usage.units``: ``output_images``, ``video_seconds``, …"""
    units_measured: bool = False
    """``units`` are what will be billed if the answer states nothing (pictures, characters), not only bounds on it."""
    terms: Mapping[str, str] = EMPTY_TERMS
    """What selects among a model's prices, as ``Reading.terms``: the size and quality of a picture, the size of a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where a call came from besides its principal. Empty means unknown, never guessed."""

    project: str = ""
    """Of this sidecar's own choosing (``run --project``): what budgets may go by."""
    client: str = ""
    session: str = ""
    """Of this sidecar's own making: one ``tollkeeper run``."""
    branch: str = ""
    """The branch that is checked out where the call comes from, as read from its repository."""
    run: str = ""
    """The CI run, as the job's own environment or token names it."""
    os_user: str = ""
    """The login name at the other end of the connection, as the kernel knows it."""
    process: str = ""
    """The program at the other end, without its arguments."""
    container: str = ""
    """The container it runs in, by its short id."""
    # What follows, and ``client``, is what the client said of itself: claims, good for reports and never for enforcement.
    agent: str = ""
    parent_agent: str = ""
    agent_class: str = ""
    """What kind of agent or side job: ``subagent``, ``review``, ``compact``, ``sdk-py``, …"""
    initiator: str = ""
    """``user`` or ``agent``, where a client tells them apart (GitHub Copilot counts only the former as premium requests)."""
    interaction: str = ""
    """One question of a person, with all calls made to answer it."""
    client_session: str = ""
    client_project: str = ""
    account: str = ""
    """The account or organisation at the provider, by its id."""
    end_user: str = ""
    """Whom the client calls for: its own user's id, as it names it."""
    tags: tuple[tuple[str, str], ...] = ()
    """Labels that the caller put on the call, sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request on the road: the value every later stage is given."""

    id: str
    started_at: int
    endpoint: Endpoint
    ask: Ask = field(default_factory=Ask)
    principal: Principal = ANONYMOUS
    attribution: Attribution = field(default_factory=Attribution)
    plan: str = ""
    """The subscription that pays for this call (``claude``, ``chatgpt``, ``copilot``, …); empty when it is metered in money."""
    identity_fault: str = ""
    """Why what came to prove who makes the call is not accepted; ``identity_remedy`` says what to do. Its principal is anonymous."""
    identity_remedy: str = ""
    plan_counts: bool = False
    """A plan's call counts against dollar budgets at its list price, because the policy says so."""

    @property
    def model(self) -> str | None:
        """The model as asked for, in the body or the path."""
        return self.ask.model or self.endpoint.model_in_path
