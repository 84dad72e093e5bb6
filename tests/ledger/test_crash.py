"""Killed at any moment: what was acknowledged is there, nothing stays held."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger.samples import FakeClock, ask_for, day_limit, make_call, rows, settled
from tollkeeper.core.errors import LedgerDamaged, LedgerError
from tollkeeper.ledger.journal import HOLD_LIFETIME_US
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.process import is_dead, this_process
from tollkeeper.ledger.verify import verify

KILLS = 20
LIMIT = day_limit(10**15)

WORKER = """
import asyncio, os, sys
from pathlib import Path
from ledger.samples import FakeClock, ask_for, day_limit, make_call, settled
from tollkeeper.ledger.ledger import Ledger

async def main():
    ledger = Ledger.open(Path(sys.argv[1]), FakeClock())
    os.write(1, b"ready\\n")
    async def work():
        while True:
            call = make_call()
            await ledger.admit(ask_for(call, 100, day_limit(10**15)))
            os.write(1, f"hold {call.id}\\n".encode())
            await ledger.settle(settled(call, 30))
            os.write(1, f"settle {call.id}\\n".encode())
    await asyncio.gather(*(work() for _ in range(8)))

asyncio.run(main())
"""


def _start(path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, env=environment)


def test_kill_9_loses_no_acknowledged_row_and_leaves_no_hold(path: Path) -> None:
    chance = random.Random(20)
    acknowledged: set[tuple[str, str]] = set()
    for _ in range(KILLS):
        with _start(path) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 120)):
                line = process.stdout.readline()
                acknowledged.add(tuple(line.decode().split()))  # type: ignore[arg-type]
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.readlines():
                if line.endswith(b"\n"):
                    acknowledged.add(tuple(line.decode().split()))  # type: ignore[arg-type]
    Ledger.open(path, FakeClock()).close_now()

    acknowledged -= {("ready",)}
    stored = set(rows(path, "SELECT kind, call_id FROM entry"))
    crashed = rows(path, "SELECT count(*), sum(exposure_nanousd) FROM entry WHERE outcome = 'crashed'")[0]
    assert len(acknowledged) > 20
    assert acknowledged <= stored
    assert rows(path, "SELECT count(*) FROM hold") == [(0,)]
    assert rows(path, "SELECT sum(held) FROM balance") == [(0,)]
    assert crashed == (crashed[0], 100 * crashed[0])
    assert crashed[0] > 0
    assert verify(path).problem == ""


def test_a_crashed_call_counts_at_its_hold_and_its_cost_is_unknown(path: Path) -> None:
    call = make_call()
    code = (
        "import os, sys; from pathlib import Path; from ledger.samples import *; from tollkeeper.ledger.ledger import Ledger\n"
        "call = make_call(subject='zoe'); ledger = Ledger.open(Path(sys.argv[1]), FakeClock())\n"
        "ledger.admit_now(ask_for(call, 100, day_limit(10**15))); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)

    ledger = Ledger.open(path, FakeClock())
    ledger.admit_now(ask_for(call, 1, LIMIT))
    ledger.close_now()

    found = rows(path, "SELECT subject, outcome, flags, cost_nanousd, exposure_nanousd FROM entry WHERE kind = 'settle'")
    assert found == [("zoe", "crashed", '["crashed"]', None, 100)]
    assert rows(path, "SELECT posted, held FROM balance") == [(100, 1)]


def test_the_holds_of_a_living_process_are_left_alone(path: Path, clock: FakeClock) -> None:
    first = Ledger.open(path, clock)
    call = make_call()
    first.admit_now(ask_for(call, 100, LIMIT))

    second = Ledger.open(path, clock)
    second.admit_now(ask_for(make_call(), 7, day_limit(500, scope=(("subject", "alice"),))))

    assert first.settle_now(settled(call, 40)) is True
    second.close_now()
    first.close_now()
    assert rows(path, "SELECT bucket, posted, held FROM balance ORDER BY 1") == [
        ("day:(('subject', 'alice'),)", 40, 7),
        ("day:()", 40, 7),
    ]
    assert verify(path).problem == ""


def test_a_hold_from_another_container_is_settled_when_it_was_not_renewed_in_time(path: Path, clock: FakeClock) -> None:
    ledger = Ledger.open(path, clock)
    ledger._journal.process = this_process().replace("/pid:", "/elsewhere:")
    ledger.admit_now(ask_for(make_call(), 100, LIMIT))
    ledger.close_now()

    Ledger.open(path, clock).close_now()
    early = rows(path, "SELECT count(*) FROM hold")
    clock.now += HOLD_LIFETIME_US
    Ledger.open(path, clock).close_now()

    assert (early, rows(path, "SELECT count(*) FROM hold")) == ([(1,)], [(0,)])


def test_a_process_is_known_by_more_than_its_number() -> None:
    here = this_process()
    machine, _, started = here.rpartition("/")

    assert is_dead(here) is False
    assert is_dead(f"{machine}/{int(started or 0) + 1}") is True
    assert is_dead("another-boot/pid:[1]/1/1") is True


def test_an_open_ledger_that_others_write_to_sees_what_they_wrote(path: Path, clock: FakeClock) -> None:
    limit = day_limit(100)
    first, second = Ledger.open(path, clock), Ledger.open(path, clock)

    assert first.admit_now(ask_for(make_call(), 60, limit)).chosen == 0
    assert second.admit_now(ask_for(make_call(), 60, limit)).chosen is None
    assert second.admit_now(ask_for(make_call(), 40, limit)).chosen == 0
    assert first.admit_now(ask_for(make_call(), 1, limit)).chosen is None

    first.close_now()
    second.close_now()
    assert verify(path).problem == ""


def test_a_file_that_is_no_ledger_is_an_error_and_stays_as_it_is(path: Path, clock: FakeClock) -> None:
    path.write_bytes(b"not a database, but somebody's file " * 100)

    with pytest.raises(LedgerDamaged, match="damaged"):
        Ledger.open(path, clock)

    assert path.read_bytes().startswith(b"not a database")


def test_another_programs_database_is_refused_and_stays_as_it_is(path: Path, clock: FakeClock) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (a)")
        connection.execute("CREATE TABLE entry (seq, title)")
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"another program's database \(it has the tables entry, users"):
        Ledger.open(path, clock)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [found.name for found in path.parent.iterdir()] == [path.name], "no lock, no log beside it"


@pytest.mark.parametrize(
    "begun", ["", "VACUUM", "CREATE TABLE _sqlite_migrations (migration_set TEXT, name TEXT, applied_at TEXT)"]
)
def test_a_ledger_that_was_only_begun_is_finished(path: Path, clock: FakeClock, begun: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(begun)
    Ledger.open(path, clock).close_now()
    assert verify(path).problem == ""


def test_a_ledger_in_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerError):
        Ledger.open(tmp_path / "file" / "ledger.db", clock)


def test_a_full_disk_fails_the_call_and_keeps_what_was_there(path: Path, clock: FakeClock) -> None:
    ledger = Ledger.open(path, clock)
    call = make_call()
    ledger.admit_now(ask_for(call, 100, LIMIT))
    connection = ledger._journal.connection
    ledger.do(lambda _: connection.execute("PRAGMA max_page_count=1"))

    def fill() -> None:
        for _ in range(200):
            ledger.admit_now(ask_for(make_call(), 1, LIMIT))

    for _ in range(2):
        with pytest.raises(LedgerError, match="disk full"):
            fill()

    before = rows(path, "SELECT count(*) FROM entry")[0][0]
    ledger.do(lambda _: connection.execute("PRAGMA max_page_count=1000000"))
    assert ledger.settle_now(settled(call, 30)) is True
    assert rows(path, "SELECT count(*) FROM entry") == [(before + 1,)]
    ledger.close_now()
    assert verify(path).problem == ""
