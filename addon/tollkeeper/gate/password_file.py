"""Proxy passwords from a file: a container's secret."""

import stat
from pathlib import Path

from tollkeeper.core.errors import ConfigError

MAX_BYTES = 65_536
MIN_PASSWORD_CHARS = 16


def read_credentials(path: Path) -> dict[str, str]:
    """User to password, from lines of ``user:password``; ``#`` begins a comment. Raises ``ConfigError``, never showing a password."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes: it is no file of passwords")
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"{path} can be changed by others: chmod go-w {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): write lines of user:password into it") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.strip().partition(":")
        if not user or not colon or len(password) < MIN_PASSWORD_CHARS:
            raise ConfigError(f"{path}:{number}: write user:password, the password of {MIN_PASSWORD_CHARS} characters or more")
        found[user] = password
    if not found:
        raise ConfigError(f"{path} holds no password: write a line of user:password")
    return found
