"""The latest state of each subscription's windows, beside the chain: no money, only what the provider last said."""

import sqlite3
from dataclasses import dataclass

from tollkeeper.core.call import Call
from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.core.usage import PlanWindow

from .row import text

_WRITE = (
    "INSERT INTO plan_window (subject, plan, name, used_ppm, resets_at, status, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (subject, plan, name) DO UPDATE SET used_ppm = excluded.used_ppm, resets_at = excluded.resets_at,"
    " status = excluded.status, at = excluded.at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStanding:
    """One window of one person's plan: how much is used (millionths), when it starts anew, and when that was said (UTC microseconds)."""

    subject: str
    plan: str
    name: str
    used_ppm: int | None
    resets_at: int | None
    status: str
    at: int


def write_windows(connection: sqlite3.Connection, call: Call, windows: tuple[PlanWindow, ...], at: int) -> None:
    """Keep the newest figures of each window, in the transaction of the settlement that brings them."""
    connection.executemany(
        _WRITE,
        [
            (
                text(call.principal.subject),
                text(call.plan),
                text(window.name),
                window.used_ppm,
                resets_at(window, at),
                text(window.status),
                at,
            )
            for window in windows
        ],
    )


def resets_at(window: PlanWindow, at: int) -> int | None:
    """When a window starts anew, UTC microseconds; ``at`` is when its answer came."""
    if window.resets_at is not None or window.resets_after_s is None:
        return window.resets_at
    return at + window.resets_after_s * US_PER_SECOND


def read_windows(connection: sqlite3.Connection) -> tuple[PlanStanding, ...]:
    """Every window known, by person, plan and name."""
    rows = connection.execute(
        "SELECT subject, plan, name, used_ppm, resets_at, status, at FROM plan_window ORDER BY subject, plan, name LIMIT 1000"
    )
    names = ("subject", "plan", "name", "used_ppm", "resets_at", "status", "at")
    return tuple(PlanStanding(**dict(zip(names, row, strict=True))) for row in rows)
