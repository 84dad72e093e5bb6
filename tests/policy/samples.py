"""Plain values the tests of this room share."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.clock import from_datetime
from tollkeeper.core.principal import Principal
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.model import Policy

USD = 1_000_000_000
HOUR = 3_600_000_000


@dataclass(frozen=True)
class Quoted:
    """What a price book would answer."""

    worst_nanousd: int
    known: bool = True


PRICES = {
    "claude-opus-5": 500_000_000,
    "claude-sonnet-5": 120_000_000,
    "claude-sonnet-twin": 120_000_000,
    "claude-haiku-4-5": 50_000_000,
    "gpt-5-mini": 20_000_000,
    "self-hosted": 0,
}


def quote(model: str | None) -> Quoted:
    """A fixed price list; anything else is unknown, at a ceiling of $2 (or of $0.01, for a small one)."""
    if model in PRICES:
        return Quoted(PRICES[model])
    return Quoted(10_000_000 if "small" in (model or "") else 2 * USD, known=False)


def call(
    model: str | None = "claude-opus-5",
    *,
    who: str = "ada@example.com",
    project: str = "billing",
    provider: str = "anthropic",
    dialect: str | None = "anthropic_messages",
    metering: Metering = Metering.METERED,
    fresh: bool = True,
) -> Call:
    """A call on the road."""
    endpoint = Endpoint(provider=provider, host="api.example", path="/v1", operation="chat", metering=metering, dialect=dialect)
    return Call(
        id="01J0000000000000000000TEST",
        started_at=0,
        endpoint=endpoint,
        ask=Ask(model=model, fresh=fresh),
        principal=Principal(subject=who),
        attribution=Attribution(project=project),
    )


def policy(text: str) -> Policy:
    """A policy from a document."""
    return parse_policy(text, "policy.toml")


def at(local: str, zone: str = "UTC", fold: int = 0) -> int:
    """UTC microseconds of a wall time."""
    return from_datetime(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold))
