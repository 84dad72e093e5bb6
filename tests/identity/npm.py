"""Packages that tests take from the npm registry, as a lock file names them by hash: installed once, by one process."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 180.0
TRIES_SECONDS = 600.0
"""For all tries together, in CI: what cannot be had there is a failure, and a registry may be slow or away for a while."""
PAUSES_SECONDS = (10.0, 40.0)
"""Before the second try, and the third."""


class Missing(Exception):
    """Why the packages cannot be had on this machine."""


def installed(name: str, cache: Path, place: Path = HERE, *, whole: bool = True, pauses_seconds: Sequence[float] = ()) -> Path:
    """The folder that holds the packages of ``place/NAME``, without the optional ones when not ``whole``.

    Tried once, and again after each of ``pauses_seconds``, with what came before. Raises ``Missing``.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("Node and npm are not installed")
    lock = (place / name / "package-lock.json").read_bytes()
    folder = cache / (hashlib.sha256(lock).hexdigest()[:16] + ("" if whole else "-part"))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for file in ("package.json", "package-lock.json"):
                shutil.copyfile(place / name / file, folder / file)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            command += ["--cache", str(folder / "npm")]
            command += [] if whole else ["--omit=optional"]
            _install(name, command, folder, pauses_seconds)
            shutil.rmtree(folder / "npm", ignore_errors=True)
            (folder / "complete").touch()
    return folder


def _install(name: str, command: Sequence[str], folder: Path, pauses_seconds: Sequence[float]) -> None:
    deadline, trouble = time.monotonic() + TRIES_SECONDS, ""
    for pause_seconds in (0.0, *pauses_seconds):
        time.sleep(pause_seconds)
        left = min(deadline - time.monotonic(), TRIES_SECONDS if pauses_seconds else INSTALL_SECONDS)
        if left <= 0:
            break
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            trouble = f"it took more than {left:.0f} s"
            continue
        if not done.returncode:
            return
        trouble = "".join(done.stderr.strip().splitlines()[-1:])[:200]
    raise Missing(f"npm could not install {name} ({trouble}); the command, in {folder}: {' '.join(command)}")


def or_skip(config: pytest.Config, name: str, fallback: Callable[[str], Path], place: Path = HERE, *, whole: bool = True) -> Path:
    """``installed`` for a fixture. Where it cannot be, the tests are skipped with the reason; in CI they fail."""
    cache = getattr(config, "cache", None)
    try:
        folder = Path(cache.mkdir(f"npm-{name}")) if cache is not None else fallback(f"npm-{name}")
        return installed(name, folder, place, whole=whole, pauses_seconds=PAUSES_SECONDS if os.environ.get("CI") else ())
    except Missing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(f"NOT TESTED: {missing}")
