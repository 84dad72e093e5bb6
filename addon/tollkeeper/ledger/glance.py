"""What fits into the corner of an eye: today, this conversation, the last hour, some budgets. Read in a few milliseconds.

Imports nothing but ``sqlite3``: whoever asks is a status line that is drawn several times a second.
"""

import sqlite3

SLICES = 8
"""Parts of the last hour, for a small curve."""
SLICE_US = 3_600_000_000 // SLICES
MAX_SCAN_ENTRIES = 60_000
"""Entries read one by one at most: beyond, a figure is not known until the sums beside the ledger are brought up to date."""

UNREADABLE = sqlite3.Error
"""What ``glance`` raises; named here so that nobody else needs ``sqlite3``."""


def is_busy(error: Exception) -> bool:
    """Whether it may well be read a moment later: another process holds it. Else it is damaged, or may not be read."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF  # https://sqlite.org/rescode.html: the primary code
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


SESSION_SUMS = (
    "coalesce(sum(cost_nanousd), 0), coalesce(sum(kind = 'settle'), 0),"
    " coalesce(sum(kind = 'settle' AND cost_nanousd IS NULL) - sum(kind = 'adjust' AND cost_nanousd IS NOT NULL), 0)"
)
_RECENT = (
    "SELECT coalesce(sum(cost_nanousd), 0), coalesce(sum(kind = 'settle' AND cost_nanousd IS NULL AND usage_source <> 'deferred'), 0)"
    " - coalesce(sum(kind = 'adjust' AND cost_nanousd IS NOT NULL AND usage_source <> 'deferred'), 0)"
    " FROM entry WHERE seq > ? AND counted_at >= ? AND kind IN ('settle', 'adjust')"
)
"""A correction carries a cost where none was known before: each takes one call off those of unknown cost."""


class Glance:
    """Figures in nano-dollars; None is not known. ``unknown_…`` count calls without a known cost."""

    __slots__ = (
        "budgets", "curve", "is_behind", "open_calls", "session_calls", "session_nanousd", "today_nanousd", "unknown_session",
        "unknown_today",
    )  # fmt: skip

    def __init__(self) -> None:
        self.today_nanousd: int | None = None
        self.unknown_today = 0
        self.session_nanousd: int | None = None
        self.session_calls = 0
        self.unknown_session = 0
        self.curve: list[int] = [0] * SLICES
        self.open_calls = 0
        self.budgets: list[tuple[int, int]] = []
        self.is_behind = False
        """The sums beside a large ledger are far behind it: somebody should bring them up to date."""


def glance(path: str, *, now: int, midnight: int, session: str = "", buckets: list[tuple[str, int]] | None = None) -> Glance:
    """Read the ledger at ``path``. ``now`` and ``midnight`` are UTC microseconds, ``session`` the client's own name of a conversation.

    ``budgets`` of the answer are (spent, held) for each of ``buckets``, given as (key, first slot). Raises ``UNREADABLE``.
    """
    found = Glance()
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=0.05, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        head = connection.execute("SELECT max(seq) FROM entry").fetchone()[0] or 0
        seq = _add_rolled(found, path, midnight, session, connection)
        found.is_behind = head - seq > MAX_SCAN_ENTRIES // 3
        if head - seq <= MAX_SCAN_ENTRIES:
            _add_recent(found, connection, seq, midnight, session)
        else:
            found.today_nanousd = found.session_nanousd = None
        _add_curve(found, connection, now)
        found.open_calls = connection.execute("SELECT count(*) FROM hold").fetchone()[0]
        for key, start in buckets or ():
            spent, held = connection.execute(
                "SELECT coalesce(sum(posted), 0), coalesce(sum(held), 0) FROM balance WHERE bucket = ? AND slot_start >= ?",
                (key, start),
            ).fetchone()
            found.budgets.append((spent, held))
    finally:
        connection.close()
    return found


def _add_rolled(found: Glance, path: str, midnight: int, session: str, ledger: sqlite3.Connection) -> int:
    """What the sums beside a large ledger know; returns up to which entry."""
    found.today_nanousd, found.session_nanousd = 0, 0
    if midnight % 3_600_000_000:
        return 0
    try:
        connection = sqlite3.connect(f"file:{_quoted(path)}.rollup?mode=ro", uri=True, timeout=0.02, isolation_level=None)
    except sqlite3.Error:
        return 0
    try:
        connection.execute("BEGIN")
        seq, digest = connection.execute("SELECT seq, hash FROM state").fetchone()
        known = ledger.execute("SELECT hash FROM entry WHERE seq = ?", (seq,)).fetchone()
        if known is None or known[0] != digest:
            return 0
        found.today_nanousd, found.unknown_today = connection.execute(
            "SELECT coalesce(sum(cost_nanousd), 0), coalesce(sum(unpriced_calls), 0) FROM by_hour WHERE at >= ?",
            (midnight // 3_600_000_000,),
        ).fetchone()
        row = (
            connection.execute("SELECT cost_nanousd, calls, unknown FROM session WHERE id = ?", (session,)).fetchone()
            if session
            else None
        )
        if row:
            found.session_nanousd, found.session_calls, found.unknown_session = row
        return int(seq)
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def _add_recent(found: Glance, connection: sqlite3.Connection, seq: int, midnight: int, session: str) -> None:
    cost, unknown = connection.execute(_RECENT, (seq, midnight)).fetchone()
    found.today_nanousd = (found.today_nanousd or 0) + cost
    found.unknown_today += unknown
    if session:
        row = connection.execute(
            f"SELECT {SESSION_SUMS} FROM entry WHERE seq > ? AND client_session = ? AND kind IN ('settle', 'adjust')",  # noqa: S608
            (seq, session),
        ).fetchone()
        found.session_nanousd = (found.session_nanousd or 0) + row[0]
        found.session_calls += row[1]
        found.unknown_session += row[2]


def _add_curve(found: Glance, connection: sqlite3.Connection, now: int) -> None:
    start = now - SLICES * SLICE_US
    rows = connection.execute(
        "SELECT (counted_at - ?) / ?, sum(cost_nanousd) FROM entry WHERE counted_at >= ? AND counted_at < ? AND kind = 'settle' GROUP BY 1",
        (start, SLICE_US, start, now),
    )
    for place, cost in rows:
        if 0 <= place < SLICES:
            found.curve[place] = cost or 0


def _quoted(path: str) -> str:
    """A path inside a ``file:`` address (https://sqlite.org/uri.html)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
