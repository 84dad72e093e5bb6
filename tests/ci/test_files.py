"""What a job could have laid out for a start that runs as root."""

import json
import os
import stat
from pathlib import Path

import pytest

from tollkeeper.cli.ci_files import MAX_BYTES, append, read_document
from tollkeeper.cli.ci_finish import _baselines
from tollkeeper.cli.ci_state import MAX_STEPS, MAX_STEPS_BYTES, CiState, note_step, replaceable_parent
from tollkeeper.core.errors import SetupError
from tollkeeper.report.ci import SCHEMA


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


STARTED, NOW = 1_000, 2_000


def steps_of(folder: Path) -> list[str]:
    return [name for name, _ in CiState(job={}, session="s", started_at=STARTED).with_steps(folder, NOW).steps]


@pytest.mark.parametrize(
    "line",
    [
        b'["x",1e999]', b'["x",%d]' % 2**63, b'["x",-1]', b'["x",%d]' % (STARTED - 1), b'["x",%d]' % (NOW + 1), b'["x"]', b'"xy"',
        b"[" * 4_000,
        b'["x",' + b"9" * 4_000 + b"]", b'["' + b"x" * 5_000 + b'",1500]', b"\xff\xfe", b'["x",null]', b"{}", b"",
    ],
)  # fmt: skip
def test_what_is_no_step_of_this_job_is_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "steps").write_bytes(b'["before",1500]\n' + line + b'\n["after",1600]\n')
    assert steps_of(tmp_path) == ["before", "after"]


def test_step_names_can_be_written_to_any_file(tmp_path: Path) -> None:
    note_step(tmp_path, "caf\udce9 \x1b[31m\u202e" + "x" * 1000, 1500)
    with (tmp_path / "steps").open("ab") as file:
        file.write(b'["caf\\udce9\\n",1600]\n')
    assert steps_of(tmp_path) == ["caf? ?[31m?" + "x" * 189, "caf??"]


def test_steps_are_bounded_in_number_and_length(tmp_path: Path) -> None:
    (tmp_path / "steps").write_bytes(b'["x",1500]\n' * (MAX_STEPS + 5))
    assert len(steps_of(tmp_path)) == MAX_STEPS
    (tmp_path / "steps").write_bytes(b'["x",1500]\n' + b"\0" * MAX_STEPS_BYTES + b'\n["y",1500]\n')
    assert steps_of(tmp_path) == ["x"]


def test_steps_come_from_a_plain_file_and_never_keep_the_summary_waiting(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('["x",1500]\n')
    (tmp_path / "steps").symlink_to(tmp_path / "elsewhere")
    assert steps_of(tmp_path) == []
    (tmp_path / "steps").unlink()
    os.mkfifo(tmp_path / "steps")
    assert steps_of(tmp_path) == []


def test_reading_the_state_reads_no_step(tmp_path: Path) -> None:
    CiState(job={}, session="s", started_at=STARTED).write(tmp_path)
    note_step(tmp_path, "x", 1500)
    assert CiState.read(tmp_path).steps == (), "root's `ci settle` takes nothing that the job can write"


def test_a_baseline_folder_may_hold_anything(tmp_path: Path) -> None:
    cost = {"schema": SCHEMA, "job": {"branch": "main"}, "total": {"exposure_nanousd": 7}}
    (tmp_path / "good.json").write_text(json.dumps(cost))
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    assert _baselines([tmp_path, tmp_path / "pipe.json", tmp_path / "missing"], "main") == (7,)


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
