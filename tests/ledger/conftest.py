"""A ledger on a real file, with a clock that the test sets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.samples import FakeClock
from tollkeeper.ledger.ledger import Ledger


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
