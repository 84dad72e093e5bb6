"""Holds that are told before they are on disk: cancelled callers, closed ledgers, locked files."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from ledger.conftest import Disk
from ledger.samples import ask_for, day_limit, make_call, rows
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.lock import FileLock


def test_a_call_that_was_told_and_left_is_not_recorded_as_free_when_its_loop_ends_before_the_disk(
    opened: Ledger, disk: Disk, path: Path
) -> None:
    """The call was admitted and is on its way: only what settles the dead may say what became of it."""

    async def run() -> None:
        disk.goes_on.clear()
        admitted, on_disk = await asyncio.wait_for(opened.admit_early(ask_for(make_call(), 70, day_limit(100))), 60)
        assert (admitted.chosen, on_disk.done()) == (0, False)

    asyncio.run(run())
    disk.goes_on.set()
    opened.do(lambda journal: None)
    opened.do(lambda journal: None)
    assert rows(path, "SELECT kind FROM entry WHERE kind = 'void'") == []
    assert rows(path, "SELECT count(*) FROM hold") == [(1,)]


def test_a_ledger_that_is_closed_in_the_middle_leaves_nobody_waiting_for_the_disk(
    opened: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``close`` runs in another thread: it may come between a commit and the queueing of its sync."""
    writer = opened._writer
    put = writer.put

    def closing(*jobs: object) -> None:
        if jobs:
            writer.stop()
        put(*jobs)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "put", closing)

    async def run() -> None:
        _, on_disk = await asyncio.wait_for(opened.admit_early(ask_for(make_call(), 1)), 60)
        assert isinstance(await asyncio.wait_for(on_disk, 60), LedgerError)

    asyncio.run(run())


def test_a_caller_cancelled_as_its_hold_is_told_leaves_nothing_held(opened: Ledger, path: Path) -> None:
    """Told in the loop, cancelled before it runs again: nobody will send the call."""

    async def run() -> None:
        for _ in range(50):  # past what is alone
            opened._pace.note(50, asyncio.get_running_loop().time())
            caller = asyncio.ensure_future(opened.admit_early(ask_for(make_call(), 1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                _, on_disk = await caller
                await on_disk

    asyncio.run(run())
    opened.do(lambda journal: None)
    opened.do(lambda journal: None)
    assert rows(path, "SELECT count(*) FROM hold") == [(0,)]


def test_a_batch_that_fails_is_told_to_each_by_itself_and_no_disk_is_waited_for_in_vain(opened: Ledger) -> None:
    async def run() -> None:
        call = make_call()
        asks = [ask_for(call, 1), ask_for(call, 1), ask_for(make_call(), 1)]  # the same id twice
        opened._pace.note(50, asyncio.get_running_loop().time())
        told = await asyncio.wait_for(asyncio.gather(*(opened.admit_early(ask) for ask in asks), return_exceptions=True), 30)
        for one in told:
            if not isinstance(one, BaseException):
                assert await asyncio.wait_for(one[1], 30) is None
        assert any(not isinstance(one, BaseException) for one in told)

    asyncio.run(run())


async def asked_behind_a_lock(opened: Ledger, path: Path) -> tuple[FileLock, asyncio.Future[Any]]:
    """A hold that waits in the ledger's thread, for another process that has the file."""
    lock = FileLock(path)
    lock.acquire()
    asking = asyncio.ensure_future(opened.admit_early(ask_for(make_call(), 1)))
    for _ in range(20):
        await asyncio.sleep(0)
    return lock, asking


def test_a_locked_file_sends_the_hold_to_the_thread_and_both_are_told(opened: Ledger, path: Path) -> None:
    async def run() -> None:
        lock, asking = await asked_behind_a_lock(opened, path)
        assert not asking.done()
        lock.release()
        lock.close()
        _, on_disk = await asyncio.wait_for(asking, 60)
        assert await asyncio.wait_for(on_disk, 60) is None

    asyncio.run(run())


def test_a_caller_cancelled_while_the_thread_has_its_hold_leaves_nothing_held(opened: Ledger, path: Path) -> None:
    async def run() -> None:
        lock, asking = await asked_behind_a_lock(opened, path)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        lock.release()
        lock.close()
        opened_rows = None
        async with asyncio.timeout(60):
            for _ in range(3):
                await asyncio.to_thread(opened.do, lambda journal: None)
            while (opened_rows := rows(path, "SELECT count(*) FROM hold")) != [(0,)]:
                await asyncio.to_thread(opened.do, lambda journal: None)
        assert opened_rows == [(0,)]

    asyncio.run(run())
