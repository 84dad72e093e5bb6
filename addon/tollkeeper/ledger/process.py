"""Which process made a hold, and whether it still lives: a pid alone is reused, a pid and its start time are not."""

import os
import subprocess
from functools import cache
from pathlib import Path


@cache
def _machine() -> str:
    """The boot and the pid namespace: only in the same ones can a pid be looked up."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink().name}"
    except OSError:
        return f"{_ask('/usr/sbin/sysctl', '-n', 'kern.boottime').split(',')[0].strip('{ ')}/"


def _started(pid: int) -> str:
    """When a process started, in the kernel's words; empty when there is no such process."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        # A zombie writes nothing any more; its hold is as open as a dead process's.
        return "" if fields[0] in "ZX" else fields[19]
    return _ask("/bin/ps", "-o", "lstart=", "-p", str(pid)).replace(" ", "_")


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except OSError:
        return ""


def this_process() -> str:
    """The name of this process for its holds: ``boot/namespace/pid/start``."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_started(pid)}"


def is_dead(process: str) -> bool | None:
    """Whether the process of a hold is gone; None when that cannot be known from here (another container)."""
    boot, _, rest = process.partition("/")
    namespace, _, rest = rest.partition("/")
    pid, _, started = rest.partition("/")
    here_boot, _, here_namespace = _machine().partition("/")
    if boot != here_boot:
        return True
    if namespace != here_namespace or not pid.isdigit():
        return None
    return _started(int(pid)) != started
