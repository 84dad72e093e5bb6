"""Several ledgers into one: the shards of a CI run, or runners that come and go.

Each source is checked as ``verify`` does before a row is taken. A row keeps all it says but its place in the chain and the budgets it
counted under (those were of the source's own making), and is taken once, by call, kind and revision: merging again, or merging a later
copy of the same source, adds what is new and nothing else. Where each row came from stays on record.

A call ends once. A copy made while a call was open ends it itself, as ``crashed``, at the amount held: a guess, beside which the end
that was seen (settled, void, expired) is knowledge. Of the two only the knowledge is taken, whichever source comes first; a guess that
an earlier merge took stays, since nothing is written over, and is counted in ``guessed``.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from enum import Enum, auto
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from tollkeeper.core.clock import Clock
from tollkeeper.core.entry import Outcome
from tollkeeper.core.errors import LedgerDamaged, LedgerError

from .columns import ENTRY, INDEX, LINE
from .grants import FLAG
from .journal import Journal
from .ledger import Ledger
from .row import Row
from .schema import read_as_newest
from .store import open_reader, translate
from .verify import verify

BATCH_CALLS = 500
"""Per transaction."""

_SEQ, _KIND, _CALL, _REVISION = (INDEX[name] for name in ("seq", "kind", "call_id", "revision"))
_PLACE = frozenset({"seq", "at", "buckets", "openings", "format"})
"""What may differ between two copies of one row."""
_SAID = tuple(index for index, name in enumerate(ENTRY) if name not in _PLACE)
_CLOSED = ("settle", "void", "refuse", "expire")
_OUTCOME = INDEX["outcome"]
_ORIGIN = (
    "CREATE TABLE IF NOT EXISTS origin"
    " (seq INTEGER PRIMARY KEY, source TEXT NOT NULL, source_seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT"
)
_NOTE = "INSERT INTO origin (seq, source, source_seq, hash) VALUES (?, ?, ?, ?)"

type Progress = Callable[[int], None]
"""Told how many calls have been looked at."""
type Found = tuple[Row, list[Row], bytes]
"""An entry, its lines, its hash in the source."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What was done with one source.

    ``open_calls`` are still under way, there or in the target: merge it again when they are over. ``guessed``: the source knows how they
    ended, the target keeps what a crash made it assume.
    """

    source: str
    calls: int = 0
    entries: int = 0
    known: int = 0
    open_calls: int = 0
    guessed: int = 0

    def plus(self, other: "Merged") -> "Merged":
        """Both together, of one source."""
        mine, others = astuple(self), astuple(other)
        return Merged(self.source, *(one + more for one, more in zip(mine[1:], others[1:], strict=True)))


class _Ends(Enum):
    """Which calls of a source are looked at, by how they ended there."""

    ALL = auto()
    SEEN = auto()
    GUESSED = auto()


def merge_all(target: Path, sources: Sequence[Path], clock: Clock, progress: Progress | None = None) -> list[Merged]:
    """As ``merge``, for several sources: what any of them knows of a call's end comes before what another only assumes."""
    done = [_merge(target, source, clock, progress, _Ends.SEEN) for source in sources]
    return [one.plus(_merge(target, source, clock, progress, _Ends.GUESSED)) for one, source in zip(done, sources, strict=True)]


def merge(target: Path, source: Path, clock: Clock, progress: Progress | None = None) -> Merged:
    """Add to ``target`` (made when it is not there) what ``source`` has more.

    Raises ``LedgerDamaged`` when the source does not verify, ``LedgerError`` when both have one row in two versions, or a call that
    ended in two ways. Whole calls are taken or none of them, so an interrupted merge is finished by doing it again.
    """
    return _merge(target, source, clock, progress, _Ends.ALL)


def _merge(target: Path, source: Path, clock: Clock, progress: Progress | None, ends: _Ends) -> Merged:
    if target.exists() and source.samefile(target):
        raise LedgerError(f"{source} cannot be merged into itself")
    found = verify(source)
    if not found.is_sound:
        raise LedgerDamaged(
            f"{source} is not merged: {found.problem}. Keep it; `tollkeeper ledger verify --ledger {source}` says more"
        )
    done = Merged(source.name)
    ledger = Ledger.open(target, clock)
    try:
        with closing(open_reader(source)) as reader:
            read_as_newest(reader)
            reader.execute("BEGIN")
            for calls in _batches(reader, BATCH_CALLS, ends):
                done = done.plus(ledger.do(partial(_take, reader, source.name, calls)))
                if progress is not None:
                    progress(done.calls + done.open_calls)
    except sqlite3.Error as error:
        raise translate(error, source) from error
    finally:
        ledger.close_now()
    return done


def _batches(reader: sqlite3.Connection, size: int, ends: _Ends) -> Iterator[list[str]]:
    """The ids of the calls with such an end, in the order in which they began."""
    guessed = f"max(kind = 'settle' AND outcome = '{Outcome.CRASHED}')"
    having = {_Ends.ALL: "", _Ends.SEEN: f" HAVING NOT {guessed}", _Ends.GUESSED: f" HAVING {guessed}"}[ends]
    rows = reader.execute(f"SELECT call_id FROM entry GROUP BY call_id{having} ORDER BY min(seq)")  # noqa: S608 — fixed words
    while batch := rows.fetchmany(size):
        yield [call_id for (call_id,) in batch]


