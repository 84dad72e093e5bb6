"""Changes behind the ledger's back are refused where they can be, and found where they cannot."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from ledger.samples import FakeClock, ask_for, change, day_limit, make_call, rolling_limit, rows, settled
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.store import is_safe_for_many, open_writer
from tollkeeper.ledger.verify import end_problem, verify

SEQ = 4


@pytest.fixture
def written(path: Path, clock: FakeClock) -> Path:
    """A closed ledger with five settled calls, one refusal and one open hold."""
    ledger = Ledger.open(path, clock)
    for cost in (10, 20, 30, 40, 50):
        call = make_call()
        ledger.admit_now(ask_for(call, 100, day_limit(100_000), rolling_limit(100_000)))
        ledger.settle_now(settled(call, cost))
    ledger.admit_now(ask_for(make_call(), 10**9, day_limit(100_000)))
    ledger.admit_now(ask_for(make_call(), 77, day_limit(100_000)))
    ledger.close_now()
    return path


def test_an_untouched_ledger_is_sound(written: Path) -> None:
    told: list[tuple[int, int]] = []

    found = verify(written, lambda done, total: told.append((done, total)))

    assert found.problem == ""
    assert (found.entries, found.lines, found.prices, found.balances, found.open_holds) == (12, 5, 1, 2, 1)
    assert found.head == rows(written, "SELECT lower(hex(hash)) FROM entry ORDER BY seq DESC")[0][0]
    assert told == [(12, 12)]


def test_the_end_alone_is_checked_from_the_link_before_it(written: Path) -> None:
    assert [end_problem(written, entries) for entries in (1, 4, 11, 12, 1000)] == [""] * 5
    change(written, "UPDATE entry SET cost_nanousd = 1 WHERE seq = 6")
    assert [bool(end_problem(written, entries)) for entries in (6, 7, 1000)] == [False, True, True]
    change(written, "DELETE FROM line WHERE entry_seq = 10")
    assert "entry 10 " in end_problem(written, 3)
    change(written, "DELETE FROM entry WHERE seq = 9")
    assert end_problem(written, 3) == "entry 9 is missing"


def test_an_entry_put_before_the_first_is_found(written: Path) -> None:
    change(written, "UPDATE entry SET seq = 0 WHERE seq = 1")
    assert verify(written).problem == "entry 1 is missing"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET cost_nanousd = 0",
        "DELETE FROM entry WHERE seq = 4",
        "UPDATE line SET output_tokens = 0",
        "DELETE FROM line",
        "UPDATE price SET document = '{}'",
        "DELETE FROM price",
        "INSERT OR REPLACE INTO entry SELECT * FROM entry WHERE seq = 4",
        "REPLACE INTO line SELECT * FROM line",
        "UPDATE OR REPLACE entry SET seq = 3 WHERE seq = 4",
    ],
)
def test_the_ledger_only_grows(written: Path, statement: str) -> None:
    before = rows(written, "SELECT * FROM entry"), rows(written, "SELECT * FROM line")

    with closing(open_writer(written)) as connection, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        connection.execute(statement)

    assert (rows(written, "SELECT * FROM entry"), rows(written, "SELECT * FROM line")) == before


@pytest.mark.parametrize(
    ("statement", "seq", "words"),
    [
        (f"UPDATE entry SET cost_nanousd = 1 WHERE seq = {SEQ}", SEQ, "was changed"),
        (f"UPDATE entry SET subject = 'bob' WHERE seq = {SEQ}", SEQ, "was changed"),
        (f"UPDATE entry SET cost_nanousd = NULL WHERE seq = {SEQ}", SEQ, "was changed"),
        (f"UPDATE line SET output_tokens = 1 WHERE entry_seq = {SEQ}", SEQ, "one of its lines"),
        (f"DELETE FROM line WHERE entry_seq = {SEQ}", SEQ, "one of its lines"),
        ("INSERT INTO line SELECT 3, position, provider, model, 1, 1, 1, 1, 1, 1, units, 1, 1, 1, cost_source, price_id,"
         " unpriced, flags, charges, response_id, custom_id FROM line WHERE entry_seq = 4", 3, "one of its lines"),
        (f"DELETE FROM entry WHERE seq = {SEQ}", SEQ + 1, "entry 4 is missing"),
        ("DELETE FROM entry WHERE seq = 1", 2, "entry 1 is missing"),
        (f"UPDATE entry SET hash = zeroblob(32) WHERE seq = {SEQ}", SEQ, "was changed"),
        (f"UPDATE entry SET prev = zeroblob(32) WHERE seq = {SEQ}", SEQ, "does not follow"),
        ("UPDATE price SET document = '{}'", None, "price"),
        ("DELETE FROM price", 2, "which is missing"),
        ("UPDATE price SET id = 'x'", 2, "which is missing"),
        ("UPDATE balance SET posted = posted - 1 WHERE bucket LIKE 'day%'", None, "posted 149, held 77; the entries say posted 150"),
        ("DELETE FROM balance", None, "is missing; the entries say posted 150, held 77"),
        ("UPDATE hold SET amount = 1", None, "1 nano-dollars held, the entries say 77"),
        ("DELETE FROM hold", None, "None nano-dollars held, the entries say 77"),
        ("INSERT INTO line SELECT 99, position, provider, model, 1, 1, 1, 1, 1, 1, units, 1, 1, 1, cost_source, price_id,"
         " unpriced, flags, charges, response_id, custom_id FROM line WHERE entry_seq = 4", None, "belong to no entry"),
        ("DROP TABLE hold", None, "no table hold"),
    ],
)  # fmt: skip
def test_tampering_is_found_and_its_first_row_named(written: Path, statement: str, seq: int | None, words: str) -> None:
    change(written, "PRAGMA foreign_keys=OFF", statement)

    found = verify(written)

    assert not found.is_sound
    assert found.seq == seq
    assert words in found.problem


def test_a_row_forged_with_a_hash_of_its_own_breaks_the_chain_after_it(written: Path) -> None:
    change(
        written,
        "CREATE TABLE copy AS SELECT * FROM entry",
        "DELETE FROM entry WHERE seq = 4",
        "INSERT INTO entry SELECT * FROM copy WHERE seq = 4",
        "UPDATE entry SET prev = (SELECT hash FROM copy WHERE seq = 2) WHERE seq = 4",
        "DROP TABLE copy",
    )

    assert verify(written).seq == 4


def test_a_damaged_page_is_found(written: Path) -> None:
    with closing(sqlite3.connect(written)) as connection:
        (entries,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry'").fetchone()
    with written.open("r+b") as file:
        file.seek(entries * 8192 - 400)
        file.write(b"\xff" * 400)

    found = verify(written)

    assert not found.is_sound


def test_the_file_and_all_beside_it_are_private(path: Path, clock: FakeClock) -> None:
    ledger = Ledger.open(path, clock)
    ledger.admit_now(ask_for(make_call(), 1))

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir() if file.name.startswith("ledger")}
    ledger.close_now()

    assert set(modes.values()) == {0o600}
    assert {"ledger.db", "ledger.db-wal", "ledger.db.lock"} <= modes.keys()


def test_a_missing_ledger_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger"):
        verify(tmp_path / "none.db")

    assert not (tmp_path / "none.db").exists()


def test_a_ledger_of_a_newer_version_is_left_alone(written: Path, clock: FakeClock) -> None:
    change(written, "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('tollkeeper.ledger', 'm999_future')")

    with pytest.raises(LedgerError, match="newer Tollkeeper"):
        Ledger.open(written, clock)


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False), ((3, 50, 6), False),
     ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 52, 0), True)],
)  # fmt: skip
def test_the_versions_with_the_wal_reset_bug_are_known(version: tuple[int, ...], safe: bool) -> None:
    assert is_safe_for_many(version) is safe
