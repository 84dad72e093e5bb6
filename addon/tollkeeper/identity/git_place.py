"""The git repository and branch of a folder, read from its files: no git is started, nothing but two small files is opened."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MAX_LEVELS = 40
MAX_FILE_BYTES = 65_536
MAX_NAME_CHARS = 200
_REMOTE = re.compile(r'^\s*\[remote "origin"\]\s*$(.*?)(?=^\s*\[|\Z)', re.MULTILINE | re.DOTALL)
_URL = re.compile(r"^\s*url\s*=\s*(\S+)\s*$", re.MULTILINE)
_SCP = re.compile(r"(?:[^@/\s]+@)?([A-Za-z0-9.-]+):(?!//)([^\s]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process works. Empty means unknown."""

    repository: str = ""
    """``host/owner/name`` of the remote ``origin``, without credentials; the folder's name when there is no such remote."""
    branch: str = ""
    root: str = ""


NOWHERE = Place()


def place_of(folder: Path) -> Place:
    """The repository that holds ``folder``, or an empty place. Never raises; follows no more than 40 folders upwards."""
    try:
        for level, here in enumerate((folder, *folder.parents)):
            if level >= MAX_LEVELS:
                break
            found = _git_folder(here / ".git")
            if found is not None:
                return Place(_repository(found) or here.name[:MAX_NAME_CHARS], _branch(found), str(here))
    except (OSError, ValueError):
        pass
    return NOWHERE


def repository_of(url: str) -> str:
    """``github.com/acme/app`` for any spelling of a remote's address; empty when it is none. A password in it is left out."""
    if len(url) > 1024 or not url.isprintable():
        return ""
    if "://" in url:
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
    elif (match := _SCP.fullmatch(url)) is not None:
        host, path = match[1], match[2]
    else:
        return ""
    name = path.strip("/").removesuffix(".git")
    return f"{host.lower()}/{name}"[:MAX_NAME_CHARS] if host and name else ""


def _git_folder(entry: Path) -> Path | None:
    """The git folder: ``.git`` itself, or where a worktree's or submodule's ``.git`` file points."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return entry
    text = _text(entry)
    if not text.startswith("gitdir:"):
        return None
    return (entry.parent / text.removeprefix("gitdir:").strip()).resolve()


def _branch(git: Path) -> str:
    head = _text(git / "HEAD").strip()
    if head.startswith("ref: refs/heads/"):
        name = head.removeprefix("ref: refs/heads/")[:MAX_NAME_CHARS]
        return name if name.isprintable() else ""
    return head[:12] if re.fullmatch("[0-9a-f]{40,64}", head) else ""


def _repository(git: Path) -> str:
    common = _text(git / "commondir").strip()  # a worktree's configuration stands with the main one
    config = _text((git / common if common else git) / "config")
    section = _REMOTE.search(config)
    url = _URL.search(section[1]) if section is not None else None
    try:
        return repository_of(url[1]) if url is not None else ""
    except ValueError:
        return ""


def _text(path: Path) -> str:
    """A small plain file's text; empty for anything else (a pipe placed there must not hold us)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
