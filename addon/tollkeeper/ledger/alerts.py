"""What somebody is to be told, once for each budget, bucket, window and threshold: rows made where money is held, sent after that.

The row is unique, so that neither a burst nor several processes nor a restart tells anything twice. Whoever sends one claims it first,
and no more than that one: the moment of its next try is moved ahead, in a transaction, again after each channel, and taken away once
everybody has been told.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tollkeeper.core.admission import Admission, Admitted, Limit
from tollkeeper.core.amounts import Unit
from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.core.decision import Standing

from .row import encode, text
from .store import open_reader, translate

if TYPE_CHECKING:
    from .journal import Journal

THRESHOLD: Final = "threshold"
USED_UP: Final = "used-up"
PROJECTION: Final = "projection"
ANOMALY: Final = "anomaly"

CLAIM_US: Final = 60 * US_PER_SECOND
"""How long whoever claims an alert has to tell one channel before another process may: several times what a channel is waited for."""
MAX_TRIES: Final = 12
"""With the pauses doubling from 15 seconds on: over about eight hours."""
FIRST_PAUSE_US: Final = 15 * US_PER_SECOND
STALE_US: Final = 86_400 * US_PER_SECOND
"""An alert that could not be sent for a day is no news any more."""
FULL_PERCENT, HALF_PERCENT = 90, 50
"""A budget that refuses is told as used up at most twice: when hardly anything is left, and before that when half of it is gone.

Not at 100 alone: it refuses as soon as the rest is less than the next call may cost, so hardly any is ever spent to the last cent.
Not below a half: there a single large call was refused, and others still have room.
"""
DAYS_OF_SESSIONS: Final = 14
ENOUGH_SESSIONS: Final = 20
LEAST_ANOMALY_NANOUSD: Final = 1_000_000_000
"""A session below a dollar is no anomaly, whatever its owner's others cost."""

