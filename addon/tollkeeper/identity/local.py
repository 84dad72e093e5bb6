"""The weakest identities: whoever is logged in on this machine, by the OS or by the last ``tollkeeper login``."""

import json
import os
import pwd
from pathlib import Path

from tollkeeper.core.principal import Assurance, Principal

LOGIN_CHANNEL = "login"
MAX_NOTE_BYTES = 131_072


def local_principal(channel: str = "default") -> Principal:
    """The OS user that runs the proxy: a login on this machine, not a proof of who sits there."""
    # Not getpass.getuser(): it believes LOGNAME and USER, which anyone can set to another's name.
    return Principal(subject=user_name(os.getuid()), issuer="local", channel=channel, assurance=Assurance.LOCAL_LOGIN)


def user_name(uid: int) -> str:
    """The login name, ``uid:1000`` when it has none; empty for a user who is not known."""
    if uid < 0:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid:{uid}"


class LoginNote:
    """Who logged in last on this machine: a file without any secret, which a running proxy follows.

    It makes the owner of a laptop the default of its own calls, as ``local-login``: the proof was shown once, not with each call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._principal: Principal | None = None
        self._expires_at = 0

    def write(self, principal: Principal, expires_at: int) -> None:
        """Note a login that ends at ``expires_at`` (UTC seconds)."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        note = {
            "subject": principal.subject,
            "issuer": principal.issuer,
            "groups": sorted(principal.groups),
            "expires_at": expires_at,
        }
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(note, file)
        temporary.replace(self._path)

    def remove(self) -> None:
        """Forget it (log-out)."""
        self._path.unlink(missing_ok=True)

    def current(self, now_s: float) -> Principal | None:
        """Who is logged in, None when nobody is, the login has ended, or others could have written the file. One ``stat``."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            trusted = found.st_uid == os.getuid() and not found.st_mode & 0o077 and found.st_size <= MAX_NOTE_BYTES
            self._principal, self._expires_at = _read(self._path) if trusted else (None, 0)
            self._seen = seen
        return self._principal if now_s < self._expires_at else None


def _read(path: Path) -> tuple[Principal | None, int]:
    try:
        note = json.loads(path.read_bytes())
        principal = Principal(
            subject=str(note["subject"]),
            issuer=str(note["issuer"]),
            channel=LOGIN_CHANNEL,
            assurance=Assurance.LOCAL_LOGIN,
            groups=frozenset(str(group) for group in note["groups"]),
        )
        return principal, int(note["expires_at"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, 0
