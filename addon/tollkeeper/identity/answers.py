"""What a check of identity answers: a proof, or a refusal in words that hold nothing of the token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.principal import Principal

NOTHING: Mapping[str, str] = MappingProxyType({})


class IdentityError(TollkeeperError):
    """A login, a refresh or a token store that cannot go on. The message says what to do."""

    exit_code = 4


class Why(StrEnum):
    """What kind of refusal, for counters and tests; people read the words."""

    SHAPE = "shape"
    HEADER = "header"
    ISSUER = "issuer"
    KEY = "key"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    TIME = "time"
    EXPIRED = "expired"
    CLAIMS = "claims"
    SUBJECT = "subject"
    GROUPS = "groups"
    SEVERAL = "several"
    SECRET = "secret"  # noqa: S105 — the name of a kind of refusal
    HANDLE = "handle"
    DISAGREE = "disagree"
    MISSING = "missing"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why an identity is not accepted. ``reason`` is one clause, ``remedy`` says what to do; neither quotes what was presented."""

    why: Why
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An identity that was established. ``expires_at`` is UTC seconds, 0 when it does not end.

    ``row`` is the name of the configuration row that accepted it, ``evidence`` the claims that the row wants recorded (a
    repository, a run), checked for type and length.
    """

    principal: Principal
    expires_at: int = 0
    row: str = ""
    evidence: Mapping[str, str] = field(default=NOTHING)
