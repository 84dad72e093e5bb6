"""The state file names a process that lives, and is removed by that process alone."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tollkeeper.cli.process import read_state
from tollkeeper.ledger.process import this_process
from tollkeeper.policy.document import OBSERVE_ALL, parse_policy
from tollkeeper.proxy.runner import place_of, remove_state, write_state
from tollkeeper.proxy.settings import Settings

HERE = {"host": "127.0.0.1", "port": 8877}


def test_a_running_proxy_is_found(tmp_path: Path) -> None:
    state = {**HERE, "pid": os.getpid(), "process": this_process()}
    write_state(tmp_path / "proxy.json", state)
    assert read_state(tmp_path / "proxy.json") == state


def test_a_pid_that_another_program_has_by_now_is_no_proxy(tmp_path: Path) -> None:
    """After a crash `stop` would otherwise end a stranger, and `start` would refuse for ever."""
    crashed = f"{this_process()}0"
    write_state(tmp_path / "proxy.json", {**HERE, "pid": os.getpid(), "process": crashed})
    assert read_state(tmp_path / "proxy.json") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 0}', '{"pid": -1, "host": "x", "port": 1}', '{"pid": 1, "port": 1}'])
def test_a_damaged_state_file_is_no_proxy(text: str, tmp_path: Path) -> None:
    (tmp_path / "proxy.json").write_text(text)
    assert read_state(tmp_path / "proxy.json") is None


def test_a_process_removes_its_own_state_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "proxy.json"
    remove_state(path)
    path.write_text(json.dumps({"pid": os.getpid() + 1}))
    remove_state(path)
    assert path.exists()
    path.write_text(json.dumps({"pid": os.getpid()}))
    remove_state(path)
    assert not path.exists()


def test_the_policy_in_force_is_named_by_its_file_whether_that_is_still_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that was deleted stays in force: to call it the built-in one would promise that nothing is blocked."""
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))
    settings = Settings()
    own = parse_policy('mode = "enforce"\n', "policy.toml")
    assert place_of(own, settings) == str(tmp_path / "policy.toml")
    assert place_of(own, replace(settings, policy="/etc/team.toml")) == "/etc/team.toml"
    (tmp_path / "policy.toml").write_text("mode = ")
    assert place_of(OBSERVE_ALL, settings) == "", "a document that is wrong, or came later, is not in force yet"
