"""Conditions of a price rule: which model names it means, and in which hours of which days it holds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

type Clause = Callable[[str], bool]
"""Answers whether a lower-case model name is meant."""

CLAUSE_KEYS = ("equals", "starts_with", "ends_with", "contains", "regex", "any_of", "all_of")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_MAX_DEPTH = 8


def parse_clause(raw: object, depth: int = 0) -> Clause:
    """A clause such as ``{ starts_with = "qwen3" }`` or ``{ any_of = [{…}, {…}] }``.

    Matching ignores case. Raises ``ValueError`` with one sentence saying what is wrong.
    """
    if not isinstance(raw, Mapping) or len(raw) != 1:
        raise ValueError(f'match takes one clause, such as {{ starts_with = "qwen3" }}; clauses are {", ".join(CLAUSE_KEYS)}')
    if depth > _MAX_DEPTH:
        raise ValueError(f"match is nested more than {_MAX_DEPTH} deep")
    ((key, value),) = raw.items()
    if key in {"any_of", "all_of"}:
        return _group(str(key), value, depth)
    if key not in CLAUSE_KEYS:
        raise ValueError(f'unknown clause "{key}"; clauses are {", ".join(CLAUSE_KEYS)}')
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} takes a non-empty string")
    if key == "regex":
        try:
            pattern = re.compile(value, re.IGNORECASE)
        except re.error as error:
            raise ValueError(f'regex "{value}" does not compile: {error}') from None
        return lambda name: pattern.search(name) is not None
    wanted = value.lower()
    tests: dict[str, Clause] = {
        "equals": lambda name: name == wanted,
        "starts_with": lambda name: name.startswith(wanted),
        "ends_with": lambda name: name.endswith(wanted),
        "contains": lambda name: wanted in name,
    }
    return tests[str(key)]


def _group(key: str, value: object, depth: int) -> Clause:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} takes a list of clauses")
    clauses = [parse_clause(one, depth + 1) for one in value]
    if key == "any_of":
        return lambda name: any(clause(name) for clause in clauses)
    return lambda name: all(clause(name) for clause in clauses)


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly window, in UTC: ``days`` are 0 (Monday) to 6, ``spans`` are minutes of the day, end excluded."""

    days: frozenset[int] = frozenset(range(7))
    spans: tuple[tuple[int, int], ...] = ((0, 1440),)

    def holds(self, at: int) -> bool:
        """Whether the instant ``at`` (UTC microseconds) lies in the window."""
        moment = datetime.fromtimestamp(at // 1_000_000, UTC)
        minute = moment.hour * 60 + moment.minute
        return moment.weekday() in self.days and any(
            start <= minute < end if start < end else minute >= start or minute < end for start, end in self.spans
        )

    @property
    def boundaries(self) -> frozenset[int]:
        """The minutes of the day at which the answer may change."""
        return frozenset(minute % 1440 for span in self.spans for minute in span)


def parse_hours(raw: object) -> Hours:
    """A window such as ``{ days = "mon-fri", hours_utc = ["01:00-04:00"] }``; raises ``ValueError``."""
    if not isinstance(raw, Mapping) or not raw or not set(raw) <= {"days", "hours_utc"}:
        raise ValueError('when takes days and hours_utc, such as { days = "mon-fri", hours_utc = ["01:00-04:00"] }')
    days = _days(raw["days"]) if "days" in raw else frozenset(range(7))
    spans = _spans(raw["hours_utc"]) if "hours_utc" in raw else ((0, 1440),)
    return Hours(days, spans)


def _days(raw: Any) -> frozenset[int]:
    found: set[int] = set()
    for part in str(raw).lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f'days "{raw}" is not like "mon-fri" or "sat,sun"')
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    return frozenset(found)


def _spans(raw: Any) -> tuple[tuple[int, int], ...]:
    spans = []
    for text in raw if isinstance(raw, list) and raw else [raw]:
        match = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f'hours_utc "{text}" is not like "01:00-04:00"')
        start, end = (int(match[index]) * 60 + int(match[index + 1]) for index in (1, 3))
        if start == end or max(start, end) > 1440:
            raise ValueError(f'hours_utc "{text}" is not a span of a day')
        spans.append((start, end))
    return tuple(spans)
