"""Checking a ledger against itself: the chain, every row's digest, the prices, the open holds and the balances."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from .columns import ENTRY, INDEX, LINE
from .grants import granted_in
from .quantities import NOTHING, Amounts
from .row import GENESIS, digest_as_written
from .schema import read_as_newest
from .store import open_reader
from .window import Touch

type Progress = Callable[[int, int], None]
"""Told how many entries are done, of how many."""

PROGRESS_EVERY = 1000
_PREV, _HASH = len(ENTRY), len(ENTRY) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a check found. ``problem`` is empty when all is well; ``seq`` is the first bad entry, None when it is no entry."""

    entries: int
    lines: int
    prices: int
    balances: int
    open_holds: int
    head: str
    """Hash of the last entry in hex: keep it elsewhere, and a ledger cut short later cannot pass for whole."""
    seq: int | None = None
    problem: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


class _BadRow(Exception):
    def __init__(self, seq: int | None, problem: str) -> None:
        super().__init__(problem)
        self.seq, self.problem = seq, problem


class Replay:
    """Balances and open holds worked out from the entries alone."""

    def __init__(self) -> None:
        self.balances: dict[Touch, list[int]] = {}
        self.holds: dict[str, int] = {}
        self.grants: dict[str, tuple[str, str, int, int, int]] = {}

    def take(self, entry: Sequence[Any]) -> None:
        """Apply one entry. Raises ``_BadRow`` when it contradicts those before it."""
        for key, slots in json.loads(entry[INDEX["openings"]] or "[]"):
            for slot, posted, held in slots:
                self.balances[key, slot] = [posted, held]
        kind, call_id = entry[INDEX["kind"]], entry[INDEX["call_id"]]
        hold, exposure = entry[INDEX["hold_nanousd"]], entry[INDEX["exposure_nanousd"]]
        held = Amounts(
            hold, entry[INDEX["hold_tokens"]], entry[INDEX["hold_requests"]], 1 if entry[INDEX["hold_requests"]] else 0
        )
        posted = Amounts(exposure, entry[INDEX["used_tokens"]], entry[INDEX["used_requests"]])
        if kind == "hold":
            self.holds[call_id] = hold
            self._count(entry, NOTHING, held)
        elif kind in {"settle", "void", "expire"}:
            was_held = self.holds.pop(call_id, None)
            if (was_held or 0) != hold:
                raise _BadRow(entry[0], f"releases {hold} nano-dollars of call {call_id}, which held {was_held or 0}")
            self._count(entry, posted, Amounts(*(-amount for amount in held)) if was_held is not None else NOTHING)
        elif kind == "adjust":
            self._count(entry, posted, NOTHING)
            if (granted := granted_in(entry)) is not None:
                terms = granted[1]["grant"]
                budget, whose = entry[INDEX["budget"]], entry[INDEX["subject"]]
                self.grants[granted[0]] = (budget, whose, terms["amount"], terms["from"], terms["until"])

    def _count(self, entry: Sequence[Any], posted: Amounts, held: Amounts) -> None:
        for key, slot in json.loads(entry[INDEX["buckets"]] or "[]"):
            row = self.balances.setdefault((key, slot), [0, 0])
            row[0] += posted.within(key)
            row[1] += held.within(key)


def verify(path: Path, progress: Progress | None = None) -> Verification:
    """Recompute the whole ledger as one snapshot; the proxy may go on writing meanwhile.

    Raises ``LedgerError`` when there is no ledger; damage of any kind is in the answer.
    """
    counts = {"entries": 0, "lines": 0, "prices": 0, "balances": 0, "open_holds": 0}
    head = [GENESIS]
    seq: int | None = None
    problem = ""
    connection = open_reader(path)
    try:
        read_as_newest(connection)
        connection.execute("BEGIN")
        _check(connection, counts, head, progress)
    except _BadRow as bad:
        seq, problem = bad.seq, bad.problem
    except sqlite3.Error as error:
        problem = f"the file cannot be read: {error}"
    finally:
        connection.close()
    return Verification(**counts, head=head[0].hex(), seq=seq, problem=problem)


def end_problem(path: Path, entries: int) -> str:
    """What is wrong with the links and digests of the last ``entries``; empty when nothing is.

    It takes no longer for what stands before them. Balances are left to ``verify``. Raises ``LedgerError`` when there is no ledger.
    """
    connection = open_reader(path)
    try:
        read_as_newest(connection)
        connection.execute("BEGIN")
        seq = max(0, connection.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0] - entries)
        before = connection.execute("SELECT hash FROM entry WHERE seq = ?", (seq,)).fetchone()
        if seq and before is None:
            return f"entry {seq} is missing"
        head = before[0] if seq else GENESIS
        for expected, (entry, lines) in enumerate(_rows(connection, seq + 1), seq + 1):
            _check_link(entry, lines, expected, head)
            head = entry[_HASH]
    except _BadRow as bad:
        return bad.problem
    except sqlite3.Error as error:
        return f"the file cannot be read: {error}"
    finally:
        connection.close()
    return ""


