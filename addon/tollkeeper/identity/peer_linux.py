"""The process at the other end of a loopback connection, on Linux: the kernel's socket table, then ``/proc``.

One ``SOCK_DIAG`` question gives uid and inode of exactly that socket in 0.05 ms; reading ``/proc/net/tcp`` for it costs 2.5 ms and
grows with every connection of the machine (measured). Which process holds the inode is only in ``/proc/*/fd``.
"""

import os
import re
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from .briefly import Briefly
from .peer import GONE_UID, Peer

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ANY_STATE = 0xFFFFFFFF
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:$|/)", re.MULTILINE)
MAX_COMMAND_CHARS = 64


def socket_owner(client: tuple[str, int], server: tuple[str, int]) -> tuple[int, int] | None:
    """(uid, inode) of the client's end of a connection between two addresses of this machine; None when there is none.

    A socket that its process has closed has inode 0. Its uid is then kept by new kernels (``sk_uid``) and 0 with old ones.
    """
    try:
        return _ask_kernel(client, server)
    except OSError:
        return None  # no netlink in this sandbox, or the connection is gone


def owner_uid(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user alone: the question never leaves the kernel, so it is answered where it is asked (0.013 ms)."""
    owner = socket_owner(client, server)
    return None if owner is None else _uid(owner)


def _uid(owner: tuple[int, int]) -> int:
    uid, inode = owner
    return uid if uid or inode else GONE_UID


def _ask_kernel(client: tuple[str, int], server: tuple[str, int]) -> tuple[int, int] | None:
    """``inet_diag_req_v2`` for one socket (linux/inet_diag.h)."""
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    ends = [socket.inet_pton(family, address).ljust(16, b"\0") for address in (client[0], server[0])]
    identity = struct.pack("!HH16s16s", client[1], server[1], *ends) + struct.pack("=I", 0) + b"\xff" * 8
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + identity
    message = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(0.05)
        kernel.sendto(message, (0, 0))
        answer, sender = kernel.recvfrom(4096)
    if sender[0] != 0:  # netlink(7): 0 is the kernel; a process with the right capability could write to us, too
        return None
    if len(answer) < 16 + 72 or struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        return None
    uid, inode = struct.unpack_from("=II", answer, 16 + 64)
    return uid, inode


class Owners:
    """Finds processes by socket, for one thread.

    Remembers who connected last: a client opens many connections, and is asked first. Remembers for a second every socket that a search
    came past, and what was read of its process: a burst of connections costs one search.
    """

    def __init__(self, remembered: int = 64) -> None:
        self._recent: OrderedDict[int, None] = OrderedDict()
        self._remembered = remembered
        self._holders: Briefly[int] = Briefly()
        self._described: Briefly[Peer] = Briefly()

    def find(self, client: tuple[str, int], server: tuple[str, int], deadline: float) -> Peer | None:
        """What is known by ``deadline`` (``time.monotonic``): the uid at least, once the kernel knows the connection."""
        owner = socket_owner(client, server)
        if owner is None:
            return None
        uid, inode = _uid(owner), owner[1]
        if not inode:
            return Peer(uid=uid)
        pid = self._holders.get(inode)
        if pid is None:
            pid = self._search(uid, inode, deadline)
        if pid is None:
            return Peer(uid=uid)
        self._recent[pid] = None
        self._recent.move_to_end(pid)
        while len(self._recent) > self._remembered:
            self._recent.popitem(last=False)
        return self._described.get((uid, pid)) or self._described.put((uid, pid), describe(uid, pid))

    def _search(self, uid: int, inode: int, deadline: float) -> int | None:
        for pid in self._candidates(uid):
            held = _sockets(pid)
            for other in held:
                if self._holders.get(other) is None:  # a child that inherited it is the younger, and was asked first
                    self._holders.put(other, pid)
            if inode in held:
                return pid
            if time.monotonic() > deadline:
                break
        return None

    def _candidates(self, uid: int) -> Iterator[int]:
        """Recent clients, then the user's processes, newest first."""
        asked = list(reversed(self._recent))
        yield from asked
        pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)  # noqa: PTH208
        for pid in pids:
            if pid in self._recent:
                continue
            try:
                if os.stat(f"/proc/{pid}").st_uid == uid:  # noqa: PTH116 — hundreds of them: a Path each doubles the cost
                    yield pid
            except OSError:
                continue


def describe(uid: int, pid: int) -> Peer:
    """What ``/proc`` says of a process."""
    return Peer(
        uid=uid,
        pid=pid,
        command=_command(pid),
        folder=_link(f"/proc/{pid}/cwd"),
        container=container_in(_read(f"/proc/{pid}/cgroup")),
    )


def container_in(cgroup: str) -> str:
    """The container's id (12 digits, as ``docker ps`` shows it) in a ``/proc/PID/cgroup``; empty outside containers."""
    found = _CONTAINER.search(cgroup)
    return found[1][:12] if found is not None else ""


def _command(pid: int) -> str:
    """The program's name: what an interpreter runs rather than the interpreter, without arguments, which may hold secrets."""
    words = [word for word in _read(f"/proc/{pid}/cmdline").split("\0") if word]
    return command_name(words) or _read(f"/proc/{pid}/comm").strip()[:MAX_COMMAND_CHARS]


def command_name(words: list[str]) -> str:
    """``claude`` for ``node /usr/lib/…/claude --resume``; ``agent.py`` for ``python3 -u agent.py``; never an argument's value."""
    if not words:
        return ""
    name = words[0].split(" ")[0].rpartition("/")[2]
    if re.fullmatch(r"(python|node|bun|deno|ruby|perl|bash|sh)[0-9.]*", name):
        rest = iter(words[1:])
        for word in rest:
            if word == "-m" and name.startswith("python"):
                return next(rest, "")[:MAX_COMMAND_CHARS]
            if word in {"-c", "-e", "--eval", "-p"}:
                break
            if not word.startswith("-"):
                script = word.rpartition("/")[2]
                return "".join(char for char in script if char.isprintable())[:MAX_COMMAND_CHARS]
    return "".join(char for char in name if char.isprintable())[:MAX_COMMAND_CHARS]


def _sockets(pid: int) -> set[int]:
    """The inodes of the sockets that a process holds; none when it may not be looked at, or is gone."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            links = [_link(entry.path) for entry in entries]
    except OSError:
        return set()
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 — as above
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(16_384).decode("utf-8", "replace")
    except OSError:
        return ""
