"""The ledger as the proxy uses it: hold before the call leaves, settle when it is over."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from tollkeeper.core.admission import Admission, Admitted, Limit
from tollkeeper.core.clock import Clock
from tollkeeper.core.decision import Standing
from tollkeeper.core.entry import Kind, Outcome, Settlement
from tollkeeper.core.errors import LedgerError

from . import schema
from .journal import Journal
from .lock import FileLock
from .pace import Pace
from .recovery import Housekeeping, expire, settle_dead
from .store import check_is_ours, check_quickly, open_reader, open_writer, translate, warn_of_version
from .windows import read_standing
from .writer import Job, OnDisk, Operation, Writer

logger = logging.getLogger(__name__)


class Ledger:
    """One ledger file, one writer at a time. Every method may be called from any thread, the ``async`` ones from any loop.

    All raise ``LedgerError`` when the file cannot be read or written; nothing of the failed operation is then in it.
    """

    def __init__(self, path: Path, clock: Clock, connection: sqlite3.Connection) -> None:
        self.path = path
        self._journal = Journal(connection, clock)
        self._writer = Writer(path, connection, self._journal, Housekeeping())
        self._writer.orphaned = _void_orphan
        self._pace = Pace()
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._collected: dict[asyncio.AbstractEventLoop, list[Job]] = {}

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "Ledger":
        """Open or make the ledger, settle what a crash left open, and start the writing thread.

        Raises ``LedgerError``; ``LedgerDamaged`` when the file is not sound: it is never replaced by an empty one.
        """
        connection = prepare(path)
        warn_of_version(path)
        ledger = cls(path, clock, connection)
        job = Job(settle_dead, Future(), None)
        ledger._writer.run([job])
        if job.error is not None:
            connection.close()
            raise job.error
        if job.result:
            check_quickly(connection, path)
        ledger._writer.start()
        return ledger

    async def admit(self, admission: Admission) -> Admitted:
        """Hold the money for a call, or refuse it: durable when this returns.

        When the caller is cancelled meanwhile, the hold is released again.
        """
        answer: Admitted = await self._await(partial(_admit, admission))
        return answer

    async def admit_early(self, admission: Admission) -> tuple[Admitted, OnDisk]:
        """``admit`` that does not wait for the disk; the second value says when the hold is there.

        It is committed when this returns: a crash of the machine can take it back, one of the process cannot.
        """
        loop = asyncio.get_running_loop()
        on_disk: OnDisk = loop.create_future()
        operation = partial(_admit, admission)
        if loop not in self._collected and self._pace.is_alone(loop.time()):
            job = Job(operation, loop.create_future(), loop, on_disk)
            self._hand_over(loop, [job])
            answer: Admitted = await self._told(job)
        else:
            answer = await self._await(operation, on_disk)
        return answer, on_disk

    async def settle(self, settlement: Settlement) -> bool:
        """Post what a call cost: durable when this returns. False when the call was closed before."""
        answer: bool = await self._await(partial(_settle, settlement))
        return answer

    async def renew(self, call_id: str) -> bool:
        """Keep a hold for another 15 minutes: for streams that still flow. False when there is none."""
        answer: bool = await self._await(lambda journal: journal.renew(call_id))
        return answer

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        loop = asyncio.get_running_loop()
        self._hand_over(loop)
        await loop.run_in_executor(None, self.close_now)

    def admit_now(self, admission: Admission) -> Admitted:
        """``admit`` for callers without an event loop."""
        answer: Admitted = self.do(partial(_admit, admission))
        return answer

    def settle_now(self, settlement: Settlement) -> bool:
        """``settle`` for callers without an event loop."""
        answer: bool = self.do(partial(_settle, settlement))
        return answer

    def renew_now(self, call_id: str) -> bool:
        """``renew`` for callers without an event loop."""
        answer: bool = self.do(lambda journal: journal.renew(call_id))
        return answer

    def expire_now(self) -> int:
        """Release the holds that are past their time; returns how many. Done by itself every few seconds."""
        answer: int = self.do(expire)
        return answer

    def do(self, operation: Operation) -> Any:
        """Run an operation in the writing thread and wait for it."""
        future: Future[Any] = Future()
        self._writer.put(Job(operation, future, None))
        return future.result()

    @property
    def latest(self) -> int:
        """The latest moment known here, UTC microseconds: of the entries when it was opened, of its own writing since."""
        return self._journal.at

    def standing(self, limit: Limit) -> Standing:
        """A budget as it stands in what is committed: the same figures that enforcement goes by."""
        with self._reading:
            try:
                if self._reader is None:
                    self._reader = open_reader(self.path)
                return read_standing(self._reader, limit, self._journal.clock())
            except sqlite3.Error as error:
                raise translate(error, self.path) from error

    def close_now(self) -> None:
        """Finish what is queued and close the file. Safe to call twice."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        if self._journal.repeats.are_waiting:
            with contextlib.suppress(LedgerError):  # closed before
                self._writer.put(Job(partial(Journal.write_repeats, at_once=True), Future(), None))
        self._writer.stop()

    async def _await(self, operation: Operation, on_disk: OnDisk | None = None) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        collected = self._collected.get(loop)
        if collected is None:
            # Done in the loop's next round, or a moment later in a crowd: what is asked for until then becomes one commit.
            collected = self._collected[loop] = []
            linger_s = self._pace.linger_s(loop.time(), self._journal.open_count)
            if linger_s:
                loop.call_later(linger_s, self._hand_over, loop)
            else:
                loop.call_soon(self._hand_over, loop)
        job = Job(operation, future, loop, on_disk)
        collected.append(job)
        return await self._told(job)

    async def _told(self, job: Job) -> Any:
        """The job's result; whoever is cancelled just when it is told has not heard it, so it is undone."""
        future = job.future
        assert isinstance(future, asyncio.Future)  # noqa: S101 — jobs of a loop have its own
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._writer.forgo(job)
            raise

    def _hand_over(self, loop: asyncio.AbstractEventLoop, jobs: list[Job] | None = None) -> None:
        jobs = self._collected.pop(loop, []) if jobs is None else jobs
        try:
            if jobs:
                now_s = loop.time()
                alone = self._pace.is_alone(now_s)
                self._pace.note(len(jobs), now_s)
                self._writer.do_now(jobs, alone=alone)
        except LedgerError as error:
            for job in jobs:
                if job.on_disk is not None and not job.on_disk.done():
                    job.on_disk.set_result(error)
                if not job.future.done():
                    job.future.set_exception(error)


