"""Who writes: whatever waits is done in one transaction (group commit), and answered when one fsync has made it durable."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tollkeeper.core.errors import LedgerError

from .journal import Journal
from .lock import FileLock
from .log import Log
from .store import BUSY_TIMEOUT_MS, translate

MAX_BATCH = 256
HOUSEKEEP_S = 15.0
"""How often the thread looks for expired holds, busy or not."""

_POLL_S = 0.002

type Operation = Callable[[Journal], Any]


type OnDisk = asyncio.Future[LedgerError | None]
"""Done once something committed is on disk; its result is the reason why it is not."""


class Job:
    """One operation and who waits for it: an asyncio future with its loop, or a thread's future. ``done``: it is committed or failed.

    With ``on_disk`` the result is told as soon as it is committed, and ``on_disk`` when it is durable.
    """

    __slots__ = ("done", "error", "future", "loop", "on_disk", "operation", "result", "told")

    def __init__(
        self,
        operation: Operation,
        future: "asyncio.Future[Any] | Future[Any]",
        loop: asyncio.AbstractEventLoop | None,
        on_disk: OnDisk | None = None,
    ) -> None:
        self.operation, self.future, self.loop, self.on_disk = operation, future, loop, on_disk
        self.told = False
        self.result: Any = None
        self.error: LedgerError | None = None
        self.done = False


class Writer:
    """Runs operations in order, in batches. ``orphaned`` is told of results nobody waits for any more.

    A batch is executed by whoever comes first while the file is free: the event loop itself (``do_now``), else the thread. It is
    committed without a sync, and answered only after the thread has synced the log: durable as with ``synchronous=FULL``, but the
    loop hands the interpreter's lock over once a batch instead of at every step of every statement.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, journal: Journal, housekeep: Operation) -> None:
        self._path, self._connection, self._journal, self._housekeep = path, connection, journal, housekeep
        # Waiting for other programs is done here, never inside SQLite: the event loop must not wait at all.
        connection.execute("PRAGMA busy_timeout=0")
        self._lock = FileLock(path)
        self._log = Log(path, connection)
        self._turn = threading.Lock()
        self._queue: SimpleQueue[Sequence[Job] | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._waiting = 0
        self.orphaned: Callable[[Any], Operation | None] = lambda _: None
        self._thread = threading.Thread(target=self._run, name="tollkeeper-ledger", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def put(self, *jobs: Job) -> None:
        """Queue jobs, in order; none wakes the thread to look after the log. Raises ``LedgerError`` when the ledger is closed."""
        with self._gate:
            if self._closed:
                raise LedgerError(f"ledger {self._path} is closed")
            self._waiting += sum(not job.done for job in jobs)
            # Once a batch: every ``put`` wakes the thread, which then competes for the interpreter's lock.
            self._queue.put(jobs)

    def do_now(self, jobs: list[Job], *, alone: bool = False) -> None:
        """Do a batch in this thread if the file is free and nothing is ahead of it, else leave it to the writing thread.

        It is answered from there, or from here when the caller is ``alone`` (little else to do) and the disk is quick. Raises
        ``LedgerError`` when the ledger is closed.
        """
        is_durable = False
        if not self._closed and not self._waiting and self._turn.acquire(blocking=False):
            try:
                if self._lock.acquire_now():
                    try:
                        if self._begin(wait_s=0.0):
                            self._execute(jobs)
                    finally:
                        self._lock.release()
                self._tell_early(jobs)
                if alone and self._log.is_quick and all(job.done and not job.told for job in jobs):
                    self._sync(jobs)
                    is_durable = True
            finally:
                self._turn.release()
        if not is_durable:
            self.put(*jobs)
            return
        self._deliver(jobs)
        if self._log.is_long:
            self.put()

    @staticmethod
    def _tell_early(jobs: list[Job]) -> None:
        """Answer those in the loop's own thread who need not wait for the disk."""
        for job in jobs:
            if job.on_disk is not None and job.done and job.error is None and not job.future.done():
                job.told = True
                _resolve(job)

    def stop(self) -> None:
        """Do what is queued, then close the file. Safe to call twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def run(self, jobs: list[Job]) -> None:
        """Do a batch in this thread when its turn comes, durably. Every job holds its result or its error then."""
        with self._turn:
            try:
                self._lock.acquire()
            except LedgerError as error:
                for job in jobs:
                    job.error, job.done = error, True
                return
            try:
                self._begin(wait_s=BUSY_TIMEOUT_MS / 1000)
                self._execute(jobs)
            finally:
                self._lock.release()
        self._sync(jobs)

    def _sync(self, jobs: list[Job]) -> None:
        try:
            self._log.sync()
        except OSError as error:
            failure = translate(error, self._path)
            for job in jobs:
                job.error = job.error or failure

    def _begin(self, wait_s: float) -> bool:
        """Begin a transaction; False when another program still writes after ``wait_s``, or nothing can be begun."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                busy = (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_BUSY")
                if not busy or time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_S)
            else:
                return True

    def _execute(self, jobs: list[Job]) -> None:
        """Together if all goes well, else each in its own savepoint, so that a bad one fails alone. Ends the transaction."""
        try:
            self._together(jobs)
        except Exception as error:
            self._undo()
            if len(jobs) == 1:
                jobs[0].error = translate(error, self._path)
            else:
                self._one_by_one(jobs)
        for job in jobs:
            job.done = True
        self._log.commits += 1

    def _together(self, jobs: list[Job]) -> None:
        connection, journal = self._connection, self._journal
        if not connection.in_transaction:  # it could not be begun: the same statement says why
            connection.execute("BEGIN IMMEDIATE")
        journal.refresh()
        for job in jobs:
            job.result = job.operation(journal)
        journal.flush()
        connection.execute("COMMIT")

    def _one_by_one(self, jobs: list[Job]) -> None:
        execute, journal = self._connection.execute, self._journal
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                execute("SAVEPOINT job")
                try:
                    journal.refresh()
                    job.result = job.operation(journal)
                    journal.flush()
                except Exception as error:
                    job.error = translate(error, self._path)
                    if not self._connection.in_transaction:
                        raise
                    execute("ROLLBACK TO job")
                    journal.forget()
                execute("RELEASE job")
            execute("COMMIT")
        except Exception as error:
            self._undo()
            for job in jobs:
                job.error = job.error or translate(error, self._path)

    def _undo(self) -> None:
        """Roll back, and forget what was remembered of the transaction. A full disk has rolled back already."""
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        self._journal.forget()

    def _run(self) -> None:
        queue = self._queue
        open_for_more = True
        due = time.monotonic() + HOUSEKEEP_S
        while open_for_more:
            if (left_s := due - time.monotonic()) <= 0:
                self.run([Job(self._housekeep, Future(), None)])
                due = time.monotonic() + HOUSEKEEP_S
                continue
            try:
                first = queue.get(timeout=left_s)
            except Empty:
                continue
            jobs: list[Job] = []
            batch = first
            while batch is not None:
                jobs += batch
                if len(jobs) >= MAX_BATCH:
                    break
                try:
                    batch = queue.get_nowait()
                except Empty:
                    break
            open_for_more = batch is not None
            if jobs:
                self._finish(jobs)
            elif self._log.is_long:
                self._checkpoint()
        self._close()

    def _finish(self, jobs: list[Job]) -> None:
        """Do what is not done yet, make all of it durable, and answer."""
        done = [job for job in jobs if job.done]
        undone = [job for job in jobs if not job.done]
        if undone:
            self.run(undone)
            with self._gate:
                self._waiting -= len(undone)
        if done:
            self._sync(done)
        self._answer(jobs)
        if self._log.is_long:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Move the log into the database here, where nobody waits for it: the loop hands its batches over meanwhile."""
        with self._turn:
            try:
                self._lock.acquire()
            except LedgerError:
                return
            try:
                with contextlib.suppress(sqlite3.Error):
                    self._log.checkpoint()
            finally:
                self._lock.release()

    def _answer(self, jobs: list[Job]) -> None:
        """Wake everyone: one call into each event loop for the whole batch."""
        loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in jobs:
            if job.loop is not None:
                loops.setdefault(job.loop, []).append(job)
            else:
                _resolve(job)
        for loop, theirs in loops.items():
            try:
                loop.call_soon_threadsafe(self._deliver, theirs)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._abandon(theirs)

    def _deliver(self, jobs: Iterable[Job]) -> None:
        left = []
        for job in jobs:
            if job.on_disk is not None and not job.on_disk.done():
                job.on_disk.set_result(job.error)
            if job.told:
                continue
            if job.future.done():
                left.append(job)
            else:
                _resolve(job)
        if left:
            self._abandon(left)

    def _abandon(self, jobs: Iterable[Job]) -> None:
        """A caller was cancelled while its job was done: undo what only it could have undone."""
        for job in jobs:
            if not job.told:
                self.forgo(job)

    def forgo(self, job: Job) -> None:
        """Undo what only the job's caller could have undone; what was undone already stays so."""
        operation = self.orphaned(job) if job.error is None else None
        if operation is not None:
            with contextlib.suppress(LedgerError):
                self.put(Job(operation, Future(), None))

    def _close(self) -> None:
        # Closing the last connection checkpoints the WAL: that is writing, so it takes its turn too.
        locked = False
        with contextlib.suppress(LedgerError):
            self._lock.acquire()
            locked = True
        with self._turn:  # the loop may be waiting for the disk
            self._log.close()
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        if locked:
            self._lock.release()
        self._lock.close()


def _resolve(job: Job) -> None:
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)
