"""Many at once: tasks, threads of control and processes may race, the money may not."""

import asyncio
import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.samples import FakeClock, Turns, ask_for, day_limit, make_call, rows, settled
from tollkeeper.core.errors import LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.schema import KNOWN
from tollkeeper.ledger.verify import verify

CALLERS = 256


def test_256_concurrent_callers_never_pass_the_amount(path: Path, clock: FakeClock) -> None:
    limit = day_limit(1000)

    async def scenario() -> list[bool]:
        ledger = Ledger.open(path, clock)

        async def one(index: int) -> bool:
            call = make_call()
            answer = await ledger.admit(ask_for(call, 30, limit))
            assert ledger.standing(limit).spent_nanousd + ledger.standing(limit).held_nanousd <= 1000
            if answer.chosen is not None:
                await ledger.settle(settled(call, 30 if index % 2 else 20))
            return answer.chosen is not None

        try:
            return await asyncio.gather(*map(one, range(CALLERS)))
        finally:
            await ledger.close()

    admitted = asyncio.run(scenario())

    (spent, held) = rows(path, "SELECT posted, held FROM balance")[0]
    assert (held, spent <= 1000) == (0, True)
    assert 33 <= sum(admitted) < 60
    assert verify(path).is_sound


def test_bad_operations_in_a_batch_fail_alone(path: Path, clock: FakeClock) -> None:
    limit = day_limit(10_000)

    async def scenario() -> list[object]:
        ledger = Ledger.open(path, clock)
        twice = ask_for(make_call(), 10, limit)
        admissions = [ask_for(make_call(), 10, limit) for _ in range(20)]
        admissions[5:5] = [twice, twice]
        admissions[9:9] = [ask_for(make_call(), 2**63, limit)]
        try:
            return await asyncio.gather(*map(ledger.admit, admissions), return_exceptions=True)
        finally:
            await ledger.close()

    answers = asyncio.run(scenario())

    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [LedgerError, LedgerError]
    assert rows(path, "SELECT held FROM balance") == [(210,)]
    assert rows(path, "SELECT count(*) FROM entry WHERE kind = 'refuse'") == [(0,)]
    assert verify(path).is_sound


def test_a_caller_cancelled_while_it_is_admitted_leaves_no_hold(path: Path, clock: FakeClock) -> None:
    limit = day_limit(1000)

    async def scenario() -> None:
        ledger = Ledger.open(path, clock)
        task = asyncio.create_task(ledger.admit(ask_for(make_call(), 100, limit)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not rows(path, "SELECT 1 FROM entry WHERE kind = 'void'"):
            await asyncio.sleep(0.005)
        await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))

    assert rows(path, "SELECT kind, outcome FROM entry ORDER BY seq") == [("hold", ""), ("void", "aborted")]
    assert rows(path, "SELECT posted, held FROM balance") == [(0, 0)]
    assert verify(path).is_sound


def test_closing_finishes_what_is_queued_and_takes_no_more(path: Path, clock: FakeClock) -> None:
    async def scenario() -> None:
        ledger = Ledger.open(path, clock)
        waiting = [asyncio.create_task(ledger.admit(ask_for(make_call(), 1))) for _ in range(50)]
        await asyncio.sleep(0)
        await ledger.close()
        await asyncio.gather(*waiting)
        with pytest.raises(LedgerError, match="closed"):
            await ledger.admit(ask_for(make_call(), 1))
        await ledger.close()

    asyncio.run(scenario())

    assert rows(path, "SELECT count(*) FROM entry") == [(50,)]


def _spend(
    path: Path, calls: int, start: "multiprocessing.synchronize.Barrier", turns: Turns, done: "multiprocessing.Queue[int]"
) -> None:
    ledger = Ledger.open(path, FakeClock())
    limit = day_limit(3000)
    admitted = 0
    start.wait(300)
    for _ in range(calls):
        call = make_call()
        if ledger.admit_now(ask_for(call, 30, limit)).chosen is not None:
            admitted += 1
            ledger.settle_now(settled(call, 25))
            if admitted == 1:
                turns.had(ledger)
    ledger.close_now()
    done.put(admitted)


def test_four_processes_share_one_budget_and_each_gets_its_turn(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, turns, done = context.Barrier(4), Turns(context, 4), context.Queue()
    processes = [context.Process(target=_spend, args=(path, 60, start, turns, done), daemon=True) for _ in range(4)]
    for process in processes:
        process.start()

    admitted = [done.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(60)

    (spent, held) = rows(path, "SELECT posted, held FROM balance")[0]
    assert spent == 25 * sum(admitted)
    assert (held, 2970 < spent <= 3000) == (0, True)
    assert min(admitted) > 0
    assert verify(path).is_sound


def _open(path: Path, start: "multiprocessing.synchronize.Barrier", done: "multiprocessing.Queue[str]") -> None:
    start.wait(60)
    try:
        Ledger.open(path, FakeClock()).close_now()
        done.put("ok")
    except Exception as error:
        done.put(repr(error))


def test_processes_that_open_a_new_ledger_at_once_migrate_it_once(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_open, args=(path, start, done)) for _ in range(4)]
    for process in processes:
        process.start()

    answers = [done.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)

    assert answers == ["ok"] * 4
    assert rows(path, "SELECT count(*) FROM _sqlite_migrations") == [(len(KNOWN),)]


def test_a_program_that_holds_the_file_stops_the_call_but_not_the_loop(path: Path, clock: FakeClock) -> None:
    async def scenario() -> tuple[bool, bool]:
        ledger = Ledger.open(path, clock)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(ledger.admit(ask_for(make_call(), 10, day_limit(1000))))
            for _ in range(50):
                await asyncio.sleep(0.001)
            stopped = not waiting.done()
            other.execute("COMMIT")
        try:
            return stopped, (await waiting).chosen == 0
        finally:
            await ledger.close()

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == (True, True)


def test_what_cannot_be_made_durable_is_not_acknowledged(path: Path, clock: FakeClock) -> None:
    async def scenario() -> None:
        ledger = Ledger.open(path, clock)
        log = ledger._writer._log
        good, log._descriptor = log._descriptor, os.open(os.devnull, os.O_RDONLY)  # which no system can sync
        try:
            with pytest.raises(LedgerError, match="Invalid argument"):
                await ledger.admit(ask_for(make_call(), 10, day_limit(1000)))
        finally:
            os.close(log._descriptor)
            log._descriptor = good
            await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_the_log_stays_short_however_much_is_written(path: Path, clock: FakeClock) -> None:
    async def scenario() -> int:
        ledger = Ledger.open(path, clock)
        for _ in range(400):
            call = make_call()
            await ledger.admit(ask_for(call, 10, day_limit(10**9)))
            await ledger.settle(settled(call, 10))
        size = path.with_name(path.name + "-wal").stat().st_size
        await ledger.close()
        return size

    assert asyncio.run(scenario()) < 24 * 1024 * 1024
    assert verify(path).is_sound
