"""``init``, ``service`` and ``completions``: what a newcomer's machine gets, and that nothing is written over."""

import plistlib
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from cli.conftest import Tool
from tollkeeper.cli.completions import SHELLS, script
from tollkeeper.cli.init import document
from tollkeeper.cli.service import service_of
from tollkeeper.core.errors import ConfigError, SetupError
from tollkeeper.core.paths import home
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.model import Mode


def test_a_newcomer_gets_a_policy_that_only_watches(tool: Tool) -> None:
    code, out, err = tool("init", "--zone", "Europe/Rome")
    assert (code, out) == (0, "")
    assert str(home().policy) in err
    policy = parse_policy(home().policy.read_text(), "policy.toml")
    assert (policy.mode, policy.budgets[0].amount_nanousd) == (Mode.OBSERVE, 20 * 10**9)


def test_every_line_of_the_policy_is_explained() -> None:
    text = document("5 USD", "enforce", "claude-haiku-4-5, gpt-5-mini", "UTC", Path("policy.toml"))
    assert [line for line in text.splitlines() if line and "#" not in line] == []
    policy = parse_policy(text, "policy.toml")
    assert policy.budgets[0].rewrite == ("claude-haiku-4-5", "gpt-5-mini")
    assert policy.mode is Mode.ENFORCE


def test_a_policy_that_is_there_is_kept_unless_told_and_then_too(tool: Tool) -> None:
    assert tool("init", "--day", "3 USD")[0] == 0
    first = home().policy.read_text()
    code, _, err = tool("init", "--day", "4 USD")
    assert code == 2
    assert "--force" in err
    assert home().policy.read_text() == first
    assert tool("init", "--day", "4 USD", "--force")[0] == 0
    assert home().policy.with_name("policy.toml.old").read_text() == first


def test_printing_writes_nothing(tool: Tool) -> None:
    code, out, _ = tool("init", "--print", "--mode", "enforce")
    assert code == 0
    assert parse_policy(out, "policy.toml").enforces
    assert not home().root.exists()


@pytest.mark.parametrize(("amount", "cheaper", "zone"), [("lots", "", "UTC"), ("5 USD", 'a"b', "UTC"), ("-3", "", "UTC")])
def test_what_makes_no_policy_is_refused(amount: str, cheaper: str, zone: str) -> None:
    with pytest.raises(ConfigError):
        document(amount, "observe", cheaper, zone, Path("policy.toml"))


def test_a_zone_that_does_not_exist_is_refused_before_anything_is_written(tool: Tool) -> None:
    assert tool("init", "--zone", "Mars/Base")[0] == 2
    assert not home().root.exists()


def test_a_systemd_unit_starts_the_proxy_of_this_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path / "my home %h"))
    service = service_of("linux", tmp_path, 8899)
    assert service.file == tmp_path / ".config/systemd/user/tollkeeper.service"
    unit = ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(service.text)
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[1:] == ["-m", "tollkeeper.cli.entry", "start", "--foreground", "--port=8899"]
    assert unit["Service"]["Environment"] == f'"TOLLKEEPER_HOME={tmp_path}/my home %%h"'
    assert service.start[-1][-2:] == ("--now", "tollkeeper")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "tollkeeper.service"
    file.write_text(service_of("linux", tmp_path, None).text)
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=120, check=False)
    assert "tollkeeper.service:" not in done.stderr, done.stderr


def test_a_launch_agent_is_a_property_list_that_starts_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path / "a & b"))
    service = service_of("darwin", tmp_path, None)
    agent = plistlib.loads(service.text.encode())
    assert agent["ProgramArguments"][-2:] == ["start", "--foreground"]
    assert agent["EnvironmentVariables"] == {"TOLLKEEPER_HOME": f"{tmp_path}/a & b"}
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert service.start[0][:2] == ("launchctl", "bootstrap")


def test_where_there_are_no_services_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="tollkeeper start"):
        service_of("win32", tmp_path, None)


def test_a_dry_run_prints_and_does_nothing(tool: Tool) -> None:
    code, out, _ = tool("service", "install", "--dry-run")
    assert code == 0
    assert "start --foreground" in out
    assert "$ systemctl --user enable --now tollkeeper" in out or "launchctl" in out
    assert not home().root.exists()
    assert tool("service", "remove", "--dry-run")[0] == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_are_a_script_of_that_shell(shell: str) -> None:
    text = script(shell)
    assert "_TOLLKEEPER_COMPLETE" in text
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n"], input=text, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
