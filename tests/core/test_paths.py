"""The state folder: private, whoever made it first."""

import os
import stat
from pathlib import Path

import pytest

from tollkeeper.core.paths import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_state_folder_that_others_can_look_into_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    Home(folder).make()
    assert mode(folder) == 0o700


def test_a_new_one_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Home(tmp_path / "above" / "state").make()
    finally:
        os.umask(before)
    assert mode(tmp_path / "above" / "state") == 0o700


def test_a_folder_that_is_plainly_not_ours_alone_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's TOLLKEEPER_HOME=/tmp, or a whole home directory: closing it would break what has nothing to do with us."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder, bits in ((shared, 0o1777), (own, 0o755)):
        folder.mkdir()
        folder.chmod(bits)
    monkeypatch.setenv("HOME", str(own))
    for folder in (shared, own):
        Home(folder).make()
    assert (mode(shared), mode(own)) == (0o1777, 0o755)
