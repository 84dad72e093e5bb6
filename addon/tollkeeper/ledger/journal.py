"""What can happen to the money, as entries in one chain. Runs inside a transaction that somebody else begins and commits.

Everything remembered here is a cache of the file: ``refresh`` drops it when another process wrote, ``forget`` after a rollback.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tollkeeper.core.admission import Admission, Admitted
from tollkeeper.core.charge import Bill
from tollkeeper.core.clock import Clock
from tollkeeper.core.entry import Kind, Settlement
from tollkeeper.core.errors import LedgerError

from . import alerts, once
from .bulk import delete_all, insert_all
from .choice import Pairs, choose
from .columns import ENTRY, FORMAT, INDEX, INSERT_ENTRY, INSERT_LINE
from .open_hold import OpenHold
from .plan_windows import write_windows
from .process import this_process
from .quantities import Amounts
from .repeats import Repeats
from .row import GENESIS, Row, closing_row, digest, encode, hold_row, line_rows, sums_of, who_and_where
from .window import Touch
from .windows import CLOCK_SKEW_US, Windows

HOLD_LIFETIME_US = 15 * 60 * 1_000_000
"""A hold that is not renewed for this long is released (a stream is renewed while it flows)."""

_HEAD = "SELECT seq, at, hash FROM entry ORDER BY seq DESC LIMIT 1"
_INSERT_HOLD = "INSERT INTO hold (call_id, seq, process, amount, counted_at, expires_at, buckets)"
_FIND_HOLD = (
    "SELECT hold.seq, amount, hold.counted_at, expires_at, hold.buckets, model, verdict, would, budget, hold_tokens, hold_requests,"
    " policy, actions"
    " FROM hold JOIN entry ON entry.seq = hold.seq WHERE hold.call_id = ?"
)
_ENTRY_COLUMNS = ", ".join(ENTRY)
SELECT_ENTRY = f"SELECT {_ENTRY_COLUMNS} FROM entry"  # noqa: S608 — fixed names

_FORMAT = INDEX["format"]
_KIND, _COUNTED_AT, _BUCKETS, _OPENINGS = INDEX["kind"], INDEX["counted_at"], INDEX["buckets"], INDEX["openings"]
_HOLD, _EXPOSURE, _MODEL = INDEX["hold_nanousd"], INDEX["exposure_nanousd"], INDEX["model"]
_VERDICT, _WOULD, _BUDGET, _FLAGS = INDEX["verdict"], INDEX["would"], INDEX["budget"], INDEX["flags"]
_POLICY, _ACTIONS, _TOKENS, _REQUESTS = INDEX["policy"], INDEX["actions"], INDEX["used_tokens"], INDEX["used_requests"]
_HOLD_TOKENS, _HOLD_REQUESTS = INDEX["hold_tokens"], INDEX["hold_requests"]


class Journal:
    """The end of the chain, the open holds and the balances of one ledger file."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.process = this_process()
        self.windows = Windows(connection, self._flush_rows)
        self.at = 0
        self._version = -1
        self._texts: dict[tuple[Touch, ...], str] = {}
        self.repeats = Repeats()
        self.forget()

    def forget(self) -> None:
        """Drop all that is remembered of the file."""
        self.repeats.undo()
        self.windows.forget()
        self._holds: dict[str, OpenHold] = {}
        self._prices: set[str] = set()
        self._entries: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []
        self._new_prices: list[tuple[str, str]] = []
        self._new_holds: list[tuple[Any, ...]] = []
        self._closed_holds: list[str] = []
        self._seq = -1
        self._hash = GENESIS

    def refresh(self) -> None:
        """At the start of a transaction: see what others wrote, and read the clock (never backwards along the chain)."""
        version = self.connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version or self._seq < 0:
            self._version = version
            self.forget()
            head = self.connection.execute(_HEAD).fetchone() or (0, 0, GENESIS)
            self._seq, last_at, self._hash = head
            self.at = max(self.at, last_at)
        self.at = max(self.at, self.clock())
        self.windows.load(self.at)

    def admit(self, admission: Admission) -> Admitted:
        """Hold money for the first candidate with room, or record the refusal.

        Raises ``LedgerError`` for a call that was admitted before, or an admission without candidates.
        """
        if not admission.candidates or any(candidate.hold_nanousd < 0 for candidate in admission.candidates):
            raise LedgerError(f"call {admission.call.id}: nothing to admit, or a negative hold")
        admitted, windows = choose(admission, self.windows, self.at)
        if admission.objection is not None and admitted.chosen is not None:
            admitted = replace(admitted, would=admission.objection.would)
        identity = who_and_where(admission.call)
        if admitted.warned or (admitted.blockers and admitted.chosen is None):
            alerts.note(self.connection, admission, admitted, self.at)
        row = hold_row(admission, admitted, identity, self.at)
        if admitted.chosen is None:
            self._refuse(row)
            return admitted
        hold = self._hold_of(admission, admitted, row, windows, identity)
        row[_BUCKETS] = hold.buckets
        held = hold.held
        for touch in hold.touches:
            self.windows.add(touch, 0, held.within(touch[0]))
        hold.seq = self._append(row, ())
        self._holds[admission.call.id] = hold
        self._new_holds.append(
            (admission.call.id, hold.seq, self.process, hold.amount, hold.counted_at, hold.expires_at, hold.buckets)
        )
        return admitted

    def settle(self, settlement: Settlement) -> bool:
        """Post what a call cost and release its hold. False when the call was closed before: nothing is written then."""
        if settlement.reading.plan_windows:
            write_windows(self.connection, settlement.call, settlement.reading.plan_windows, self.at)
        if not once.is_more_than_a_bill(settlement):
            return self._post(settlement)
        ids: tuple[str, ...] = ()
        if settlement.reading.is_repeatable:
            settlement, ids = once.unbilled(self.connection, settlement)
        is_new = self._post(settlement)
        if is_new:
            once.note(self, settlement, ids, self._seq)
        return is_new

    def _post(self, settlement: Settlement) -> bool:
        call = settlement.call
        hold = self._open_hold(call.id)
        if hold is None:
            return self._settle_without_hold(settlement)
        identity = hold.identity if hold.call is call and hold.identity else who_and_where(call)
        sums = sums_of(settlement)
        extra: tuple[str, ...] = ()
        exposure = sums.exposure_nanousd
        tokens = requests = 0
        if sums.is_unread:
            tokens = hold.tokens
        if hold.amount and sums.is_unread:
            exposure, extra = hold.amount, ("at-hold",)
        elif exposure > hold.amount:
            extra = ("over-hold",)
        row = closing_row(settlement, sums, identity, self.at, extra)
        row[_COUNTED_AT], row[_HOLD], row[_EXPOSURE], row[_BUCKETS] = hold.counted_at, hold.amount, exposure, hold.buckets
        row[_POLICY], row[_ACTIONS], row[_HOLD_TOKENS], row[_HOLD_REQUESTS] = (
            hold.policy,
            hold.actions,
            hold.tokens,
            hold.requests,
        )
        if sums.kind is Kind.SETTLE:
            tokens, requests = tokens or row[_TOKENS], hold.requests
        row[_TOKENS], row[_REQUESTS] = tokens, requests
        row[_MODEL] = hold.model or row[_MODEL]
        if row[_WOULD] == "allow" != hold.would:
            row[_WOULD] = hold.would
        if row[_VERDICT] == "allow" != hold.verdict:
            row[_VERDICT] = hold.verdict
        row[_BUDGET] = row[_BUDGET] or hold.budget
        self._append(row, self._priced(settlement.bill))
        self._release(call.id, hold, Amounts(exposure, tokens, requests))
        return True

    def renew(self, call_id: str) -> bool:
        """Give a hold its full lifetime again. False when there is no such hold."""
        hold = self._open_hold(call_id)
        if hold is None:
            return False
        hold.expires_at = self.at + HOLD_LIFETIME_US
        self._flush_rows()
        self.connection.execute("UPDATE hold SET expires_at = ? WHERE call_id = ?", (hold.expires_at, call_id))
        return True

    def close_hold(self, call_id: str, kind: Kind, changes: dict[str, Any]) -> None:
        """End an open hold without its settlement: an entry like the hold's own, but for ``changes``.

        ``exposure_nanousd`` among the changes is posted; the rest of the hold is released.
        """
        hold = self._open_hold(call_id)
        if hold is None:
            return
        self._flush_rows()
        row = list(self.connection.execute(f"{SELECT_ENTRY} WHERE seq = ?", (hold.seq,)).fetchone())
        changes = {"kind": kind.value, "at": self.at, "buckets": hold.buckets, "openings": "", **changes}
        if kind is Kind.SETTLE:
            changes = {"used_tokens": hold.tokens, "used_requests": hold.requests, **changes}
        for column, value in changes.items():
            row[INDEX[column]] = value
        self._append(row, ())
        self._release(call_id, hold, _posted(row))

    @property
    def open_count(self) -> int:
        """How many calls of this process are under way."""
        return len(self._holds)

    def open_holds(self) -> list[tuple[str, str, int, int]]:
        """Call, process, amount and deadline of every open hold."""
        self._flush_rows()
        return self.connection.execute("SELECT call_id, process, amount, expires_at FROM hold").fetchall()

    def adjust(self, row: Row, bill: Bill) -> None:
        """Append a correction made by repricing; ``row`` is complete but for ``seq``, its ``buckets`` those of the settlement.

        A window opened since then has counted the settlement too, so it is corrected as well.
        """
        touches = tuple(touch for touch in self._counted(row) if self.windows.keeps(touch))
        row[_BUCKETS] = self._text_of(touches)
        row[_HOLD_TOKENS] = row[_HOLD_REQUESTS] = row[_REQUESTS] = 0
        self._append(row, self._priced(bill))
        self._post_to(touches, row)

    def append(self, row: Row, lines: Sequence[Row] = ()) -> None:
        """Append an entry that moves no money here, complete but for ``seq``."""
        self._append(row, lines)

    def write_repeats(self, *, at_once: bool = False) -> None:
        """Append the refusals that were only counted, of the minutes that are over; with ``at_once`` of all."""
        for row in self.repeats.due(self.at, at_once=at_once):
            self._append(row, ())

    def flush(self) -> None:
        """Write everything pending. Call it before COMMIT."""
        self.repeats.keep()
        self._flush_rows()
        self.windows.flush()

    # -- admission -------------------------------------------------------------------------------------------------

    def _refuse(self, row: Row) -> None:
        """Append a refusal, or count it where it is one more of many."""
        self.write_repeats()
        if not self.repeats.counts(row, self.at):
            self._append(row, ())

    def _hold_of(self, admission: Admission, admitted: Admitted, row: Row, named: Pairs, identity: Row) -> OpenHold:
        at = admission.at
        if self.at - at > CLOCK_SKEW_US:  # the clock went back: count it at the latest moment known, and say so
            at = row[_COUNTED_AT] = self.at
            row[_FLAGS] = '["clock-back"]'
        touches = {(window.key, window.slot(at)): None for _, window in named}
        for window in self.windows.matching(row, at):
            touches[window.key, window.slot(at)] = None
        keys = tuple(touches)
        return OpenHold(
            seq=0,
            amount=admitted.hold_nanousd,
            counted_at=at,
            expires_at=self.at + HOLD_LIFETIME_US,
            touches=keys,
            buckets=self._text_of(keys),
            model=row[_MODEL],
            verdict=row[_VERDICT],
            would=row[_WOULD],
            budget=row[_BUDGET],
            tokens=row[_HOLD_TOKENS],
            requests=row[_HOLD_REQUESTS],
            policy=row[_POLICY],
            actions=row[_ACTIONS],
            call=admission.call,
            identity=identity,
        )

    def _text_of(self, touches: tuple[Touch, ...]) -> str:
        """The touches as stored. Most calls touch the same ones, so their text is kept."""
        found = self._texts.get(touches)
        if found is None:
            if len(self._texts) > 1000:
                self._texts.clear()
            found = self._texts[touches] = encode(touches) if touches else ""
        return found

    # -- settlement ------------------------------------------------------------------------------------------------

    def _open_hold(self, call_id: str) -> OpenHold | None:
        hold = self._holds.get(call_id)
        if hold is not None:
            return hold
        self._flush_rows()
        found = self.connection.execute(_FIND_HOLD, (call_id,)).fetchone()
        if found is None:
            return None
        seq, amount, counted_at, expires_at, buckets, *decided = found
        hold = OpenHold(seq, amount, counted_at, expires_at, _touches(buckets), buckets, *decided)
        self._holds[call_id] = hold
        return hold

    def _settle_without_hold(self, settlement: Settlement) -> bool:
        """A late settlement (its hold expired), or a call the ledger could not be asked about. Posts in full, once."""
        call = settlement.call
        before = {
            kind: (counted_at, buckets)
            for kind, counted_at, buckets in self.connection.execute(
                "SELECT kind, counted_at, buckets FROM entry WHERE call_id = ?", (call.id,)
            )
        }
        if before.keys() & {"settle", "void", "refuse"}:
            return False
        late = before.get("expire")
        row = closing_row(settlement, sums_of(settlement), who_and_where(call), self.at, ("late" if late else "no-hold",))
        if late:
            row[_COUNTED_AT], row[_BUCKETS] = late
        touches = self._counted(row) if row[_EXPOSURE] or row[_REQUESTS] else ()
        row[_BUCKETS] = self._text_of(touches)
        if row[_KIND] == "refuse" and not touches:
            self._refuse(row)
            return True
        self._append(row, self._priced(settlement.bill))
        self._post_to(touches, row)
        return True

    def _counted(self, row: Row) -> tuple[Touch, ...]:
        """What an entry without a hold of its own counts under: what it touched before, and every window opened since."""
        at = row[_COUNTED_AT]
        since = ((window.key, window.slot(at)) for window in self.windows.matching(row, at))
        return tuple(dict.fromkeys((*_touches(row[_BUCKETS]), *since)))

    def _release(self, call_id: str, hold: OpenHold, posted: Amounts) -> None:
        del self._holds[call_id]
        self._closed_holds.append(call_id)
        held = hold.held
        for touch in hold.touches:
            self.windows.add(touch, posted.within(touch[0]), -held.within(touch[0]))

    def _post_to(self, touches: tuple[Touch, ...], row: Row) -> None:
        posted = _posted(row)
        for touch in touches:
            self.windows.add(touch, posted.within(touch[0]), 0)

    def _priced(self, bill: Bill) -> list[Row]:
        for line in bill.lines:
            if line.price is not None and line.price.id not in self._prices:
                self._prices.add(line.price.id)
                self._new_prices.append((line.price.id, line.price.document))
        return line_rows(bill)

    # -- the chain -------------------------------------------------------------------------------------------------

    def _append(self, row: Row, lines: Sequence[Row]) -> int:
        """Chain an entry and its lines to the end, and return its ``seq``."""
        if self.windows.openings:
            row[_OPENINGS] = encode(self.windows.openings)
            self.windows.openings.clear()
            self._adopt()
        self._seq += 1
        row[0] = self._seq
        row[_FORMAT] = FORMAT
        prev, self._hash = self._hash, digest(self._hash, row, lines)
        self._entries.append((*row, prev, self._hash))
        for line in lines:
            self._lines.append((self._seq, *line))
        return self._seq

    def _adopt(self) -> None:
        """Windows just opened count the holds that were open already: those holds must release there too."""
        for call_id, touches in self.windows.adopted.items():
            hold = self._open_hold(call_id)
            if hold is not None:
                hold.touches = tuple(dict.fromkeys((*hold.touches, *touches)))
                hold.buckets = self._text_of(hold.touches)
                self.connection.execute("UPDATE hold SET buckets = ? WHERE call_id = ?", (hold.buckets, call_id))
        self.windows.adopted.clear()

    def _flush_rows(self) -> None:
        """Write the pending entries, parents before children."""
        connection = self.connection
        if self._entries:
            insert_all(connection, INSERT_ENTRY, self._entries)
            self._entries.clear()
        if self._new_prices:
            insert_all(connection, "INSERT INTO price (id, document)", self._new_prices, " ON CONFLICT (id) DO NOTHING")
            self._new_prices.clear()
        if self._lines:
            insert_all(connection, INSERT_LINE, self._lines)
            self._lines.clear()
        if self._new_holds:
            insert_all(connection, _INSERT_HOLD, self._new_holds)
            self._new_holds.clear()
        if self._closed_holds:
            delete_all(connection, "DELETE FROM hold WHERE call_id", self._closed_holds)
            self._closed_holds.clear()


def _posted(row: Row) -> Amounts:
    return Amounts(row[_EXPOSURE], row[_TOKENS], row[_REQUESTS])


def _touches(buckets: str) -> tuple[Touch, ...]:
    return tuple((key, slot) for key, slot in json.loads(buckets)) if buckets else ()
