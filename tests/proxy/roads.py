"""Stages on a ledger of the test's own, and a road over them."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.core.call import Attribution
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.gate.hosts import HostTable
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.policy.document import OBSERVE_ALL, parse_policy
from tollkeeper.pricing.book import PriceBook
from tollkeeper.proxy.road import Road
from tollkeeper.proxy.stages import Stages

NOON = 1_795_348_800_000_000  # 2026-11-22 12:00 UTC
ADA = Principal(subject="ada", assurance=Assurance.LOCAL_LOGIN)
PROJECT = Attribution(project="billing", session="s1")

type MakeRoad = Callable[..., Road]


@pytest.fixture(scope="session")
def book() -> PriceBook:
    return PriceBook.load()


@pytest.fixture
def make_road(tmp_path: Path, book: PriceBook) -> Iterator[MakeRoad]:
    ledgers: list[Ledger] = []

    def make(policy: str = "") -> Road:
        ledger = Ledger.open(tmp_path / "ledger.db", lambda: NOON)
        ledgers.append(ledger)
        document = parse_policy(policy, "policy.toml") if policy else OBSERVE_ALL
        return Road(Stages(hosts=HostTable.load(), policy=document, book=book, ledger=ledger, principal=ADA, clock=lambda: NOON))

    yield make
    for ledger in ledgers:
        ledger.close_now()


def run(coroutine: Any) -> Any:
    """Run one coroutine to its end."""
    return asyncio.run(coroutine)


def entries(path: Path) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM entry ORDER BY seq")]
    finally:
        connection.close()
