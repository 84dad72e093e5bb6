"""Handles: random passwords for the proxy, each standing for an identity that was established before.

Every client sends the password of its proxy URL and none needs to know what it means. A handle is 192 random bits; the file that
makes them known to a running proxy keeps digests only, and belongs to the OS user whose processes may use it.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.gate.access import new_credential

from .answers import Proof, Refused, Why

CHANNEL = "handle"
MAX_HANDLES = 1_000
MAX_FILE_BYTES = 4_000_000
MAX_SECRET_CHARS = 256
ANY_UID = -1
"""``uid`` of a password that a whole pod or machine shares: containers beside a proxy run as users of their own."""
ROOT_UID = 0
"""Root may read every password anyway: ``sudo``, and containers on the host's network, come with it."""
NEVER = 2**40
"""``expires_at`` of what ends with its process."""
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class Login:
    """What goes into the proxy URL, both parts of URL-safe characters. Shown once, stored nowhere."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What is kept of a handle. ``expires_at`` is UTC seconds; ``uid`` is the OS user whose processes may use it."""

    user: str
    digest: str = field(repr=False)
    uid: int
    expires_at: int
    principal: Principal


def mint(principal: Principal, *, uid: int, expires_at: int, label: str = "run") -> tuple[Login, Handle]:
    """A fresh handle for an established identity: what the client gets, and what we keep."""
    login = Login(*new_credential(label if _LABEL.fullmatch(label) else "run"))
    return login, known(login, principal, uid=uid, expires_at=expires_at)


def known(login: Login, principal: Principal, *, uid: int, expires_at: int) -> Handle:
    """The handle for a proxy password that exists already: a proxy that is told both over a pipe keeps only this."""
    return Handle(user=login.user, digest=_digest(login.password), uid=uid, expires_at=expires_at, principal=principal)


def prove(handles: Mapping[str, Handle], user: str, password: str, now_s: float, peer_uid: int | None) -> Proof | Refused:
    """Who a proxy password stands for. ``peer_uid`` is the OS user at the other end, None when it cannot be known.

    An unknown user takes as long as a wrong password.
    """
    handle = handles.get(user)
    given = _digest(password[:MAX_SECRET_CHARS])
    matches = hmac.compare_digest(given, handle.digest if handle is not None else "0" * 64)
    remedy = 'start the command again with `tollkeeper run`, or renew the shell: eval "$(tollkeeper env)"'
    if handle is None or not matches or len(password) > MAX_SECRET_CHARS:
        return Refused(why=Why.HANDLE, reason="the proxy password is not known", remedy=remedy)
    if now_s >= handle.expires_at:
        return Refused(why=Why.EXPIRED, reason="the proxy password has ended with its session", remedy=remedy)
    if handle.uid != ANY_UID and peer_uid not in {None, handle.uid, ROOT_UID}:
        reason = "the proxy password belongs to another user of this machine"
        return Refused(why=Why.HANDLE, reason=reason, remedy="log in yourself: `tollkeeper login`")
    return Proof(principal=replace(handle.principal, channel=CHANNEL), expires_at=handle.expires_at, row=user)


class HandleBook:
    """The handles of this machine: a file that ``run`` and ``login`` write and a running proxy follows; or of one process."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._own: dict[str, Handle] = {}
        self._filed: dict[str, Handle] = {}
        self._seen: tuple[int, int, int] | None = None

    def prove(self, user: str, password: str, peer_uid: int | None = None) -> Proof | Refused:
        """Who the password stands for; the file is read again when it changed (one ``stat`` per new connection)."""
        if user not in self._own:
            self._follow()
        return prove({**self._filed, **self._own}, user, password, self._clock() / US_PER_SECOND, peer_uid)

    def stands(self, user: str) -> bool:
        """Whether a password that was accepted is still known: a log-out takes it from the file."""
        if user in self._own:
            return True
        self._follow()
        return user in self._filed

    def hold(self, handle: Handle) -> None:
        """Know a handle in this process only: for CI, which stores nothing."""
        self._own[handle.user] = handle

    def add(self, handle: Handle) -> None:
        """Write a handle for the running proxy; those that have ended go."""
        self._change(lambda handles: handles | {handle.user: handle})

    def remove(self, keep: Callable[[Handle], bool]) -> int:
        """Drop the handles that are not to be kept (log-out); how many went."""
        before = len(self.listed())
        self._change(lambda handles: {user: handle for user, handle in handles.items() if keep(handle)})
        return before - len(self.listed())

    def listed(self) -> tuple[Handle, ...]:
        """Those of the file that have not ended."""
        self._follow()
        now_s = self._clock() / US_PER_SECOND
        return tuple(handle for handle in self._filed.values() if now_s < handle.expires_at)

    def _change(self, changed: Callable[[dict[str, Handle]], dict[str, Handle]]) -> None:
        if self._path is None:
            raise ValueError("this book has no file")
        with _locked(self._path):
            now_s = self._clock() / US_PER_SECOND
            kept = {user: handle for user, handle in _read(self._path).items() if now_s < handle.expires_at}
            handles = changed(kept)
            newest = sorted(handles.values(), key=lambda handle: handle.expires_at)[-MAX_HANDLES:]
            _write(self._path, newest)

    def _follow(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            self._filed, self._seen = {}, None
            return
        if seen != self._seen:
            self._filed, self._seen = _read(self._path), seen


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> dict[str, Handle]:
    """The handles of a file; none when it is damaged, or anybody else could have written it."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.getuid() or found.st_mode & 0o077 or found.st_size > MAX_FILE_BYTES:
                return {}
            rows = json.load(file)
        handles = (_handle(row) for row in rows["handles"])
        return {handle.user: handle for handle in handles}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _handle(row: Any) -> Handle:
    who = row["principal"]
    return Handle(
        user=str(row["user"]),
        digest=str(row["digest"]),
        uid=int(row["uid"]),
        expires_at=int(row["expires_at"]),
        principal=Principal(
            subject=str(who["subject"]),
            issuer=str(who["issuer"]),
            channel=str(who["channel"]),
            assurance=Assurance(who["assurance"]),
            groups=frozenset(str(group) for group in who["groups"]),
        ),
    )


def _write(path: Path, handles: list[Handle]) -> None:
    rows = [
        {
            "user": handle.user,
            "digest": handle.digest,
            "uid": handle.uid,
            "expires_at": handle.expires_at,
            "principal": {
                "subject": handle.principal.subject,
                "issuer": handle.principal.issuer,
                "channel": handle.principal.channel,
                "assurance": handle.principal.assurance.value,
                "groups": sorted(handle.principal.groups),
            },
        }
        for handle in handles
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"handles": rows}, file)
    temporary.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
