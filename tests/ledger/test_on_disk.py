"""A hold is told once it is committed, and told again once it is on disk."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from ledger.conftest import Disk
from ledger.samples import ask_for, day_limit, make_call, rows, settled
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify


def test_a_hold_is_told_when_it_is_committed_and_again_when_it_is_on_disk(opened: Ledger, disk: Disk, path: Path) -> None:
    async def run() -> None:
        disk.goes_on.clear()
        admitted, on_disk = await asyncio.wait_for(opened.admit_early(ask_for(make_call(), 70, day_limit(100))), 60)
        assert (admitted.chosen, on_disk.done()) == (0, False)
        assert rows(path, "SELECT count(*) FROM hold") == [(1,)], "everybody else sees it"
        refused, _ = await asyncio.wait_for(opened.admit_early(ask_for(make_call(), 70, day_limit(100))), 60)
        assert refused.chosen is None, "and it counts"
        disk.goes_on.set()
        assert await asyncio.wait_for(on_disk, 60) is None

    asyncio.run(run())


def test_a_settlement_waits_for_the_disk(opened: Ledger, disk: Disk) -> None:
    async def run() -> None:
        call = make_call()
        _, on_disk = await opened.admit_early(ask_for(call, 70, day_limit(100)))
        await on_disk
        disk.goes_on.clear()
        opened._writer._log._sync_s = 1.0
        settling = asyncio.ensure_future(opened.settle(settled(call, 7)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not settling.done()
        disk.goes_on.set()
        assert await asyncio.wait_for(settling, 60) is True

    asyncio.run(run())


def test_a_disk_that_fails_is_told_to_whoever_waits_for_it(opened: Ledger, disk: Disk) -> None:
    async def run() -> None:
        disk.error = OSError(errno.EIO, "input/output error")
        call = make_call()
        admitted, on_disk = await opened.admit_early(ask_for(call, 70, day_limit(100)))
        assert admitted.chosen == 0
        assert isinstance(await asyncio.wait_for(on_disk, 60), LedgerError)
        with pytest.raises(LedgerError):
            await asyncio.wait_for(opened.settle(settled(call, 7)), 60)

    asyncio.run(run())


def test_a_crowd_is_told_early_too_and_the_money_is_sound(opened: Ledger, path: Path) -> None:
    async def one() -> int:
        call = make_call()
        admitted, on_disk = await opened.admit_early(ask_for(call, 10, day_limit(1_000)))
        if admitted.chosen is None:
            return 0
        assert await on_disk is None
        return 5 if await opened.settle(settled(call, 5)) else 0

    async def run() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(400))))

    assert 0 < asyncio.run(run()) <= 1_000
    assert verify(path).problem == ""


def test_a_quick_disk_is_waited_for_in_the_loop_when_little_else_goes_on_and_in_the_thread_otherwise(
    opened: Ledger, disk: Disk
) -> None:
    async def run(sync_s: float) -> set[str]:
        call = make_call()
        _, on_disk = await opened.admit_early(ask_for(call, 1))
        await on_disk
        disk.threads.clear()
        opened._writer._log._sync_s = sync_s  # not before: the hold's own sync was measured, too, whatever it took
        opened._pace = type(opened._pace)()
        await opened.settle(settled(call, 1))
        return disk.threads

    main = threading.current_thread().name
    assert asyncio.run(run(0.000_1)) == {main}
    assert asyncio.run(run(0.005)) == {"tollkeeper-ledger"}
