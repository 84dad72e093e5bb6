"""Progress is for a person who waits: a bar in a terminal, not a byte in a pipe or a log."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.samples import FakeClock, ask_for, make_call, settled
from tollkeeper.cli import progress as progress_module
from tollkeeper.cli.main import cli
from tollkeeper.cli.progress import progress
from tollkeeper.ledger.ledger import Ledger

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
        timeout=60,
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


@pytest.fixture
def spent(tmp_path: Path) -> Path:
    """A ledger with two hundred calls."""
    clock = FakeClock()
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, clock)
    for _ in range(200):
        call = make_call(clock.now)
        ledger.admit_now(ask_for(call, 10**6))
        ledger.settle_now(settled(call, 10**6))
    ledger.close_now()
    return path


LONG = {
    "ledger verify": (["ledger", "verify", "--ledger", "LEDGER"], "checking entries"),
    "ledger merge": (["ledger", "merge", "TARGET", "LEDGER"], "adding calls"),
    "policy test": (["policy", "test", "POLICY", "--since", "2020-01-01", "--ledger", "LEDGER"], "trying calls"),
    "policy suggest": (["policy", "suggest", "--since", "2020-01-01", "--ledger", "LEDGER"], "reading calls"),
}


@pytest.mark.parametrize("name", LONG)
def test_long_work_shows_how_far_it_is_and_leaves_the_output_alone(
    name: str, spent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands themselves; the bar is told to say so at once, since two hundred calls are no long work."""
    monkeypatch.setattr(progress_module, "SHOWN_AFTER_S", 0.0)
    policy = tmp_path / "policy.toml"
    policy.write_text('schema = 1\n[budget.day]\namount = "1 USD"\nwindow = "day"\nshare = "each"\nper = "principal"\n')
    places = {"LEDGER": str(spent), "TARGET": str(tmp_path / "all.db"), "POLICY": str(policy)}
    words, what = LONG[name]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    cli.main([places.get(word, word) for word in words], standalone_mode=False)
    assert what in terminal.getvalue()


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True
