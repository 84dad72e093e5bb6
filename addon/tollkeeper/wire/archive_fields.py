"""The fields of recorded traffic, as their recorders spell them: headers, bodies in base64, statuses, moments."""

import base64
import binascii
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tollkeeper.core.clock import from_datetime

from .counts import Json, text

MAX_HEADERS = 1_000
_OLDEST = from_datetime(datetime(2000, 1, 1, tzinfo=UTC))
_NEWEST = from_datetime(datetime(2100, 1, 1, tzinfo=UTC))
"""A moment outside of these is that of a broken clock, or none at all."""


def status(value: Json) -> int:
    """An HTTP status, also where it was written as text; 0 for what is none."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int and 0 <= value < 1000 else 0


def headers(value: Json) -> dict[str, str]:
    """Header fields by lower-case name, several of one name joined as RFC 9110 5.3 says.

    HAR keeps a list of objects (some of its writers a list of pairs), JSON lines a mapping.
    """
    pairs: list[tuple[str, str]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            pairs.extend((key, text(one)) for one in (inner if isinstance(inner, list) else [inner]))
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                pairs.append((text(item.get("name")), text(item.get("value"))))
            elif isinstance(item, list) and len(item) == 2:
                pairs.append((text(item[0]), text(item[1])))
    found: dict[str, str] = {}
    for key, one in pairs[:MAX_HEADERS]:
        lower = key.lower()
        found[lower] = f"{found[lower]}, {one}" if lower in found else one
    return found


def base64_bytes(value: Json, field: str) -> bytes:
    """The bytes of a text in base64, also of one broken into lines or without its padding. Raises ``ValueError``, ``TypeError``."""
    if value is None:
        return b""
    if not isinstance(value, str):
        raise TypeError(f'"{field}" is not text in base64')
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        bare = "".join(value.split()).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f'"{field}" is not base64 ({error})') from error


def moment(value: Json) -> int | None:
    """A moment in ISO 8601 as UTC microseconds; None for anything else."""
    try:
        return _believed(datetime.fromisoformat(text(value)))
    except ValueError:
        return None


def http_date(value: str) -> int | None:
    """A ``date`` header as UTC microseconds; None for anything else."""
    try:
        return _believed(parsedate_to_datetime(value)) if value else None
    except (ValueError, TypeError, OverflowError):
        return None


def _believed(when: datetime) -> int | None:
    at = from_datetime(when if when.tzinfo else when.replace(tzinfo=UTC))
    return at if _OLDEST <= at < _NEWEST else None
