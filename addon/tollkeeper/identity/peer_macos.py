"""The process at the other end of a loopback connection, on macOS: ``lsof``, which every macOS has. 30 to 100 ms, beside the road."""

import subprocess

from .peer import Peer

LSOF = "/usr/sbin/lsof"
TIMEOUT_S = 2.0


def find(client: tuple[str, int], server: tuple[str, int]) -> Peer | None:
    """The peer, None when it cannot be found."""
    pid, uid, command = parse_connections(
        _lsof("-nP", f"-iTCP:{client[1]}", "-sTCP:ESTABLISHED", "-FpucnL"), client[1], server[1]
    )
    if uid is None:
        return None
    folder = parse_folder(_lsof("-a", "-p", str(pid), "-d", "cwd", "-Fn")) if pid else ""
    return Peer(uid=uid, pid=pid, command=command, folder=folder)


def parse_connections(text: str, client_port: int, server_port: int) -> tuple[int, int | None, str]:
    """(pid, uid, command) of the process whose end has the client's port, from ``lsof -F``."""
    pid, uid, command = 0, None, ""
    for line in text.splitlines():
        kind, value = line[:1], line[1:]
        if kind == "p" and value.isdigit():
            pid, uid, command = int(value), None, ""
        elif kind == "u" and value.isdigit():
            uid = int(value)
        elif kind == "c":
            command = value[:64]
        elif kind == "n":
            near, arrow, far = value.partition("->")
            if arrow and near.endswith(f":{client_port}") and far.endswith(f":{server_port}"):
                return pid, uid, command
    return 0, None, ""


def parse_folder(text: str) -> str:
    """The working directory in ``lsof -d cwd -Fn``."""
    return next((line[1:] for line in text.splitlines() if line.startswith("n")), "")


def _lsof(*arguments: str) -> str:
    try:
        done = subprocess.run([LSOF, *arguments], capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout[:262_144].decode("utf-8", "replace")
