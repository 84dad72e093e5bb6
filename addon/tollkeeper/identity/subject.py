"""From claims to the one text that budgets count under, and to what is recorded beside it."""

import re
from collections.abc import Mapping
from typing import Any

from .answers import Refused, Why
from .issuer import Issuer, Kind

MAX_SUBJECT_CHARS = 256
MAX_EVIDENCE_CHARS = 256
_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_EMAIL = re.compile(r"[\x21-\x3f\x41-\x7e]{1,64}@[A-Za-z0-9.-]{1,253}")
_SUBJECT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""Printable ASCII: a Cyrillic a in an address is another person who looks the same in every report."""


def fields_of(template: str) -> tuple[str, ...]:
    """The claims a template names. Raises ``ValueError`` when it names none or is not a template."""
    names = tuple(_FIELD.findall(template))
    if not names or set(_FIELD.sub("", template)) & set("{}"):
        raise ValueError('name claims in braces, as in "{email}" or "github:{repository}"')
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f'"{{{name[:40]}}}" is not the name of a claim')
    if not _SUBJECT.fullmatch(_FIELD.sub("x", template)):
        raise ValueError("only printable ASCII can stand in a subject")
    return names


def claim_at(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name; else, a value inside objects by its dotted path; None when there is none."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def word_of(value: object) -> str | None:
    """A claim's value as one word: text as it is, whole numbers and truth values as JSON writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10**20:
        return str(value)
    return value if isinstance(value, str) else None


def subject_of(row: Issuer, claims: Mapping[str, Any]) -> str | Refused:
    """The subject of verified claims, by the row's template; for Access by what kind of token it is."""
    found = _access_subject(row, claims) if row.kind is Kind.ACCESS else _filled(row, claims)
    if isinstance(found, Refused):
        return found
    if len(found) > MAX_SUBJECT_CHARS or not _SUBJECT.fullmatch(found):
        return _refused(row, f"its subject is longer than {MAX_SUBJECT_CHARS} characters or not printable ASCII")
    if row.subjects and not any(_matches(pattern, found) for pattern in row.subjects):
        return _refused(row, "its subject is not among those that are accepted", f"add it to `subjects` of [issuer.{row.name}]")
    return found


def evidence_of(row: Issuer, claims: Mapping[str, Any]) -> dict[str, str]:
    """The claims to record, cut to size; those that are missing or no words are left out."""
    found = {name: word_of(claim_at(claims, name)) for name in row.evidence}
    return {
        name: "".join(char if char.isprintable() else "?" for char in word[:MAX_EVIDENCE_CHARS])
        for name, word in found.items()
        if word
    }


def _filled(row: Issuer, claims: Mapping[str, Any]) -> str | Refused:
    parts: dict[str, str] = {}
    for name in fields_of(row.subject):
        word = word_of(claim_at(claims, name))
        if not word:
            return _refused(row, f"its claim {name} is missing or no text", f"name another in `subject` of [issuer.{row.name}]")
        if name == "email":
            if not row.trust_email and claims.get("email_verified") not in (True, "true"):
                return _refused(
                    row, "its provider has not verified the e-mail address", "let it, or use another claim as subject"
                )
            word = _email(word) or ""
            if not word:
                return _refused(row, "its e-mail address is not one in ASCII")
        parts[name] = word
    return _FIELD.sub(lambda match: parts[match[1]], row.subject)


def _access_subject(row: Issuer, claims: Mapping[str, Any]) -> str | Refused:
    """A person has an e-mail and a ``sub``, a service token a ``common_name`` and neither (Cloudflare: application token)."""
    name, email, sub = claims.get("common_name"), claims.get("email"), claims.get("sub")
    if name is None:
        if not isinstance(email, str) or not isinstance(sub, str) or not sub:
            return _refused(row, "it names neither a person (email and sub) nor a service (common_name)")
        if row.subject != "{sub}":
            return _filled(row, claims)
        return _email(email) or _refused(row, "its e-mail address is not one in ASCII")
    if email or sub or not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name):
        return _refused(row, "it names a person and a service at once, or a service by no name")
    return name


def _email(text: str) -> str | None:
    """The address in small letters: whoever may type it at a log-in page must not get a second budget by typing it in capitals."""
    return text.lower() if _EMAIL.fullmatch(text) else None


def _matches(pattern: str, subject: str) -> bool:
    """Whether the pattern covers the subject; ``*`` is any run of characters. Linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return subject == pattern
    last = rest.pop()
    if not subject.startswith(first) or not subject.endswith(last) or len(first) + len(last) > len(subject):
        return False
    at, end = len(first), len(subject) - len(last)
    for part in rest:
        found = subject.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _refused(row: Issuer, reason: str, remedy: str = "") -> Refused:
    return Refused(why=Why.SUBJECT, reason=f"the token of {row.name} cannot be used: {reason}", remedy=remedy)
