"""Child processes on their own core: start, CPU time, memory, end."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, DRIVER_CORE = CORES[0], CORES[-1]
"""The proxy gets a core for itself; load generator and provider share the other."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours, ended by its own handle."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"process {self.pid} is gone; its log: {self.log}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after ten seconds."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    command: Sequence[str], *, log: Path, core: int, environment: Mapping[str, str] | None = None, pipe: bool = False
) -> Child:
    """Start ``command`` pinned to ``core``; stderr goes to ``log``, stdout too unless ``pipe``."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else file,
            stderr=file,
            text=True,
        )
    os.sched_setaffinity(process.pid, {core})
    return Child(process, log)


def cpu_s(pid: int) -> float:
    """User and system time of a process, from /proc/PID/stat (fields 14 and 15, proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def wait_until(ready, *, child: Child, seconds: float):
    """Call ``ready`` until it gives something true; raises with the child's log when it ends or the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        if child.process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(f"{child.process.args} was not ready in {seconds} s:\n{child.log.read_text()[-3000:]}")
