"""May we serve here? Asked before anything is opened: mitmproxy's own words name options that we do not have."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tollkeeper.core.errors import GateError

REMEDY = {
    errno.EADDRINUSE: "another program listens there, perhaps a proxy with another TOLLKEEPER_HOME: stop it, or choose another with "
    "--port N (--port 0 takes a free one)",
    errno.EACCES: "ports below 1024 belong to the system: choose another with --port N",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address: choose another with --host",
}


def check_free(host: str, port: int) -> None:
    """Bind ``host``:``port`` and let it go again; raises ``GateError`` saying why that fails and what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio does: an old connection is no listener
            probe.bind(address)
    except socket.gaierror as error:
        raise GateError(f"cannot listen on {host}: {error.strerror}; choose an address of this machine with --host") from error
    except OSError as error:
        remedy = REMEDY.get(error.errno or 0, "choose another with --host and --port")
        raise GateError(f"cannot listen on {host}:{port} ({error.strerror}): {remedy}") from error


@contextmanager
def sole(state: Path) -> Iterator[None]:
    """Be the only process that a state file tells of, until the block or the process ends.

    Raises ``GateError`` when another is: of two that start at once, the second would hide the first from `tollkeeper stop`.
    """
    descriptor = os.open(state.with_name(f"{state.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GateError(f"another proxy of {state.parent} runs or is just starting: see `tollkeeper status`") from None
        yield
    finally:
        os.close(descriptor)
