"""Billed once: what a provider states again, what was only submitted, and what is billed when its results are read.

Runs inside the settlement's own transaction, so that neither a restart nor a second process counts anything twice. Ordinary calls
never come here. Three tables beside the chain: ``billed`` (ids that were billed, append-only), ``deferred`` (submissions that wait for
their results, by every id these may come under) and ``upload`` (what an uploaded batch asks).
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollkeeper.core.call import Ask
from tollkeeper.core.charge import Bill
from tollkeeper.core.entry import Settlement
from tollkeeper.core.usage import UsageSource

from .columns import ENTRY, INDEX
from .row import Row, encode, text
from .store import open_reader

if TYPE_CHECKING:
    from .journal import Journal

_CHUNK = 500
_PART = (
    "model",
    "max_output_tokens",
    "choices",
    "input_bytes",
    "media_parts",
    "server_tools",
    "operation",
    "requests",
    "service_tier",
)
MAX_PARTS = 1_000
_BILLED = frozenset({UsageSource.REPORTED, UsageSource.COUNTED})


def unbilled(connection: sqlite3.Connection, settlement: Settlement) -> tuple[Settlement, tuple[str, ...]]:
    """The settlement without what was billed before, and the provider's ids of what remains.

    All of it billed before: nothing is, flagged ``repeat``; a part: flagged ``partly-repeat``. What has no id is billed.
    """
    reading, provider = settlement.reading, settlement.call.endpoint.provider
    ids = [text(usage.response_id or reading.response_id) for usage in reading.calls]
    wanted = tuple(dict.fromkeys(one for one in ids if one))
    known = _known(connection, provider, wanted)
    if not known:
        return settlement, wanted
    fresh = tuple(one for one in wanted if one not in known)
    kept = [position for position, one in enumerate(ids) if one not in known]
    if not kept:
        nothing = replace(reading, source=UsageSource.NONE, calls=(), raw=(), flags=(*reading.flags, "repeat"))
        return replace(settlement, reading=nothing, bill=Bill()), ()
    bill = settlement.bill
    lines = tuple(bill.lines[position] for position in kept if position < len(bill.lines))
    reading = replace(reading, calls=tuple(reading.calls[position] for position in kept), flags=(*reading.flags, "partly-repeat"))
    return replace(settlement, reading=reading, bill=replace(bill, lines=lines, provider_cost_nanousd=None)), fresh


def _known(connection: sqlite3.Connection, provider: str, wanted: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        marks = ", ".join("?" * len(some))
        query = f"SELECT response_id FROM billed WHERE provider = ? AND response_id IN ({marks})"  # noqa: S608 — only question marks
        found.update(one for (one,) in connection.execute(query, (provider, *some)))
    return found


def is_more_than_a_bill(settlement: Settlement) -> bool:
    """Whether a settlement says anything that this module keeps. Asked for every call."""
    reading = settlement.reading
    return bool(
        reading.is_repeatable
        or reading.results_of
        or reading.links
        or reading.source is UsageSource.DEFERRED
        or settlement.call.ask.parts
    )


def note(journal: "Journal", settlement: Settlement, ids: tuple[str, ...], seq: int) -> None:
    """After the entry ``seq`` was appended: remember what it billed, what it deferred, and release what it is the result of."""
    connection, reading, call = journal.connection, settlement.reading, settlement.call
    provider = call.endpoint.provider
    connection.executemany(
        "INSERT INTO billed (provider, response_id, entry_seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(provider, one, seq) for one in ids],
    )
    if reading.source is UsageSource.DEFERRED and reading.response_id:
        connection.execute(
            "INSERT INTO deferred (provider, response_id, call_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (provider, text(reading.response_id), call.id),
        )
    elif call.ask.parts and reading.response_id:
        connection.execute(
            "INSERT INTO upload (provider, file_id, at, parts) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (provider, text(reading.response_id), journal.at, _written(call.ask.parts)),
        )
    for other, one in list(reading.links.items())[:64]:
        connection.execute(
            "INSERT INTO deferred (provider, response_id, call_id) SELECT provider, ?, call_id FROM deferred"
            " WHERE provider = ? AND response_id = ? ON CONFLICT DO NOTHING",
            (text(other), provider, text(one)),
        )
    names = reading.results_of
    if reading.is_repeatable and reading.complete and reading.response_id and reading.source in _BILLED:
        names = tuple(dict.fromkeys((*names, reading.response_id)))  # the very id under which the work was asked for
    _release(journal, provider, names)


def _release(journal: "Journal", provider: str, names: Iterable[str]) -> None:
    """Take back the estimates of submissions whose results are billed now: a correction for each, in the windows it counted in."""
    connection = journal.connection
    for name in names:
        found = connection.execute(
            "SELECT call_id FROM deferred WHERE provider = ? AND response_id = ?", (provider, text(name))
        ).fetchall()
        for (call_id,) in found:
            journal.flush()
            row = connection.execute(
                f"SELECT {', '.join(ENTRY)} FROM entry WHERE call_id = ? AND kind = 'settle'"  # noqa: S608 — fixed names
                " AND NOT EXISTS (SELECT 1 FROM entry AS later WHERE later.call_id = entry.call_id AND later.kind = 'adjust')",
                (call_id,),
            ).fetchone()
            if row is not None:
                journal.adjust(_released(list(row), journal.at), Bill())
            connection.execute("DELETE FROM deferred WHERE call_id = ?", (call_id,))


def _released(row: Row, at: int) -> Row:
    changes: dict[str, Any] = {
        "kind": "adjust",
        "revision": 1,
        "at": at,
        "hold_nanousd": 0,
        "list_cost_nanousd": 0,
        "cost_nanousd": 0,
        "exposure_nanousd": -row[INDEX["exposure_nanousd"]],
        "cost_source": "free",
        "reason": "its results were read: they are billed there",
        "usage": "",
        "flags": '["results-read"]',
        "openings": "",
        "used_tokens": -row[INDEX["used_tokens"]],
    }
    for column, value in changes.items():
        row[INDEX[column]] = value
    return row


def _written(parts: tuple[Ask, ...]) -> str:
    return encode(
        [
            [text(value) if isinstance(value := getattr(part, name), str) else value for name in _PART]
            for part in parts[:MAX_PARTS]
        ]
    )


def read_upload(path: Path, provider: str, file_id: str) -> tuple[Ask, ...]:
    """What an uploaded file asks, when it is a batch that passed here; else nothing. Raises ``LedgerError``."""
    connection = open_reader(path)
    try:
        row = connection.execute(
            "SELECT parts FROM upload WHERE provider = ? AND file_id = ?", (provider, text(file_id))
        ).fetchone()
    except sqlite3.OperationalError:  # a ledger of an older schema knows no uploads
        return ()
    finally:
        connection.close()
    known = {one.name for one in fields(Ask)}
    if row is None or not known.issuperset(_PART):
        return ()
    return tuple(Ask(**dict(zip(_PART, part, strict=True))) for part in json.loads(row[0]))
