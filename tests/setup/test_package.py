"""What gets installed: one import package, with its data in it."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def build(source: Path, kind: str, target: Path) -> Path:
    """A wheel or sdist of the project at ``source``, by the build backend itself: no network, no isolation."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from an sdist, as a package index would hold it."""
    folder = tmp_path_factory.mktemp("build")
    with tarfile.open(build(REPOSITORY, "sdist", folder / "sdist")) as archive:
        archive.extractall(folder / "source", filter="data")
    return build(next((folder / "source").iterdir()), "wheel", folder / "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_a_wheel_holds_one_import_package_and_its_metadata(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"tollkeeper"}
    assert len(names) == 2


def test_a_wheel_holds_every_file_of_the_package_and_nothing_else(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return {name for name in found if "__pycache__" not in name and not name.startswith("_data/")}

    assert files(installed / "tollkeeper") == files(REPOSITORY / "addon" / "tollkeeper")


@pytest.mark.parametrize("tree", ["pricing", "policies"])
def test_the_data_travels_inside_the_package(installed: Path, tree: str) -> None:
    there, here = installed / "tollkeeper" / "_data" / tree, REPOSITORY / tree
    expected = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()} == expected


def test_the_data_folders_are_no_packages() -> None:
    for tree in ("pricing", "policies", "addon"):
        assert not list((REPOSITORY / tree).glob("__init__.py"))
    packages = [path.parent.name for path in (REPOSITORY / "addon").glob("*/__init__.py")]
    assert packages == ["tollkeeper"]


def test_an_installed_copy_is_importable_alone_and_finds_its_data(installed: Path, tmp_path: Path) -> None:
    script = """
import importlib.util, sys
for name in ("addon", "pricing", "policies", "tollkeeper_addon", "tests", "scripts"):
    assert importlib.util.find_spec(name) is None, name
import tollkeeper
from tollkeeper.core.resources import data
from tollkeeper.gate.hosts import HostTable
assert HostTable.load().provider_of("api.openai.com") == "openai"
print(tollkeeper.__file__, data("pricing"))
"""
    site = [name for name in sys.path if name.endswith("site-packages")]
    environ = {"PYTHONPATH": ":".join([str(installed), *site])}
    # -S: without the .pth file of an editable install of this very checkout
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(installed / "tollkeeper/__init__.py"), str(installed / "tollkeeper/_data/pricing")]


def test_the_command_is_installed(installed: Path) -> None:
    entry_points = next(installed.glob("*.dist-info")) / "entry_points.txt"
    assert "tollkeeper = tollkeeper.cli.entry:main" in entry_points.read_text()
