"""Ledgers of the first schema: they are read as they are, migrated when written, and their entries verify ever after."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database, Migrations

from ledger.samples import NOW, SECOND, USD, FakeClock, ask_for, change, day_limit, make_call, rows, settled
from tollkeeper.core.admission import Admitted
from tollkeeper.core.decision import Verdict
from tollkeeper.ledger.alerts import Alert, claim, finish, put
from tollkeeper.ledger.columns import COVERED, ENTRY, LINE
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report, show, tail
from tollkeeper.ledger.row import GENESIS, closing_row, digest, hold_row, line_rows, sums_of, who_and_where
from tollkeeper.ledger.schema import (
    FIRST,
    LATEST,
    SET,
    THIRD,
    add_attribution_and_once,
    add_budgets,
    applied,
    create_initial,
)
from tollkeeper.ledger.schema import SECOND as SECOND_SCHEMA
from tollkeeper.ledger.verify import verify

COLUMNS, LINE_COLUMNS = COVERED[1]
MIXED = ("day@UTC", 1, "threshold", 90, NOW, '{"budget":"day"}')


def insert(connection: sqlite3.Connection, table: str, names: tuple[str, ...], values: list[Any]) -> None:
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(values))})", values)


@pytest.fixture
def old(path: Path) -> Path:
    """A ledger as the first release wrote it: one call settled, one under way."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        migrations = Migrations(SET)
        migrations(name=FIRST)(create_initial)
        migrations.apply(Database(connection, recursive_triggers=True, execute_plugins=False))
        prev, seq = GENESIS, 0

        def append(row: list[Any], lines: list[list[Any]]) -> None:
            nonlocal prev, seq
            seq += 1
            row, lines = row[:COLUMNS], [line[:LINE_COLUMNS] for line in lines]
            row[0] = seq
            found = digest(prev, row, lines)
            insert(connection, "entry", (*ENTRY[:COLUMNS], "prev", "hash"), [*row, prev, found])
            for line in lines:
                insert(connection, "line", ("entry_seq", *LINE[:LINE_COLUMNS]), [seq, *line])
            prev = found

        connection.execute("PRAGMA foreign_keys=OFF")
        for number in range(2):
            call = make_call(NOW + number * SECOND, agent="a1")
            admission = ask_for(call, USD)
            admitted = Admitted(verdict=Verdict.ALLOW, would=Verdict.ALLOW, chosen=0, hold_nanousd=USD)
            append(hold_row(admission, admitted, who_and_where(call), NOW), [])
            if number == 0:
                settlement = settled(call, USD)
                row = closing_row(settlement, sums_of(settlement), who_and_where(call), NOW)
                row[ENTRY.index("hold_nanousd")] = USD
                append(row, line_rows(settlement.bill))
                price = settlement.bill.lines[0].price
                assert price is not None
                insert(connection, "price", ("id", "document"), [price.id, price.document])
            else:
                insert(
                    connection,
                    "hold",
                    ("call_id", "seq", "process", "amount", "counted_at", "expires_at", "buckets"),
                    [call.id, seq, "999999:1:nowhere", USD, NOW, NOW + SECOND, ""],
                )
    return path


def test_reports_read_an_old_ledger_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    assert verify(old).is_sound
    found = report(old, by=("conversation",))
    assert (found.groups[0].keys, found.total.cost_nanousd, found.plan_windows) == (("",), USD, ())
    assert report(old, by=("agent", "session")).groups[0].keys == ("a1", "")
    assert tail(old)[0].plan == ""
    assert show(old, tail(old)[0].call_id).entries[0]["format"] == 1
    assert old.read_bytes() == before


def test_opening_it_migrates_it_and_its_entries_still_verify(old: Path) -> None:
    head = verify(old).head
    hashes = rows(old, "SELECT seq, hash FROM entry")
    ledger = Ledger.open(old, FakeClock(NOW + 60 * SECOND))
    with closing(sqlite3.connect(old)) as connection:
        assert applied(connection) == {FIRST, SECOND_SCHEMA, THIRD, LATEST}
    call = make_call(NOW + 61 * SECOND, end_user="u1")
    ledger.admit_now(ask_for(call, USD, day_limit(100 * USD)))
    ledger.settle_now(settled(call, 2 * USD))
    ledger.close_now()
    found = verify(old)
    assert found.is_sound, found.problem
    assert found.head != head
    assert rows(old, "SELECT seq, hash FROM entry WHERE seq <= 3") == hashes
    assert rows(old, "SELECT seq, format, end_user FROM entry ORDER BY seq")[:3] == [(1, 1, ""), (2, 1, ""), (3, 1, "")]
    assert rows(old, "SELECT format, end_user FROM entry ORDER BY seq DESC LIMIT 2") == [(3, "u1"), (3, "u1")]
    assert report(old).total.calls == 3  # the dead hold of the old process is settled in today's format


def test_an_old_entry_cannot_be_given_what_it_never_said(old: Path) -> None:
    Ledger.open(old, FakeClock(NOW + 60 * SECOND)).close_now()
    for statement in (
        "UPDATE entry SET end_user = 'u9' WHERE seq = 2",
        "UPDATE entry SET format = 2 WHERE seq = 2",
        "UPDATE entry SET format = 7 WHERE seq = 2",
        "UPDATE line SET custom_id = 'x'",
    ):
        copy = old.with_name(f"copy-{abs(hash(statement))}.db")
        copy.write_bytes(old.read_bytes())
        change(copy, statement)
        found = verify(copy)
        assert (found.seq, found.is_sound) == (2, False), statement


def test_what_was_told_before_alerts_knew_their_budgets_is_not_told_again(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations = Migrations(SET)
        migrations(name=FIRST)(create_initial)
        migrations(name=SECOND_SCHEMA)(add_attribution_and_once)
        migrations(name=THIRD)(add_budgets)
        migrations.apply(Database(connection, recursive_triggers=True, execute_plugins=False))
        names = ("bucket", "window_at", "kind", "percent", "at", "facts", "sent_to", "tries", "next_at")
        insert(connection, "alert", names, ["day@UTC", 1, "threshold", 80, NOW, '{"budget":"day"}', '["team"]', 1, None])
        insert(connection, "alert", names, ["day@UTC", 1, "used-up", 100, NOW, '{"budget":"day"}', "[]", 0, NOW])
    told = Alert(bucket="day@UTC", budget="day", window_at=1, kind="threshold", percent=80, at=NOW, facts={"budget": "day"})
    ledger = Ledger.open(path, FakeClock(NOW))
    try:
        ledger.do(lambda journal: put(journal.connection, told))
        ledger.do(lambda journal: put(journal.connection, replace(told, budget="soft")))
        # A proxy that has been running since before the migration goes on as it began.
        ledger.do(lambda journal: insert(journal.connection, "alert", names, [*MIXED, "[]", 0, NOW]))
        due = [found for _ in range(4) for found in ledger.do(claim)]
        for found in due:
            ledger.do(partial(finish, found, ("team",), ("team",)))
        assert ledger.do(claim) == []
    finally:
        ledger.close_now()
    assert sorted((found.kind, found.budget) for found in due) == [("threshold", ""), ("threshold", "soft"), ("used-up", "day")]
