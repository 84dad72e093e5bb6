"""The pages for people: the tutorial runs as it stands, references and pictures are up to date, samples are what their readers read."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from contextlib import closing
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEPER_")}


def script(name: str) -> ModuleType:
    """A file of ``scripts/`` as a module."""
    loader = SourceFileLoader(f"script_{name}", str(ROOT / "scripts" / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


type Seed = Callable[..., Iterable[int]]


@pytest.fixture(scope="module")
def seed() -> Seed:
    return script("seed_ledger").seed


def seeded(seed: Seed, folder: Path, calls: int = 300, number: int = 1) -> Path:
    assert list(seed(folder, calls=calls, days=20, until=1_795_195_800_000_000, number=number))[-1] == calls
    return folder / "ledger.db"


def test_a_seeded_ledger_is_sound_and_the_same_every_time(seed: Seed, tmp_path: Path) -> None:
    one, same, other = (verify(seeded(seed, tmp_path / name, number=number)) for name, number in (("a", 1), ("b", 1), ("c", 2)))
    assert one.is_sound, one.problem
    assert one.head == same.head != other.head
    assert one.open_holds == 3


def test_a_seeded_ledger_has_something_of_everything(seed: Seed, tmp_path: Path) -> None:
    path = seeded(seed, tmp_path / "home", calls=2_000)
    with closing(sqlite3.connect(path)) as connection:
        for column, wanted in (
            ("kind", {"hold", "settle", "void"}),
            ("usage_source", {"reported", "partial", "counted", "unmetered"}),
        ):
            found = {value for (value,) in connection.execute(f"SELECT DISTINCT {column} FROM entry")}
            assert wanted <= found


def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    page = (DOCS / "tutorial.md").read_text()
    lines = [
        line.removeprefix("$ ") for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(lines) > 15
    for name in ("scripts", "policies", "addon", "pricing"):
        (tmp_path / name).symlink_to(ROOT / name)
    environ = {
        **ENVIRON,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "user"),
        "PYTHONPATH": str(ROOT / "addon"),
    }
    environ.pop("XDG_DATA_HOME", None)
    (tmp_path / "user").mkdir()
    told = "\n".join(f"echo '=== {number}' >&2\n{line}" for number, line in enumerate(lines))
    done = subprocess.run(
        ["bash", "-euc", told],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "$20.00 a day" in done.stdout
    assert not (tmp_path / "try").exists()


def test_the_reference_is_what_the_commands_say() -> None:
    # In a process of its own: click remembers the help option of a command that another test has called without its parents.
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference"), "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_pictures_are_those_of_this_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "pictures"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=ENVIRON,
    )
    assert done.returncode == 0, done.stderr


def test_pictures_fetch_nothing() -> None:
    for picture in (DOCS / "pictures").glob("*.svg"):
        addresses = set(re.findall(r"https?://[^\s\"')]+", picture.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}, picture.name


def test_every_ready_query_of_datasette_fits_the_ledger_read_only(seed: Seed, tmp_path: Path) -> None:
    path = seeded(seed, tmp_path / "home")
    queries = json.loads((DOCS / "datasette.json").read_text())["databases"]["ledger"]["queries"]
    assert len(queries) >= 10
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA query_only=ON")
        (call_id,) = connection.execute("SELECT call_id FROM entry LIMIT 1").fetchone()
        for name, query in queries.items():
            rows = connection.execute(query["sql"], {"call_id": call_id}).fetchall()
            assert rows or name in {"corrections", "refused", "rewritten"}, name
        (spent,) = connection.execute("SELECT sum(cost_nanousd) FROM entry").fetchone()
        days = connection.execute(queries["spend_by_day"]["sql"]).fetchall()
        assert sum(int(row[2].replace(".", "")) for row in days) == spent


def test_a_ledger_opened_by_others_can_still_be_written(seed: Seed, tmp_path: Path) -> None:
    path = seeded(seed, tmp_path / "home", calls=50)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("SELECT count(*) FROM entry").fetchone()
        ledger = Ledger.open(path, lambda: 1_795_195_900_000_000)
        ledger.close_now()
    assert verify(path).is_sound


PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_sample_in_json_or_toml_can_be_read(page: Path) -> None:
    blocks = re.findall(r"```(json|toml)\n(.*?)```", page.read_text(), re.DOTALL)
    for kind, block in blocks:
        if "…" not in block:
            assert (json.loads if kind == "json" else tomllib.loads)(block) is not None
    assert all(kind in {"json", "toml"} for kind, _ in blocks)
