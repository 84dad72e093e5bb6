"""The policy document, read anew when its file changes: the new one is in force whole, or the old one stays, whole."""

import asyncio
import contextlib
import logging
from pathlib import Path

from tollkeeper.core.errors import ConfigError
from tollkeeper.identity.channels import OnNoIdentity
from tollkeeper.policy.diff import reloaded
from tollkeeper.policy.model import Policy

from .stages import ON_NO_IDENTITY, Stages

logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
MOST_TOLD = 20

type Signature = tuple[int, int, int] | None


class Reload:
    """An addon. Looks at the file once a second; a change counts once the file has stood still from one look to the next.

    An editor that empties a file before it writes it would otherwise be taken at half its word, which may be a valid document.
    """

    name = "tollkeeper-reload"

    def __init__(self, stages: Stages, path: Path, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._stages, self._path, self._every = stages, path, every_seconds
        self._read = self._seen = signature(path)
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        """The proxy serves."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def done(self) -> None:
        """The process ends."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.look()

    async def look(self) -> bool:
        """One look at the file; True when another policy is in force now."""
        found, seen = signature(self._path), self._seen
        self._seen = found
        if found == self._read or found != seen:
            return False
        self._read = found
        counters, old = self._stages.counters, self._stages.policy
        try:
            if found is None:
                raise ConfigError(f"{self._path} is gone")
            # In a thread: ten thousand rules take 0.2 s to make ready.
            new, changes = await asyncio.get_running_loop().run_in_executor(None, reloaded, self._path, old)
        except ConfigError as error:
            counters.policy_error = str(error)[:2000]
            logger.error("the policy in force stays: %s", error)  # noqa: TRY400 — the message says it all
            return False
        counters.policy_error = ""
        if new is old:
            return False
        self._put(new)
        logger.warning("the policy is another now: %s", "; ".join(changes[:MOST_TOLD]) or "in words only")
        if len(changes) > MOST_TOLD:
            logger.warning("… and %d more changes", len(changes) - MOST_TOLD)
        return True

    def _put(self, policy: Policy) -> None:
        """Calls under way end by the policy they began with."""
        self._stages.policy = policy
        self._stages.desk.on_no_identity = ON_NO_IDENTITY.get(policy.on_no_identity, OnNoIdentity.DEFAULT)
        self._stages.counters.policy_reloads += 1


def signature(path: Path) -> Signature:
    """What tells one state of a file from another without reading it; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
