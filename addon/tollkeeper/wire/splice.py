"""Changing one value of a JSON text and not one other byte of it.

One pass parses the top level and keeps where each value stands; ``loads`` and ``dumps`` of a 10 MB body would hold the event loop for
100 ms and rewrite every escape and space in it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tollkeeper.core.errors import WireError

from .counts import Json

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_float=str, parse_int=lambda digits: int(digits) if len(digits) < 64 else digits)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: its key, its parsed value, and where key and value stand in the text."""

    key: str
    value: Json
    key_start: int
    start: int
    end: int


def as_text(body: bytes) -> str:
    """The body as text. Raises ``WireError`` when it is not UTF-8, the only encoding JSON may travel in (RFC 8259, 8.1)."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the body is not UTF-8 (byte {error.start} of {len(body)}), so it cannot be rewritten") from error


def members(document: str, start: int = 0) -> tuple[list[Member], int]:
    """The members of the object at ``start`` (spaces before it are passed over) and where its closing brace stands.

    Raises ``WireError`` when there is no object, or when it is damaged or nested too deeply.
    """
    position = _skip(document, start)
    if document[position : position + 1] != "{":
        raise WireError(f"the body is not a JSON object (at character {position}), so it cannot be rewritten")
    found: list[Member] = []
    position = _skip(document, position + 1)
    if document[position : position + 1] == "}":
        return found, position
    try:
        while True:
            key_start = position
            key, position = _DECODER.raw_decode(document, position)
            position = _skip(document, position)
            if not isinstance(key, str) or document[position : position + 1] != ":":
                raise WireError(f"the JSON object is damaged at character {position}")
            value_start = _skip(document, position + 1)
            value, position = _DECODER.raw_decode(document, value_start)
            found.append(Member(key, value, key_start, value_start, position))
            position = _skip(document, position)
            mark = document[position : position + 1]
            if mark == "}":
                return found, position
            if mark != ",":
                raise WireError(f"the JSON object is damaged at character {position}")
            position = _skip(document, position + 1)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the body is not readable JSON ({type(error).__name__} near character {position})") from error


def put(document: str, path: Sequence[str], value: str, *, start: int = 0) -> str:
    """``document`` with the JSON text ``value`` at ``path``, added as the last member (with its parents) where it is missing.

    When a key stands twice, every one of them is changed: readers differ in which they take.
    """
    found, end = members(document, start)
    key, rest = path[0], path[1:]
    hits = [member for member in found if member.key == key and (not rest or isinstance(member.value, dict))]
    if not hits:
        for outer in reversed(rest):
            value = f"{{{json.dumps(outer)}:{value}}}"
        comma = "," if found else ""
        at = found[-1].end if found else end
        return f"{document[:at]}{comma}{json.dumps(key)}:{value}{document[at:]}"
    for member in reversed(hits):
        inner = put(document[member.start : member.end], rest, value) if rest else value
        document = document[: member.start] + inner + document[member.end :]
    return document


def last_of(array: str) -> int:
    """Where the last value of a JSON array's text begins. Raises ``WireError`` for one that is empty or damaged."""
    position = _skip(array, 0)
    mark, begins = array[position : position + 1], -1
    try:
        while mark in {"[", ","}:
            begins = _skip(array, position + 1)
            _, position = _DECODER.raw_decode(array, begins)
            position = _skip(array, position)
            mark = array[position : position + 1]
    except (ValueError, RecursionError) as error:
        raise WireError(f"the body is not readable JSON ({type(error).__name__} near character {position})") from error
    if begins < 0 or mark != "]":
        raise WireError(f"the JSON array is damaged at character {position}")
    return begins


def _skip(document: str, position: int) -> int:
    match = _SPACE.match(document, position)
    return match.end() if match else position
