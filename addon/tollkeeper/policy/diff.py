"""What changes from one policy to another, one line each, so that a reload can be read before and after it happens."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.decision import Target

from .document import load_policy
from .globs import Glob
from .model import Budget, EgressRules, Ladder, ModelRule, Policy, Route, Scope
from .windows import WindowSpec
from .words import every_in_words, ladder_in_words, only_in_words

_TOP = (
    "mode", "on_fault", "on_ledger_error", "on_no_identity", "unknown_model", "websockets", "plan_traffic", "hold",
)  # fmt: skip
_COUNTING = {"window", "scope", "labels", "when", "per", "per_labels", "unit"}
"""Fields of a budget that decide what is counted: changed, they begin another count, derived from the same ledger."""
_UNSAID = {"name", "rule", "rates"}


def differences(old: Policy, new: Policy) -> tuple[str, ...]:
    """Every difference in what the documents mean; nothing when only words and order differ."""
    return tuple(_differences(old, new))


def reloaded(path: Path, old: Policy) -> tuple[Policy, tuple[str, ...]]:
    """The policy in the file now, whole, and what is different from ``old``; ``old`` itself when the text is the same.

    Raises ``ConfigError`` when the document is wrong in any place: then ``old`` stays in force, all of it.
    """
    new = load_policy(path)
    return (old, ()) if new.digest == old.digest else (new, differences(old, new))


def _differences(old: Policy, new: Policy) -> Iterator[str]:
    for name in _TOP:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"{name}: {before} -> {after}"
    for entry in fields(EgressRules):
        before, after = getattr(old.egress, entry.name), getattr(new.egress, entry.name)
        if before != after:
            yield f"egress.{entry.name}: {_listed(before)} -> {_listed(after)}"
    for member in sorted(old.groups.keys() | new.groups.keys()):
        groups, others = old.groups.get(member, frozenset()), new.groups.get(member, frozenset())
        if groups != others:
            yield f"groups of {member}: {_listed(tuple(sorted(groups)))} -> {_listed(tuple(sorted(others)))}"
    yield from _named("budget", old.budgets, new.budgets)
    yield from _named("model", old.models, new.models)
    yield from _named("route", old.routes, new.routes)


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()


def _named(kind: str, old: Iterable[Any], new: Iterable[Any]) -> Iterator[str]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in [name for name in before if name not in after]:
        if (twin := next((one for one in after.values() if one.name not in before and _alike(before[name], one)), None)) is None:
            yield f"{kind}.{name}: removed ({summary(before[name])})"
        else:
            yield f"{kind}.{name}: renamed to {twin.name}; what was spent stays"
    for name, one in after.items():
        if name not in before:
            if not any(_alike(other, one) for other in before.values() if other.name not in after):
                yield f"{kind}.{name}: added ({summary(one)})"
        elif before[name] != one:
            yield from _changes(f"{kind}.{name}", before[name], one)


def _alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and all(
        getattr(one, field.name) == getattr(other, field.name) for field in fields(one) if field.name not in _UNSAID
    )


def _changes(where: str, old: Any, new: Any) -> Iterator[str]:
    counts_anew = False
    for field in fields(old):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after or field.name in _UNSAID:
            continue
        counts_anew = counts_anew or (isinstance(old, Budget) and field.name in _COUNTING)
        yield f"{where} {field.name.removesuffix('_nanousd')}: {_shown(old, field.name, before)} -> {_shown(new, field.name, after)}"
    if isinstance(old, ModelRule) and isinstance(new, ModelRule) and old.rates != new.rates:
        before = ", ".join(_rate(rate) for rate in old.rates) or "none"
        yield f"{where} rates: {before} -> {', '.join(_rate(rate) for rate in new.rates) or 'none'}"
    if counts_anew:
        yield f"{where}: counts other calls now; its balance is summed anew from the ledger"


def summary(one: Budget | ModelRule | Route) -> str:
    """A rule in a few words."""
    if isinstance(one, Budget):
        scope = Scope(fields=one.scope, labels=one.labels, when=one.when)
        per = f" for each {' and '.join([*one.per, *one.per_labels])}" if one.per or one.per_labels else ""
        return f"{_amount(one, one.amount_nanousd)} {every_in_words(one.window)}{per}{only_in_words(scope)}"
    if isinstance(one, Route):
        ways = [f"{split.percent}% to {_target(split.target)}" for split in one.splits]
        return ", ".join([*ways, *(f"else {_target(target)}" for target in one.fallback)])
    said = [f"allow {_globs(one.allow)}" if one.allow else "", f"deny {_globs(one.deny)}" if one.deny else ""]
    if one.max_cost_nanousd is not None:
        said.append(f"max_cost {format_amount(Unit.USD, one.max_cost_nanousd)}")
    said += [f"max_output_tokens {one.max_output_tokens:,}"] if one.max_output_tokens else []
    said += [f"max_effort {one.max_effort}"] if one.max_effort else []
    said += [_rate(rate) for rate in one.rates]
    return ", ".join(part for part in said if part)


def _rate(rate: Budget) -> str:
    return f"{rate.name.rpartition('/')[2]} {rate.amount_nanousd:,}"


def _shown(one: Any, name: str, value: Any) -> str:
    if isinstance(one, Budget) and name in {"amount_nanousd", "rollover_most"}:
        return _amount(one, value)
    if name == "max_cost_nanousd":
        return "none" if value is None else format_amount(Unit.USD, value)
    if isinstance(value, Scope):
        return only_in_words(value).removeprefix(", ") or "everything"
    if isinstance(value, WindowSpec):
        return value.label if value.length_us is not None else f"{value.label} in {value.zone}"
    if isinstance(value, Ladder):
        return ladder_in_words(value).removeprefix("a call without room is ")
    if isinstance(value, tuple):
        return ", ".join(_item(item) for item in value) or "none"
    return "none" if value in {None, ""} else str(value)


def _item(item: Any) -> str:
    if isinstance(item, Glob):
        return item.pattern
    if isinstance(item, Target):
        return _target(item)
    if isinstance(item, Scope):
        return only_in_words(item).removeprefix(", ")
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], tuple):
        return f"{item[0]} {_globs(item[1])}"
    if hasattr(item, "target"):
        return f"{item.percent}% to {_target(item.target)}"
    return str(item)


def _globs(globs: tuple[Glob, ...]) -> str:
    return " or ".join(glob.pattern for glob in globs)


def _target(target: Target) -> str:
    return "/".join(part for part in (target.provider or target.host, target.model) if part)


def _amount(budget: Budget, value: int | None) -> str:
    return "unlimited" if value is None else format_amount(budget.unit, value)
