"""One more way round the sidecar: the user ids that /etc/subuid gives the job's user (subuid(5)).

A user namespace makes them the job's own without root, by way of newuidmap(1): user_namespaces(7). A packet rule for the job's own id
does not hold them.
"""

import errno
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tollkeeper.gate.firewall import subordinate_ids as ranges_in

from .ci_probes import UNNAMED, Found, Outcome, Target, addresses_of, ours, reached

SUBUID = Path("/etc/subuid")
HELPER = "newuidmap"
MAX_RANGES = 4
SECONDS = 60.0
READY = b"ready"


def subordinate_ids(target: Target) -> Found:
    """Straight to the provider, as the first id of every range that this user may take."""
    ranges = ranges_in(_text(SUBUID), _names(os.getuid()))[:MAX_RANGES]
    if not ranges:
        return Outcome.CLOSED, f"{SUBUID} gives this user none"
    helper = shutil.which(HELPER)
    if helper is None:
        return Outcome.UNKNOWN, f"{HELPER} is not here, without which they cannot be taken: this way could not be tried"
    addresses = [*addresses_of(target.host, socket.AF_INET), *addresses_of(target.host, socket.AF_INET6)]
    if not addresses:
        return UNNAMED
    context = ours(target)  # the other user may not be able to read what it needs
    said: list[Found] = []
    for first, _ in ranges:
        outcome, detail = _as_user(first, helper, lambda: reached(addresses, target.host, context))
        said.append((outcome, f"as user {first}: {detail}"))
    worst = next((found for found in said if found[0] is Outcome.OPEN), None) or next(
        (found for found in said if found[0] is Outcome.UNKNOWN), None
    )
    return worst or (Outcome.CLOSED, "; ".join(detail for _, detail in said))


def _as_user(uid: int, helper: str, attempt: Callable[[], Found]) -> Found:
    """What ``attempt`` finds in a process of that user, in a user namespace of its own."""
    child_reads, we_write = os.pipe()
    we_read, child_writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(we_write)
        _become(child_reads, child_writes, attempt)
    os.close(child_reads)
    os.close(child_writes)
    try:
        answer = _answer(we_read)
        if answer == READY:
            # The one id, as the namespace's root: whoever makes a namespace may be every user in it.
            mapped = subprocess.run(
                [helper, str(child), "0", str(uid), "1"], capture_output=True, text=True, timeout=10, check=False
            )
            if mapped.returncode:
                words = (mapped.stderr.strip().splitlines() or ["no reason given"])[-1][:120]
                return Outcome.UNKNOWN, f"{HELPER}: {words} (another program may be allowed to)"
            os.write(we_write, READY)
            answer = _answer(we_read)
        outcome, detail = json.loads(answer)
        return Outcome(outcome), detail
    except ValueError:
        return Outcome.UNKNOWN, "no answer"
    finally:
        os.close(we_read)
        os.close(we_write)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _answer(descriptor: int) -> bytes:
    readable, _, _ = select.select([descriptor], [], [], SECONDS)
    return os.read(descriptor, 4096) if readable else b""


def _become(reads: int, writes: int, attempt: Callable[[], Found]) -> None:
    """In the child: a namespace, the id that it is given, the attempt. Never returns."""
    try:
        try:
            os.unshare(os.CLONE_NEWUSER)
        except OSError as error:
            is_barred = error.errno in {errno.EPERM, errno.ENOSPC, errno.ENOSYS}
            found: Found = Outcome.CLOSED if is_barred else Outcome.UNKNOWN, f"no user namespace can be made ({error.strerror})"
        else:
            os.write(writes, READY)
            if os.read(reads, len(READY)) != READY:
                return
            try:
                os.setresuid(0, 0, 0)
                found = attempt()
            except OSError as error:
                found = Outcome.UNKNOWN, f"{error.strerror} (another program may be allowed to)"
        os.write(writes, json.dumps(found).encode())
    finally:
        os._exit(0)


def _names(uid: int) -> list[str]:
    try:
        return [str(uid), pwd.getpwuid(uid).pw_name]
    except KeyError:
        return [str(uid)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
