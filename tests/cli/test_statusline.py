"""The status line: quick, quiet, and never a reason for a client to show nothing."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger.samples import HOUR, NOW, FakeClock, ask_for, bill_of, make_call, settled
from tollkeeper.cli import quick
from tollkeeper.cli.quick import READY, read_ready, written_ready
from tollkeeper.core.paths import home
from tollkeeper.ledger import rollup
from tollkeeper.ledger.glance import MAX_SCAN_ENTRIES, glance
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.reprice import reprice
from tollkeeper.report.period import parse_moment, zone_of

ADDON = Path(__file__).resolve().parents[2] / "addon"
NOON_S = (NOW + 2 * HOUR) // 1_000_000
"""2026-11-22 12:00 UTC."""


@contextmanager
def zone(name: str) -> Iterator[None]:
    """This process's zone; afterwards, for the tests of other files, what it was."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def filled(clean_environment: None) -> Iterator[Path]:
    """Two calls of a conversation today, one of another, one of unknown cost, one of yesterday."""
    home().make()
    clock = FakeClock(NOW - 20 * HOUR)
    ledger = Ledger.open(home().ledger, clock)
    for hours, session, cost, known in (
        (-20, "a", 5, True),
        (0, "a", 3, True),
        (1, "a", 2, True),
        (1, "b", 1, True),
        (1, "c", 7, False),
    ):
        clock.now = NOW + hours * HOUR
        call = make_call(NOW + hours * HOUR, client_session=session)
        ledger.admit_now(ask_for(call, 10**9))
        ledger.settle_now(settled(call, cost * 10**9, known=known))
    ledger.close_now()
    (home().root / READY).write_text(written_ready(NOON_S, []))
    with zone("UTC"):
        yield home().ledger


def line(session: str = "", **options: str) -> str:
    return quick.line({name.replace("_", "-"): value for name, value in options.items()}, session, NOON_S)


def test_the_line_shows_the_conversation_and_the_day(filled: Path) -> None:
    assert line("a").startswith("⏣ $10.00 session · $6.00+– today · ")
    assert line("a").endswith("▁ $3.00/h")
    assert line("b").startswith("⏣ $1.00 session")
    assert line("c").startswith("⏣ – session · $6.00+– today")


def test_the_figures_are_those_of_the_report(filled: Path) -> None:
    midnight = NOW - 10 * HOUR
    seen = glance(str(filled), now=NOW + 2 * HOUR, midnight=midnight, session="a")
    today = report(filled, since=midnight).total
    assert (seen.today_nanousd, seen.unknown_today) == (today.cost_nanousd, today.unpriced_calls)
    assert seen.session_nanousd == {group.keys[0]: group.cost_nanousd for group in report(filled, by=("session",)).groups}["a"]


