"""Packages that tests take from the npm registry, as a lock file names them by hash: installed once, by one process."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 180


class Missing(Exception):
    """Why the packages cannot be had on this machine."""


def installed(name: str, cache: Path, place: Path = HERE, *, whole: bool = True) -> Path:
    """The folder that holds the packages of ``place/NAME``, without the optional ones when not ``whole``. Raises ``Missing``."""
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
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "npm")]
            command += [] if whole else ["--omit=optional"]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                raise Missing(f"npm took more than {INSTALL_SECONDS} s to install {name}") from None
            shutil.rmtree(folder / "npm", ignore_errors=True)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:]
                raise Missing(f"npm could not install {name} ({''.join(last)[:200]})")
            (folder / "complete").touch()
    return folder


def or_skip(config: pytest.Config, name: str, fallback: Callable[[str], Path], place: Path = HERE, *, whole: bool = True) -> Path:
    """``installed`` for a fixture. Where it cannot be, the tests are skipped with the reason; in CI they fail."""
    cache = getattr(config, "cache", None)
    try:
        folder = Path(cache.mkdir(f"npm-{name}")) if cache is not None else fallback(f"npm-{name}")
        return installed(name, folder, place, whole=whole)
    except Missing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(f"NOT TESTED: {missing}")
