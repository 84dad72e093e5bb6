"""Budgets as they stand and where they are heading: one line for each, the same on every screen.

Which budgets there are comes from the policy and the buckets the ledger keeps; what stands against them from the ledger, by the same
sums that enforcement goes by.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote

from tollkeeper.core.admission import Limit
from tollkeeper.core.decision import Standing
from tollkeeper.core.principal import account
from tollkeeper.ledger.rows import KeptBucket
from tollkeeper.policy.buckets import bucket_key
from tollkeeper.policy.facts import INDEX, LABELS, UNKNOWN, Values
from tollkeeper.policy.matching import Slot
from tollkeeper.policy.model import Budget, Field, Policy, Share
from tollkeeper.policy.windows import WindowClock

from .cells import UNKNOWN as UNKNOWN_NAME

LEAST_ELAPSED = 50
"""A fiftieth of the window must be over before its pace says anything."""

NEAR_PERCENT = 80
"""Where the policy does not say from when on it warns."""

MAX_SHARES = 500
"""Lines of one divided budget at most: those whose calls came last."""


class Health(StrEnum):
    """How a budget is doing, worst last."""

    OK = "ok"
    HEADING_OVER = "heading over"
    NEAR = "near"
    USED_UP = "used up"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One budget for one bucket. ``standing`` is None while nobody has looked yet; ``who`` is empty for a pool.

    ``divided_by`` is what the share is of, as (field, value): two shares of one budget always differ in it. ``who`` says it for
    people, with as much of it as tells the lines of the budget apart.

    ``projected_nanousd`` is what the window will have come to if it goes on as it went, None where that cannot be said;
    ``crosses_at`` (UTC microseconds) is when the amount is reached at that pace, None when not in this window.
    """

    budget: Budget
    who: str
    limit: Limit
    acts: bool
    divided_by: tuple[tuple[str, str], ...] = ()
    standing: Standing | None = None
    projected_nanousd: int | None = None
    crosses_at: int | None = None

    @property
    def used_nanousd(self) -> int:
        """Spent and held together: what enforcement compares with the amount."""
        return self.standing.spent_nanousd + self.standing.held_nanousd if self.standing else 0

    @property
    def amount_nanousd(self) -> int:
        """What may be used in all, grants included."""
        return self.standing.amount_nanousd if self.standing else self.limit.amount_nanousd

    @property
    def health(self) -> Health:
        """By what is used now, else by where it is heading."""
        if self.standing is None:
            return Health.OK
        amount = self.standing.amount_nanousd
        if self.used_nanousd >= amount:
            return Health.USED_UP
        if self.used_nanousd * 100 >= amount * min(self.limit.warn_at or (NEAR_PERCENT,)):
            return Health.NEAR
        return Health.HEADING_OVER if self.crosses_at is not None else Health.OK


def lines_of(policy: Policy, buckets: Iterable[KeptBucket], at: int) -> tuple[BudgetLine, ...]:
    """Every budget of a policy: pools always, divided ones for each bucket that counts in the present window."""
    kept = tuple(buckets)
    return tuple(line for budget in policy.budgets for line in _told_apart(_lines(policy, budget, kept, at)))


def with_standing(line: BudgetLine, standing: Standing | None, at: int) -> BudgetLine:
    """The line with what stands against it, and where that leads."""
    if standing is None:
        return line
    projected, crosses = _projection(standing, line.limit, at)
    return replace(line, standing=standing, projected_nanousd=projected, crosses_at=crosses)


