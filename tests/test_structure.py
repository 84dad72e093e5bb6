"""The house keeps its shape: directions of imports, small modules, pinned locks, a fast command line."""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tollkeeper

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "addon" / "tollkeeper"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROAD = ("core", "gate", "identity", "wire", "pricing", "policy", "ledger", "proxy")
"""A room imports rooms before it in this list only: data flows down the road and never back."""
MAY_IMPORT = {room: set(ROAD[:position]) for position, room in enumerate(ROAD)}
MAY_IMPORT |= {"report": set(ROAD) - {"proxy"}, "tui": set(ROAD) - {"proxy"} | {"report"}}
MAY_IMPORT["cli"] = {*ROAD, "report", "tui"}

ONLY_IN = {
    "mitmproxy": {"proxy"},
    "mitmproxy_rs": {"proxy"},
    "sqlite3": {"ledger"},
    "sqlite_utils": {"ledger"},
    "jwt": {"identity"},
    "rich": {"report", "tui", "cli"},
    "textual": {"report", "tui", "cli"},
    "click": {"report", "tui", "cli"},
    "tiktoken": {"pricing"},
    "genai_prices": {"pricing"},
    "cel": {"policy"},
}
"""A library stays in the room that hides it."""

MAX_LINES, MAX_MEDIAN_LINES, MAX_FUNCTION_LINES = 400, 150, 70


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    """The folder below the package; empty for the package's own modules."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Full names of all that a module imports, also inside functions and under ``TYPE_CHECKING``, and the lines."""
    package = ("tollkeeper", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def test_there_is_a_house_to_look_at() -> None:
    assert len(MODULES) > 50
    assert {room_of(path) for path in MODULES} >= {*ROAD, "cli"}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_room_imports_only_rooms_before_it(path: Path) -> None:
    room = room_of(path)
    wrong = []
    for module, line in imports(path):
        parts = module.split(".")
        if parts[0] != "tollkeeper" or len(parts) < 2 or parts[1] not in MAY_IMPORT:
            continue
        if room and parts[1] != room and parts[1] not in MAY_IMPORT[room]:
            wrong.append(f"{named(path)}:{line} imports {module}: {room} comes before {parts[1]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_library_stays_in_its_room(path: Path) -> None:
    found = ((module, line, ONLY_IN.get(module.partition(".")[0])) for module, line in imports(path))
    wrong = [
        f"{named(path)}:{line} imports {module}"
        for module, line, rooms in found
        if rooms is not None and room_of(path) not in rooms
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_of_directions_sees_every_form_of_import() -> None:
    seen = {module for module, _ in imports(PACKAGE / "cli" / "main.py")}
    assert {"importlib", "tollkeeper.__version__", "tollkeeper.core.errors.TollkeeperError"} <= seen
    relative = {module for module, _ in imports(PACKAGE / "gate" / "ca.py")}
    assert "tollkeeper.gate.certificates.issue" in relative


def test_no_room_reaches_into_another_by_a_relative_import() -> None:
    wrong = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level >= max(2, len(path.relative_to(PACKAGE).parts))
    ]
    assert not wrong, f"write the full name of another room: {wrong}"


def test_modules_are_small() -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    too_long = {name: count for name, count in lines.items() if count > MAX_LINES}
    assert not too_long, f"more than {MAX_LINES} lines: {too_long}"
    median = statistics.median(count for name, count in lines.items() if not name.endswith("__init__.py"))
    assert median <= MAX_MEDIAN_LINES


def test_functions_are_one_idea_each() -> None:
    too_long = [
        f"{named(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_every_module_says_what_it_is() -> None:
    silent = [named(path) for path in MODULES if not ast.get_docstring(tree(path))]
    assert not silent, f"no docstring: {silent}"


def test_the_versions_agree() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == tollkeeper.__version__


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["env", "--help"], ["doctor", "--help"]])
def test_asking_for_help_loads_no_heavy_library(arguments: list[str]) -> None:
    script = (
        "import json, sys\n"
        f"sys.argv = ['tollkeeper', *{arguments!r}]\n"
        "from tollkeeper.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY / "addon")},
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert not loaded & {"mitmproxy", "mitmproxy_rs", "genai_prices", "tiktoken", "sqlite_utils", "textual", "cel"}


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_a_lock_pins_and_hashes_everything_and_names_no_address(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f|-e|--trusted-host)\b", text, re.MULTILINE)
    requirements = re.split(r"\n(?=[^\s#])", text.strip())
    for requirement in requirements:
        head = requirement.splitlines()[0]
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ; [^\\]+)? \\$", head), head
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), head


def test_the_dev_lock_holds_the_runtime_lock() -> None:
    def pins(name: str) -> set[str]:
        text = (REPOSITORY / "requirements" / f"{name}.lock").read_text()
        return set(re.findall(r"^([A-Za-z0-9._-]+==\S+)", text, re.MULTILINE))

    assert pins("runtime") <= pins("dev")
    assert {pin.partition("==")[0] for pin in pins("runtime")} >= {"mitmproxy", "hatchling", "editables"}


def test_the_locked_mitmproxy_is_one_without_the_stolen_key() -> None:
    found = re.search(
        r"^mitmproxy==(\d+)\.(\d+)\.(\d+)", (REPOSITORY / "requirements" / "runtime.lock").read_text(), re.MULTILINE
    )
    assert found is not None
    assert (12, 2, 3) <= tuple(map(int, found.groups())) < (12, 3)
