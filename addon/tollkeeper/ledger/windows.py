"""What stands against each budget: balances kept beside the entries, and derived from them when first asked for.

A bucket counts one unit (dollars, tokens, requests, calls at once), told by its key.

A window is never reset. A (bucket, start) that has no balance yet is summed from the entries its scope matches, in the same
transaction that asks. From then on every entry that matches the scope counts, whichever policy or process wrote it. A rolling
window is a row of slots; a slot counts until all of it has left the window, so the sum is never below the true one, and above it
by at most 1/240 of the window.
"""

import json
import sqlite3
from bisect import insort
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from tollkeeper.core.admission import Bucket, Limit
from tollkeeper.core.amounts import unit_of
from tollkeeper.core.clock import MOST_BACK_US, system_clock
from tollkeeper.core.decision import Standing

from . import scope as scopes
from .bulk import insert_all
from .columns import ENTRY
from .grants import Grants
from .quantities import HELD_SQL, POSTED_SQL
from .row import encode
from .window import Touch, Window, floor_of

NAMED_SHARE = 8
"""A rolling bucket's ``named_at`` is written once per eighth of its window, so that a call does not cost a write."""
ENDLESS_NAMED_US = 86_400 * 1_000_000
ENDLESS_IDLE_US = 30 * ENDLESS_NAMED_US
"""A session's or lifetime's balance nobody asked for so long is dropped, and derived again when it is asked for."""
CLOCK_SKEW_US = MOST_BACK_US
"""How far a caller's clock may be behind the ledger's before it is taken to have been set back."""
MAX_WILD = 10_000
"""Answers kept of which patterns an entry matches."""

_LOAD = "SELECT key, start_at, ends_at, length_us, scope, named_at FROM bucket WHERE ends_at IS NULL OR ends_at > ?"
_REGISTER = (
    "INSERT INTO bucket (key, start_at, ends_at, length_us, scope, named_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
    " SET start_at = excluded.start_at, ends_at = excluded.ends_at, scope = excluded.scope, named_at = excluded.named_at"
)
_WRITE = (
    "INSERT INTO balance (bucket, slot_start, posted, held)",
    " ON CONFLICT (bucket, slot_start) DO UPDATE SET posted = excluded.posted, held = excluded.held",
)
_READ = "SELECT posted, held FROM balance WHERE bucket = ? AND slot_start = ?"
_SLOTS = "SELECT slot_start, posted, held FROM balance WHERE bucket = ? AND slot_start >= ?"