def _check(connection: sqlite3.Connection, counts: dict[str, int], head: list[bytes], progress: Progress | None) -> None:
    _check_file(connection)
    total = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    replay = Replay()
    for entry, lines in _rows(connection):
        _check_link(entry, lines, counts["entries"] + 1, head[0])
        replay.take(entry)
        head[0] = entry[_HASH]
        counts["entries"] += 1
        counts["lines"] += len(lines)
        if progress is not None and counts["entries"] % PROGRESS_EVERY == 0:
            progress(counts["entries"], total)
    orphans = connection.execute("SELECT count(*) FROM line WHERE entry_seq NOT IN (SELECT seq FROM entry)").fetchone()[0]
    if orphans:
        raise _BadRow(None, f"{orphans} lines belong to no entry")
    missing = "SELECT entry_seq, price_id FROM line WHERE price_id IS NOT NULL AND price_id NOT IN (SELECT id FROM price) LIMIT 1"
    for seq, price_id in connection.execute(missing):
        raise _BadRow(seq, f"entry {seq} was priced by {price_id}, which is missing: it cannot be recomputed")
    for price_id, document in connection.execute("SELECT id, document FROM price"):
        counts["prices"] += 1
        if len(price_id) == 64 and hashlib.sha256(document.encode()).hexdigest() != price_id:
            raise _BadRow(None, f"price {price_id} was changed: its document has another hash")
    _check_caches(connection, replay, counts)
    if progress is not None:
        progress(total, total)


def _check_file(connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise _BadRow(None, f"the file is damaged: {answer}")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if missing := {"entry", "line", "price", "hold", "balance", "bucket"} - tables:
        raise _BadRow(None, f"this is not a ledger: it has no table {', '.join(sorted(missing))}")


def _rows(connection: sqlite3.Connection, first: int = -(2**63)) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """Every entry from ``first`` on, with its lines, in order, without holding more than one call in memory."""
    lines = connection.execute(
        f"SELECT entry_seq, {', '.join(LINE)} FROM line WHERE entry_seq >= ? ORDER BY entry_seq, position",  # noqa: S608
        (first,),
    )
    groups = groupby(lines, key=itemgetter(0))
    pending = next(groups, None)
    found = [line[1:] for line in pending[1]] if pending else []
    query = f"SELECT {', '.join(ENTRY)}, prev, hash FROM entry WHERE seq >= ? ORDER BY seq"  # noqa: S608
    for entry in connection.execute(query, (first,)):
        while pending is not None and pending[0] < entry[0]:
            pending = next(groups, None)
            found = [line[1:] for line in pending[1]] if pending else []
        yield entry, found if pending is not None and pending[0] == entry[0] else []


def _check_link(entry: Sequence[Any], lines: Sequence[Sequence[Any]], expected: int, prev: bytes) -> None:
    seq = entry[0]
    if seq != expected:
        raise _BadRow(seq, f"entry {expected} is missing")
    if entry[_PREV] != prev:
        raise _BadRow(seq, f"entry {seq} does not follow the one before it: an entry was removed, inserted or changed there")
    if digest_as_written(prev, entry[:_PREV], lines) != entry[_HASH]:
        raise _BadRow(seq, f"entry {seq} ({entry[1]} of call {entry[2]}) or one of its lines was changed: its hash differs")


def _check_caches(connection: sqlite3.Connection, replay: Replay, counts: dict[str, int]) -> None:
    """The two tables that may change must say what the entries say."""
    holds = dict(connection.execute("SELECT call_id, amount FROM hold").fetchall())
    counts["open_holds"] = len(holds)
    if holds != replay.holds:
        odd = min(holds.items() ^ replay.holds.items())
        raise _BadRow(None, f"call {odd[0]}: {holds.get(odd[0])} nano-dollars held, the entries say {replay.holds.get(odd[0])}")
    query = "SELECT id, budget, whose, amount, from_at, until_at FROM granted"
    grants = {id_: tuple(terms) for id_, *terms in connection.execute(query)}
    if grants != replay.grants:
        odd_grant = min(grants.items() ^ replay.grants.items())
        raise _BadRow(None, f"grant {odd_grant[0]} is not what its entries say")
    for key, slot, posted, held in connection.execute("SELECT bucket, slot_start, posted, held FROM balance"):
        counts["balances"] += 1
        wanted = replay.balances.get((key, slot), [0, 0])
        if [posted, held] != wanted:
            raise _BadRow(
                None,
                f"balance of {key} from {slot}: posted {posted}, held {held}; the entries say posted {wanted[0]}, held {wanted[1]}",
            )
    present = "SELECT key, start_at FROM bucket WHERE length_us IS NULL AND (key, start_at) NOT IN (SELECT bucket, slot_start FROM balance)"
    for key, slot in connection.execute(
        present
    ):  # slots of rolling windows are dropped when they are old: nothing tells those apart
        posted, held = replay.balances.get((key, slot), (0, 0))
        if posted or held:
            raise _BadRow(None, f"balance of {key} from {slot} is missing; the entries say posted {posted}, held {held}")
