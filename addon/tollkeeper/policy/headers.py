"""Request headers that rules go by: each becomes the label ``header:NAME`` of its call, and of the call's entries in the ledger.

So nothing that carries a credential can be gone by, and a value that looks like one is taken as not said. A header that names who
is calling is taken off before rules are asked: ``principal``, ``group`` and ``issuer`` are there for that.
"""

import re
from collections.abc import Iterable
from typing import Final

from tollkeeper.identity.channels import is_stripped
from tollkeeper.wire.attribution import looks_like_a_credential

from .facts import HEADER, kept

MAX_HEADERS: Final = 16
"""In a document: the ledger keeps each with every call."""

_CREDENTIAL = re.compile(
    r"(?:.*[-_])?(?:authorization|auth|cookie|(?:api|access|subscription)-?key|password|secret|signature|token)"
)


def fault(name: str) -> str:
    """Why no rule can go by the header ``name`` (in small letters); empty when one can."""
    if is_stripped(name, ""):
        return "says who is calling, and is gone before rules are asked; go by principal, group or issuer"
    if _CREDENTIAL.fullmatch(name):
        return "carries a credential, and what rules go by is kept in the ledger; go by another header"
    return ""


def header_labels(names: frozenset[str], fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """The labels that the headers ``names`` (in small letters) of a request make, sorted; one sent twice is one list (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1").lower()
        if name in names:
            value = raw_value.decode("utf-8", "replace").strip()
            if not looks_like_a_credential(value):
                label = HEADER + name
                found[label] = f"{found[label]}, {value}" if label in found else value
    return tuple(sorted((label, kept(value)) for label, value in found.items()))