def most_pressing(lines: Iterable[BudgetLine]) -> list[BudgetLine]:
    """The nearest to their amounts first; those that only watch last among equals."""
    order = list(Health)
    return sorted(
        lines,
        key=lambda line: (
            -order.index(line.health),
            not line.acts,
            -(line.used_nanousd * 10_000 // max(1, line.amount_nanousd)),
            line.budget.name,
            line.who,
        ),
    )


def _lines(policy: Policy, budget: Budget, kept: Iterable[KeptBucket], at: int) -> Iterator[BudgetLine]:
    if budget.amount_nanousd is None:
        return
    slot = Slot(budget, WindowClock(budget.window), UNKNOWN)
    if budget.share is Share.POOL:
        limit = slot.limit(at)
        yield BudgetLine(budget=budget, who="", limit=limit, acts=policy.enforces and limit.enforced)
        return
    found = 0
    for bucket in kept:
        share = _share(budget, bucket.key)
        if share is None:
            continue
        limit = Slot(budget, slot.clock, share, bucket.key).limit(at)
        if bucket.length_us is None and bucket.start_at != limit.bucket.start_at:
            continue
        acts, parts = policy.enforces and limit.enforced, _divided_by(budget, share)
        yield BudgetLine(budget=budget, who=names_of(parts), limit=limit, acts=acts, divided_by=parts)
        found += 1
        if found == MAX_SHARES:
            return


def _share(budget: Budget, key: str) -> Values | None:
    """What the budget is divided by, read back from the key of a bucket; None when the bucket is none of its own."""
    said = {unquote(name): unquote(value) for name, sign, value in (part.partition("=") for part in key.split(";")[1:]) if sign}
    share = list(UNKNOWN)
    for field in budget.per:
        if (value := said.get(field.value)) is None:
            return None
        share[INDEX[field]] = value
    if Field.PRINCIPAL in budget.per:
        share[INDEX[Field.ISSUER]] = said.get(Field.ISSUER.value, "")
    share[LABELS] = tuple((name, said.get(f"label.{name}", "")) for name in budget.per_labels)
    found = tuple(share)
    return found if bucket_key(budget, found) == key else None


def _divided_by(budget: Budget, share: Values) -> tuple[tuple[str, str], ...]:
    parts = [(field.value, str(share[INDEX[field]])) for field in Field if field in budget.per]
    if Field.PRINCIPAL in budget.per and Field.ISSUER not in budget.per and (issuer := str(share[INDEX[Field.ISSUER]] or "")):
        parts.append((Field.ISSUER.value, issuer))  # a subject is only unique at its issuer
    return (*parts, *((f"label.{name}", value) for name, value in share[LABELS]))


def names_of(parts: Sequence[tuple[str, str]]) -> str:
    """The names of a share for people, one after another; the issuer of a principal is left out, so two shares may have the same."""
    names = dict(parts)
    kept = [value for name, value in parts if name != Field.ISSUER or Field.PRINCIPAL not in names]
    return " ".join(name or UNKNOWN_NAME for name in kept)


def _exactly(parts: Sequence[tuple[str, str]]) -> str:
    """As ``names_of``, but no two shares of a budget have the same."""
    names = dict(parts)
    if Field.PRINCIPAL in names and Field.ISSUER in names:
        names[Field.PRINCIPAL] = account(names[Field.PRINCIPAL], names.pop(Field.ISSUER))
    unclear = '"\\ ' if len(names) > 1 else '"\\'
    quoted = (not name or name == UNKNOWN_NAME or any(letter in name for letter in unclear) for name in names.values())
    return " ".join(
        json.dumps(name, ensure_ascii=False) if is_quoted else name
        for name, is_quoted in zip(names.values(), quoted, strict=True)
    )


def _told_apart(lines: Iterable[BudgetLine]) -> Iterator[BudgetLine]:
    found = tuple(lines)
    names = Counter(line.who for line in found)
    return (line if names[line.who] == 1 else replace(line, who=_exactly(line.divided_by)) for line in found)


def _projection(standing: Standing, limit: Limit, at: int) -> tuple[int | None, int | None]:
    if limit.resets_at is None:
        return None, None
    start_at = limit.bucket.start_at
    length, elapsed = limit.resets_at - start_at, at - start_at
    if elapsed * LEAST_ELAPSED < length or elapsed <= 0:
        return None, None
    spent = standing.spent_nanousd
    projected = spent * length // elapsed
    if spent <= 0 or spent >= standing.amount_nanousd:
        return projected, None
    crosses = start_at + standing.amount_nanousd * elapsed // spent
    return projected, crosses if crosses < limit.resets_at else None
