"""Which calls a question is about, and from where they are read: the entries, or the sums kept beside them."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from .grouping import Sums, added, calls_sql, sums_of
from .rollup_sums import HOUR_US, sums_by_hours

ALWAYS = 2**63 - 1
ODD = " AND seq IN (SELECT seq FROM odd WHERE counted_at >= :since AND counted_at < :until)"


@dataclass(frozen=True, slots=True)
class Reach:
    """What is read: which moments, which calls, on which connection.

    With ``rolled`` the connection has the ledger attached as ``ledger`` beside the sums of ``rollup``: whole hours are read there.
    """

    connection: sqlite3.Connection
    since: int = -(2**63)
    until: int = ALWAYS
    where: str = ""
    session: str | None = None
    rolled: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of its statements."""
        return {"since": self.since, "until": self.until, "session": self.session}

    def sql(self, *, odd_only: bool = False) -> str:
        """The calls in reach; with ``odd_only``, at least those that gaps are looked for among."""
        if not self.rolled:
            return calls_sql(self.where)
        return calls_sql(ODD + self.where if odd_only else self.where, in_time=not odd_only).replace("main.", "ledger.")

    def sums(self, by: Sequence[str]) -> Sums:
        """The sums of its calls by ``by``."""
        if not self.rolled:
            return sums_of(self.connection, by, self.where, self.values)
        start, end = self.hours
        parts = [sums_by_hours(self.connection, by, start, end)]
        for since, until in self.edges:
            parts.append(sums_of(self.connection, by, self.where, {"since": since, "until": until}, "ledger"))
        return added(parts)

    @property
    def hours(self) -> tuple[int, int]:
        """The whole hours in reach, since the epoch."""
        return max(0, -(-self.since // HOUR_US)), max(0, self.until // HOUR_US)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """What of the range lies outside its whole hours."""
        start, end = self.hours
        if start >= end:
            return [(self.since, self.until)]
        before, after = (self.since, start * HOUR_US), (end * HOUR_US, self.until)
        return [(since, until) for since, until in (before, after) if 0 <= since < until < ALWAYS]


@cache
def has_whole_hours(zone: str) -> bool:
    """Whether the days of a zone begin with an hour of UTC: all zones but some (+05:30, +05:45, +10:30)."""
    months = (datetime(year, month, 1, tzinfo=ZoneInfo(zone)) for year in range(2020, 2040) for month in (1, 4, 7, 10))
    return all((moment.utcoffset() or timedelta()).seconds % 3600 == 0 for moment in months)


def price_sources(reach: Reach) -> tuple[str, ...]:
    """Which catalogues and overlays the prices came from."""
    connection = reach.connection
    ids: set[str | None] = set()
    if reach.rolled:
        used = connection.execute("SELECT DISTINCT price_id FROM price_used WHERE at >= ? AND at < ?", reach.hours)
        ids |= {row[0] for row in used}
    for since, until in reach.edges if reach.rolled else [(reach.since, reach.until)]:
        used = connection.execute(
            f"SELECT DISTINCT price_id FROM ({reach.sql()}) JOIN (SELECT entry_seq, price_id FROM line) ON entry_seq = seq",  # noqa: S608
            {**reach.values, "since": since, "until": until},
        )
        ids |= {row[0] for row in used}
    sources = set()
    for price_id in ids - {None}:
        found = connection.execute("SELECT document FROM price WHERE id = ?", (price_id,)).fetchone()
        try:
            about = json.loads(found[0]) if found else None
        except ValueError:
            continue
        if isinstance(about, dict) and isinstance(about.get("source"), str):
            sources.add(about["source"][:100])
    return tuple(sorted(sources))
