"""Reading one value of a document: the right type, within its limits, or a problem that says how to write it."""

import contextlib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any
from zoneinfo import available_timezones

from tollkeeper.core.amounts import Unit, parse_amount
from tollkeeper.core.money import NANO_PER_USD
from tollkeeper.core.toml_lines import KeyPath, nearest

from . import headers
from .facts import HEADER
from .globs import MAX_PATTERN_CHARS, Glob
from .message import FORBIDDEN
from .model import Field
from .problems import Problems
from .spans import SpanError, parse_window
from .windows import WEEKDAYS, WindowKind, zone_of

MAX_AMOUNT_NANOUSD = 1_000_000_000 * NANO_PER_USD
"""A billion dollars: sums of two such amounts still fit the ledger's 64 bits."""
MAX_PATTERNS = 64
MAX_NAME_CHARS = 200
MAX_MESSAGE_CHARS = 400
MAX_THRESHOLDS = 8

UNLIMITED = "unlimited"
"""An amount that lifts every other amount for the same bucket."""

_UNLIMITED = {"": Unit.USD, "usd": Unit.USD, "tokens": Unit.TOKENS, "requests": Unit.REQUESTS}

_TOO_MANY_DIGITS = re.compile(r"(?:usd|\$)?\s*[1-9]\d{10,}(?:\.\d+)?\s*(?:usd|\$)?$")

PER_LABEL = "label."
"""How a label is named in ``per``."""

_OTHER_WORDS = {
    "limit": "amount",
    "max": "amount",
    "usd": "amount",
    "budget": "amount",
    "period": "window",
    "interval": "window",
    "duration": "window",
    "timezone": "zone",
    "tz": "zone",
    "user": "principal",
    "person": "principal",
    "subject": "principal",
    "repo": "project",
    "repository": "project",
    "models": "model",
    "action": "on_exceed",
    "then": "on_exceed",
    "downgrade": "rewrite",
    "version": "schema",
    "budgets": "budget",
    "rule": "model",
    "rules": "model",
    "routes": "route",
    "team": "group",
    "groups": "group",
    "client": "tool",
    "agent": "agent_class",
    "labels": "label",
    "tag": "label",
    "tags": "label",
    "headers": "header",
    "condition": "when",
    "if": "when",
    "assurance_at_least": "min_assurance",
    "except_for": "except",
    "unless": "except",
    "thresholds": "warn_at",
    "alert_threshold": "warn_at",
    "carry_over": "rollover",
    "rpm": "max_per_minute",
    "concurrency": "max_parallel",
    "max_parallel_requests": "max_parallel",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "max_effort",
}
"""What people call things elsewhere, where no likeness of letters leads to our word."""


