"""New calls added to figures that are known already, so that a live screen reads each call once and still shows a report's numbers.

The rules are those of ``ledger.queries``, said a second time in Python; a test holds the two together.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import lru_cache

from tollkeeper.ledger.rows import CallRow, Group, Tokens


@lru_cache(maxsize=1024)
def _branch_among(tags: str) -> str:
    labels = json.loads(tags) if tags else {}
    found = labels.get("branch") if isinstance(labels, dict) else None
    return "" if found is None else str(found)


def branch_of(row: CallRow) -> str:
    """The branch a call was made on, else the one among its labels; empty when there is none."""
    return row.branch or _branch_among(row.tags)


KEYS: Mapping[str, Callable[[CallRow], str]] = {
    "model": lambda row: row.model,
    "provider": lambda row: row.provider,
    "principal": lambda row: row.principal,
    "team": lambda row: row.groups.strip(","),
    "project": lambda row: row.project,
    "branch": branch_of,
    "session": lambda row: row.session or row.client_session,
    "client": lambda row: row.client,
    "agent": lambda row: row.agent,
    "parent-agent": lambda row: row.parent_agent,
    "plan": lambda row: row.plan,
}
"""How a call is keyed under each grouping that a live screen shows; names and keys as in ``ledger.queries``."""

_COUNTS = tuple(
    column.name for column in fields(Group) if column.name not in {"keys", "tokens", "cost_nanousd", "list_cost_nanousd"}
)
_TOKENS = tuple(column.name for column in fields(Tokens))


def of_call(row: CallRow, keys: tuple[str, ...] = ()) -> Group:
    """The figures of a single call, or of the refusals that it stands for."""
    billed = row.kind == "settle" and row.usage_source != "deferred"
    deferred = row.kind == "settle" and row.usage_source == "deferred" and row.cost_nanousd is None
    unpriced = billed and row.cost_nanousd is None
    crashed = row.outcome == "crashed"
    return Group(
        keys=keys,
        calls=1 + row.repeats,
        billed_calls=int(billed),
        refused=int(row.kind == "refuse") + row.repeats,
        rewritten=int(row.verdict == "rewrite"),
        would_refuse=int(row.would == "refuse" != row.verdict),
        would_rewrite=int(row.would == "rewrite" and row.verdict == "allow"),
        failed=int(row.outcome in {"error", "cut"}),
        reported=int(billed and row.usage_source == "reported"),
        partial=int(billed and row.usage_source == "partial"),
        counted=int(billed and row.usage_source == "counted"),
        unmetered=int(billed and row.usage_source == "unmetered" and not crashed),
        crashed=int(crashed),
        estimated_calls=int(billed and row.usage_source in {"counted", "partial"}),
        unpriced_calls=int(unpriced),
        unpriced_exposure_nanousd=row.exposure_nanousd if unpriced else 0,
        list_cost_nanousd=row.list_cost_nanousd,
        cost_nanousd=row.cost_nanousd,
        exposure_nanousd=row.exposure_nanousd,
        deferred_calls=int(deferred),
        deferred_exposure_nanousd=row.exposure_nanousd if deferred else 0,
        plan_calls=int(billed and row.plan != ""),
        declined=int(row.refusal != ""),
        tokens=row.tokens,
    )


def add(one: Group, other: Group) -> Group:
    """The figures of both together, under the keys of ``one``. An unknown cost adds nothing to a known one."""
    tokens = Tokens(**{name: getattr(one.tokens, name) + getattr(other.tokens, name) for name in _TOKENS})
    return Group(
        keys=one.keys,
        tokens=tokens,
        cost_nanousd=_known(one.cost_nanousd, other.cost_nanousd),
        list_cost_nanousd=_known(one.list_cost_nanousd, other.list_cost_nanousd),
        **{name: getattr(one, name) + getattr(other, name) for name in _COUNTS},
    )


def fold(groups: Iterable[Group], rows: Iterable[CallRow], by: tuple[str, ...]) -> tuple[Group, ...]:
    """``groups``, by ``by``, with more calls in them, dearest first. Every name of ``by`` is one of ``KEYS``."""
    found = {group.keys: group for group in groups}
    for row in rows:
        keys = tuple(KEYS[name](row) for name in by)
        one = of_call(row, keys)
        found[keys] = add(found[keys], one) if keys in found else one
    return tuple(sorted(found.values(), key=lambda group: (-group.exposure_nanousd, -group.calls, group.keys)))


def _known(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
