"""The Makefile and what CI runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TARGETS = {"help", "run", "test", "check", "bench", "fuzz", "soak", "fmt", "lock", "pictures", "reference", "wheel", "clean"}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> str:
    """What make prints, also when these tests themselves run under make."""
    environ = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS"}}
    done = subprocess.run(
        ["make", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True, env=environ
    )
    return done.stdout


@needs_make
def test_make_alone_lists_every_target_with_what_it_does() -> None:
    listed = dict(re.findall(r"^  make (\w+) +(\S.*)$", make(), re.MULTILINE))
    assert set(listed) == TARGETS


@needs_make
def test_run_and_test_install_what_they_need_first() -> None:
    assert make("-n", "run", "ARGS=--port 1").splitlines() == [
        "scripts/bootstrap runtime",
        "exec .venv/bin/tollkeeper start --foreground --port 1",
    ]
    assert make("-n", "test").splitlines()[0] == "scripts/bootstrap dev"
    assert "-m pytest" in make("-n", "test").splitlines()[1]


@needs_make
def test_check_runs_lint_format_types_directions_and_tests() -> None:
    steps = make("-n", "check")
    for words in ("ruff check", "ruff format --check", "mypy", "tests/test_structure.py", "-m pytest"):
        assert words in steps


def test_ci_runs_make_test_and_fails_with_it() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]
