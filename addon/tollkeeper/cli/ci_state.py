"""What the steps of one CI job tell each other: a private file beside the ledger, and a public folder for what every step may read."""

import contextlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import click

from tollkeeper.core.errors import SetupError
from tollkeeper.core.paths import home

FOLDER_VARIABLE = "TOLLKEEPER_CI"
"""Where the public folder is, for the job's steps."""
_PACKAGE = Path(__file__).resolve().parent.parent
LOCKED_HOME = Path("/var/lib/tollkeeper-ci/home")
STATE, STEPS = "ci.json", "steps"
MAX_STEPS = 1_000
MAX_STEPS_BYTES = 1_000_000
MAX_STEP_BYTES = 4_096
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CiState:
    """One job. ``steps``: (name, when it began), empty until ``with_steps``. Times are UTC microseconds.

    ``ended``: `ci finish` has stopped the sidecar, which had stopped ``refused_connections`` until then.
    """

    job: Mapping[str, str]
    session: str
    started_at: int
    principal: str = ""
    assurance: str = ""
    locked: bool = False
    pid: int = 0
    home: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    transparent_port: int = 0
    strict: bool = False
    settle_script: str = ""
    """What the job may run as root to end its sidecar, when it is locked."""
    ledger: str = ""
    ended: bool = False
    refused_connections: int = 0
    steps: tuple[tuple[str, int], ...] = field(default=())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The state in ``folder``, without the steps, which the job writes itself. Raises ``SetupError`` when no job was started there."""
        try:
            values: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
            steps = tuple((str(name), int(at)) for name, at in values.pop("steps", ()))
            return cls(**values, steps=steps)
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise SetupError(
                f"no CI job was started here (looked at {folder / 'ci.json'}): begin with `tollkeeper ci start`"
            ) from error

    def with_steps(self, folder: Path, until: int) -> Self:
        """And the steps noted in ``folder`` from the job's start until then. Whatever else stands there is passed over."""
        steps = (step for step in _noted(folder) if self.started_at <= step[1] <= until)
        return replace(self, steps=(*self.steps, *steps))

    def write(self, folder: Path) -> None:
        """Keep it in the public folder: nothing in it is secret."""
        path = folder / STATE
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        path.chmod(0o644)


def ci_home(environment: Mapping[str, str], *, locked: bool = False) -> Path:
    """The state folder of the job: ``TOLLKEEPER_HOME``, else one in the runner's own temporary folder, gone with the job.

    A locked job's must stand where the job cannot put another in its place.
    """
    if locked and not environment.get("TOLLKEEPER_HOME"):
        return LOCKED_HOME
    if environment.get("TOLLKEEPER_HOME"):
        return home().root
    for name in ("RUNNER_TEMP", "AGENT_TEMPDIRECTORY", "CI_BUILDS_DIR"):
        if environment.get(name):
            return Path(environment[name]) / "tollkeeper"
    return home().root


def public_folder(environment: Mapping[str, str], *, locked: bool = False) -> Path:
    """Where the job's steps find what they may read."""
    if environment.get(FOLDER_VARIABLE):
        return Path(environment[FOLDER_VARIABLE])
    private = ci_home(environment, locked=locked)
    return private.with_name(f"{private.name}-public")


def replaceable_parent(path: Path, owner: int = 0) -> Path | None:
    """A folder above ``path`` in which someone besides root (and ``owner``) could put another thing in its place; None when there is none.

    A sticky folder (``/tmp``) keeps everyone to his own.
    """
    for parent in path.absolute().parents:
        try:
            found = parent.stat()
        except FileNotFoundError:
            continue
        if found.st_uid not in {0, owner} or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            return parent
    return None


def changeable_program() -> Path | None:
    """A part of this program (interpreter, standard library, packages) that someone besides root could change; None when there is none."""
    parts = {Path(sys.executable), Path(os.__file__), Path(click.__file__), Path(sys.prefix) / "pyvenv.cfg", *_PACKAGE.rglob("*")}
    for part in sorted({*parts, *(part.resolve() for part in parts)}):
        try:
            found = part.lstat()
        except FileNotFoundError:
            continue
        is_link = stat.S_ISLNK(found.st_mode)
        if found.st_uid != 0 or (not is_link and found.st_mode & 0o022):
            return part
    return next(filter(None, (replaceable_parent(part) for part in sorted({part.parent for part in parts}))), None)


def note_step(folder: Path, name: str, at: int) -> None:
    """Append a step. The job's own user writes it: names are for reading, no budget goes by them."""
    line = json.dumps([_printable(name), at]) + "\n"
    path = folder / STEPS
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666), "a") as file:
        file.write(line)


def _noted(folder: Path) -> list[tuple[str, int]]:
    """What any step may have written: a plain file of a bounded length, line by line; what is no step is passed over."""
    data = b""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / STEPS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                data = file.read(MAX_STEPS_BYTES)
    found = []
    for line in data.split(b"\n")[:MAX_STEPS]:
        if len(line) > MAX_STEP_BYTES:
            continue
        try:
            name, at = json.loads(line)
            found.append((_printable(str(name)), int(at)))
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue
    return found


def _printable(name: str) -> str:
    """A name that every file and screen can show; half a character, as an argument in Latin-1 leaves it, is none."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:MAX_NAME_CHARS])
