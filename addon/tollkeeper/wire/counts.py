"""Reading numbers that others wrote: every count is a whole number in [0, MAX_COUNT], whatever stood there."""

import json
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from tollkeeper.core.usage import MAX_COUNT

MAX_RAW_DEPTH = 6
MAX_RAW_ITEMS = 64
MAX_NAME_CHARS = 80
MAX_MODEL_CHARS = 200
"""Fine-tuned models carry an organisation's and a suffix's name, Bedrock's an ARN."""
_NAME = re.compile(r"[A-Za-z0-9_.:/@\-]+")
_MODEL = re.compile(r"[A-Za-z0-9_.:/@+\-]+(?:\[\d[0-9A-Za-z]{0,7}\])?")
"""A context window may follow in brackets (``claude-sonnet-4-5[1m]``); other bracketed words would be markup on a screen."""

type Json = Any
"""A parsed JSON value. Fractions are kept as their text: no figure passes through a float."""


def document(data: bytes) -> str | bytes:
    """What to give ``json.loads``: text, where the encoding is plain to see; it takes 5 µs to guess it. Raises ``ValueError``."""
    return str(data, "utf-8", "surrogatepass") if data[:1] in {b"{", b"["} and data[1:2] != b"\0" else data


_decode = json.JSONDecoder(parse_float=str).decode


def parse(data: bytes | str) -> Any:
    """A JSON document with its fractions as text, so that none is rounded. Raises ``ValueError``, ``RecursionError``.

    ``json.loads`` makes a decoder for each call that names an option: 6 µs.
    """
    text = document(data) if isinstance(data, bytes) else data
    return _decode(text) if isinstance(text, str) else json.loads(text, parse_float=str)


def count(value: Json, flags: set[str]) -> int:
    """``value`` as a count. Missing and null are 0; what is no count is 0 or clamped, and flagged.

    Whole numbers written as text are taken (protobuf JSON writes int64 so). bool, fractions, negatives and figures over
    ``MAX_COUNT`` all occur in recorded answers (deep-research models sent −9).
    """
    if type(value) is int:
        if 0 <= value <= MAX_COUNT:
            return value
        flags.add("count-negative" if value < 0 else "count-too-large")
        return 0 if value < 0 else MAX_COUNT
    if value is None:
        return 0
    if isinstance(value, str) and len(value) <= 64:
        number = decimal(value)
        if number is not None:
            if number != number.to_integral_value():
                flags.add("count-not-whole")
            whole = MAX_COUNT + 1 if number > MAX_COUNT else -1 if number < 0 else int(number)
            return count(whole, flags)
    flags.add("count-not-a-number")
    return 0


def rounded_up(value: Json, flags: set[str], scale: int = 1) -> int:
    """A figure that may be a fraction (seconds), in whole units of 1/``scale``, rounded up; else as ``count`` has it."""
    figure = decimal(value)
    if figure is None:
        return count(value, flags)
    if figure < 0:
        flags.add("count-negative")
        return 0
    most = Decimal(MAX_COUNT) / scale
    return count(MAX_COUNT + 1 if figure > most else int((figure * scale).to_integral_value(ROUND_CEILING)), flags)


def has_count(usage: Mapping[str, Json], key: str) -> bool:
    """Whether ``usage`` states this figure at all (null does not)."""
    return usage.get(key) is not None


def member(value: Json, key: str) -> Mapping[str, Json]:
    """The object under ``key``, or an empty one."""
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def text(value: Json) -> str:
    """A string, or an empty one."""
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=4_096)
def _is_name(value: str) -> bool:
    return _NAME.fullmatch(value) is not None


def name(value: Json) -> str | None:
    """A short identifier (model, id, error class, tier) or None: anything longer or with other signs may be free text."""
    if isinstance(value, str):
        return value if len(value) <= MAX_NAME_CHARS and _is_name(value) else None
    if type(value) is int and abs(value) < 10**9:
        return str(value)
    return None


@lru_cache(maxsize=4_096)
def _is_model(value: str) -> bool:
    return _MODEL.fullmatch(value) is not None


def model_name(value: Json) -> str | None:
    """A model's name: as ``name``, but longer, and with the few more signs that providers use in them."""
    if isinstance(value, str):
        return value if len(value) <= MAX_MODEL_CHARS and _is_model(value) else None
    return name(value)


def decimal(value: Json) -> Decimal | None:
    """A finite decimal of at most 64 characters, from a number or its text; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, str) and len(value) > 64):
        return None
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 64 else None


def counts_only(value: Json, depth: int = 0) -> Json:
    """A usage object without anything that could be free text: numbers, bools, short names, nesting. JSON can hold what comes out."""
    if type(value) is int and -(2**63) < value < 2**63:
        return value
    if isinstance(value, dict):
        if depth >= MAX_RAW_DEPTH:
            return {}
        kept = list(value.items())[:MAX_RAW_ITEMS] if len(value) > MAX_RAW_ITEMS else value.items()
        return {key: counts_only(inner, depth + 1) for key, inner in kept if name(key) is not None}
    if isinstance(value, list):
        return [counts_only(inner, depth + 1) for inner in value[:MAX_RAW_ITEMS]] if depth < MAX_RAW_DEPTH else []
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else name(str(value))
    return name(value)