def test_sums_beside_a_large_ledger_give_the_same_line(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = line("a")
    monkeypatch.setattr(rollup, "WORTH_IT_ENTRIES", 0)
    with rollup.rolled_up(filled) as connection:
        assert connection is not None
    assert line("a") == plain
    clock = FakeClock(NOW + HOUR)
    ledger = Ledger.open(filled, clock)
    call = make_call(clock.now, client_session="a")
    ledger.admit_now(ask_for(call, 10**9))
    ledger.settle_now(settled(call, 10**9))
    ledger.close_now()
    assert line("a").startswith("⏣ $11.00 session · $7.00+– today")


def test_a_call_that_was_priced_later_is_no_longer_unknown(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the call is in the sums beside a large ledger already, and its correction is not."""
    monkeypatch.setattr(rollup, "WORTH_IT_ENTRIES", 0)
    with rollup.rolled_up(filled) as connection:
        assert connection is not None
    book = SimpleNamespace(bill=lambda call, reading: bill_of(4 * 10**9, model=call.model))
    assert reprice(filled, book, FakeClock(NOW + HOUR)).priced == 1
    assert line("c").startswith("⏣ $4.00 session · $10.00 today")
    rollup.rollup_path(filled).unlink()
    assert line("c").startswith("⏣ $4.00 session · $10.00 today")


def test_days_begin_at_the_first_of_two_midnights(filled: Path) -> None:
    """In Havana clocks go back from 01:00 to 00:00."""
    with zone("America/Havana"):
        for hours in range(0, 366 * 24, 5):
            at_s = NOON_S + hours * 3600
            assert quick._midnight(at_s) * 1_000_000 == parse_moment("today", at_s * 1_000_000, zone_of("America/Havana"))


def test_what_would_take_long_to_read_is_unknown_and_not_nought(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollkeeper.ledger.glance.MAX_SCAN_ENTRIES", 3)
    seen = glance(str(filled), now=NOW, midnight=NOW - 10 * HOUR, session="a")
    assert (seen.today_nanousd, seen.session_nanousd, seen.is_behind) == (None, None, True)
    assert MAX_SCAN_ENTRIES > 3


def test_plain_letters_a_width_and_a_template(filled: Path) -> None:
    assert line("a", no_emoji="1").isascii() or "–" in line("a", no_emoji="1")
    assert len(line("a", width="20")) == 20
    assert line("a", template="{today} and {session}") == "$6.00+– today and $10.00 session"


def test_the_budget_nearest_to_its_end_is_shown(filled: Path) -> None:
    budgets = [
        {"name": "month", "key": "m", "start": 0, "until_s": None, "amount": 10**11},
        {"name": "gone", "key": "g", "start": 0, "until_s": NOON_S - 1, "amount": 1},
    ]
    (home().root / READY).write_text(written_ready(NOON_S, budgets))
    assert line("a").endswith("month $0.00/$100.00 0% · ok")


def test_the_budgets_of_the_policy_are_worked_out_in_the_background(filled: Path) -> None:
    home().policy.write_text(
        'schema = 1\nmode = "enforce"\nzone = "UTC"\n[budget.ever]\namount = "20 USD"\nwindow = "rolling 400d"\n'
    )
    quick.refresh()
    at_s, budgets = read_ready(str(home().root / READY))
    assert at_s > 0
    assert [(budget["name"], budget["amount"]) for budget in budgets] == [("ever", 20 * 10**9)]


def test_where_nothing_can_be_kept_nothing_is_left_behind(filled: Path) -> None:
    (home().root / READY).unlink()
    (home().root / READY).mkdir()
    with pytest.raises(OSError, match="directory"):
        quick.refresh()
    assert not list(home().root.glob(".statusline.*"))


def test_what_is_ready_is_read_as_it_was_written_and_anything_else_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / READY
    budgets: list[quick.Ready] = [{"name": "a\tb\nc", "key": "k=1", "start": 7, "until_s": None, "amount": 10**12}]
    file.write_text(written_ready(5, budgets), encoding="utf-8")
    assert read_ready(str(file)) == (5, [{**budgets[0], "name": "a b c"}])
    for text in ("", "x", "5\nno\n", "5\na\tb\tc\td\te\n", '{"at_s": 1}'):
        file.write_text(text, encoding="utf-8")
        assert read_ready(str(file)) == (0, [])


SAID = {
    '{"session_id":"abc-1"}': "abc-1",
    '{"hook_event_name": "Status", "session_id" : "0f-2b", "cwd": "/x"}': "0f-2b",
    '{"session_id": "with_under.score"}': "with_under.score",
    '{"session_id": "quoted \\" one"}': 'quoted " one',
    '{"model": {"session_id": "inner"}, "session_id": "outer"}': "outer",
    '{"cwd": "\\"session_id\\": \\"no\\"", "session_id": "yes"}': "yes",
    '{"session_id": "cut': "",
    '{"session_id": 7}': "",
    '["session_id", "x"]': "",
    "": "",
}


@pytest.mark.parametrize("text", SAID)
def test_the_conversation_is_the_one_that_json_would_say(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    with os.fdopen(reader) as said:
        monkeypatch.setattr(sys, "stdin", said)
        assert quick._session_from_input() == SAID[text]


def test_a_conversation_that_is_not_metered_is_told(filled: Path) -> None:
    assert line("unheard of").endswith("! not metered")
    filled.unlink()
    assert line("a") == "⏣ ! not metered"
    assert line() == ""


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"session_id": 7}', '{"session_id": "a"}'])
def test_whatever_comes_in_the_line_is_printed_and_the_code_is_nought(filled: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tollkeeper.cli.entry", "statusline", "--width", "x", "--unknown"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ADDON), "TOLLKEEPER_ACTIVE": "1"},
    )
    assert done.stdout.decode().startswith("⏣ ")
    assert done.stderr == b""


def test_a_damaged_ledger_is_no_error(filled: Path) -> None:
    filled.write_bytes(b"no database" * 1000)
    assert line("a") == "⏣ ! ledger cannot be read"


def test_a_ledger_that_another_process_holds_is_busy(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        assert line("a") == "⏣ ! ledger busy"


def test_nothing_heavy_is_imported(filled: Path) -> None:
    script = (
        "import sys; sys.argv = ['tollkeeper', 'statusline']\n"
        "from tollkeeper.cli.entry import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "heavy = {'re', 'json', 'enum', 'click', 'rich', 'mitmproxy', 'sqlite_utils', 'tomllib', 'dataclasses', 'asyncio'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environ = {**os.environ, "PYTHONPATH": str(ADDON)}
    done = subprocess.run([sys.executable, "-c", script], input=b"{}", capture_output=True, timeout=120, check=False, env=environ)
    assert done.returncode == 0, done.stderr.decode()


def test_the_home_is_the_one_of_every_other_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick._home() == str(home().root)
    monkeypatch.delenv("TOLLKEEPER_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert quick._home() == str(home().root)
    monkeypatch.delenv("XDG_DATA_HOME")
    assert quick._home() == str(home().root)