def check_keys(problems: Problems, table: dict[str, Any], path: KeyPath, known: Iterable[str], where: str) -> None:
    """Note every key of ``table`` that is not ``known``, with the one that was probably meant."""
    names = list(known)
    for key in table:
        if key not in names:
            problems.add((*path, key), f'unknown key "{key[:MAX_NAME_CHARS]}" {where}{meant(key, names)}')


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean "daily"?``, or the list of what is known."""
    names = list(known)
    other = _OTHER_WORDS.get(word.lower())
    found = other if other in names else nearest(word, names)
    return f'; did you mean "{found}"?' if found else f"; known: {', '.join(names)}"


def choice[E: StrEnum](problems: Problems, table: dict[str, Any], path: KeyPath, kind: type[E], default: E) -> E:
    """One word of an enumeration; ``default`` when it is not said."""
    key = str(path[-1])
    value = table.get(key, default)
    if isinstance(value, str) and value in {member.value for member in kind}:
        return kind(value)
    words = [member.value for member in kind]
    said = f"; {_one_of(words)}" if not isinstance(value, str) else meant(value, words)
    problems.add(path, f"{key} = {shown(value)} is not possible{said}")
    return default


def amount(problems: Problems, table: dict[str, Any], path: KeyPath) -> tuple[Unit, int | None]:
    """``"50 USD"`` in nano-dollars, ``"2M tokens"``, ``"100 requests"``; None for ``"unlimited"``. Required."""
    value = table.get("amount")
    if value is None:
        problems.add(path[:-1], f'[{dotted(path[:-1])}] has no amount; write amount = "50 USD"')
        return Unit.USD, 0
    if (
        isinstance(value, str)
        and value.startswith(UNLIMITED)
        and (unit := _UNLIMITED.get(value.removeprefix(UNLIMITED).strip().lower()))
    ):
        return unit, None
    if not isinstance(value, str):
        problems.add(path, f'amount = {shown(value)} has no currency; write amount = "{value} USD"')
        return Unit.USD, 0
    return money(problems, value, path)


def money(problems: Problems, value: object, path: KeyPath) -> tuple[Unit, int]:
    """One amount with its unit, within the most that can be counted."""
    key = path[-1]
    if not isinstance(value, str):
        problems.add(path, f'{key} = {shown(value)} is not an amount; write it like "5 USD"')
        return Unit.USD, 0
    try:
        unit, found = parse_amount(value[:MAX_NAME_CHARS])
    except ValueError as error:
        problems.add(path, f"{key} = {_why_no_amount(value[:MAX_NAME_CHARS]) or error}")
        return Unit.USD, 0
    if unit is Unit.USD and found > MAX_AMOUNT_NANOUSD:
        problems.add(path, f'{key} = "{value}" is over 1,000,000,000 USD, the most a budget may have')
    return unit, found


def _why_no_amount(value: str) -> str:
    """What keeps a text from being an amount, and the amount that was meant; empty where nobody can tell."""
    lowered = value.strip().lower()
    if _TOO_MANY_DIGITS.match(lowered.replace(",", "")):
        return f"{shown(value)} is over 1,000,000,000 USD, the most a budget may have"
    if lowered.split()[:1] == [UNLIMITED] and lowered != value:
        return f'{shown(value)} is written in small letters: "{lowered}"'
    for meant, why in ((value.replace(",", ""), "has no commas"), (lowered, "is written in small letters")):
        with contextlib.suppress(ValueError):
            if meant != value and parse_amount(meant):
                return f'{shown(value)} {why}: "{meant}"'
    return ""


def count(problems: Problems, table: dict[str, Any], path: KeyPath, *, most: int = 1_000_000_000) -> int | None:
    """A whole number from 1; None when the key is not there."""
    key = str(path[-1])
    if key not in table:
        return None
    value = table[key]
    if type(value) is int and 1 <= value <= most:
        return value
    problems.add(path, f"{key} = {shown(value)} is not a whole number from 1 to {most:,}")
    return None


def flag(problems: Problems, table: dict[str, Any], path: KeyPath) -> bool:
    """True or false; false when the key is not there."""
    key = str(path[-1])
    value = table.get(key, False)
    if isinstance(value, bool):
        return value
    problems.add(path, f"{key} = {shown(value)} is not possible; write true or false")
    return False


def percents(problems: Problems, table: dict[str, Any], path: KeyPath, default: tuple[int, ...]) -> tuple[int, ...]:
    """Thresholds in percent, ascending: ``[75, 90]`` or ``["75%"]``."""
    if path[-1] not in table:
        return default
    value = table[str(path[-1])]
    found = set()
    for item in value if isinstance(value, list) else [value]:
        text = item[:-1].strip() if isinstance(item, str) and item.endswith("%") else item
        number = int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 4 else text
        if type(number) is int and 1 <= number <= 100:
            found.add(number)
        else:
            problems.add(path, f"{path[-1]} = {shown(item)} is not a percentage from 1 to 100")
    if len(found) > MAX_THRESHOLDS:
        problems.add(path, f"{path[-1]} has {len(found)} thresholds; {MAX_THRESHOLDS} is the most")
    return tuple(sorted(found))[:MAX_THRESHOLDS]


def window(problems: Problems, table: dict[str, Any], path: KeyPath) -> tuple[WindowKind, int | None]:
    """A calendar window, or ``rolling 24h`` with its length in microseconds; required."""
    value = table.get("window")
    if value is None:
        problems.add(path[:-1], f'[{dotted(path[:-1])}] has no window; write window = "day" or window = "rolling 24h"')
        return WindowKind.DAY, None
    try:
        return parse_window(value)
    except SpanError as error:
        problems.add(path, f"window = {shown(value)} {error}")
        return WindowKind.DAY, None


def zone(problems: Problems, table: dict[str, Any], path: KeyPath, default: str) -> str:
    """An IANA time zone that this machine knows."""
    value = table.get("zone", default)
    if not isinstance(value, str) or not value:
        problems.add(path, f'zone = {shown(value)} is not a time zone; write it like "Europe/Rome"')
        return default
    try:
        zone_of(value)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        if not known:
            problems.add(path, f'zone = "{value}" cannot be read: this machine has no time zone data; install "tzdata"')
        else:
            found = nearest(value, known)
            hint = f'did you mean "{found}"?' if found else 'write it like "Europe/Rome"'
            problems.add(path, f"zone = {shown(value)} is not a time zone of the IANA database; {hint}")
        return default
    return value


def weekday(problems: Problems, table: dict[str, Any], path: KeyPath, default: int) -> int:
    """A day of the week, Monday = 0."""
    value = table.get("week_starts", WEEKDAYS[default])
    if isinstance(value, str) and value.lower() in WEEKDAYS:
        return WEEKDAYS.index(value.lower())
    problems.add(path, f"week_starts = {shown(value)} is not a weekday{meant(str(value), WEEKDAYS)}")
    return default


def patterns(problems: Problems, table: dict[str, Any], path: KeyPath) -> tuple[Glob, ...]:
    """One pattern or a list of them; empty when the key is not there."""
    if path[-1] not in table:
        return ()
    found = texts(problems, table[str(path[-1])], path, "a pattern", MAX_PATTERNS, MAX_PATTERN_CHARS)
    return tuple(Glob(pattern) for pattern in found)


def per(problems: Problems, table: dict[str, Any], path: KeyPath) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """What a budget is divided by: fields in our own order, and labels; empty when the key is not there."""
    if "per" not in table:
        return (), ()
    known = [name.value for name in Field]
    chosen, labels = set(), set()
    for word in texts(problems, table["per"], path, "what to divide by", len(known), MAX_NAME_CHARS):
        if word in known:
            chosen.add(word)
        elif word.startswith(PER_LABEL) and len(word) > len(PER_LABEL):
            label = word.removeprefix(PER_LABEL)
            if label.startswith(HEADER):
                label = label.lower()
                if reason := headers.fault(label.removeprefix(HEADER)):
                    problems.add(path, f"the header of {shown(word)} {reason}")
            labels.add(label)
        else:
            problems.add(path, f"per = {shown(word)} is not possible{meant(word, known)}")
    return tuple(name for name in Field if name.value in chosen), tuple(sorted(labels))


def message(problems: Problems, table: dict[str, Any], path: KeyPath) -> str:
    """A remedy in the operator's words, shown to the client."""
    value = table.get("message", "")
    if not isinstance(value, str) or len(value) > MAX_MESSAGE_CHARS or not value.isprintable():
        problems.add(path, f"message must be one line of text, {MAX_MESSAGE_CHARS} characters at most")
        return ""
    if FORBIDDEN in " ".join(value.lower().split()):
        problems.add(path, f'message must not say "{FORBIDDEN}": Claude Code replaces such a message by a text of its own')
        return ""
    return value.strip()


def shown(value: object) -> str:
    """A value as it would stand in TOML, cut short."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_NAME_CHARS])
    return text if len(text) <= 80 else f"{text[:77]}…"


def dotted(path: KeyPath) -> str:
    """``budget.day``."""
    return ".".join(str(part) for part in path)


def texts(problems: Problems, value: object, path: KeyPath, what: str, most: int, longest: int) -> tuple[str, ...]:
    """One text or a list of them, without doubles; ``what`` they are, for messages."""
    values = value if isinstance(value, list) else [value]
    key = path[-1]
    if not values:
        problems.add(path, f"{key} = [] names nothing; leave it out, or name {what}")
    if len(values) > most:
        problems.add(path, f"{key} has {len(values)} values; {most} is the most")
        return ()
    found = []
    for item in values:
        if not isinstance(item, str) or not item.strip() or not item.isprintable() or len(item) > longest:
            problems.add(path, f"{key} = {shown(item)} is not {what}: text of 1 to {longest} printable characters")
        else:
            found.append(item)
    return tuple(dict.fromkeys(found))


def _one_of(words: list[str]) -> str:
    return "write " + " or ".join(f'"{word}"' for word in words)
