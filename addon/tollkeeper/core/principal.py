"""Who pays, and how sure we are of it."""

from dataclasses import dataclass
from enum import StrEnum


class Assurance(StrEnum):
    """How an identity was established, weakest last."""

    VERIFIED = "verified"
    STATIC = "static"
    LOCAL_LOGIN = "local-login"
    CLAIMED = "claimed"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A person, service or job. ``subject`` is the key that budgets count under."""

    subject: str
    issuer: str = "local"
    channel: str = "default"
    assurance: Assurance = Assurance.NONE
    groups: frozenset[str] = frozenset()


ANONYMOUS = Principal(subject="anonymous")
