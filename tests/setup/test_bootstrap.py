"""``scripts/bootstrap``: finds a Python that really runs, installs once, costs nothing afterwards. All Pythons here are fakes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = (
    "sh",
    "awk",
    "cat",
    "chmod",
    "cksum",
    "cut",
    "dirname",
    "find",
    "grep",
    "head",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sleep",
    "sort",
)

GOOD = r"""#!/bin/sh
# A Python that passes the probe, makes virtual environments of copies of itself, and writes down what pip is asked for.
log="$FAKE_LOG"
case "$*" in
    -c*) echo "$0" ;;
    "-m venv .venv")
        echo "venv" >>"$log"
        mkdir -p .venv/bin
        cat "$0" >.venv/bin/python
        chmod +x .venv/bin/python
        echo "version = 3.12.1" >.venv/pyvenv.cfg
        echo "#!$PWD/.venv/bin/python" >.venv/bin/pip
        ;;
    "-m pip install"*)
        echo "pip $*" >>"$log"
        [ -z "${FAKE_PIP_FAILS:-}" ] || { echo "no such package" >&2; exit 1; }
        ;;
    --version) echo "Python 3.12.1" ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
SHIM = "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"
OLD = "#!/bin/sh\necho 'is Python 3.11.2: too old, 3.12 or newer is needed' >&2\nexit 1\n"
SILENT = "#!/bin/sh\nexit 0\n"


