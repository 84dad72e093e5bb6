"""The filter line: ``model:opus cost>0.5 who=ada -tool:codex is:"no price" text``.

All terms must hold; a term that names nothing known says so. ``:`` finds a part of a name whatever its case, ``=`` the whole name.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tollkeeper.core.money import to_nanousd
from tollkeeper.ledger.rows import CallRow, Group
from tollkeeper.report.fold import KEYS, branch_of
from tollkeeper.report.outlook import BudgetLine

from .look import call_sign

MAX_CHARS = 2_500
"""The whole name of anything fits, twice: clients choose them, of up to 512 letters, and quotes may double that."""

_TERM = re.compile(
    r"(?P<no>-?)(?:(?P<name>[a-z]+)(?P<sign>:|>=|<=|>|<|=))?(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)(?:\"|\\?$)|(?P<plain>\S+))",
    re.IGNORECASE | re.DOTALL,
)
"""Quotes hold blanks together, and are there from the first one on, while the rest is still being typed."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "=": operator.eq,
}  # fmt: skip

_CALL_TEXTS: Mapping[str, Callable[[CallRow], str]] = {
    "who": lambda row: row.principal,
    "person": lambda row: row.principal,
    "team": lambda row: row.groups,
    "project": lambda row: row.project,
    "branch": branch_of,
    "tool": lambda row: row.client,
    "session": lambda row: f"{row.session} {row.client_session}",
    "agent": lambda row: f"{row.agent} {row.parent_agent}",
    "model": lambda row: f"{row.model} {row.model_requested}",
    "provider": lambda row: row.provider,
    "rule": lambda row: row.rule,
    "budget": lambda row: row.budget,
    "is": lambda row: f"{call_sign(row)[1]} {row.outcome} {row.usage_source}",
    "id": lambda row: row.call_id,
}
_CALL_NUMBERS: Mapping[str, Callable[[CallRow], int | None]] = {
    "cost": lambda row: row.cost_nanousd,
    "in": lambda row: row.tokens.total_input_tokens,
    "out": lambda row: row.tokens.output_tokens,
    "took": lambda row: row.duration_ms,
}
_GROUP_NUMBERS: Mapping[str, Callable[[Group], int | None]] = {
    "cost": lambda group: group.cost_nanousd,
    "calls": lambda group: group.calls,
    "in": lambda group: group.tokens.total_input_tokens,
    "out": lambda group: group.tokens.output_tokens,
}
_CALL_NAMES: Mapping[str, Callable[[CallRow], tuple[str, ...]]] = {
    "who": lambda row: (row.principal,),
    "person": lambda row: (row.principal,),
    "team": lambda row: (KEYS["team"](row),),
    "session": lambda row: (KEYS["session"](row),),
    "agent": lambda row: (row.agent, row.parent_agent),
    "model": lambda row: (row.model,),
    "is": lambda row: (call_sign(row)[1], row.outcome, row.usage_source),
}
"""What a call is named as a whole, where that is not the text that is searched: as a report groups by it."""
FIELDS = (*_CALL_TEXTS, *_CALL_NUMBERS)


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter line. ``problem`` is what is wrong with it, for people; such a filter lets everything pass."""

    text: str = ""
    terms: tuple[tuple[bool, str, str, str], ...] = ()
    problem: str = ""

    def keep(self, items: Sequence[Any]) -> list[Any]:
        """The items that pass: calls, groups or budgets."""
        if not self.terms or self.problem:
            return list(items)
        return [item for item in items if all(_holds(term, item) for term in self.terms)]


def parse(text: str) -> Filter:
    """A filter line; ``cost`` is in dollars, ``took`` in seconds."""
    text = text.strip()[:MAX_CHARS]
    terms = []
    for found in _TERM.finditer(text):
        name, sign = (found["name"] or "").lower(), found["sign"] or ""
        value = found["plain"] if found["quoted"] is None else _ESCAPED.sub(r"\1", found["quoted"])
        is_exact = sign == "=" and name in _CALL_TEXTS
        is_number = sign in _ORDER and not is_exact
        if is_number and name not in {*_CALL_NUMBERS, "calls"}:
            return Filter(text, (), f'"{name}" is not a number; those are cost, in, out, took, calls')
        if sign == ":" and name not in _CALL_TEXTS:
            return Filter(text, (), f'nothing is called "{name}"; there is {", ".join(_CALL_TEXTS)}')
        if is_number and not re.fullmatch(r"\$?\d{1,9}(\.\d{1,9})?", value):
            return Filter(text, (), f'"{value}" is not a number')
        terms.append((bool(found["no"]), name, sign, value if is_exact else value.lstrip("$") if is_number else value.lower()))
    return Filter(text, tuple(terms))


def exactly(**names: str) -> Filter:
    """What has all of these very names, whatever letters are in them."""
    words = (f"{field}={_quoted(name)}" for field, name in names.items())
    return Filter(" ".join(words), tuple((False, field, "=", name) for field, name in names.items()))


def _quoted(name: str) -> str:
    if name and not any(letter in '"\\' or letter.isspace() for letter in name):
        return name
    return '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))


def _holds(term: tuple[bool, str, str, str], item: Any) -> bool:
    negated, name, sign, value = term
    return _says(item, name, sign, value) != negated


def _says(item: Any, name: str, sign: str, value: str) -> bool:
    if sign == "=" and name in _CALL_TEXTS:
        return value in _names(item, name)
    if sign in _ORDER:
        read = (_CALL_NUMBERS if isinstance(item, CallRow) else _GROUP_NUMBERS if isinstance(item, Group) else {}).get(name)
        number = None if read is None else read(item)
        return number is not None and _ORDER[sign](number, _scaled(name, Decimal(value)))
    if isinstance(item, CallRow):
        if name:
            return value in _CALL_TEXTS[name](item).lower()
        return any(value in read(item).lower() for read in _CALL_TEXTS.values())
    if isinstance(item, BudgetLine):
        return value in f"{item.budget.name} {item.who} {item.health.value}".lower()
    return any(value in key.lower() for key in getattr(item, "keys", ()))


def _names(item: Any, name: str) -> tuple[str, ...]:
    if isinstance(item, CallRow):
        read = _CALL_NAMES.get(name)
        return (_CALL_TEXTS[name](item),) if read is None else read(item)
    if isinstance(item, BudgetLine):
        return item.budget.name, item.who, item.health.value
    return tuple(getattr(item, "keys", ()))


def _scaled(name: str, value: Decimal) -> int | Decimal:
    if name == "cost":
        return to_nanousd(value)
    return value * 1000 if name == "took" else value
