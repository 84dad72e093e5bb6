"""The ids of /etc/subuid as a way round: said to be closed only where they cannot be taken (tried for real in transparent/test_lock.py)."""

import os
from pathlib import Path

import pytest

from tollkeeper.cli import ci_subordinate
from tollkeeper.cli.ci_probes import Outcome, Target
from tollkeeper.cli.ci_subordinate import subordinate_ids

TARGET = Target(host="api.invalid", proxy=("127.0.0.1", 9), pid=1, private=Path("/nonexistent"), root=Path("/nonexistent"))


@pytest.mark.parametrize("text", [None, "", "somebody-else:100000:65536\n", f"{os.getuid()}:100000:0\n"])
def test_a_user_who_was_given_none_can_take_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    if text is not None:
        (tmp_path / "subuid").write_text(text)
    monkeypatch.setattr(ci_subordinate, "SUBUID", tmp_path / "subuid")
    assert subordinate_ids(TARGET) == (Outcome.CLOSED, f"{tmp_path / 'subuid'} gives this user none")


def test_where_the_helper_is_missing_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "subuid").write_text(f"{os.getuid()}:100000:65536\n")
    monkeypatch.setattr(ci_subordinate, "SUBUID", tmp_path / "subuid")
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome, detail = subordinate_ids(TARGET)
    assert (outcome, "newuidmap is not here" in detail) == (Outcome.UNKNOWN, True)


def test_where_the_provider_has_no_address_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "subuid").write_text(f"{os.getuid()}:100000:65536\n")
    monkeypatch.setattr(ci_subordinate, "SUBUID", tmp_path / "subuid")
    (tmp_path / "newuidmap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "newuidmap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subordinate_ids(TARGET)[0] is Outcome.UNKNOWN
