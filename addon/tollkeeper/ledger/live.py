"""A reader that stays: what a screen asks of a ledger again and again, a little each time, without ever holding it up.

The connection cannot write. Every answer is one short read transaction, which in WAL mode waits for nobody and makes nobody wait.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tollkeeper.core.admission import Limit
from tollkeeper.core.decision import Standing

from . import grouping
from .plan_windows import PlanStanding, read_windows
from .queries import call_rows, detail_of
from .rows import CallDetail, CallRow, Group, KeptBucket, OpenCall
from .schema import read_as_newest
from .store import open_reader, translate
from .windows import has_balance, read_standing

MAX_NEW = 5_000
"""Calls given at once; whoever fell further behind starts again."""

MAX_OPEN = 1_000

_OPEN_COLUMNS = (
    "started_at", "groups", "project", "client", "session", "client_session", "agent", "provider", "operation", "verdict", "would",
    "rule", "budget", "plan",
)  # fmt: skip
_OPEN = (
    f"SELECT hold.call_id, subject, coalesce(nullif(model, ''), model_requested), model_requested, streamed, amount, hold.expires_at,"  # noqa: S608
    f" {', '.join(_OPEN_COLUMNS)} FROM hold CROSS JOIN entry ON entry.seq = hold.seq ORDER BY hold.seq DESC LIMIT {MAX_OPEN}"
)
_KNOWN = " AND +seq <= :head"
_NEWEST = f"{grouping.calls_sql(' AND seq <= :head', in_time=False)} ORDER BY seq DESC LIMIT :last"
_NEW = f"{grouping.calls_sql(' AND seq > :after AND seq <= :head', in_time=False)} ORDER BY seq LIMIT {MAX_NEW + 1}"
_DECIDED = grouping.calls_sql(" AND (verdict <> 'allow' OR would <> 'allow')") + " ORDER BY counted_at DESC LIMIT :last"
_HOW_MANY = "SELECT count(*) FROM (SELECT 1 FROM entry WHERE counted_at >= :since LIMIT :most)"
_SPEND = f"SELECT counted_at / :slot, sum({grouping.EXPOSURE}) FROM ({grouping.calls_sql(_KNOWN)}) GROUP BY 1"  # noqa: S608 — fixed text


class Follower:
    """One open ledger file, for one screen. Safe to use from several threads, one at a time."""

    def __init__(self, path: Path) -> None:
        """Raises ``LedgerError`` when there is no ledger at ``path`` or it cannot be read."""
        self.path = path
        self._turn = threading.Lock()
        self._version = -1
        self._connection = open_reader(path)
        read_as_newest(self._connection)
        self.has_changed()

    def has_changed(self) -> bool:
        """Whether anything was written since this was asked last. Costs some microseconds."""
        with self._reading(begin=False) as connection:
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        changed, self._version = version != self._version, version
        return changed

    def head(self) -> int:
        """The number of the last entry."""
        with self._reading() as connection:
            return _head(connection)

    def last_calls(self, count: int, head: int) -> list[CallRow]:
        """The newest closed calls up to an entry, newest first."""
        with self._reading() as connection:
            return call_rows(connection, _NEWEST, {"last": count, "head": head})

    def news(self, after_seq: int) -> tuple[list[CallRow], int, bool]:
        """Calls closed after an entry, oldest first; the number of the last entry; and whether all must be read anew.

        That is so when earlier calls were corrected (repriced, a batch's results read) or more came than fit.
        """
        with self._reading() as connection:
            head = _head(connection)
            values = {"after": after_seq, "head": head}
            rows = call_rows(connection, _NEW, values)
            corrected = connection.execute(
                "SELECT 1 FROM entry WHERE seq > :after AND kind = 'adjust' LIMIT 1", values
            ).fetchone()
        return rows[:MAX_NEW], head, bool(corrected) or len(rows) > MAX_NEW

    def decided_calls(self, since: int | None, count: int) -> list[CallRow]:
        """The newest calls since ``since`` (UTC microseconds) that were refused or rewritten, or would have been; newest first."""
        with self._reading() as connection:
            return call_rows(connection, _DECIDED, {"since": since or 0, "until": 2**63 - 1, "last": count})

    def figures(self, by: Sequence[str], since: int | None, head: int, most: int) -> tuple[list[Group], Group] | None:
        """Groups and their total, of the calls of ``since`` on that closed up to the entry ``head``; None when over ``most`` would be read.

        The same sums as ``queries.report``, without the rest of it. Days and hours cannot be grouped by here.
        """
        values = {"since": since or 0, "until": 2**63 - 1, "most": most + 1, "head": head}
        with self._reading() as connection:
            if connection.execute(_HOW_MANY, values).fetchone()[0] > most:
                return None
            groups = grouping.sums_of(connection, by, _KNOWN, values)
            total = grouping.total_of(grouping.sums_of(connection, (), _KNOWN, values))
            return grouping.groups_of(groups, by), total

    def spend(self, since: int, slot_us: int, head: int, most: int) -> dict[int, int] | None:
        """What was spent in each slot of time since ``since``, by the slot's number; ``head`` and None as for ``figures``."""
        values = {"since": since, "until": 2**63 - 1, "most": most + 1, "slot": slot_us, "head": head}
        with self._reading() as connection:
            if connection.execute(_HOW_MANY, values).fetchone()[0] > most:
                return None
            return dict(connection.execute(_SPEND, values).fetchall())

    def open_calls(self) -> tuple[OpenCall, ...]:
        """Calls under way, newest first: at most 1,000."""
        with self._reading() as connection:
            rows = connection.execute(_OPEN).fetchall()
        names = ("call_id", "principal", "model", "model_requested", "streamed", "hold_nanousd", "expires_at", *_OPEN_COLUMNS)
        return tuple(OpenCall(**{**dict(zip(names, row, strict=True)), "streamed": bool(row[4])}) for row in rows)

    def buckets(self) -> tuple[KeptBucket, ...]:
        """What the ledger keeps balances of, the most lately used first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT key, start_at, length_us FROM bucket ORDER BY named_at DESC, key LIMIT 20000"
            ).fetchall()
        return tuple(KeptBucket(key=key, start_at=start_at, length_us=length_us) for key, start_at, length_us in rows)

    def standings(self, limits: Iterable[Limit], *, derive: bool) -> list[Standing | None]:
        """Each budget as enforcement sees it; one whose balance is not kept yet is summed from the entries, or None without ``derive``."""
        with self._reading() as connection:
            return [read_standing(connection, limit) if derive or has_balance(connection, limit) else None for limit in limits]

    def detail(self, call_id: str) -> CallDetail | None:
        """Everything of one call, by its whole id; None when there is no such call."""
        with self._reading() as connection:
            found = detail_of(connection, call_id)
        return found if found.entries else None

    def plan_windows(self) -> tuple[PlanStanding, ...]:
        """What subscriptions last said of themselves."""
        with self._reading() as connection:
            return read_windows(connection)

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        with self._turn:
            self._connection.close()

    @contextmanager
    def _reading(self, *, begin: bool = True) -> Iterator[sqlite3.Connection]:
        """One snapshot; ended before it is given back, because a long reader stops the log from shrinking."""
        connection = self._connection
        with self._turn:
            try:
                if begin:
                    connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise translate(error, self.path) from error


def _head(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0])
