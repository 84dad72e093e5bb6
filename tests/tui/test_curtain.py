"""The first frame: before there is a ledger, in a window of any size, and what stays of it when something goes wrong."""

import fcntl
import io
import os
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App

from tollkeeper.tui.curtain import ENTER, LEAVE, LOOKS, curtain, first_frame
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.look import Look
from tollkeeper.tui.snapshot import Snapshot
from tui.samples import NOW, ZONE

REPOSITORY = Path(__file__).resolve().parents[2]
EMPTY = Snapshot(at=NOW, zone=ZONE)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    for name, value in (("COLUMNS", "60"), ("LINES", "12"), ("TERM", "xterm-256color"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return io.StringIO()


def test_before_anything_is_metered_it_says_how_to_begin() -> None:
    lines = [line.plain for line in first_frame(EMPTY, Look(), 100, 30)]
    assert any("tollkeeper demo" in line for line in lines)
    assert lines[-1].startswith(" j/k move")


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 250), height=st.integers(1, 80))
def test_no_window_is_too_small_or_too_large_for_it(width: int, height: int) -> None:
    lines = first_frame(EMPTY, Look(), width, height)
    assert len(lines) == min(height, max(height, 1))


def test_it_fills_the_window_and_stays_there_for_whoever_draws_over_it(terminal: io.StringIO, feed: Feed) -> None:
    with curtain(feed.first(), "textual-dark", ascii_only=False, stream=terminal):
        pass
    said = terminal.getvalue()
    feed.close()
    assert said.startswith(ENTER)
    assert LEAVE not in said
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert [len(line) for line in plain.split("\n")] == [60] * 12
    assert "more with more room: press 4" in plain


def test_an_error_gives_the_terminal_back(terminal: io.StringIO) -> None:
    def fail() -> None:
        raise ImportError("no textual")

    with pytest.raises(ImportError, match="no textual"), curtain(EMPTY, "textual-light", ascii_only=True, stream=terminal):
        fail()
    assert terminal.getvalue().endswith(LEAVE)


def test_without_colours_it_has_none(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with curtain(EMPTY, "textual-dark", ascii_only=False, stream=terminal):
        pass
    assert not re.search(r"\x1b\[[0-9;]*[34]8;", terminal.getvalue())


def test_every_theme_of_the_screen_has_its_colours() -> None:
    app = App[None]()
    assert all(theme in app.available_themes for theme in LOOKS)


def test_textual_takes_over_without_clearing_and_gives_the_terminal_back(seeded: Path) -> None:
    """The real command in a terminal of its own: the alternate screen is entered once, ``q`` leaves it."""
    import pty

    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(REPOSITORY / "addon")}
        script = "from tollkeeper.cli.main import main; main()"
        os.execve(sys.executable, [sys.executable, "-c", script, "top", "--ledger", str(seeded / "ledger.db")], environment)
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        said = read_until(terminal, lambda said: said.count(b"j/k move") >= 1 and b"?1003h" in said)  # the mouse is Textual's
        assert said.index(ENTER.encode()) < said.index(b"j/k move") < said.index(b"?1003h")
        assert said.count(b"\x1b[?1049h") == 1
        os.write(terminal, b"q")
        rest = read_until(terminal, lambda said: b"\x1b[?1049l" in said)
        assert b"Traceback" not in said + rest
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
        read_until(terminal, lambda _: False)
        os.waitpid(process, 0)
        os.close(terminal)


def read_until(terminal: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """What came, until it is enough or the other end is closed; a minute at most."""
    said, deadline = b"", time.monotonic() + 60
    while not is_enough(said) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:  # Linux: nobody is at the other end any more
                break
            if not piece:
                break
            said += piece
    return said