class Machine:
    """A checkout and a machine on which only what a test puts there exists."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "check out"
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.log = folder / "log"
        for path in (self.checkout / "scripts", self.checkout / "requirements", self.bin, self.home):
            path.mkdir(parents=True)
        shutil.copy(REPOSITORY / "scripts" / "bootstrap", self.checkout / "scripts" / "bootstrap")
        for name in ("requirements/runtime.lock", "requirements/dev.lock", "pyproject.toml"):
            (self.checkout / name).write_text(f"# {name}\n")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, tool
            (self.bin / tool).symlink_to(found)

    def python(self, name: str, script: str) -> Path:
        """Put a fake at ``name``: a bare name goes on PATH, a path below the home."""
        path = self.home / name if "/" in name else self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
        return path

    def bootstrap(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "sh"), str(self.checkout / "scripts" / "bootstrap"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=self.environ(environ))

    def environ(self, extra: dict[str, str]) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.home), "FAKE_LOG": str(self.log), **extra}

    def done(self) -> list[str]:
        """What was done so far, in short, and forget it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return ["editable" if line.endswith("-e .") else line.rpartition(" ")[2] for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_shims_that_fail_and_old_pythons_are_passed_over(machine: Machine) -> None:
    for name in ("python3.12", "python3.13"):
        machine.python(name, SHIM)
    machine.python("python3", OLD)
    machine.python(".pyenv/versions/3.11.7/bin/python", GOOD)
    wanted = machine.python(".pyenv/versions/3.12.10/bin/python", GOOD)
    machine.python(".pyenv/versions/3.12.9/bin/python", GOOD)
    machine.python(".pyenv/versions/3.13.0/bin/python", GOOD)
    result = machine.bootstrap("--which")
    assert result.stdout.strip() == str(wanted), result.stderr


def test_a_python_on_the_path_is_taken_before_one_of_pyenv(machine: Machine) -> None:
    machine.python(".pyenv/versions/3.12.1/bin/python", GOOD)
    machine.python("python3.14", GOOD)
    wanted = machine.python("python3.13", GOOD)
    assert machine.bootstrap("--which").stdout.strip() == str(wanted)


def test_the_newest_python_is_the_last_resort_of_pyenv(machine: Machine) -> None:
    wanted = machine.python(".pyenv/versions/3.14.0/bin/python", GOOD)
    machine.python(".pyenv/versions/3.13.0/bin/python", SHIM)
    assert machine.bootstrap("--which").stdout.strip() == str(wanted)


def test_the_callers_choice_comes_first(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    chosen = machine.python("opt/my python/bin/python", GOOD)
    assert machine.bootstrap("--which", PYTHON=str(chosen)).stdout.strip() == str(chosen)


def test_the_callers_choice_is_passed_over_when_it_does_not_run(machine: Machine) -> None:
    wanted = machine.python("python3.12", GOOD)
    assert machine.bootstrap("--which", PYTHON="/nowhere/python").stdout.strip() == str(wanted)


def test_a_machine_without_a_fitting_python_gets_told_what_was_looked_at_and_what_to_do(machine: Machine) -> None:
    machine.python("python3.12", SHIM)
    machine.python("python3.13", SILENT)
    machine.python("python3", OLD)
    result = machine.bootstrap("--which")
    assert result.returncode == 3
    assert result.stdout == ""
    for words in (
        "pyenv: python3.12: command not found",
        "did not say anything",
        "3.11.2: too old",
        "apt-get install python3.12",
        "PYTHON=/path/to",
    ):
        assert words in result.stderr


def test_a_machine_without_any_python_gets_told_too(machine: Machine) -> None:
    result = machine.bootstrap("runtime")
    assert result.returncode == 3
    assert "nothing: no python3 on PATH" in result.stderr
    assert not (machine.checkout / ".venv" / ".busy").exists()


def test_uv_downloads_a_python_where_there_is_none(machine: Machine) -> None:
    downloaded = machine.python("uv/python", GOOD)
    machine.python("uv", f'#!/bin/sh\necho "uv $*" >>"$FAKE_LOG"\n[ "$2" != find ] || echo \'{downloaded}\'\n')
    result = machine.bootstrap("runtime")
    assert result.returncode == 0, result.stderr
    assert machine.done()[:3] == ["3.12", "3.12", "venv"]


def test_an_older_python_fetches_uv_from_our_own_lock(machine: Machine) -> None:
    (machine.checkout / "requirements/dev.lock").write_text(
        "a==1 \\\n    --hash=sha256:aa\nuv==0.9.1 \\\n    --hash=sha256:bb\nz==2 \\\n    --hash=sha256:cc\n"
    )
    downloaded = machine.python("uv/python", GOOD)
    # An old Python: refused for 3.12, accepted for 3.8; its "venv" is a fake whose pip shows the lock and whose uv knows one Python.
    old = r"""#!/bin/sh
case "$1 $2" in
    "-c "*) [ "$3" = 8 ] && echo "$0" && exit 0; echo 'too old' >&2; exit 1 ;;
    "-m venv") mkdir -p "$3/bin"; cat "$0" >"$3/bin/python"; printf '#!/bin/sh\n[ "$2" != find ] || echo "%s"\n' "$DOWNLOADED" >"$3/bin/uv"
        chmod +x "$3/bin/python" "$3/bin/uv" ;;
    "-m pip") for last; do :; done; cat "$last" >>"$FAKE_LOG" ;;
esac
"""
    machine.python("python3", old)
    result = machine.bootstrap("runtime", DOWNLOADED=str(downloaded), TMPDIR=str(machine.home))
    assert result.returncode == 0, result.stderr
    assert machine.log.read_text().splitlines()[:3] == ["uv==0.9.1 \\", "    --hash=sha256:bb", "venv"]
    assert [path.name for path in machine.home.iterdir()] == ["uv"], "the scratch folder is gone"


def test_the_first_run_installs_with_hashes_and_the_second_starts_nothing(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    first = machine.bootstrap("runtime")
    assert first.returncode == 0, first.stderr
    assert "--require-hashes" in machine.log.read_text()
    assert machine.done() == ["venv", "requirements/runtime.lock", "editable"]
    (machine.bin / "python3.12").unlink()
    (machine.checkout / ".venv/bin/python").write_text("#!/bin/sh\nexit 9\n")
    second = machine.bootstrap("runtime")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_dev_is_added_to_a_runtime_that_is_there_and_holds_it(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    machine.bootstrap("runtime")
    machine.done()
    machine.bootstrap("dev")
    assert machine.done() == ["requirements/dev.lock", "editable"]
    machine.bootstrap("runtime")
    machine.bootstrap("dev")
    assert machine.done() == []


@pytest.mark.parametrize("changed", ["requirements/runtime.lock", "pyproject.toml", "scripts/bootstrap"])
def test_a_changed_input_installs_again_into_the_same_environment(machine: Machine, changed: str) -> None:
    machine.python("python3.12", GOOD)
    machine.bootstrap("runtime")
    machine.done()
    with (machine.checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert machine.bootstrap("runtime").returncode == 0
    assert machine.done() == ["requirements/runtime.lock", "editable"]


def test_a_failed_install_leaves_an_environment_that_the_next_run_finishes(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    failed = machine.bootstrap("runtime", FAKE_PIP_FAILS="yes")
    assert failed.returncode != 0
    assert "no such package" in failed.stderr
    machine.done()
    assert machine.bootstrap("runtime").returncode == 0
    assert machine.done() == ["requirements/runtime.lock", "editable"]


def test_a_failed_upgrade_is_not_taken_for_the_state_before(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    machine.bootstrap("runtime")
    machine.bootstrap("dev", FAKE_PIP_FAILS="yes")
    machine.done()
    machine.bootstrap("runtime")
    assert machine.done() == ["requirements/runtime.lock", "editable"]


def test_an_environment_that_does_not_run_is_made_anew(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    machine.bootstrap("runtime")
    machine.done()
    (machine.checkout / ".venv/bin/python").unlink()
    (machine.checkout / ".venv/left over").write_text("")
    assert machine.bootstrap("runtime").returncode == 0
    assert machine.done() == ["venv", "requirements/runtime.lock", "editable"]
    assert not (machine.checkout / ".venv/left over").exists()


def test_a_checkout_that_was_moved_gets_an_environment_of_its_own(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    machine.bootstrap("runtime")
    machine.done()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert machine.bootstrap("runtime").returncode == 0
    assert machine.done() == ["venv", "requirements/runtime.lock", "editable"]


def test_two_at_once_install_once(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    command = [str(machine.bin / "sh"), str(machine.checkout / "scripts" / "bootstrap"), "runtime"]
    both = [subprocess.Popen(command, env=machine.environ({}), stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert machine.done() == ["venv", "requirements/runtime.lock", "editable"]


def test_a_lock_left_by_a_dead_process_does_not_wait(machine: Machine) -> None:
    machine.python("python3.12", GOOD)
    dead = subprocess.Popen([str(machine.bin / "sh"), "-c", "exit 0"])
    dead.wait(60)
    (machine.checkout / ".venv/.busy").mkdir(parents=True)
    (machine.checkout / ".venv/.busy/pid").write_text(str(dead.pid))
    assert machine.bootstrap("runtime").returncode == 0


def test_an_unknown_group_is_answered_with_the_usage(machine: Machine) -> None:
    result = machine.bootstrap("everything")
    assert result.returncode == 2
    assert "usage:" in result.stderr


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_reads_the_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = [shell, *(["sh"] if shell == "busybox" else []), "-n", str(REPOSITORY / "scripts" / "bootstrap")]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    assert os.access(REPOSITORY / "scripts" / "bootstrap", os.X_OK)
