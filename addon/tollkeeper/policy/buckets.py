"""The key a budget counts under, and the entries that count there. Keys are stored: they are never reworded."""

from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote as percent_encode

from tollkeeper.core.principal import HERE

from .facts import CLAIMED_SESSION, FIELDS, GROUPS, LABELS, Values
from .globs import Glob, any_of, exactly
from .model import OF_PRINCIPAL, Budget, Field, Scope

COLUMNS: Final = {
    Field.PRINCIPAL: "subject",
    Field.PROJECT: "project",
    Field.MODEL: "model",
    Field.PROVIDER: "provider",
    Field.GROUP: "group",
    Field.ISSUER: "issuer",
    Field.ASSURANCE: "assurance",
    Field.OPERATION: "operation",
    Field.BRANCH: "branch",
    Field.TOOL: "client",
    Field.SESSION: "any_session",
    Field.RUN: "run",
    Field.AGENT_CLASS: "agent_class",
    Field.OS_USER: "os_user",
    Field.PROCESS: "process",
    Field.CONTAINER: "container",
}
"""The ledger's column for each field; ``model`` is the one really asked, so a rewritten call counts under its new model."""

MAX_GROUPS = 64
"""Shares that one call counts in at most, where a budget is divided by group."""

_SAFE = "@*/+ "


def scope_of(budget: Budget) -> Scope:
    """Whom and what the budget covers."""
    return Scope(fields=budget.scope, labels=budget.labels, when=budget.when)


def shares(budget: Budget, facts: Values) -> tuple[Values, ...]:
    """The facts once for each share the call counts in: one, but for a budget divided by group, one for each of the groups.

    A principal without a group that the budget is for has the share of the unknown.
    """
    if Field.GROUP not in budget.per:
        return (facts,)
    globs = dict(budget.scope).get(Field.GROUP)
    matches = any_of(globs) if globs else bool
    groups = sorted(group for group in facts[GROUPS] if matches(group))[:MAX_GROUPS] or [""]
    return tuple((*facts[:GROUPS], group, *facts[GROUPS + 1 :]) for group in groups)


def bucket_key(budget: Budget, share: Values) -> str:
    """What the budget counts under: unit, window and scope, never its name or amount, so that either may be edited mid-window.

    ``day@Europe/Rome;principal=ada%40…;model:*opus*``: ``=`` before an exact value, ``:`` before patterns. Where it is divided by
    principal, the principal's groups and assurance only choose whom it is for: they are no part of what is counted.
    """
    parts = [budget.unit.prefix + budget.window.key]
    scope = dict(budget.scope)
    for index, name in enumerate(FIELDS):
        if _divides(budget, name, share[index]):
            parts.append(f"{name}={_safe(_text(share[index]))}")
        elif (globs := _counted(budget, name, scope)) is not None:
            parts.append(f"{name}{_patterns(globs)}")
    labels = dict(share[LABELS])
    restricted = {name: globs for name, globs in budget.labels if not any(glob.is_any for glob in globs)}
    for label in sorted({*budget.per_labels, *restricted}):
        named = f"label.{_safe(label)}"
        value = f"={_safe(labels.get(label, ''))}" if label in budget.per_labels else _patterns(restricted[label])
        parts.append(named + value)
    if budget.when:
        parts.append(f"when={sha256(budget.when.encode()).hexdigest()[:16]}")
    return ";".join(parts)


def bucket_scope(budget: Budget, share: Values) -> tuple[tuple[str, str], ...]:
    """The entries that count, as (column, SQLite GLOB) pairs: pairs of one column are alternatives, columns must all match."""
    pairs: list[tuple[str, str]] = []
    scope = dict(budget.scope)
    for index, name in enumerate(FIELDS):
        if _divides(budget, name, share[index]):
            pairs.extend(_exact(name, _text(share[index])))
        elif name is Field.ISSUER and _is_of_one(budget):
            globs = _counted(budget, name, scope)
            pairs.extend((COLUMNS[name], exactly(here)) for here in sorted(HERE) if globs is None or any_of(globs)(here))
        elif (globs := _counted(budget, name, scope)) is not None:
            pairs.extend((COLUMNS[name], pattern) for pattern in sorted({glob.sqlite for glob in globs}))
    labels = dict(share[LABELS])
    pairs.extend((f"label:{name}", exactly(labels.get(name, ""))) for name in budget.per_labels)
    for label, globs in budget.labels:
        if label not in budget.per_labels and not any(glob.is_any for glob in globs):
            pairs.extend((f"label:{label}", pattern) for pattern in sorted({glob.sqlite for glob in globs}))
    if budget.when:
        pairs.append(("when", budget.when))
    return tuple(pairs)


def _divides(budget: Budget, name: Field, value: Any) -> bool:
    """Whether the budget is one amount for each value of a field, so that the value stands in the key.

    A subject is only unique at its issuer: where principals of several are divided, each has its own share. Those of this machine
    itself are written without one.
    """
    return name in budget.per or (name is Field.ISSUER and value not in HERE and _is_of_one(budget))


def _is_of_one(budget: Budget) -> bool:
    """Whether each share is one principal's."""
    named = dict(budget.scope).get(Field.PRINCIPAL, ())
    # One that names a single principal overrides the share of that principal, so it is written alike.
    return Field.PRINCIPAL in budget.per or (len(named) == 1 and "*" not in named[0].pattern)


def _counted(budget: Budget, name: Field, scope: dict[Field, tuple[Glob, ...]]) -> tuple[Glob, ...] | None:
    """The patterns of a field that restrict what is counted; None when it restricts nothing."""
    globs = scope.get(name)
    if globs is None or any(glob.is_any for glob in globs):
        return None
    return None if name in OF_PRINCIPAL and Field.PRINCIPAL in budget.per else globs


def _exact(name: Field, value: str) -> tuple[tuple[str, str], ...]:
    if name is not Field.SESSION:
        return ((COLUMNS[name], exactly(value)),)
    if value.startswith(CLAIMED_SESSION):
        return (("session", ""), ("client_session", exactly(value.removeprefix(CLAIMED_SESSION))))
    return (("session", exactly(value)),) if value else (("session", ""), ("client_session", ""))


def _patterns(globs: tuple[Glob, ...]) -> str:
    patterns = sorted({glob.pattern for glob in globs})
    sign = "=" if len(patterns) == 1 and "*" not in patterns[0] else ":"
    return f"{sign}{','.join(_safe(pattern) for pattern in patterns)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _safe(value: str) -> str:
    return percent_encode(value, safe=_SAFE, errors="replace")
