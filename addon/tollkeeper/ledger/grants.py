"""Grants: somebody may use more of a budget for a while. Each is an entry of the chain; this is what holds now, read from a table.

A grant is an entry of kind ``adjust`` that posts nothing and says in ``actions`` what it grants; taking it back is the same entry
again, one revision later, with the end moved. Nothing is done when one runs out: it no longer counts.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollkeeper.core.admission import Limit
from tollkeeper.core.amounts import Unit
from tollkeeper.core.entry import Kind
from tollkeeper.core.errors import LedgerError

from .columns import INDEX
from .row import MAX_TEXT, blank_row, encode, text
from .store import open_reader, translate

if TYPE_CHECKING:
    from .journal import Journal

EVERYBODY = "*"
FLAG = '["grant"]'
_COLUMNS = "id, budget, whose, unit, amount, from_at, until_at, why, granted_by"
_SELECT = f"SELECT {_COLUMNS} FROM granted"  # noqa: S608 — fixed names


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """``amount`` more (in ``unit``) of a budget from ``from_at`` to before ``until_at`` (UTC µs).

    ``whose`` is an account (``core.principal.account``), or ``*`` for everybody.
    """

    id: str
    budget: str
    whose: str
    unit: Unit
    amount: int
    from_at: int
    until_at: int
    why: str
    granted_by: str


class Grants:
    """The grants of one ledger, remembered for as long as nobody else writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._by_budget: dict[str, list[Grant]] | None = None

    def forget(self) -> None:
        """Drop what is remembered."""
        self._by_budget = None

    def of(self, limit: Limit, at: int) -> int:
        """What is granted on top of a limit at the moment ``at``, in its unit."""
        if self._by_budget is None:
            self._by_budget = {}
            for grant in _read(self._connection, "WHERE until_at > ?", (at,)):
                self._by_budget.setdefault(grant.budget, []).append(grant)
        found = self._by_budget.get(limit.budget)
        if found is None:
            return 0
        return sum(
            grant.amount
            for grant in found
            if grant.from_at <= at < grant.until_at and grant.unit is limit.unit and grant.whose in {EVERYBODY, limit.whose}
        )


def give(grant: Grant, journal: "Journal") -> Grant:
    """Enter a grant. It holds from the next call on, in every process."""
    if grant.amount <= 0 or grant.until_at <= grant.from_at:
        raise LedgerError("a grant is more than nothing, and ends after it begins")
    if text(grant.whose) != grant.whose:
        raise LedgerError(f"whom a grant is for is printable text of {MAX_TEXT} characters at most, with the issuer")
    _enter(journal, grant, revision=1)
    return grant


def take_back(name: str, by: str, journal: "Journal") -> Grant:
    """End a grant now, by its id or the end of it. Raises ``LedgerError`` when there is none, several, or it has ended."""
    journal.flush()
    wanted = name.strip().upper()
    found = [
        grant for grant in _read(journal.connection, "WHERE until_at > ?", (journal.at,)) if grant.id.endswith(wanted) and wanted
    ]
    if len(found) != 1:
        many = "no grant that holds" if not found else f"{len(found)} grants that hold"
        raise LedgerError(f'"{name[:64]}" names {many}; see `tollkeeper grant list`')
    old = found[0]
    ended = Grant(
        id=old.id,
        budget=old.budget,
        whose=old.whose,
        unit=old.unit,
        amount=old.amount,
        from_at=old.from_at,
        until_at=max(old.from_at + 1, journal.at),
        why=old.why,
        granted_by=by,
    )
    revisions = journal.connection.execute("SELECT max(revision) FROM entry WHERE call_id = ?", (old.id,)).fetchone()[0]
    _enter(journal, ended, revision=revisions + 1)
    return ended


def read_grants(path: Path, at: int) -> tuple[Grant, ...]:
    """The grants that hold at ``at``, the next to end first. Raises ``LedgerError``."""
    connection = open_reader(path)
    try:
        return tuple(_read(connection, "WHERE until_at > ? ORDER BY until_at", (at,)))
    except sqlite3.OperationalError:  # a ledger of an older schema knows no grants
        return ()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()


def granted_in(entry: Sequence[Any]) -> tuple[str, dict[str, Any]] | None:
    """The id and the terms of the grant that an entry is; None for any other entry."""
    if entry[INDEX["kind"]] != Kind.ADJUST or entry[INDEX["flags"]] != FLAG:
        return None
    return entry[INDEX["call_id"]], json.loads(entry[INDEX["actions"]])


def _enter(journal: "Journal", grant: Grant, *, revision: int) -> None:
    row = blank_row()
    terms = {"unit": grant.unit.value, "amount": grant.amount, "from": grant.from_at, "until": grant.until_at}
    values: dict[str, Any] = {
        "kind": Kind.ADJUST.value,
        "call_id": grant.id,
        "revision": revision,
        "at": journal.at,
        "counted_at": grant.from_at,
        "started_at": grant.from_at,
        "subject": text(grant.whose),
        "issuer": text(grant.granted_by),
        "channel": "grant",
        "verdict": "allow",
        "would": "allow",
        "rule": text(f"budget.{grant.budget}"),
        "budget": text(grant.budget),
        "reason": text(grant.why),
        "cost_source": "free",
        "usage_source": "none",
        "flags": FLAG,
        "actions": encode({"grant": terms}),
    }
    for column, value in values.items():
        row[INDEX[column]] = value
    journal.append(row)
    journal.connection.execute(
        "INSERT INTO granted (id, budget, whose, unit, amount, from_at, until_at, why, granted_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET until_at = excluded.until_at",
        (
            grant.id,
            text(grant.budget),
            text(grant.whose),
            grant.unit.value,
            grant.amount,
            grant.from_at,
            grant.until_at,
            text(grant.why),
            text(grant.granted_by),
        ),
    )
    journal.windows.grants.forget()


def _read(connection: sqlite3.Connection, where: str, values: tuple[int, ...]) -> list[Grant]:
    return [
        Grant(
            id=id_,
            budget=budget,
            whose=whose,
            unit=Unit(unit),
            amount=amount,
            from_at=from_at,
            until_at=until_at,
            why=why,
            granted_by=by,
        )
        for id_, budget, whose, unit, amount, from_at, until_at, why, by in connection.execute(f"{_SELECT} {where}", values)
    ]
