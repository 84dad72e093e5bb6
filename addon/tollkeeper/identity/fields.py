"""Reading one table of identity.toml: the right type, within its limits, or a problem with its line that says how to write it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import KeyPath, LineFinder, nearest

from .web import check_url

MAX_TEXT_CHARS = 512
MAX_VALUES = 256
MAX_SHOWN = 50

_OTHER_WORDS = {
    "aud": "audience",
    "client": "client_id",
    "domain": "issuer",
    "groups_claim": "groups",
    "iss": "issuer",
    "jwks": "jwks_url",
    "jwks_uri": "jwks_url",
    "keys": "jwks_url",
    "org_id": "organization_id",
    "owner": "owner_id",
    "provider": "kind",
    "required": "require",
    "claims": "require",
    "secret": "secret_sha256",
    "tenant_id": "tenant",
    "type": "kind",
}
"""What people call things elsewhere, where no likeness of letters leads to our word."""


class Problems:
    """Collects what is wrong with a document, so that one run shows all of it."""

    def __init__(self, name: str, lines: LineFinder) -> None:
        self._name = name
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def add(self, path: KeyPath, message: str) -> None:
        """Note that ``message`` is wrong with the value at ``path``."""
        self._found.append((self._lines.line_of(path), message))

    def raise_any(self) -> None:
        """Raise ``ConfigError`` listing everything that was noted, by line."""
        if not self._found:
            return
        shown = [f"{self._name}:{line}: {message}" for line, message in sorted(set(self._found))]
        if len(shown) > MAX_SHOWN:
            shown[MAX_SHOWN:] = [f"{self._name}: and {len(shown) - MAX_SHOWN} more problems"]
        raise ConfigError("\n".join(shown))


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean "audience"?``, or the list of what is known."""
    names = list(known)
    other = _OTHER_WORDS.get(word.lower())
    found = other if other in names else nearest(word, names)
    return f'; did you mean "{found}"?' if found else f"; known: {', '.join(names)}"


def shown(value: object) -> str:
    """A value as it would stand in TOML, cut short, without control characters."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_TEXT_CHARS])
    return text if len(text) <= 80 else f"{text[:77]}…"


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and where it stands. Every reader returns a usable value, and notes a problem when it had to invent it."""

    problems: Problems
    values: Mapping[str, Any]
    path: KeyPath

    @property
    def where(self) -> str:
        """``[issuer.okta]``; ``the document`` at the top."""
        return f"[{'.'.join(str(part) for part in self.path)}]" if self.path else "the document"

    def wrong(self, key: str, message: str) -> None:
        """Note a problem with a key's value."""
        self.problems.add((*self.path, key), message)

    def only(self, known: Iterable[str]) -> None:
        """Note every key that is not known, with the one that was probably meant."""
        names = sorted(known)
        for key in self.values:
            if key not in names:
                self.wrong(key, f'unknown key "{shown(key)[1:-1]}" in {self.where}{meant(key, names)}')

    def text(self, key: str, *, required: bool = False, default: str = "", example: str = "…", pattern: str = ".+") -> str:
        """A printable text that matches ``pattern``."""
        value = self.values.get(key)
        if value is None:
            if required:
                self.problems.add(self.path, f'{self.where} has no {key}; write {key} = "{example}"')
            return default
        if not _is_text(value) or not re.fullmatch(pattern, value):
            self.wrong(key, f'{key} = {shown(value)} is not possible; write it like {key} = "{example}"')
            return default
        return str(value)

    def texts(self, key: str, *, required: bool = False, example: str = "…", pattern: str = ".+") -> tuple[str, ...]:
        """One text or a list of them, without repetitions."""
        value = self.values.get(key)
        if value is None:
            if required:
                self.problems.add(self.path, f'{self.where} has no {key}; write {key} = "{example}"')
            return ()
        items = value if isinstance(value, list) else [value]
        if not items or len(items) > MAX_VALUES:
            self.wrong(key, f"{key} has {len(items)} values; write 1 to {MAX_VALUES}")
            return ()
        for item in items:
            if not _is_text(item) or not re.fullmatch(pattern, item):
                self.wrong(key, f'{key} = {shown(item)} is not possible; write it like {key} = "{example}"')
                return ()
        return tuple(dict.fromkeys(items))

    def word(self, key: str, known: Iterable[str], default: str) -> str:
        """One of the ``known`` words."""
        names = list(known)
        value = self.values.get(key, default)
        if value not in names or not isinstance(value, str):
            self.wrong(key, f"{key} = {shown(value)} is not possible{meant(str(value)[:MAX_TEXT_CHARS], names)}")
            return default
        return value

    def words(self, key: str, known: Iterable[str], default: tuple[str, ...]) -> tuple[str, ...]:
        """One or several of the ``known`` words."""
        names = list(known)
        found = self.texts(key) or default
        for item in found:
            if item not in names:
                self.wrong(key, f"{key} = {shown(item)} is not possible{meant(item, names)}")
                return default
        return found

    def number(self, key: str, low: int, high: int, default: int) -> int:
        """A whole number between ``low`` and ``high``, both included."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(key, f"{key} = {shown(value)} is not possible; write a whole number from {low} to {high}")
            return default
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"{key} = {shown(value)} is not possible; write true or false")
            return default
        return value

    def url(self, key: str, *, required: bool = False, example: str = "https://…") -> str:
        """An address that may be asked: https, or http on this machine."""
        value = self.text(key, required=required, example=example)
        if value and (reason := check_url(value)):
            self.wrong(key, f"{key} = {shown(value)} {reason}")
            return ""
        return value

    def file(self, key: str, folder: Path) -> Path | None:
        """A path, relative to the document's folder."""
        value = self.text(key, example="keys.json")
        return folder / Path(value).expanduser() if value else None

    def tables(self, key: str, most: int) -> dict[str, "Table"]:
        """The named tables below ``key``."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, f"{key} must be tables with names, as in [{key}.name]")
            return {}
        if len(value) > most:
            self.wrong(key, f"{len(value)} tables [{key}.…]; {most} is the most")
            return {}
        found = {}
        for name, table in value.items():
            here = (*self.path, key, name)
            if not isinstance(table, dict):
                self.problems.add(here, f"{key}.{shown(name)[1:-1]} must be a table: write [{key}.{shown(name)[1:-1]}]")
            elif not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                self.problems.add(here, f"[{key}.{shown(name)[1:-1]}]: a name has 1 to 64 letters, digits, - and _")
            else:
                found[name] = Table(self.problems, table, here)
        return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS and value.isprintable() and value == value.strip()
