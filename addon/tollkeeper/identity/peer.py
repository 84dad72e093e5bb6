"""Who is at the other end of a connection from this machine: OS user, process, folder, repository, container.

Whose it is, the kernel says at once; the process is looked up once per connection in a thread. A request waits ``WAIT_S`` at most; what
comes later is there for the next request.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tollkeeper.core.principal import Assurance, Principal

from .briefly import Briefly
from .git_place import NOWHERE, Place, place_of
from .local import user_name

WAIT_S = 0.010
SEARCH_S = 0.050
"""How long the thread may search; on a machine with thousands of processes it gives up with the uid."""
GONE_UID = -2
"""Of a client on this machine that has closed its end: its request is here, and nobody knows any more whose it was."""
MAX_SEARCHES = 10_000
CHANNEL = "peer"
_LOCAL = ("127.", "::1", "::ffff:127.")

type Address = tuple[str, int]
type Owner = Callable[[Address, Address], int | None]
"""The OS user of the client's end of a connection between two addresses of this machine, in microseconds; None when there is none."""
type Finder = Callable[[Address, Address], "Peer | None"]
"""All there is to know of it, in milliseconds."""


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


def find_owner() -> Owner | None:
    """How this platform tells whose a connection is, None where that takes too long to do at once."""
    if sys.platform == "linux":
        from .peer_linux import owner_uid

        return owner_uid
    return None


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


@dataclass(slots=True)
class _Look:
    """One look-up. ``known`` is at first what was known at once: the uid, which is all that ever decides anything."""

    known: Peer | None
    future: "asyncio.Future[Peer | None] | None" = None
    """The search for the rest; None when there is none (any more)."""
    until: float = 0.0
    """When its requests stop waiting (the event loop's clock); 0 before the first."""


class Peers:
    """Looks connections up, once each; for one event loop.

    ``owner`` is asked where it stands, when the connection is accepted; ``finder`` in a thread of its own, one look-up at a time: it
    remembers what it comes past, so that a burst is one search.
    """

    def __init__(self, finder: Finder | None = None, owner: Owner | None = None) -> None:
        self._finder = finder or find_peer()
        self._owner = owner or (find_owner() if finder is None else None)
        self._looks: dict[str, _Look] = {}
        self._searching = 0
        self._places: Briefly[Place] = Briefly()
        self._pool = ThreadPoolExecutor(1, "tollkeeper-peer") if self._finder else None

    def begin(self, connection: str, client: Address, server: Address) -> None:
        """Start the look-up for a new connection. One from another machine has no owner here, and is not looked up."""
        if connection in self._looks:
            return
        client, server = _plain(client), _plain(server)
        uid = self._owner(client, server) if self._owner is not None else None
        if uid is None and not client[0].startswith(_LOCAL):
            return
        look = self._looks[connection] = _Look(None if uid is None else Peer(uid=uid))
        if self._pool is not None and self._searching < MAX_SEARCHES:
            self._searching += 1
            look.future = asyncio.get_running_loop().run_in_executor(self._pool, self._look, client, server)
            look.future.add_done_callback(partial(self._searched, look))

    async def get(self, connection: str) -> Peer | None:
        """What is known. The requests of one connection wait 10 ms for it, all together."""
        look = self._looks.get(connection)
        if look is None:
            return None
        if look.future is not None:
            now = asyncio.get_running_loop().time()
            look.until = look.until or now + WAIT_S
            if look.until > now:
                await asyncio.wait([look.future], timeout=look.until - now)
        return look.known

    def at_once(self, connection: str) -> tuple[bool, Peer | None]:
        """Whether there is nothing (more) to wait for, and what is known by now."""
        look = self._looks.get(connection)
        if look is None:
            return True, None
        if look.future is None:
            return True, look.known
        return 0 < look.until <= asyncio.get_running_loop().time(), look.known

    def end(self, connection: str) -> None:
        """Forget a closed connection."""
        look = self._looks.pop(connection, None)
        if look is not None and look.future is not None:
            look.future.cancel()

    def close(self) -> None:
        """Stop the thread. Connections that come later are not looked up further than their uid."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _searched(self, look: _Look, future: "asyncio.Future[Peer | None]") -> None:
        self._searching -= 1
        look.future = None
        if not future.cancelled():
            look.known = future.result() or look.known

    def _look(self, client: Address, server: Address) -> Peer | None:
        try:
            found = self._finder(client, server) if self._finder is not None else None
            if found is None or not found.folder:
                return found
            place = self._places.get(found.folder)
            if place is None:
                place = self._places.put(found.folder, place_of(Path(found.folder)))
            return replace(found, place=place)
        except Exception:  # attribution is a courtesy: it never costs a call
            return None


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes, plain."""
    return address[0].removeprefix("::ffff:"), address[1]
