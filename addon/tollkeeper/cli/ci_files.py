"""Files that a job could have put there, read and written by a start that may be root: never through a link."""

import os
import stat
from pathlib import Path

from tollkeeper.core.errors import SetupError

MAX_BYTES = 4_000_000


def read_document(folder: Path, name: str) -> bytes | None:
    """The file ``name`` in ``folder``; None when either is not there. Raises ``SetupError`` for a link, a device, or too much.

    A link could name a file that only root may read, and an error message would quote it.
    """
    try:
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
        finally:
            os.close(above)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"{folder / name} is not read ({error.strerror}): it must be a plain file in a plain folder") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SetupError(f"{folder / name} is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SetupError(f"{folder / name} is longer than {MAX_BYTES:,} bytes")
    return data


def append(path: Path, text: str) -> None:
    """Add to a file that the platform named in a variable. Raises ``OSError``, also where it is a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)
