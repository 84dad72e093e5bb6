"""Where a person's tokens are kept between commands: the OS keyring, else a file that only its owner can read."""

import contextlib
import importlib
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .answers import IdentityError

SERVICE = "tollkeeper"
MAX_SESSION_BYTES = 65_536
_KEYRINGS = ("keyring.backends.macOS", "keyring.backends.SecretService", "keyring.backends.kwallet", "keyring.backends.libsecret")
"""Backends that hand the tokens to the system. Others write plain files and would only look like a keyring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A log-in. ``token`` is what identifies: the ID or access token that was verified. Times are UTC seconds."""

    issuer: str
    """The row's name."""
    subject: str
    token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: int
    logged_in_at: int

    def to_json(self) -> str:
        """For ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Session | None":
        """What was stored; None when it is damaged or of another version."""
        if len(text) > MAX_SESSION_BYTES:
            return None
        try:
            values = json.loads(text)
            session = cls(**values)
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (session.issuer, session.subject, session.token, session.refresh_token)
        numbers = (session.expires_at, session.logged_in_at)
        right = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
        return session if right else None


class TokenStore(Protocol):
    """Keeps one session per row."""

    notice: str
    """What to tell the person about where their tokens are; empty when there is nothing to say."""

    def load(self, row: str) -> Session | None:
        """The session of a row."""

    def save(self, session: Session) -> None:
        """Keep a session durably, before its token is used. Raises ``IdentityError``."""

    def delete(self, row: str) -> bool:
        """Forget a session; whether there was one."""


def open_store(folder: Path) -> TokenStore:
    """The keyring of this system, else files in ``folder``."""
    backend = _keyring()
    return KeyringStore(backend) if backend is not None else FileStore(folder)


class FileStore:
    """One file per row, 0600, in a folder that is 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.notice = f"no keyring was found: the tokens are in {folder}, readable by you only"

    def load(self, row: str) -> Session | None:
        """The session of a row. Raises ``IdentityError`` when others can read the file."""
        path = self._path(row)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.getuid():
                    raise IdentityError(f"others can read {path}: remove it, and log in again with `tollkeeper login {row}`")
                return Session.from_json(file.read(MAX_SESSION_BYTES + 1).decode("utf-8", "replace"))
        except OSError:
            return None

    def save(self, session: Session) -> None:
        """Written, flushed to the disk, then put in place at once: a crash leaves the old session or the new one."""
        path = self._path(session.issuer)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(session.to_json())
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
            parent = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        except OSError as error:
            raise IdentityError(f"the session cannot be kept in {path} ({error.strerror}): free or own that folder") from None

    def delete(self, row: str) -> bool:
        """Forget a session; whether there was one."""
        try:
            self._path(row).unlink()
        except OSError:
            return False
        return True

    def _path(self, row: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", row):
            raise ValueError(row)
        return self._folder / f"{row}.json"


class KeyringStore:
    """The system's keyring. Any program run by the same user can ask it, as it can read a 0600 file."""

    notice = ""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def load(self, row: str) -> Session | None:
        """The session of a row. Raises ``IdentityError`` when the keyring stays locked."""
        text = self._ask(lambda: self._backend.get_password(SERVICE, row))
        return Session.from_json(text) if isinstance(text, str) else None

    def save(self, session: Session) -> None:
        """Keep a session. Raises ``IdentityError``."""
        self._ask(lambda: self._backend.set_password(SERVICE, session.issuer, session.to_json()))

    def delete(self, row: str) -> bool:
        """Forget a session; whether there was one."""
        if self.load(row) is None:
            return False
        with contextlib.suppress(IdentityError):
            self._ask(lambda: self._backend.delete_password(SERVICE, row))
        return True

    @staticmethod
    def _ask(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # a foreign library over a foreign service: every failure is one
            raise IdentityError(f"the keyring does not answer ({type(error).__name__}): unlock it and try again") from None


def _keyring() -> Any:
    """The first backend that hands secrets to the system, None when the library or the service is missing."""
    try:
        backend = importlib.import_module("keyring").get_keyring()
        candidates = getattr(backend, "backends", [backend])
    except Exception:  # as above
        return None
    for candidate in candidates:
        if type(candidate).__module__.startswith(_KEYRINGS):
            return candidate
    return None
