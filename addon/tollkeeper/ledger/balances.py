"""Balances as readers see them: what enforcement would say at this moment, without holding anything."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tollkeeper.core.admission import Admission, Admitted, Bucket, Limit
from tollkeeper.core.decision import Standing

from .choice import choose
from .columns import ENTRY, SCOPES
from .queries import reading
from .window import Window, floor_of
from .windows import Windows, derive, has_balance, standing_of

MAX_CALLERS = 20_000
"""Kinds of callers looked at when the shares of budgets are listed."""


class ReadBalances:
    """The balances of a connection that only reads; those nobody asked for yet are summed from the entries."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._windows = Windows(connection, lambda: None)
        self._limits: dict[tuple[str, int], Limit] = {}
        self._totals: dict[tuple[str, int], tuple[int, int]] = {}

    def window(self, limit: Limit, now: int) -> Window:
        """The window of a budget."""
        bucket = limit.bucket
        self._limits[bucket.key, bucket.start_at] = limit
        return Window(bucket.key, bucket.start_at, limit.resets_at, bucket.length_us, bucket.scope, now)

    def totals(self, window: Window, bucket: Bucket) -> tuple[int, int]:
        """Posted and held in it."""
        place = (bucket.key, bucket.start_at)
        found = self._totals.get(place)
        if found is None:
            found = self._totals[place] = self._read(window, bucket, self._limits[place])
        return found

    def amount_of(self, limit: Limit, at: int) -> tuple[int, int, int]:
        """What may be used in all; of it what is granted, and what is carried over."""
        return self._windows.amount_of(limit, at)

    def standing(self, limit: Limit, window: Window, at: int) -> Standing:
        """The budget as it stands."""
        return standing_of(limit, self.totals(window, limit.bucket), self.amount_of(limit, at))

    def _read(self, window: Window, bucket: Bucket, limit: Limit) -> tuple[int, int]:
        if has_balance(self._connection, limit):
            return self._windows.totals(window, bucket)
        if bucket.length_us is not None:
            window.start_at = floor_of(bucket.start_at, bucket.length_us)
        slots = derive(self._connection, window).values()
        return sum(row[0] for row in slots), sum(row[1] for row in slots)


def would_admit(path: Path, admission: Admission) -> Admitted:
    """What the ledger would answer now: nothing is held. Raises ``LedgerError``."""
    with reading(path) as connection:
        return choose(admission, ReadBalances(connection), admission.at)[0]


def standings(path: Path, limits: Iterable[Limit], at: int) -> list[Standing]:
    """Budgets as they stand at ``at``. Raises ``LedgerError``."""
    with reading(path) as connection:
        balances = ReadBalances(connection)
        return [balances.standing(limit, balances.window(limit, at), at) for limit in limits]


def callers(path: Path, since: int, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Every different combination of ``columns`` among the calls since ``since``, as entries that say nothing else."""
    chosen = [column for column in columns if column in SCOPES or column in {"tags", "groups"}]
    if not chosen:
        return [_entry({})]
    names = ", ".join(chosen)
    with reading(path) as connection:
        rows = connection.execute(
            f"SELECT DISTINCT {names} FROM entry WHERE kind IN ('hold', 'settle', 'refuse') AND counted_at >= ? LIMIT {MAX_CALLERS}",  # noqa: S608
            (since,),
        ).fetchall()
    return [_entry(dict(zip(chosen, row, strict=True))) for row in rows]


def _entry(known: dict[str, Any]) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(ENTRY, "") | {"started_at": 0, "streamed": 0, "assurance": "none", "issuer": "local"}
    found = blank | known
    found["model_requested"] = found["model"] or found["model_requested"]
    return found