_INSERT = (
    "INSERT INTO alert (bucket, budget, window_at, kind, percent, at, facts, sent_to, tries, next_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, '[]', 0, ?) ON CONFLICT DO NOTHING"
)
_SESSIONS = (
    "SELECT subject, CASE WHEN session <> '' THEN session ELSE client_session END AS one, SUM(exposure_nanousd) AS spent, MAX(at)"
    " FROM entry WHERE kind IN ('settle', 'adjust') AND at >= ? AND (session <> '' OR client_session <> '')"
    " GROUP BY subject, one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to tell. ``facts`` are its figures by name; ``sent_to`` the channels that have it already.

    ``budget`` tells apart several that count in one bucket, each with its own amount; empty for a session.
    """

    bucket: str
    budget: str = ""
    window_at: int
    kind: str
    percent: int
    at: int
    facts: dict[str, Any]
    sent_to: tuple[str, ...] = ()
    tries: int = 0

    @property
    def id(self) -> str:
        """The same for every try, so that a receiver can tell a repetition."""
        return f"{self.kind}/{self.percent}/{self.window_at}/{self.bucket}{f'/{self.budget}' if self.budget else ''}"


def note(connection: sqlite3.Connection, admission: Admission, admitted: Admitted, at: int) -> None:
    """Keep what one decision is reason to tell, inside its transaction: thresholds passed, and budgets that are used up.

    Of those without room for a refused call, a budget that only watches refused nothing, and one that is not half full is not used up.
    """
    limits = {(limit.budget, limit.bucket.key): limit for candidate in admission.candidates for limit in candidate.limits}
    found = [(THRESHOLD, warned.percent, warned.standing) for warned in admitted.warned]
    if admitted.chosen is None:
        found += [(USED_UP, percent, standing) for standing in admitted.blockers if (percent := _used_up(standing))]
    for kind, percent, standing in found:
        limit = limits.get((standing.budget, standing.bucket))
        if limit is None or standing.rule or standing.unit is Unit.PARALLEL:
            continue
        if limit.enforced or kind == THRESHOLD:
            put(connection, of_budget(limit, standing, kind, percent, at))


def _used_up(standing: Standing) -> int:
    """What a refusal tells of a budget as its percentage; 0 for nothing."""
    used = standing.used_percent
    return 100 if used >= FULL_PERCENT else HALF_PERCENT if used >= HALF_PERCENT else 0


def of_budget(limit: Limit, standing: Standing, kind: str, percent: int, at: int, **more: Any) -> Alert:
    """The alert about a budget. A rolling window is told of once for each of its lengths."""
    length_us = limit.bucket.length_us
    window_at = limit.bucket.start_at if length_us is None else at // length_us * length_us
    facts = {
        "budget": text(standing.budget),
        "unit": standing.unit.value,
        "amount": standing.amount_nanousd,
        "spent": standing.spent_nanousd,
        "held": standing.held_nanousd,
        "window": standing.window,
        "resets_at": standing.resets_at,
        "zone": standing.zone,
        **more,
    }
    return Alert(
        bucket=limit.bucket.key, budget=facts["budget"], window_at=window_at, kind=kind, percent=percent, at=at, facts=facts
    )


def put(connection: sqlite3.Connection, alert: Alert) -> None:
    """Keep an alert, unless it is there."""
    connection.execute(
        _INSERT,
        (alert.bucket, alert.budget, alert.window_at, alert.kind, alert.percent, alert.at, encode(alert.facts), alert.at),
    )


def put_all(alerts: Iterable[Alert], journal: "Journal") -> None:
    """Keep several."""
    for alert in alerts:
        put(journal.connection, alert)


def claim(journal: "Journal") -> list[Alert]:
    """The alert that is due first, for the caller to send: nobody else gets it for a minute. Nothing when none is due.

    One at a time: a claim on several would end while the first of them are still being sent.
    """
    at = journal.at
    journal.connection.execute("UPDATE alert SET next_at = NULL WHERE next_at IS NOT NULL AND at < ?", (at - STALE_US,))
    rows = journal.connection.execute(
        "SELECT bucket, budget, window_at, kind, percent, at, facts, sent_to, tries FROM alert"
        " WHERE next_at <= ? ORDER BY next_at LIMIT 1",
        (at,),
    ).fetchall()
    found = [
        Alert(
            bucket=bucket,
            budget=budget,
            window_at=window_at,
            kind=kind,
            percent=percent,
            at=noted_at,
            facts=json.loads(facts),
            sent_to=tuple(json.loads(sent_to)),
            tries=tries,
        )
        for bucket, budget, window_at, kind, percent, noted_at, facts, sent_to, tries in rows
    ]
    for alert in found:
        _update(journal, alert, alert.sent_to, alert.tries, at + CLAIM_US)
    return found


def go_on(alert: Alert, sent_to: tuple[str, ...], journal: "Journal") -> None:
    """Write down who has been told so far, and keep the claim for the next channel."""
    _update(journal, alert, (*alert.sent_to, *sent_to), alert.tries, journal.at + CLAIM_US)


def finish(alert: Alert, sent_to: tuple[str, ...], wanted: tuple[str, ...], journal: "Journal") -> None:
    """Write down who has been told; the others are tried again later, with growing pauses."""
    told = tuple(dict.fromkeys((*alert.sent_to, *sent_to)))
    tries = alert.tries + 1
    is_over = set(wanted) <= set(told) or tries >= MAX_TRIES
    _update(journal, alert, told, tries, None if is_over else journal.at + (FIRST_PAUSE_US << (tries - 1)))


def _update(journal: "Journal", alert: Alert, sent_to: tuple[str, ...], tries: int, next_at: int | None) -> None:
    journal.connection.execute(
        "UPDATE alert SET sent_to = ?, tries = ?, next_at = ?"
        " WHERE bucket = ? AND budget = ? AND window_at = ? AND kind = ? AND percent = ?",
        (encode(list(sent_to)), tries, next_at, alert.bucket, alert.budget, alert.window_at, alert.kind, alert.percent),
    )


def anomalies(path: Path, at: int, recent_us: int) -> list[Alert]:
    """Sessions of the last ``recent_us`` that cost more than twice the 95th percentile of their owner's other sessions.

    Raises ``LedgerError``. Reads two weeks of entries: never on the event loop.
    """
    try:
        connection = open_reader(path)
        try:
            rows = connection.execute(_SESSIONS, (at - DAYS_OF_SESSIONS * STALE_US,)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    owners: dict[str, list[tuple[str, int, int]]] = {}
    for subject, session, spent, last_at in rows:
        owners.setdefault(subject, []).append((session, spent or 0, last_at))
    return [alert for subject, sessions in owners.items() for alert in _unusual(subject, sessions, at, recent_us)]


def _unusual(subject: str, sessions: list[tuple[str, int, int]], at: int, recent_us: int) -> Iterable[Alert]:
    for session, spent, last_at in sessions:
        others = sorted(cost for name, cost, _ in sessions if name != session)
        if at - last_at > recent_us or spent < LEAST_ANOMALY_NANOUSD or len(others) < ENOUGH_SESSIONS:
            continue
        usual = others[min(len(others) - 1, len(others) * 95 // 100)]
        if spent > 2 * usual:
            facts = {"principal": subject, "session": session, "spent": spent, "usual": usual, "unit": Unit.USD.value}
            yield Alert(bucket=f"session={session}", window_at=0, kind=ANOMALY, percent=0, at=at, facts=facts)
