"""Exports as real shells read them."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.errors import ConfigError
from tollkeeper.gate.shells import FILES, SHELLS, shell_exports, shell_of, shell_unsets

NASTY = 'it\'s "$HOME" `id` \\ !x; rm -rf / & <a> {b} *? ü %'


@pytest.mark.parametrize("shell", ["bash", "zsh", "dash", "sh"])
@settings(max_examples=15, deadline=None)
@given(value=st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).map(lambda text: text + NASTY))
def test_a_posix_shell_reads_back_exactly_what_was_written(shell: str, value: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = (
        shell_exports({"TRIED": value}, "bash")
        + 'printf "%s|" "$TRIED"\n'
        + shell_unsets(["TRIED"], "bash")
        + 'printf "%s" "${TRIED-gone}"'
    )
    done = subprocess.run([shell, "-c", script], capture_output=True, timeout=60, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == f"{value}|gone"


def test_fish_escapes_quotes_and_backslashes() -> None:
    assert shell_exports({"A": "it's \\"}, "fish") == "set -gx A 'it\\'s \\\\'\n"
    assert shell_unsets(["A", "B"], "fish") == "set -e A\nset -e B\n"


def test_powershell_doubles_single_quotes() -> None:
    assert shell_exports({"A": "it's $x"}, "pwsh") == "$env:A = 'it''s $x'\n"
    assert "Env:A" in shell_unsets(["A"], "pwsh")


def test_nu_gets_a_record_as_json() -> None:
    assert json.loads(shell_exports({"A": NASTY, "B": "2"}, "nu")) == {"A": NASTY, "B": "2"}
    assert shell_unsets(["A", "B"], "nu") == "hide-env --ignore-errors A B\n"


def test_env_files_take_values_raw_or_quoted_as_their_readers_want() -> None:
    assert shell_exports({"A": "x 'y'"}, "docker") == "A=x 'y'\n"
    assert shell_exports({"A": "x 'y'"}, "github") == "A=x 'y'\n"
    assert shell_exports({"A": "x y"}, "dotenv") == "A='x y'\n"
    assert shell_exports({"A": "it's $x"}, "dotenv") == 'A="it\'s \\$x"\n'


@pytest.mark.parametrize("shell", FILES)
def test_a_file_cannot_unset(shell: str) -> None:
    with pytest.raises(ConfigError, match="delete the lines"):
        shell_unsets(["A"], shell)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\x1b[31m", "\x7f"])
def test_a_control_character_never_reaches_a_shell(shell: str, value: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        shell_exports({"A": value}, shell)


def test_an_unknown_shell_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="bash, zsh, fish"):
        shell_exports({}, "csh")


@pytest.mark.parametrize(
    ("path", "shell"),
    [
        ("/bin/bash", "bash"),
        ("/usr/bin/fish", "fish"),
        ("/bin/zsh", "zsh"),
        ("/usr/bin/nu", "nu"),
        ("/bin/sh", "bash"),
        ("", "bash"),
        ("/x/docker", "bash"),
    ],
)
def test_the_shell_in_use_is_recognised(path: str, shell: str) -> None:
    assert shell_of(path) == shell
