"""One request to a model: where it goes, what it asks, who sent it."""

from dataclasses import dataclass, field
from enum import StrEnum

from .principal import ANONYMOUS, Principal


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
    server_tools: int = 0
    """Upper bound of billed server-tool requests the ask allows (Anthropic ``max_uses``, …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where a call came from besides its principal. Empty means unknown, never guessed."""

    project: str = ""
    client: str = ""
    session: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request on the road: the value every later stage is given."""

    id: str
    started_at: int
    endpoint: Endpoint
    ask: Ask = field(default_factory=Ask)
    principal: Principal = ANONYMOUS
    attribution: Attribution = field(default_factory=Attribution)

    @property
    def model(self) -> str | None:
        """The model as asked for, in the body or the path."""
        return self.ask.model or self.endpoint.model_in_path
