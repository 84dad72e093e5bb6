"""Packages from the registry: tried again where they must be had, and a failure names its command."""

import os
from pathlib import Path

import pytest

from identity.npm import Missing, installed


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package to install, and an npm whose first two tries fail; ``tries`` holds a line for each."""
    programs, package = tmp_path / "bin", tmp_path / "place" / "thing"
    for folder in (programs, package):
        folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        (package / name).write_text("{}")
    npm = f'echo "$*" >>{tmp_path}/tries; [ $(grep -c . {tmp_path}/tries) -gt 2 ] || {{ echo "ENOTFOUND" >&2; exit 1; }}'
    for name, does in (("node", "exit 1"), ("npm", npm)):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return package.parent


def test_what_fails_is_tried_again_and_what_is_there_is_not_fetched(place: Path, tmp_path: Path) -> None:
    for _ in range(2):
        folder = installed("thing", tmp_path / "cache", place, pauses_seconds=(0, 0))
        assert (folder / "complete").exists()
        assert len((tmp_path / "tries").read_text().splitlines()) == 3


def test_what_cannot_be_had_is_told_with_its_command(place: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"could not install thing \(ENOTFOUND\); the command, in .*npm ci "):
        installed("thing", tmp_path / "cache", place, pauses_seconds=(0,))
