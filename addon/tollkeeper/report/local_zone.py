"""Which zone this machine's days are those of: its IANA name, found in the order in which tzset(3) looks, so that every reader agrees.

``TZ`` comes first (containers and services are told there), then ``/etc/localtime``, then ``/etc/timezone``, then UTC.
"""

import re
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_RULE = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)(?P<sign>[+-]?)(?P<hours>\d{1,2})(?::?00){0,2}(?P<summer>.*)", re.DOTALL)
"""A POSIX rule (``EST5EDT``, ``<+03>-3``): a name, and how many hours it is behind UTC; what follows is summer time."""
_MOST_BEHIND, _MOST_AHEAD = 12, 14
"""``Etc/GMT+12`` to ``Etc/GMT-14`` have names."""


@dataclass(frozen=True, slots=True)
class LocalZone:
    """The zone's name; ``said`` is for people, where ``TZ`` says something that could not be done."""

    name: str
    said: str = ""


def local_zone(environ: Mapping[str, str], root: Path = Path("/")) -> LocalZone:
    """The zone of a process with these variables on a machine whose files are below ``root``."""
    told = environ.get("TZ")
    if told is None:
        return LocalZone(_of_machine(root))
    asked = told.removeprefix(":")
    if not asked:
        return LocalZone("UTC")  # tzset(3): an empty value is UTC
    name = _of_file(Path(asked), root) if asked.startswith("/") else _known(asked) or _of_rule(asked)
    if name:
        return LocalZone(name)
    return LocalZone(
        "UTC", f'TZ is "{told[:60]}", which is no zone with a name: days are those of UTC; write it like "Europe/Rome"'
    )


def _of_machine(root: Path) -> str:
    return _of_file(root / "etc/localtime", root) or _said_in(root) or "UTC"


def _of_file(path: Path, root: Path) -> str:
    """By where a link leads, else by what is in the file: containers are often given a copy; empty when neither tells."""
    name = _known(str(path.resolve()).partition("zoneinfo/")[2])
    if name:
        return name
    try:
        rules = path.read_bytes()
    except OSError:
        return ""
    return next((name for name in _names(root) if name and _rules_of(name) == rules), "")


def _names(root: Path) -> Iterator[str]:
    """The one that is likely first: looking at all of them takes some hundredths of a second."""
    yield _said_in(root)
    yield from sorted(zoneinfo.available_timezones())


def _rules_of(name: str) -> bytes | None:
    for folder in zoneinfo.TZPATH:
        try:
            return (Path(folder) / name).read_bytes()
        except OSError:
            continue
    return None


def _said_in(root: Path) -> str:
    try:
        return _known((root / "etc/timezone").read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return ""


def _of_rule(rule: str) -> str:
    """A fixed number of hours has a name of its own; summer time by a rule has none."""
    found = _RULE.fullmatch(rule)
    if found is None or found["summer"]:
        return ""
    hours = int(found["hours"]) * (-1 if found["sign"] == "-" else 1)
    if not hours:
        return "UTC"
    return f"Etc/GMT{hours:+d}" if -_MOST_AHEAD <= hours <= _MOST_BEHIND else ""


def _known(name: str) -> str:
    try:
        return zoneinfo.ZoneInfo(name).key if name else ""
    except (KeyError, ValueError, OSError):
        return ""
