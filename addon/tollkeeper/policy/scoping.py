"""Reading which calls a rule speaks of: fields and labels with patterns, and a condition."""

from typing import Any, Final

from tollkeeper.core.toml_lines import KeyPath

from . import condition, fields, headers
from .facts import HEADER
from .globs import Glob
from .model import Field, FieldGlobs, LabelGlobs, Scope
from .problems import Problems

SCOPE_KEYS: Final = (*(field.value for field in Field), "label", "header", "when")
MAX_LABELS = 16

WHO = (Field.PRINCIPAL, Field.PROJECT)
"""Several of these are several payers: whether they share must be said."""
OF_MANY = (Field.GROUP, Field.ISSUER, Field.ASSURANCE)
"""Even one of these stands for several payers."""


def read(problems: Problems, table: dict[str, Any], path: KeyPath) -> Scope:
    """The scope that a table says, next to whatever else it says."""
    scope: FieldGlobs = tuple(
        (field, globs) for field in Field if (globs := fields.patterns(problems, table, (*path, field.value)))
    )
    labels = [*_labels(problems, table, (*path, "label"), ""), *_labels(problems, table, (*path, "header"), HEADER)]
    return Scope(fields=scope, labels=tuple(sorted(labels)), when=_when(problems, table, (*path, "when")))


def shared_by(scope: Scope) -> str | None:
    """The key that makes a budget cover several payers; None when it plainly covers one, or all."""
    for field, globs in scope.fields:
        several = len(globs) > 1 or not globs[0].is_exact
        if (field in WHO and several) or field in OF_MANY:
            return field.value
    if scope.labels:
        return "header" if scope.labels[0][0].startswith(HEADER) else "label"
    return "when" if scope.when else None


def headers_of(labels: LabelGlobs) -> frozenset[str]:
    """The request headers among the labels."""
    return frozenset(name.removeprefix(HEADER) for name, _ in labels if name.startswith(HEADER))


def _labels(problems: Problems, table: dict[str, Any], path: KeyPath, prefix: str) -> list[tuple[str, tuple[Glob, ...]]]:
    key = str(path[-1])
    value = table.get(key)
    if value is None:
        return []
    if not isinstance(value, dict) or not value:
        problems.add(path, f'{key} must name each with its pattern; write {key} = {{ team = "ml*" }}')
        return []
    if len(value) > MAX_LABELS:
        problems.add(path, f"{key} names {len(value)}; {MAX_LABELS} is the most")
        return []
    found = []
    for name, patterns in value.items():
        if not name or len(name) > fields.MAX_NAME_CHARS or not name.isprintable():
            problems.add(path, f"{key} {fields.shown(name)} is not a name of 1 to {fields.MAX_NAME_CHARS} printable characters")
            continue
        label = prefix + name
        if label.startswith(HEADER):
            label = label.lower()
            if reason := headers.fault(label.removeprefix(HEADER)):
                problems.add((*path, name), f"the header {fields.shown(name)} {reason}")
        globs = fields.patterns(problems, {name: patterns}, (*path, name))
        if globs:
            found.append((label, globs))
    return found


def _when(problems: Problems, table: dict[str, Any], path: KeyPath) -> str:
    value = table.get("when", "")
    if value == "" and "when" not in table:
        return ""
    if not isinstance(value, str) or not value.strip():
        problems.add(path, f"when = {fields.shown(value)} is not a condition; write it like when = 'model.startsWith(\"o3\")'")
        return ""
    try:
        condition.check(value)
    except condition.ConditionError as error:
        problems.add(path, f"when {error}")
        return ""
    return value.strip()
