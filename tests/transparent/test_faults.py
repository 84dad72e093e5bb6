"""A full disk, a damaged ledger, a proxy stopped or killed at any moment: the outcome is the policy's, and no row is lost."""

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.harness import LedgerView, running_proxy, start_proxy
from e2e.raw import JSON_SHAPES, Caller
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.ledger.verify import verify

CLOSED = 'schema = 1\nmode = "enforce"\non_fault = "closed"\non_ledger_error = "closed"\n[budget.a]\namount = "100 USD"\nwindow = "day"\n'
OPEN = CLOSED.replace('on_ledger_error = "closed"', 'on_ledger_error = "open"')
CHAT = JSON_SHAPES[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True, check=False
    ).returncode:  # fmt: skip
        pytest.skip("SKIPPED, NOT PROVED HERE: a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up every byte."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@pytest.mark.parametrize(("policy", "status"), [(CLOSED, 400), (OPEN, 200)], ids=["closed", "open"])
def test_a_full_disk_has_the_outcome_that_the_policy_names_and_loses_no_row(
    small_disk: Path, shared_provider: FakeProvider, policy: str, status: int
) -> None:
    home = small_disk / "home"
    proxy = start_proxy(home, shared_provider, policy=policy, extra={})
    try:
        caller = Caller(shared_provider, proxy.bundle, proxy.port)
        assert caller.call(CHAT).status == 200
        proxy.ledger.wait(lambda view: len(view.ended()) == 1, "the first call is settled")
        filler = fill(small_disk)
        answers = [caller.call(CHAT).status for _ in range(30)]
        assert status in answers
        if policy == CLOSED:
            assert answers[-1] == 400, "a full disk refuses, once nothing can be written any more"
        filler.unlink()
        good = sum(answer == 200 for answer in answers)
        assert caller.call(CHAT).status == 200
    finally:
        proxy.stop()
    found = verify(home / "ledger.db")
    assert found.problem == ""
    if policy == CLOSED:
        assert len(LedgerView(home / "ledger.db").entries("settle")) == good + 2


def test_a_damaged_ledger_stops_the_start_and_says_so(shared_provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_proxy(home, shared_provider) as proxy:
        for _ in range(3):
            Caller(shared_provider, proxy.bundle, proxy.port).call(CHAT)
        proxy.process.kill()
        proxy.process.wait()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (home / name).unlink(missing_ok=True)
    path = home / "ledger.db"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(20_000))
    with pytest.raises(AssertionError, match=r"damaged|not a ledger|malformed"):
        start_proxy(home, shared_provider)


def test_a_ledger_that_cannot_be_written_stops_the_start(shared_provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "ledger.db").mkdir()
    with pytest.raises(AssertionError, match="ledger"):
        start_proxy(home, shared_provider)


def test_a_ledger_on_a_read_only_file_system_stops_the_start_and_says_so(
    small_disk: Path, shared_provider: FakeProvider, tmp_path: Path
) -> None:
    ledger = tmp_path / "home" / "ledger.db"
    ledger.parent.mkdir(mode=0o700)
    (small_disk / "ledger.db").touch(mode=0o600)
    ledger.touch(mode=0o600)
    subprocess.run(["mount", "--bind", str(small_disk / "ledger.db"), str(ledger)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(ledger)], check=True)
        with pytest.raises(AssertionError, match=r"ledger.*(read-only|readonly|cannot be written)"):
            start_proxy(ledger.parent, shared_provider)
    finally:
        subprocess.run(["umount", "-l", str(ledger)], check=True)


@pytest.mark.parametrize("seed", range(2))
def test_a_proxy_killed_or_frozen_at_any_moment_loses_no_acknowledged_row(
    shared_provider: FakeProvider, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    home = tmp_path / "home"
    answered: list[str] = []
    for _ in range(2):
        proxy = start_proxy(home, shared_provider, policy=CLOSED)
        caller, over = Caller(shared_provider, proxy.bundle, proxy.port), threading.Event()

        def work(caller: Caller = caller, over: threading.Event = over) -> None:
            while not over.is_set():
                try:
                    answer = caller.call(CHAT)
                except OSError:
                    return
                if answer.whole and answer.status == 200 and answer.body:
                    answered.append(answer.json()["id"])

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(0.3, 0.9))  # the moment is the point
        proxy.process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.0, 0.2))
        if chance.random() < 0.5:
            proxy.process.send_signal(signal.SIGCONT)
        proxy.kill()
        over.set()
        for worker in workers:
            worker.join(60)
    with running_proxy(home, shared_provider, policy=CLOSED) as proxy:
        assert not proxy.ledger.holds()
        settled = proxy.ledger.by_response()
        crashed = [entry for entry in proxy.ledger.ended() if entry["outcome"] == "crashed"]
        told = re.findall(r"(\d+) calls? (?:was|were) cut off by a crash", proxy.said())
        assert sum(map(int, told)) == len(crashed), "each start says what the kill before it cost"
    missing = [answer for answer in answered if answer not in settled]
    # A body with a length reaches its client a moment before its row is on disk: such a call is charged at what was held for it.
    assert len(missing) <= len(crashed)
    assert verify(home / "ledger.db").problem == ""