def prepare(path: Path) -> sqlite3.Connection:
    """A writing connection to a ledger that has the newest schema. Raises ``LedgerError``, also for another program's database.

    The lock comes first: turning a new file into WAL mode needs it to itself, and SQLite's busy handler does not wait there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_is_ours(path)
        lock = FileLock(path)
    except OSError as error:
        raise translate(error, path) from error
    connection: sqlite3.Connection | None = None
    try:
        lock.acquire()
        try:
            connection = open_writer(path)
            schema.migrate(connection)
        finally:
            lock.release()
    except Exception as error:
        if connection is not None:
            connection.close()
        raise translate(error, path) from error
    finally:
        lock.close()
    return connection


def _admit(admission: Admission, journal: Journal) -> Admitted:
    return journal.admit(admission)


def _settle(settlement: Settlement, journal: Journal) -> bool:
    return journal.settle(settlement)


def _void_orphan(job: Job) -> Operation | None:
    """Nobody will send the call whose admission was awaited by a cancelled caller: release its hold."""
    if not isinstance(job.result, Admitted) or job.result.chosen is None:
        return None
    assert isinstance(job.operation, partial)  # noqa: S101 — made by ``admit``
    call_id = job.operation.args[0].call.id
    return lambda journal: journal.close_hold(
        call_id, Kind.VOID, {"outcome": Outcome.ABORTED.value, "cost_nanousd": 0, "list_cost_nanousd": 0}
    )
