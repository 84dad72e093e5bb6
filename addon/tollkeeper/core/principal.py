"""Who pays, and how sure we are of it."""

from enum import StrEnum

from .value import dataclass


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


HERE = frozenset({"", "local"})
"""Issuers that are this machine itself, and are named in no key."""


def account(subject: str, issuer: str) -> str:
    """What a grant is made out to, stored: ``ada``, or ``ada@example.com at https://login.example.com``.

    A subject is only unique at its issuer. No issuer holds a space, and no name of an OS user a colon, so no two accounts are one text.
    """
    return subject if issuer in HERE else f"{subject} at {issuer}"


ANONYMOUS = Principal(subject="anonymous")
