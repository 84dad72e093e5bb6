"""Progress is for a person who waits: a bar in a terminal, not a byte in a pipe or a log."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tollkeeper.cli.progress import progress

ADDON = Path(__file__).resolve().parents[2] / "addon"
WORK = """
import time
from tollkeeper.cli import progress as module
module.SHOWN_AFTER_S = {after}
with module.progress("adding up") as tell:
    for step in range(4):
        tell(step, 4)
        time.sleep(0.11)
print("done")
"""


def in_terminal(after: float) -> str:
    """What a terminal gets on standard error."""
    reader, writer = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ADDON), "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(after=after)],
        stderr=writer,
        stdout=subprocess.PIPE,
        env=environ,
        timeout=30,
        check=True,
    )
    os.close(writer)
    assert done.stdout == b"done\n"
    seen = b""
    try:
        while chunk := os.read(reader, 65536):
            seen += chunk
    except OSError:  # EIO: the other end is closed
        pass
    os.close(reader)
    return seen.decode()


def test_a_terminal_sees_a_bar_that_is_gone_in_the_end() -> None:
    seen = in_terminal(after=0.0)
    assert "adding up" in seen
    assert "2/4" in seen
    assert seen.rstrip().endswith("\x1b[2K") or "\x1b[2K" in seen[-40:]


def test_quick_work_shows_nothing() -> None:
    assert in_terminal(after=30.0) == ""


def test_a_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("adding up") as tell:
        for step in range(1000):
            tell(step, 1000)
    assert capsys.readouterr() == ("", "")
