"""What changes from one policy to another, one line each, so that a reload can be read before and after it happens."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from tollkeeper.core.amounts import Unit, format_amount
from tollkeeper.core.decision import Target

from .alerting import AlertRule
from .document import load_policy
from .globs import Glob
from .model import Budget, EgressRules, Field, Ladder, ModelRule, Policy, Route, Scope
from .windows import WindowSpec
from .words import every_in_words, ladder_in_words, only_in_words

_APART = {"name", "digest", "egress", "groups", "budgets", "models", "routes", "alerts", "headers", "by_name", "by_rule"}
"""Fields of a policy that are no single word: told by their parts, or made of the others. Every other field is told as it is."""
_COUNTING = {"window", "scope", "labels", "when", "per", "per_labels", "unit"}
"""Fields of a budget that decide what is counted: changed, they begin another count, derived from the same ledger."""
_UNSAID = {"name", "rule", "rates"}
_ADDRESSES = ("env:", "keyring:")
"""What the address of an alert begins with where it only says where the address is kept: any other is a secret itself."""


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
    for name in (field.name for field in fields(Policy) if field.name not in _APART):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"{name}: {_listed(before)} -> {_listed(after)}"
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
    both = {route.name for route in old.routes} & {route.name for route in new.routes}
    before, after = ([route.name for route in routes if route.name in both] for routes in (old.routes, new.routes))
    if before != after:  # the first that covers a call takes it
        yield f"order of routes: {', '.join(before)} -> {', '.join(after)}"
    yield from _named("alert", old.alerts, new.alerts)


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()


def _named(kind: str, old: Iterable[Any], new: Iterable[Any]) -> Iterator[str]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in [name for name in before if name not in after]:
        if (twin := next((one for one in after.values() if one.name not in before and _alike(before[name], one)), None)) is None:
            yield f"{kind}.{name}: removed ({summary(before[name])})"
        else:
            yield f"{kind}.{name}: renamed to {twin.name}{'; what was spent stays' if kind in {'budget', 'model'} else ''}"
    for name, one in after.items():
        if name not in before:
            if not any(_alike(other, one) for other in before.values() if other.name not in after):
                yield f"{kind}.{name}: added ({summary(one)})"
        elif before[name] != one:
            yield from _changes(f"{kind}.{name}", before[name], one)


def _alike(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other)
        and all(getattr(one, field.name) == getattr(other, field.name) for field in fields(one) if field.name not in _UNSAID)
        and (not isinstance(one, ModelRule) or _rates(one) == _rates(other))
    )


def _changes(where: str, old: Any, new: Any) -> Iterator[str]:
    changed = [field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)]
    for name in changed:
        if name not in _UNSAID:
            yield from _change(where, name, old, new)
    if isinstance(old, ModelRule) and _rates(old) != _rates(new):
        yield f"{where} rates: {_rates(old)} -> {_rates(new)}"
    elif changed == ["rates"]:  # else they repeat what the rule itself says
        yield from _deep(f"{where} rates", old.rates, new.rates)
    if isinstance(old, Budget) and _COUNTING.intersection(changed):
        yield f"{where}: counts other calls now; its balance is summed anew from the ledger"


def _change(where: str, name: str, old: Any, new: Any) -> Iterator[str]:
    """One field, in words; part by part where the words are the same."""
    where = f"{where} {name.removesuffix('_nanousd')}"
    before, after = getattr(old, name), getattr(new, name)
    words = _shown(old, name, before), _shown(new, name, after)
    if words[0] != words[1]:
        yield f"{where}: {words[0]} -> {words[1]}"
    elif isinstance(old, AlertRule):
        yield f"{where}: another of the same kind"
    else:
        yield from _deep(where, before, after)


def _deep(where: str, before: Any, after: Any) -> Iterator[str]:
    """Whatever is different in two values, by where it stands in them."""
    if is_dataclass(before) and not isinstance(before, Glob) and type(before) is type(after):
        for field in fields(before):
            one, other = getattr(before, field.name), getattr(after, field.name)
            if one != other:
                yield from _deep(f"{where} {field.name}", one, other)
    elif isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for position, (one, other) in enumerate(zip(before, after, strict=True), 1):
            if one != other:
                yield from _deep(where if len(before) == 1 else f"{where} {position}", one, other)
    else:
        yield f"{where}: {_plain(before)} -> {_plain(after)}"


def _plain(value: Any) -> str:
    return _item(value) if value not in {None, ""} else "none"


def summary(one: Budget | ModelRule | Route | AlertRule) -> str:
    """A rule in a few words."""
    if isinstance(one, AlertRule):
        return f"{one.way} on {' or '.join(one.on)}{f', only budgets {_globs(one.budgets)}' if one.budgets else ''}"
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


def _rates(rule: ModelRule) -> str:
    return ", ".join(_rate(rate) for rate in rule.rates) or "none"


def _rate(rate: Budget) -> str:
    """``max_parallel 4``, of each principal where nothing else is said."""
    shares = [*(field.value for field in rate.per), *rate.per_labels]
    per = "" if shares == [Field.PRINCIPAL.value] else f" for each {' and '.join(shares)}" if shares else " for all together"
    return f"{rate.name.rpartition('/')[2]} {rate.amount_nanousd:,}{per}"


def _shown(one: Any, name: str, value: Any) -> str:
    if isinstance(one, AlertRule) and name == "url" and not value.startswith(_ADDRESSES):
        return "an address" if value else "none"
    if isinstance(one, AlertRule) and name == "command":
        return value[0] if value else "none"  # its arguments may hold secrets
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
