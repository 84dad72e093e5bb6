"""A ledger on a real file, with a clock that the test sets."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.samples import FakeClock
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.log import Log


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, clock: FakeClock) -> Iterator[Ledger]:
    opened = Ledger.open(path, clock)
    yield opened
    opened.close_now()


class Disk:
    """Stands before every sync: holds it back until ``goes_on`` is set, and fails it with ``error``."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: OSError | None = None
        self.threads: set[str] = set()

    def wait(self) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.goes_on.wait(60)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk, sync = Disk(), Log.sync

    def slow(log: Log) -> None:
        disk.wait()
        sync(log)

    monkeypatch.setattr(Log, "sync", slow)
    return disk


@pytest.fixture
def opened(disk: Disk, path: Path, clock: FakeClock) -> Iterator[Ledger]:
    """A ledger on that disk."""
    ledger = Ledger.open(path, clock)
    yield ledger
    disk.goes_on.set()
    disk.error = None
    ledger.close_now()