class Windows:
    """The balances, cached for as long as nobody else writes. Used by one thread, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, flush: Callable[[], None]) -> None:
        self._connection = connection
        self._flush_entries = flush
        self.adopted: dict[str, list[Touch]] = {}
        """Open holds that a window opened in this transaction took in, by call."""
        self.grants = Grants(connection)
        self.openings: list[list[Any]] = []
        """Windows opened since the last entry, for that entry to record."""
        self.forget()

    def forget(self) -> None:
        """Drop everything remembered: another process wrote, or a transaction was rolled back."""
        self._rows: dict[Touch, list[int]] = {}
        self._dirty: dict[Touch, list[int]] = {}
        self._live: dict[str, Window] = {}
        self._past: dict[Touch, Window] = {}
        self._exact: dict[tuple[int, ...], tuple[Callable[[Sequence[Any]], Any], dict[Any, list[Window]]]] = {}
        self._wild: list[Window] = []
        self._wild_by: Callable[[Sequence[Any]], Any] | None = None
        self._wild_known: dict[Any, list[Window]] = {}
        self.grants.forget()
        self._loaded = False
        self._now = 0
        self.openings.clear()
        self.adopted.clear()

    def load(self, now: int) -> None:
        """Read which windows are live. Cheap when already done."""
        self._now = now
        if self._loaded:
            return
        self._loaded = True
        for key, start_at, ends_at, length_us, scope, named_at in self._connection.execute(_LOAD, (now,)):
            pairs = tuple((column, pattern) for column, pattern in json.loads(scope))
            self._watch(Window(key, start_at, ends_at, length_us, pairs, named_at))

    def window(self, limit: Limit, now: int) -> Window:
        """The window of a budget, opened when it has never been asked for."""
        bucket = limit.bucket
        window = self._live.get(bucket.key)
        if window is not None and window.scope != bucket.scope and self._counts_too_much(window, bucket):
            return self._find(limit, now, anew=True)
        if window is not None and bucket.length_us == window.length_us:
            if bucket.length_us is not None:
                if now - window.named_at > bucket.length_us // NAMED_SHARE:
                    window.named_at = now
                    self._register(window)
                return window
            if bucket.start_at == window.start_at:
                if window.ends_at is None and now - window.named_at > ENDLESS_NAMED_US:
                    window.named_at = now
                    self._register(window)
                return window
            if bucket.start_at < window.start_at <= now - CLOCK_SKEW_US and window.covers(now):
                return window  # the asker's clock went back: an older window would give its room a second time
        return self._past.get((bucket.key, bucket.start_at)) or self._find(limit, now)

    def totals(self, window: Window, bucket: Bucket) -> tuple[int, int]:
        """Posted and held in the window as the bucket states it."""
        if bucket.length_us is None:
            row = self._row((window.key, window.start_at))
            return (row[0], row[1]) if row else (0, 0)
        floor = floor_of(bucket.start_at, bucket.length_us)
        if window.floor < 0 or floor < window.floor:
            self._load_slots(window, floor)
        else:
            self._advance(window, floor)
        return window.posted, window.held

    def amount_of(self, limit: Limit, at: int) -> tuple[int, int, int]:
        """What may be used in all, and of it what is granted and what is carried over from the window before.

        What was left then is carried over when the budget was asked for then: a new budget begins with its own amount.
        """
        granted = self.grants.of(limit, at)
        carried = 0
        if limit.carries_from is not None:
            before = self._row((limit.bucket.key, limit.carries_from))
            if before is not None:
                carried = min(limit.carries_most, max(0, limit.amount_nanousd - before[0] - before[1]))
        return limit.amount_nanousd + granted + carried, granted, carried

    def standing(self, limit: Limit, window: Window, at: int) -> Standing:
        """The budget as it stands."""
        return standing_of(limit, self.totals(window, limit.bucket), self.amount_of(limit, at))

    def matching(self, entry: Sequence[Any], at: int) -> list[Window]:
        """Every live window whose scope matches the entry."""
        found = [window for window in self._wild_of(entry) if window.covers(at)]
        for getter, table in self._exact.values():
            for window in table.get(getter(entry), ()):
                if window.covers(at) and (not window.is_partial or window.matches(entry)):
                    found.append(window)  # noqa: PERF401 — the hot path: no generator
        return found

    def _wild_of(self, entry: Sequence[Any]) -> list[Window]:
        """The windows with patterns that match the entry, remembered by what the patterns look at."""
        if not self._wild:
            return []
        if self._wild_by is None:
            places = sorted(frozenset().union(*(scopes.positions(window.scope) for window in self._wild)))
            self._wild_by = itemgetter(*places) if places else lambda _: ()
            self._wild_known = {}
        key = self._wild_by(entry)
        found = self._wild_known.get(key)
        if found is None:
            if len(self._wild_known) >= MAX_WILD:
                self._wild_known.clear()
            found = self._wild_known[key] = [window for window in self._wild if window.matches(entry)]
        return found

    def add(self, touch: Touch, posted: int, held: int) -> None:
        """Count under a balance. One that is no longer kept is left alone: it will be derived when asked for."""
        row = self._row(touch)
        window = self._live.get(touch[0])
        length_us = window.length_us if window is not None else None
        if row is None:
            if length_us is None or touch[1] < floor_of(self._now - length_us, length_us):
                return
            row = self._rows[touch] = [0, 0]
        row[0] += posted
        row[1] += held
        self._dirty[touch] = row
        if length_us is not None and window is not None and 0 <= window.floor <= touch[1]:
            order = window.order
            if (not order or order[-1] != touch[1]) and touch[1] not in order:
                insort(order, touch[1])
            window.posted += posted
            window.held += held

    def keeps(self, touch: Touch) -> bool:
        """Whether there is such a balance."""
        return self._row(touch) is not None

    def flush(self) -> None:
        """Write the balances that changed."""
        if self._dirty:
            insert_all(self._connection, _WRITE[0], [(*touch, *row) for touch, row in self._dirty.items()], _WRITE[1])
            self._dirty.clear()
            if len(self._rows) > 20_000:
                self._rows.clear()

    def prune(self, now: int) -> None:
        """Stop keeping balances nobody has asked for during a whole window, and slots that have left theirs."""
        connection = self._connection
        idle = connection.execute(
            "SELECT key FROM bucket WHERE length_us IS NOT NULL AND named_at < ? - length_us"
            " AND NOT EXISTS (SELECT 1 FROM balance WHERE bucket = key AND held > 0)",
            (now,),
        ).fetchall()
        for (key,) in idle:
            connection.execute("DELETE FROM balance WHERE bucket = ?", (key,))
            connection.execute("DELETE FROM bucket WHERE key = ?", (key,))
        connection.execute(
            "DELETE FROM balance WHERE held = 0 AND EXISTS"
            " (SELECT 1 FROM bucket WHERE key = bucket AND length_us IS NOT NULL AND slot_start < ? - 2 * length_us)",
            (now,),
        )
        connection.execute("DELETE FROM bucket WHERE ends_at IS NOT NULL AND ends_at <= ?", (now,))
        endless = connection.execute(
            "SELECT key FROM bucket WHERE ends_at IS NULL AND length_us IS NULL AND named_at < ?"
            " AND NOT EXISTS (SELECT 1 FROM balance WHERE bucket = key AND held > 0)",
            (now - ENDLESS_IDLE_US,),
        ).fetchall()
        for (key,) in endless:
            connection.execute("DELETE FROM balance WHERE bucket = ?", (key,))
            connection.execute("DELETE FROM bucket WHERE key = ?", (key,))
        self.forget()

    def _watch(self, window: Window) -> None:
        old = self._live.get(window.key)
        if old is not None:
            self._place(old).remove(old)
        self._live[window.key] = window
        self._place(window).append(window)
        if not self._is_filed(window) or (old is not None and not self._is_filed(old)):
            self._wild_by = None

    def _is_filed(self, window: Window) -> bool:
        part = scopes.exact_part(window.scope)
        return part is not None and bool(part[0])

    def _place(self, window: Window) -> list[Window]:
        """The list a window is looked up in: by the exact values it has, when it has any."""
        part = scopes.exact_part(window.scope)
        if part is None or not part[0]:
            return self._wild
        positions, values = part
        _, table = self._exact.setdefault(positions, (itemgetter(*positions), {}))
        return table.setdefault(values if len(values) > 1 else values[0], [])

    def _counts_too_much(self, window: Window, bucket: Bucket) -> bool:
        """Whether a kept window is one that an older version scoped more widely under the same key: it is then summed anew.

        Not while something is held under it, since a hold is released where it was taken; and never the other way round, or two
        versions on one ledger would sum it in turns.
        """
        is_present = window.length_us is not None or bucket.start_at == window.start_at
        if window.length_us != bucket.length_us or not is_present or not set(bucket.scope) > set(window.scope):
            return False
        self.flush()
        held = self._connection.execute("SELECT 1 FROM balance WHERE bucket = ? AND held > 0", (bucket.key,)).fetchone()
        return held is None

    def _find(self, limit: Limit, now: int, *, anew: bool = False) -> Window:
        bucket = limit.bucket
        start_at = bucket.start_at if bucket.length_us is None else floor_of(bucket.start_at, bucket.length_us)
        window = Window(bucket.key, start_at, limit.resets_at, bucket.length_us, bucket.scope, now)
        if anew or bucket.length_us is not None or self._row((bucket.key, start_at)) is None:
            self._open(window)
        live = self._live.get(bucket.key)
        if live is not None and live.length_us is None and live.start_at > start_at:
            self._past[bucket.key, start_at] = window
        else:
            self._watch(window)
            self._register(window)
        return window

    def _open(self, window: Window) -> None:
        """Sum a window from the entries, and take in the holds that are open."""
        self._flush_entries()
        slots = derive(self._connection, window, self.adopted)
        if window.length_us is None:
            slots.setdefault(window.start_at, [0, 0])
        elif window.key in self._live:  # of a window that is summed anew, slots may be left with nothing
            for slot, *_ in self._connection.execute(_SLOTS, (window.key, window.start_at)).fetchall():
                slots.setdefault(slot, [0, 0])
        for slot, row in slots.items():
            self._rows[window.key, slot] = row
            self._dirty[window.key, slot] = row
        self.openings.append([window.key, [[slot, *row] for slot, row in sorted(slots.items())]])

    def _register(self, window: Window) -> None:
        self._connection.execute(
            _REGISTER, (window.key, window.start_at, window.ends_at, window.length_us, encode(window.scope), window.named_at)
        )

    def _row(self, touch: Touch) -> list[int] | None:
        row = self._rows.get(touch)
        if row is None:
            found = self._connection.execute(_READ, touch).fetchone()
            if found is None:
                return None
            row = self._rows[touch] = list(found)
        return row

    def _load_slots(self, window: Window, floor: int) -> None:
        self.flush()
        window.order, window.posted, window.held, window.floor = [], 0, 0, floor
        for slot, posted, held in self._connection.execute(_SLOTS, (window.key, floor)):
            row = self._rows.setdefault((window.key, slot), [posted, held])
            window.order.append(slot)
            window.posted += row[0]
            window.held += row[1]

    def _advance(self, window: Window, floor: int) -> None:
        window.floor = floor
        order = window.order
        while order and order[0] < floor:
            row = self._row((window.key, order.pop(0))) or [0, 0]
            window.posted -= row[0]
            window.held -= row[1]


def derive(connection: sqlite3.Connection, window: Window, adopted: dict[str, list[Touch]] | None = None) -> dict[int, list[int]]:
    """Posted and held by slot, from the entries and the open holds the scope matches; ``adopted`` gets the holds."""
    where, values = scopes.sql(window.scope)
    until = window.ends_at if window.ends_at is not None else 2**63 - 1
    bounds = (window.start_at, until, *values)
    unit = unit_of(window.key)
    told = scopes.is_told_by_sql(window.scope)
    columns = "" if told else "".join(f", entry.{name}" for name in ENTRY)
    slots: dict[int, list[int]] = {}
    posted = connection.execute(
        f"SELECT counted_at, {POSTED_SQL[unit]} AS posted{columns} FROM entry"  # noqa: S608 — columns from a fixed list
        f" WHERE counted_at >= ? AND counted_at < ? AND kind IN ('settle', 'adjust') AND posted <> 0{where}",
        bounds,
    )
    for at, amount, *entry in posted:
        if told or window.matches(entry):
            slots.setdefault(window.slot(at), [0, 0])[0] += amount
    holds = connection.execute(
        f"SELECT hold.call_id, hold.counted_at, {HELD_SQL[unit]}{columns} FROM hold JOIN entry ON entry.seq = hold.seq"  # noqa: S608 — as above
        f" WHERE hold.counted_at >= ? AND hold.counted_at < ?{where}",
        bounds,
    )
    for call_id, at, amount, *entry in holds:
        if not told and not window.matches(entry):
            continue
        slot = window.slot(at)
        slots.setdefault(slot, [0, 0])[1] += amount
        if adopted is not None:
            adopted.setdefault(call_id, []).append((window.key, slot))
    return slots


def standing_of(limit: Limit, totals: tuple[int, int], amount: tuple[int, int, int]) -> Standing:
    """A budget with what stands against it, and what may be used in all (``Windows.amount_of``)."""
    return Standing(
        budget=limit.budget,
        bucket=limit.bucket.key,
        amount_nanousd=amount[0],
        spent_nanousd=totals[0],
        held_nanousd=totals[1],
        window=limit.window,
        resets_at=limit.resets_at,
        zone=limit.zone,
        unit=limit.unit,
        granted=amount[1],
        carried=amount[2],
        rule=limit.rule,
    )


def has_balance(connection: sqlite3.Connection, limit: Limit) -> bool:
    """Whether a balance is kept for this budget's present window; else its sum must be derived from the entries."""
    bucket = limit.bucket
    if bucket.length_us is None:
        return connection.execute(_READ, (bucket.key, bucket.start_at)).fetchone() is not None
    return connection.execute("SELECT 1 FROM bucket WHERE key = ?", (bucket.key,)).fetchone() is not None


def read_standing(connection: sqlite3.Connection, limit: Limit, at: int | None = None) -> Standing:
    """A budget as it stands at ``at`` (now), for readers: the kept balance, or the same sum from the entries when none is kept yet."""
    windows = Windows(connection, lambda: None)
    bucket = limit.bucket
    window = Window(bucket.key, bucket.start_at, limit.resets_at, bucket.length_us, bucket.scope, 0)
    amount = windows.amount_of(limit, system_clock() if at is None else at)
    if has_balance(connection, limit):
        return standing_of(limit, windows.totals(window, bucket), amount)
    if bucket.length_us is not None:
        window.start_at = floor_of(bucket.start_at, bucket.length_us)
    slots = derive(connection, window).values()
    return standing_of(limit, (sum(row[0] for row in slots), sum(row[1] for row in slots)), amount)
