"""Who is at the other end of a connection from this machine: OS user, process, folder, repository, container.

Looked up once per connection in a thread. A request waits ``WAIT_S`` at most; what comes later is there for the next request.
"""

import asyncio
import pwd
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tollkeeper.core.principal import Assurance, Principal

from .git_place import NOWHERE, Place, place_of

WAIT_S = 0.010
SEARCH_S = 0.050
"""How long the thread may search; on a machine with thousands of processes it gives up with the uid."""
MAX_CONNECTIONS = 10_000
CHANNEL = "peer"
_LOCAL = ("127.", "::1", "::ffff:127.")

type Address = tuple[str, int]
type Finder = Callable[[Address, Address], "Peer | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What the kernel says of the other end; empty or 0 means unknown. The uid is certain, the rest good."""

    uid: int
    pid: int = 0
    command: str = ""
    """The program, without arguments."""
    folder: str = ""
    container: str = ""
    place: Place = NOWHERE

    @property
    def principal(self) -> Principal:
        """The OS user: a login on this machine, not a proof of who sits there."""
        return Principal(subject=user_name(self.uid), issuer="local", channel=CHANNEL, assurance=Assurance.LOCAL_LOGIN)


def user_name(uid: int) -> str:
    """The login name, ``uid:1000`` when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid:{uid}"


def find_peer() -> Finder | None:
    """How this platform looks peers up, None where it cannot."""
    if sys.platform == "linux":
        from .peer_linux import Owners

        owners = Owners()
        return lambda client, server: owners.find(client, server, time.monotonic() + SEARCH_S)
    if sys.platform == "darwin":
        from .peer_macos import find

        return find
    return None


class Peers:
    """Looks connections up, once each; for one event loop. ``finder`` runs in a thread of its own, one look-up at a time."""

    def __init__(self, finder: Finder | None = None) -> None:
        self._finder = finder or find_peer()
        self._looks: dict[str, asyncio.Future[Peer | None]] = {}
        self._pool = ThreadPoolExecutor(1, "tollkeeper-peer") if self._finder else None

    def begin(self, connection: str, client: Address, server: Address) -> None:
        """Start the look-up for a new connection. Does nothing for one from another machine."""
        if self._pool is None or len(self._looks) >= MAX_CONNECTIONS or connection in self._looks:
            return
        if client[0].startswith(_LOCAL):
            self._looks[connection] = asyncio.get_running_loop().run_in_executor(
                self._pool, self._look, _plain(client), _plain(server)
            )

    async def get(self, connection: str) -> Peer | None:
        """What is known, after 10 ms at most."""
        look = self._looks.get(connection)
        if look is None:
            return None
        if not look.done():
            await asyncio.wait([look], timeout=WAIT_S)
        return look.result() if look.done() and not look.cancelled() else None

    def at_once(self, connection: str) -> tuple[bool, Peer | None]:
        """Whether the look-up is over (or was never made), and what it found."""
        look = self._looks.get(connection)
        if look is None:
            return True, None
        if not look.done():
            return False, None
        return True, None if look.cancelled() else look.result()

    def end(self, connection: str) -> None:
        """Forget a closed connection."""
        look = self._looks.pop(connection, None)
        if look is not None:
            look.cancel()

    def close(self) -> None:
        """Stop the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, client: Address, server: Address) -> Peer | None:
        try:
            found = self._finder(client, server) if self._finder is not None else None
            if found is None or not found.folder:
                return found
            return Peer(
                uid=found.uid,
                pid=found.pid,
                command=found.command,
                folder=found.folder,
                container=found.container,
                place=place_of(Path(found.folder)),
            )
        except Exception:  # attribution is a courtesy: it never costs a call
            return None


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes, plain."""
    return address[0].removeprefix("::ffff:"), address[1]
