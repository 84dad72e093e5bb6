"""The schema: STRICT tables that only grow, and the migrations that made them.

``sqlite_utils`` is imported only when a migration is pending: it costs 0.2 s of start-up.
"""

import sqlite3
from typing import TYPE_CHECKING

from tollkeeper.core.errors import LedgerError

if TYPE_CHECKING:
    from sqlite_utils import Database

SET = "tollkeeper.ledger"
FIRST = "m001_initial"
SECOND = "m002_attribution_and_once"
THIRD = "m003_budgets"
LATEST = "m004_alert_by_budget"
"""The newest migration; a ledger that has it needs nothing."""

KNOWN = frozenset({FIRST, SECOND, THIRD, LATEST})

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

CLAIM_COLUMNS = (
    "plan", "client_session", "client_project", "account", "end_user", "parent_agent", "agent_class", "initiator", "interaction",
    "tags", "refusal",
)  # fmt: skip
_CLAIMS = "".join(f"ALTER TABLE entry ADD COLUMN {column} TEXT NOT NULL DEFAULT '';\n" for column in CLAIM_COLUMNS)

_SECOND = f"""
ALTER TABLE entry ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
{_CLAIMS}
ALTER TABLE line ADD COLUMN response_id TEXT NOT NULL DEFAULT '';
ALTER TABLE line ADD COLUMN custom_id TEXT NOT NULL DEFAULT '';

CREATE TABLE billed (
    provider TEXT NOT NULL,
    response_id TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    PRIMARY KEY (provider, response_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE deferred (
    provider TEXT NOT NULL,
    response_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    PRIMARY KEY (provider, response_id, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deferred_call ON deferred (call_id);

CREATE TABLE upload (
    provider TEXT NOT NULL,
    file_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    parts TEXT NOT NULL,
    PRIMARY KEY (provider, file_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE plan_window (
    subject TEXT NOT NULL,
    plan TEXT NOT NULL,
    name TEXT NOT NULL,
    used_ppm INTEGER,
    resets_at INTEGER,
    status TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (subject, plan, name)
) STRICT, WITHOUT ROWID;
"""

BUDGET_TEXTS = ("branch", "run", "policy", "actions")
PLACE_TEXTS = ("os_user", "process", "container")
BUDGET_COUNTS = ("hold_tokens", "hold_requests", "used_tokens", "used_requests")
_BUDGETS = "".join(
    [f"ALTER TABLE entry ADD COLUMN {column} TEXT NOT NULL DEFAULT '';\n" for column in (*BUDGET_TEXTS, *PLACE_TEXTS)]
    + [f"ALTER TABLE entry ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0;\n" for column in BUDGET_COUNTS]
)

_THIRD = f"""
{_BUDGETS}
CREATE INDEX entry_session ON entry (session) WHERE session <> '';
CREATE INDEX entry_client_session ON entry (client_session) WHERE client_session <> '';
CREATE INDEX entry_run ON entry (run) WHERE run <> '';
CREATE INDEX entry_spent_by ON entry (subject, counted_at) WHERE kind IN ('settle', 'adjust');
CREATE INDEX entry_spent_on ON entry (project, counted_at) WHERE kind IN ('settle', 'adjust');

CREATE TABLE granted (
    id TEXT PRIMARY KEY,
    budget TEXT NOT NULL,
    whose TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    from_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    why TEXT NOT NULL,
    granted_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alert (
    bucket TEXT NOT NULL,
    window_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    percent INTEGER NOT NULL,
    at INTEGER NOT NULL,
    facts TEXT NOT NULL,
    sent_to TEXT NOT NULL,
    tries INTEGER NOT NULL,
    next_at INTEGER,
    PRIMARY KEY (bucket, window_at, kind, percent)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_due ON alert (next_at) WHERE next_at IS NOT NULL;
"""

_FOURTH = """
CREATE TABLE alert_by_budget (
    bucket TEXT NOT NULL,
    budget TEXT NOT NULL DEFAULT '',
    window_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    percent INTEGER NOT NULL,
    at INTEGER NOT NULL,
    facts TEXT NOT NULL,
    sent_to TEXT NOT NULL,
    tries INTEGER NOT NULL,
    next_at INTEGER,
    PRIMARY KEY (bucket, budget, window_at, kind, percent)
) STRICT, WITHOUT ROWID;
INSERT INTO alert_by_budget
    SELECT bucket, coalesce(json_extract(facts, '$.budget'), ''), window_at, kind, percent, at, facts, sent_to, tries, next_at
    FROM alert;
DROP TABLE alert;
ALTER TABLE alert_by_budget RENAME TO alert;
CREATE INDEX alert_due ON alert (next_at) WHERE next_at IS NOT NULL;
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


def add_attribution_and_once(database: "Database") -> None:
    """What clients say of themselves, the plan, provider-side refusals; and what was billed, is still to come, was uploaded.

    Entries written before keep their hashes: those cover the columns of their own ``format``.
    """
    script = _SECOND + "".join(_APPEND_ONLY.format(table="billed", verb=verb) for verb in ("UPDATE", "DELETE"))
    for statement in _statements(script):
        database.execute(statement)


def add_budgets(database: "Database") -> None:
    """Budgets in tokens and requests, by session, run and branch; the policy and what it did; grants. Hashes stay as they are."""
    for statement in _statements(_THIRD):
        database.execute(statement)


def add_alert_by_budget(database: "Database") -> None:
    """Alerts unique by budget, since several budgets may count in one bucket; what was told before stays told."""
    for statement in _statements(_FOURTH):
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
    migrations(name=FIRST)(create_initial)
    migrations(name=SECOND)(add_attribution_and_once)
    migrations(name=THIRD)(add_budgets)
    migrations(name=LATEST)(add_alert_by_budget)
    migrations.apply(Database(connection, recursive_triggers=True, execute_plugins=False))


def read_as_newest(connection: sqlite3.Connection) -> None:
    """Let a reader of an older ledger see the columns it does not have yet, empty: reading never changes the file."""
    have = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('entry')")}
    if "container" in have:
        return
    missing = [f"'' AS {column}" for column in (*CLAIM_COLUMNS, *BUDGET_TEXTS, *PLACE_TEXTS) if column not in have]
    missing += [f"0 AS {column}" for column in BUDGET_COUNTS]
    views = [
        "granted AS SELECT '' AS id, '' AS budget, '' AS whose, 'usd' AS unit, 0 AS amount, 0 AS from_at, 0 AS until_at, '' AS why,"
        " '' AS granted_by WHERE 0"
    ]
    if "format" not in have:
        missing.insert(0, "1 AS format")
        views += [
            "line AS SELECT *, '' AS response_id, '' AS custom_id FROM main.line",
            "plan_window AS SELECT '' AS subject, '' AS plan, '' AS name, NULL AS used_ppm, NULL AS resets_at, '' AS status, 0 AS at"
            " WHERE 0",
        ]
    views.append(f"entry AS SELECT *, {', '.join(missing)} FROM main.entry")  # noqa: S608 — fixed names
    connection.execute("PRAGMA query_only=OFF")  # the views live in the connection's own temporary schema
    for view in views:
        connection.execute(f"CREATE TEMP VIEW {view}")
    connection.execute("PRAGMA query_only=ON")


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