def _take(reader: sqlite3.Connection, source: str, calls: Sequence[str], journal: Journal) -> Merged:
    journal.flush()
    journal.connection.execute(_ORIGIN)
    done = Merged(source)
    for call_id, found in _entries(reader, calls):
        if not any(row[_KIND] in _CLOSED for row, _, _ in found):
            done = done.plus(Merged(source, open_calls=any(row[_KIND] == "hold" for row, _, _ in found)))
        else:
            done = done.plus(_take_call(reader, journal, source, call_id, found))
    return done


def _take_call(reader: sqlite3.Connection, journal: Journal, source: str, call_id: str, found: Sequence[Found]) -> Merged:
    connection = journal.connection
    if connection.execute("SELECT 1 FROM hold WHERE call_id = ?", (call_id,)).fetchone():
        return Merged(source, open_calls=1)
    have = _ends_of(connection, call_id)
    keeps = any(have.values()) != any(_is_guess(row) for row, _, _ in found) and bool(have)
    added = known = 0
    for row, lines, digest in found:
        if row[_KIND] == "adjust" and FLAG in row[INDEX["flags"]]:
            continue  # a grant is of the source's own budgets
        if keeps:  # the target's end of this call stays, and a correction belongs to the end that it corrects
            known += row[_KIND] != "hold" or _is_known(connection, row, source)
        elif _is_known(connection, row, source):
            known += 1
        else:
            _check_end(have, row, source)
            _append(reader, journal, source, row, lines, digest)
            added += 1
    journal.flush()
    return Merged(source, bool(added), added, known, 0, keeps and any(have.values()))


def _ends_of(connection: sqlite3.Connection, call_id: str) -> dict[str, bool]:
    """The kinds of entry that closed a call in the target, and whether each is a guess."""
    rows = connection.execute(
        f"SELECT {', '.join(ENTRY)} FROM entry WHERE call_id = ? AND kind IN {_CLOSED}",  # noqa: S608 — fixed names
        (call_id,),
    )
    return {row[_KIND]: _is_guess(row) for row in rows}


def _is_guess(row: Sequence[Any]) -> bool:
    """Whether the entry ends a call of which nobody saw the end (``recovery.settle_dead``)."""
    return bool(row[_KIND] == "settle" and row[_OUTCOME] == Outcome.CRASHED)


def _check_end(have: dict[str, bool], row: Row, source: str) -> None:
    """Raises ``LedgerError`` when the call ended in another way in the target. What expired may still be settled there, late."""
    kind = row[_KIND]
    is_late = have.keys() == {"expire"} and not row[INDEX["hold_nanousd"]]
    if kind in _CLOSED and have and kind not in have and not is_late:
        raise LedgerError(
            f"{source}: call {row[_CALL]} ended as {kind} (entry {row[_SEQ]}), in the target as {', '.join(have)}: "
            "the two ledgers tell different stories, nothing of this batch was merged"
        )


def _entries(reader: sqlite3.Connection, calls: Sequence[str]) -> Iterator[tuple[str, list[Found]]]:
    marks = ", ".join("?" * len(calls))
    lines: dict[int, list[Row]] = {}
    columns = ", ".join(LINE)
    for seq, *line in reader.execute(
        f"SELECT entry_seq, {columns} FROM line WHERE entry_seq IN (SELECT seq FROM entry WHERE call_id IN ({marks}))"  # noqa: S608
        " ORDER BY entry_seq, position",
        list(calls),
    ):
        lines.setdefault(seq, []).append(line)
    rows = reader.execute(
        f"SELECT {', '.join(ENTRY)}, hash FROM entry WHERE call_id IN ({marks}) ORDER BY call_id, seq",  # noqa: S608 — fixed names
        list(calls),
    )
    for call_id, group in groupby(rows, key=itemgetter(_CALL)):
        yield call_id, [(list(row[:-1]), lines.get(row[_SEQ], []), row[-1]) for row in group]


def _is_known(connection: sqlite3.Connection, row: Row, source: str) -> bool:
    """Whether the target has this row. Raises ``LedgerError`` when it has another in its place."""
    key = (row[_CALL], row[_KIND], row[_REVISION])
    have = connection.execute(
        f"SELECT {', '.join(ENTRY)} FROM entry WHERE call_id = ? AND kind = ? AND revision = ?",  # noqa: S608 — fixed names
        key,
    ).fetchone()
    if have is None:
        return False
    for index in _SAID:
        if have[index] != row[index]:
            raise LedgerError(
                f"{source}: entry {row[_SEQ]} ({row[_KIND]} of call {row[_CALL]}) is in the target with another {ENTRY[index]}: "
                "the two ledgers tell different stories, nothing of this batch was merged"
            )
    return True


def _append(reader: sqlite3.Connection, journal: Journal, source: str, row: Row, lines: list[Row], digest: bytes) -> None:
    price = LINE.index("price_id")
    for price_id in {line[price] for line in lines if line[price]}:
        document = reader.execute("SELECT document FROM price WHERE id = ?", (price_id,)).fetchone()
        journal.connection.execute(
            "INSERT INTO price (id, document) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", (price_id, *document)
        )
    placed: list[Any] = list(row)
    placed[INDEX["buckets"]] = placed[INDEX["openings"]] = ""
    journal.append(placed, lines)
    journal.connection.execute(_NOTE, (placed[_SEQ], source, row[_SEQ], digest))


def seal(path: Path) -> None:
    """Make a ledger that nobody writes any more one plain file, readable where its reader may not write. Raises ``LedgerError``."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise translate(error, path) from error
