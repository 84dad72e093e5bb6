"""The schema: STRICT tables that only grow, and the migrations that made them.

``sqlite_utils`` is imported only when a migration is pending: it costs 0.2 s of start-up.
"""

import sqlite3
from typing import TYPE_CHECKING

from tollkeeper.core.errors import LedgerError

if TYPE_CHECKING:
    from sqlite_utils import Database

SET = "tollkeeper.ledger"
LATEST = "m001_initial"
"""The newest migration; a ledger that has it needs nothing."""

KNOWN = frozenset({LATEST})

_INITIAL = """
CREATE TABLE price (
    id TEXT PRIMARY KEY,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('hold', 'settle', 'void', 'expire', 'adjust', 'refuse')),
    call_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    at INTEGER NOT NULL,
    counted_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    subject TEXT NOT NULL,
    issuer TEXT NOT NULL,
    channel TEXT NOT NULL,
    assurance TEXT NOT NULL,
    groups TEXT NOT NULL,
    project TEXT NOT NULL,
    client TEXT NOT NULL,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    provider TEXT NOT NULL,
    host TEXT NOT NULL,
    operation TEXT NOT NULL,
    unmetered TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    streamed INTEGER NOT NULL,
    model TEXT NOT NULL,
    model_billed TEXT NOT NULL,
    verdict TEXT NOT NULL,
    would TEXT NOT NULL,
    rule TEXT NOT NULL,
    budget TEXT NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    outcome TEXT NOT NULL,
    usage_source TEXT NOT NULL,
    cost_source TEXT NOT NULL,
    hold_nanousd INTEGER NOT NULL,
    list_cost_nanousd INTEGER,
    cost_nanousd INTEGER,
    exposure_nanousd INTEGER NOT NULL,
    provider_cost_nanousd INTEGER,
    response_id TEXT NOT NULL,
    terms TEXT NOT NULL,
    usage TEXT NOT NULL,
    flags TEXT NOT NULL,
    error TEXT NOT NULL,
    duration_ms INTEGER,
    first_byte_ms INTEGER,
    buckets TEXT NOT NULL,
    openings TEXT NOT NULL,
    prev BLOB NOT NULL CHECK (length(prev) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE UNIQUE INDEX entry_call ON entry (call_id, kind, revision);
CREATE INDEX entry_counted_at ON entry (counted_at);
CREATE INDEX entry_adjust ON entry (call_id) WHERE kind = 'adjust';

CREATE TABLE line (
    entry_seq INTEGER NOT NULL REFERENCES entry (seq),
    position INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units TEXT NOT NULL,
    list_cost_nanousd INTEGER,
    cost_nanousd INTEGER,
    exposure_nanousd INTEGER NOT NULL,
    cost_source TEXT NOT NULL,
    price_id TEXT REFERENCES price (id),
    unpriced TEXT NOT NULL,
    flags TEXT NOT NULL,
    charges TEXT NOT NULL,
    PRIMARY KEY (entry_seq, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
    call_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    process TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    counted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    buckets TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bucket (
    key TEXT PRIMARY KEY,
    start_at INTEGER NOT NULL,
    ends_at INTEGER,
    length_us INTEGER,
    scope TEXT NOT NULL,
    named_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE balance (
    bucket TEXT NOT NULL,
    slot_start INTEGER NOT NULL,
    posted INTEGER NOT NULL CHECK (posted >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    PRIMARY KEY (bucket, slot_start)
) STRICT, WITHOUT ROWID;
"""

_APPEND_ONLY = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'the ledger only grows: {table} rows cannot be changed or removed'); END;
"""


def create_initial(database: "Database") -> None:
    """Tables, indexes and the triggers that keep ``entry``, ``line`` and ``price`` append-only."""
    script = _INITIAL + "".join(
        _APPEND_ONLY.format(table=table, verb=verb) for table in ("entry", "line", "price") for verb in ("UPDATE", "DELETE")
    )
    for statement in _statements(script):
        database.execute(statement)


def applied(connection: sqlite3.Connection) -> frozenset[str]:
    """The names of the migrations this ledger has."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone():
        return frozenset()
    return frozenset(
        name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (SET,))
    )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a ledger up to date. The caller holds our file lock: racing migrations fail (measured: 3 of 4).

    Raises ``LedgerError`` when the ledger was written by a newer Tollkeeper.
    """
    have = applied(connection)
    if strange := have - KNOWN:
        raise LedgerError(
            f"the ledger was written by a newer Tollkeeper (it has {', '.join(sorted(strange))}); upgrade, or choose another ledger"
        )
    if LATEST in have:
        return
    from sqlite_utils import Database, Migrations

    migrations = Migrations(SET)
    migrations(name=LATEST)(create_initial)
    migrations.apply(Database(connection, recursive_triggers=True, execute_plugins=False))


def _statements(script: str) -> list[str]:
    """Single statements: ``executescript`` would commit the migration's transaction half-way."""
    found, pending = [], ""
    for part in script.split(";"):
        pending += part + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n;"):
                found.append(pending.strip())
            pending = ""
    return found
