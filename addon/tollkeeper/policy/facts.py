"""What rules go by: the facts of one call, each as the ledger keeps it, so that a rule means the same before and after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tollkeeper.core.call import Call
from tollkeeper.wire.attribution import OF_HEADER

from . import condition
from .model import Field, Policy, Scope

MAX_VALUE_CHARS = 512
"""What the ledger keeps of a name: buckets and entries must cut it alike. Clients choose model names."""
MAX_LABELS = 16
"""As many as the ledger keeps, besides those made of headers, which the document itself bounds."""
HEADER: Final = OF_HEADER
"""What the label made of a request header begins with."""
CLAIMED_SESSION: Final = "client:"
"""Before a session that only the client names; one of ``tollkeeper run`` stands as it is."""

FIELDS: Final = tuple(Field)
INDEX: Final = {name: index for index, name in enumerate(FIELDS)}
LABELS: Final = len(FIELDS)
"""Where the labels stand, after the fields."""
GROUPS: Final = INDEX[Field.GROUP]

type Values = tuple[Any, ...]
"""The facts in the order of ``Field``, then the labels. Texts (empty: unknown), but the groups, a frozenset, and the labels, pairs."""

UNKNOWN: Final[Values] = (*(frozenset() if name is Field.GROUP else "" for name in FIELDS), ())

_OF_VARIABLE = {name.value: name for name in FIELDS} | {"groups": Field.GROUP}


@dataclass(frozen=True, slots=True)
class Used:
    """Which facts the rules of a document look at: all others are left out, so that calls which differ in them are one kind."""

    fields: frozenset[Field]
    labels: frozenset[str] | None
    """Label names; None for all of them."""


def values(**known: Any) -> Values:
    """Facts by name, the rest unknown: ``values(principal="ada", group=["ml"], labels={"env": "prod"})``."""
    found = list(UNKNOWN)
    for name, value in known.items():
        if name == "labels":
            found[LABELS] = tuple(sorted(dict(value).items()))
        elif name == "group":
            found[GROUPS] = frozenset(value)
        else:
            found[INDEX[Field(name)]] = value
    return tuple(found)


def values_of(call: Call, model: str | None, used: Used | None = None) -> Values:
    """The facts of ``call`` served with ``model``; only those ``used`` when given."""
    principal, claimed, endpoint = call.principal, call.attribution, call.endpoint
    if used is None or used.fields - _PLAIN:
        session = claimed.session or (CLAIMED_SESSION + claimed.client_session if claimed.client_session else "")
        found: list[Any] = [
            kept(principal.subject),
            kept(claimed.project),
            kept(model or ""),
            kept(endpoint.provider),
            frozenset(kept(group.replace(",", " ")) for group in principal.groups),
            kept(principal.issuer),
            principal.assurance.value,
            kept(endpoint.operation),
            kept(claimed.branch),
            kept(claimed.client),
            kept(session),
            kept(claimed.run),
            kept(claimed.agent_class),
            kept(claimed.os_user),
            kept(claimed.process),
            kept(claimed.container),
        ]
        if used is not None:
            found = [
                value if name in used.fields else UNKNOWN[index]
                for index, (name, value) in enumerate(zip(FIELDS, found, strict=True))
            ]
    else:
        found = [kept(principal.subject), kept(claimed.project), kept(model or ""), kept(endpoint.provider), *UNKNOWN[4:LABELS]]
        found[_ISSUER] = kept(principal.issuer)
    labels: tuple[tuple[str, str], ...] = ()
    if claimed.tags and (used is None or used.labels is None or used.labels):
        labels = tuple((kept(name), kept(value)) for name, value in kept_labels(claimed.tags))
        if used is not None and used.labels is not None:
            labels = tuple(pair for pair in labels if pair[0] in used.labels)
    return (*found, labels)


_PLAIN = frozenset({*FIELDS[:4], Field.ISSUER})
_ISSUER: Final = INDEX[Field.ISSUER]


def variables(facts: Values) -> Mapping[str, Any]:
    """The facts as a CEL condition sees them."""
    found: dict[str, Any] = {name.value: facts[index] for index, name in enumerate(FIELDS) if name is not Field.GROUP}
    found["groups"] = sorted(facts[GROUPS])
    found["labels"] = dict(facts[LABELS])
    return found


def used_by(policy: Policy) -> Used:
    """Which facts the rules of ``policy`` look at."""
    # Grants are given to principals, and a subject is only unique at its issuer.
    fields: set[Field] = {Field.PRINCIPAL, Field.ISSUER}
    labels: set[str] = set()
    conditions: list[str] = []
    for budget in policy.budgets:
        fields.update(name for name, _ in budget.scope)
        fields.update(budget.per)
        labels.update(name for name, _ in budget.labels)
        labels.update(budget.per_labels)
        conditions.append(budget.when)
        if budget.min_assurance is not None:
            fields.add(Field.ASSURANCE)
    for rule in policy.models:
        fields.update(name for rate in rule.rates for name in rate.per)
        labels.update(name for rate in rule.rates for name in rate.per_labels)
        if rule.min_assurance is not None:
            fields.add(Field.ASSURANCE)
        if rule.allow or rule.deny:
            fields.add(Field.MODEL)
    scopes: Iterable[Scope] = (scope for rule in policy.models for scope in (rule.scope, *rule.exempt))
    for scope in (*scopes, *(route.scope for route in policy.routes)):
        fields.update(name for name, _ in scope.fields)
        labels.update(name for name, _ in scope.labels)
        conditions.append(scope.when)
    asked = {name for text in conditions if text for name in condition.compiled(text).variables()}
    fields.update(_OF_VARIABLE[name] for name in asked if name in _OF_VARIABLE)
    return Used(frozenset(fields), None if "labels" in asked else frozenset(labels))


def kept_labels(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Of a call's labels those that rules see and the ledger keeps: however many a caller makes up, none of a header is pushed out."""
    if len(labels) <= MAX_LABELS:
        return labels
    plain = tuple(label for label in labels if not label[0].startswith(HEADER))[:MAX_LABELS]
    return tuple(sorted((*plain, *(label for label in labels if label[0].startswith(HEADER)))))


def kept(value: str) -> str:
    """A name as the ledger keeps it: cut, and printable."""
    if len(value) <= MAX_VALUE_CHARS and value.isprintable():
        return value
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:MAX_VALUE_CHARS])
