"""What only happens in front of a person: questions, and a command that goes on until it is interrupted."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from ledger.samples import FakeClock, ask_for, make_call, settled
from tollkeeper.ledger.ledger import Ledger

ADDON = Path(__file__).resolve().parents[2] / "addon"
COMMAND = [sys.executable, "-m", "tollkeeper.cli.entry"]
SECONDS = 60.0


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEPER_")}
    return {**kept, "TOLLKEEPER_HOME": str(folder / "home"), "PYTHONPATH": str(ADDON), "TERM": "xterm", "TZ": "UTC"}


def test_init_asks_three_questions_and_writes_what_was_answered(tmp_path: Path) -> None:
    keyboard, screen = pty.openpty()
    process = subprocess.Popen([*COMMAND, "init"], stdin=screen, stdout=screen, stderr=screen, env=environment(tmp_path))
    os.close(screen)
    said, answers = "", {"1/3": "15", "2/3": "", "3/3": "claude-haiku-4-5"}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if select.select([keyboard], [], [], 1)[0]:
            try:
                said += os.read(keyboard, 4096).decode()
            except OSError:  # Linux: the other end is closed
                break
        for question in list(answers):
            if question in said and said.rstrip().endswith(":"):
                os.write(keyboard, answers.pop(question).encode() + b"\n")
                said += "\n"
    assert process.wait(SECONDS) == 0, said
    os.close(keyboard)
    assert answers == {}
    assert "next: tollkeeper policy check" in said
    policy = (tmp_path / "home" / "policy.toml").read_text()
    assert 'amount = "15 USD"' in policy
    assert 'mode = "observe"' in policy
    assert '"claude-haiku-4-5"' in policy


def test_tail_follows_calls_as_they_close_until_it_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    clock = FakeClock()
    ledger = Ledger.open(path, clock)

    def spend(nanousd: int) -> str:
        call = make_call(clock.now)
        ledger.admit_now(ask_for(call, nanousd))
        ledger.settle_now(settled(call, nanousd))
        return call.id

    first = spend(10**6)
    with subprocess.Popen(
        [*COMMAND, "tail", "--follow", "--json", "--ledger", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["call_id"] == first
        second = spend(2 * 10**6)
        found = json.loads(process.stdout.readline())
        assert (found["call_id"], found["cost_nanousd"]) == (second, 2 * 10**6)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    ledger.close_now()
