"""Exports and completions in the shells themselves, where they are installed; what is skipped says so.

``NUSHELL`` and ``PWSH`` may name a program.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tollkeeper.cli.completions import script
from tollkeeper.gate.shells import shell_exports, shell_unsets

VALUES = {
    "TRIED_A": "it's \"$HOME\" `id` \\ !x; rm -rf / & <a> {b} *? ü % \\\\ $(id) \\'",
    "TRIED_B": "http://laptop-1:s3cret@127.0.0.1:8877",
    "TRIED_C": '{"NO_PROXY":"intranet, [::1]"}',
}
READ_BACK = 'import os; print("|".join(os.environ.get(name, "gone") for name in ("TRIED_A", "TRIED_B", "TRIED_C")))'
SHOWN = f"'{sys.executable}' -X utf8 -c '{READ_BACK}'"
"""In every one of these shells, a program with two quoted arguments."""


def program(shell: str) -> str:
    named = os.environ.get({"nu": "NUSHELL", "pwsh": "PWSH"}.get(shell, ""), "")
    found = named or shutil.which(shell)
    if not found:
        pytest.skip(f"{shell} is not installed: what is written for it was not read by it")
    return found


def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and our command first in the path."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "HOME": str(tmp_path),
        "PATH": places,
        "LC_ALL": "C.UTF-8",
        "TOLLKEEPER_HOME": str(tmp_path / "tollkeeper"),
        "TERM": "dumb",
    }


def run(words: list[str], tmp_path: Path, said: str | None = None) -> str:
    done = subprocess.run(
        words, input=said, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False, env=environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_for(shell: str, tmp_path: Path) -> str:
    """Set, show, unset, show: as `tollkeeper env` tells people of that shell to use what it prints."""
    exports, unsets = shell_exports(VALUES, shell), shell_unsets(VALUES, shell)
    if shell == "nu":
        file = tmp_path / "exports.json"
        file.write_text(exports, encoding="utf-8")
        return f"open --raw {file} | from json | load-env\n^{SHOWN}\n{unsets}^{SHOWN}\n"
    call = f"& {SHOWN}" if shell == "pwsh" else SHOWN
    return f"{exports}{call}\n{unsets}{call}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "nu", "pwsh"])
def test_a_shell_sets_exactly_what_was_meant_and_takes_it_back(shell: str, tmp_path: Path) -> None:
    file = tmp_path / {"pwsh": "lines.ps1", "nu": "lines.nu"}.get(shell, "lines")
    file.write_text(lines_for(shell, tmp_path), encoding="utf-8")
    options = {"fish": ["--no-config"], "zsh": ["-f"], "nu": ["-n"], "pwsh": ["-NoProfile", "-File"]}.get(shell, [])
    shown = run([program(shell), *options, str(file)], tmp_path)
    assert shown.splitlines() == ["|".join(VALUES.values()), "gone|gone|gone"]


def test_fish_completes_verbs_and_options(tmp_path: Path) -> None:
    file = tmp_path / "tollkeeper.fish"
    file.write_text(script("fish"), encoding="utf-8")
    ask = f'source {file}; complete -C "tollkeeper rep"; complete -C "tollkeeper report --form"'
    told = run([program("fish"), "--no-config", "-c", ask], tmp_path)
    assert "report\tCalls, tokens and costs" in told
    assert "--format" in told


def test_bash_completes_verbs_and_options(tmp_path: Path) -> None:
    ask = (
        script("bash")
        + 'for line in "tollkeeper rep" "tollkeeper report --form"; do\n'
        + "  COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()\n"
        + '  _tollkeeper_completion tollkeeper; printf "%s\\n" "${COMPREPLY[@]}"\ndone\n'
    )
    assert {"report", "--format"} <= set(run([program("bash"), "--norc"], tmp_path, ask).split())


def test_zsh_completes_verbs_and_options(tmp_path: Path) -> None:
    """With zsh's own completion loaded, and its list printed instead of shown."""
    ask = (
        "autoload -Uz compinit; compinit -u -D\n"
        + script("zsh")
        + '_describe() { print -rl -- "${completions_with_descriptions[@]}" }\ncompadd() { print -rl -- "${completions[@]}" }\n'
        + "words=(tollkeeper rep); CURRENT=2; _tollkeeper_completion\n"
        + "words=(tollkeeper report --form); CURRENT=3; _tollkeeper_completion\n"
    )
    told = run([program("zsh"), "-f"], tmp_path, ask)
    assert "report:Calls, tokens and costs" in told
    assert "--format" in told
