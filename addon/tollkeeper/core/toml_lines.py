"""TOML with line numbers: what a message needs to say ``policy.toml:14`` about a value that parses but makes no sense.

``tomllib`` gives no lines for a valid document, so the text is scanned a second time for keys only. The scan relies on the
document being valid (``tomllib`` has accepted it) and skips values without reading them.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .errors import ConfigError

type KeyPath = tuple[str | int, ...]

MAX_TOML_BYTES = 4_000_000
"""A document longer than this is not a configuration that someone wrote."""

_BASIC_OR_LITERAL = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # up to two quotes may touch the closing delimiter (TOML 1.0, Multi-line strings)
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_SPACE = re.compile(r"[ \t]*")
_PLAIN = re.compile(r"[^\[\]{}\"'#\n,]+")
_LINE_IN_MESSAGE = re.compile(r" \(at line (\d+), column \d+\)$")


class LineFinder:
    """Lines of the keys and tables of one document."""

    def __init__(self, lines: Mapping[KeyPath, int]) -> None:
        self._lines = dict(lines)

    def line_of(self, key_path: KeyPath) -> int:
        """The 1-based line of a key or table; of the nearest key that holds it when it has none; 1 for the document.

        Elements of arrays of tables are named by index: ``("price", 2, "from")``. Keys of inline tables are found below the key that
        holds them, also those inside a plain array, whose elements are not told apart: the first of that name is meant.
        """
        for length in range(len(key_path), 0, -1):
            if (line := self._lines.get(tuple(key_path[:length]))) is not None:
                return line
        return 1


def load_toml(path: Path, text: str | None = None) -> tuple[dict[str, Any], LineFinder]:
    """The document at ``path`` (or ``text``, which came from there), and where its keys stand.

    Floats are read as ``Decimal``: money never meets a binary fraction. Raises ``ConfigError`` with file and line when the
    file cannot be read, is too long, is not UTF-8 or is not TOML.
    """
    if text is None:
        text = _read(path)
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _LINE_IN_MESSAGE.search(message)
        line = int(found[1]) if found else text.count("\n") + 1
        said = _LINE_IN_MESSAGE.sub("", message).removesuffix(" (at end of document)")
        raise ConfigError(f"{path}:{line}: not TOML: {said}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: nested too deeply") from None
    return document, LineFinder(_Scanner(text.replace("\r\n", "\n")).scan())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None when none is like it."""
    lowered = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower()[:100], lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_TOML_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_TOML_BYTES:,} bytes, the most a configuration file may have")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x})") from None


class _Scanner:
    """Walks a valid document once, noting the line of each header and key."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._lines: dict[KeyPath, int] = {}
        self._array_sizes: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        text = self._text
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                path: KeyPath = table
                for part in self._dotted():
                    path = (*path, part)
                    self._note(path)
                self._at += 1  # the "="
                self._value(path)
            self._skip(_BLANK)
        return self._lines

    def _header(self) -> KeyPath:
        is_array = self._text.startswith("[[", self._at)
        line = self._line_here()
        self._at += 2 if is_array else 1
        parts = self._dotted()
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        for part in parts[:-1]:
            path = self._last_of((*path, part))
        path = (*path, parts[-1])
        if is_array:
            size = self._array_sizes.get(path, 0)
            self._array_sizes[path] = size + 1
            self._lines.setdefault(path, line)
            path = (*path, size)
        else:
            path = self._last_of(path)
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)
        self._lines[path] = line
        return path

    def _last_of(self, path: KeyPath) -> KeyPath:
        """A header below an array of tables means its newest element."""
        size = self._array_sizes.get(path)
        return path if size is None else (*path, size - 1)

    def _dotted(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            match = _BARE.match(self._text, self._at)
            if match is not None:
                parts.append(match[0])
            else:
                match = _BASIC_OR_LITERAL.match(self._text, self._at)
                if match is None:  # a form that tomllib reads and this scan does not: stop noting, never loop
                    self._at = len(self._text)
                    return parts or [""]
                parts.append(_unquote(match[0]))
            self._at = match.end()
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        """Skip the value of the key at ``path``, to the end of its line or of the bracket or string it opens; note keys inside it."""
        text = self._text
        held: list[tuple[str, KeyPath]] = []
        """The brackets that are open, each with the key that holds it."""
        while self._at < len(text):
            char = text[self._at]
            if char in "\"'":
                match = _BASIC_OR_LITERAL.match(text, self._at)
                self._at = match.end() if match else self._at + 1
            elif char in "[{":
                held.append((char, path))
                self._at += 1
                path = self._inner_key(char, path)
            elif char in "]}":
                path = held.pop()[1] if held else path
                self._at += 1
            elif char == "," and held:
                self._at += 1
                path = self._inner_key(*held[-1])
            elif char == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif char == "\n":
                if not held:
                    return
                self._at += 1
            else:
                match = _PLAIN.match(text, self._at)
                self._at = match.end() if match else self._at + 1

    def _inner_key(self, bracket: str, path: KeyPath) -> KeyPath:
        """The key that stands next in an inline table, noted; in an array, or where none is left, the one that holds the bracket."""
        if bracket == "[":
            return path
        self._skip(_BLANK)
        if self._text[self._at : self._at + 1] in {"}", ""}:
            return path
        for part in self._dotted():
            path = (*path, part)
            self._note(path)
        return path

    def _note(self, path: KeyPath) -> None:
        self._lines.setdefault(path, self._line_here())

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if match := pattern.match(self._text, self._at):
            self._at = match.end()


def _unquote(token: str) -> str:
    key = next(iter(tomllib.loads(f"{token}=0")))
    return str(key)
