"""What a job could have laid out for a start that runs as root."""

import os
import stat
from pathlib import Path

import pytest

from tollkeeper.cli.ci_files import MAX_BYTES, append, read_document
from tollkeeper.cli.ci_state import replaceable_parent
from tollkeeper.core.errors import SetupError


def test_a_plain_document_is_read_and_a_missing_one_is_none(tmp_path: Path) -> None:
    folder = tmp_path / ".tollkeeper"
    assert read_document(folder, "policy.toml") is None
    folder.mkdir()
    assert read_document(folder, "policy.toml") is None
    (folder / "policy.toml").write_text("schema = 1\n")
    assert read_document(folder, "policy.toml") == b"schema = 1\n"


def test_no_link_leads_to_a_file_that_only_root_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root:$6$hash\n")
    folder, linked = tmp_path / ".tollkeeper", tmp_path / "linked"
    folder.mkdir()
    (folder / "policy.toml").symlink_to(secret)
    linked.symlink_to(folder)
    os.mkfifo(folder / "prices.toml")
    (folder / "hosts.toml").mkdir()
    (folder / "identity.toml").write_bytes(b" " * (MAX_BYTES + 1))
    for place, name in (
        (folder, "policy.toml"),
        (linked, "identity.toml"),
        *((folder, f"{one}.toml") for one in ("prices", "hosts", "identity")),
    ):
        with pytest.raises(SetupError) as refused:
            read_document(place, name)
        assert "hash" not in str(refused.value)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "authorized_keys"
    (tmp_path / "github-env").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        append(tmp_path / "github-env", "A=b\n")
    assert not target.exists()
    append(tmp_path / "plain", "A=b\n")
    append(tmp_path / "plain", "C=d\n")
    assert (tmp_path / "plain").read_text() == "A=b\nC=d\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED, NOT PROVED HERE: giving files away needs root")
def test_a_place_is_safe_when_only_root_and_the_proxy_can_change_what_stands_there(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o755)
    assert replaceable_parent(folder / "ledger.db") is None
    os.chown(folder, 64_010, 64_010)
    assert replaceable_parent(folder / "ledger.db") == folder
    assert replaceable_parent(folder / "ledger.db", 64_010) is None
    folder.chmod(stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
    assert replaceable_parent(folder / "ledger.db", 64_010) == folder
