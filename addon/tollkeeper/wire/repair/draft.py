"""A JSON object under change: parsed once, read by path, and written back with only the changed members' bytes replaced."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tollkeeper.wire.counts import Json
from tollkeeper.wire.splice import as_text, members, put


class Draft:
    """The body of a request. ``notes`` says for people what was changed. Raises ``WireError`` for a body that is no JSON object.

    A key that stands twice is changed everywhere: readers differ in which of them they take.
    """

    def __init__(self, body: bytes) -> None:
        self._document = as_text(body)
        self._members, self._end = members(self._document)
        self._texts: dict[int, str | None] = {}
        """The new texts of members by their position; None for one that goes."""
        self._added: dict[str, str] = {}
        self.notes: list[str] = []

    @property
    def is_changed(self) -> bool:
        """Whether anything was changed."""
        return bool(self._texts or self._added)

    def text(self, key: str) -> str | None:
        """The JSON text of a top-level member, None where there is none."""
        if key in self._added:
            return self._added[key]
        for position in self._positions(key)[::-1]:
            return self._text(position)
        return None

    def get(self, *path: str) -> Json:
        """The value at ``path``, None where there is none. Fractions come as text."""
        key, rest = path[0], path[1:]
        positions = self._positions(key)
        if key in self._added or any(position in self._texts for position in positions):
            text = self.text(key)
            value: Json = None if text is None else json.loads(text, parse_float=str)
        else:
            value = self._members[positions[-1]].value if positions else None
        for step in rest:
            value = value.get(step) if isinstance(value, Mapping) else None
        return value

    def has(self, *path: str) -> bool:
        """Whether something stands at ``path``, be it null."""
        outer: Json = self.get(*path[:-1]) if len(path) > 1 else None
        return path[-1] in outer if isinstance(outer, Mapping) else len(path) == 1 and self.text(path[0]) is not None

    def put(self, value: Any, *path: str) -> None:
        """Set the value at ``path``; parents are made where they are missing."""
        self.put_text(json.dumps(value, ensure_ascii=False), *path)

    def put_text(self, text: str, *path: str) -> None:
        """Set the JSON text at ``path``."""
        key, rest = path[0], path[1:]
        for position in self._positions(key):
            old = self._text(position) or ""
            self._texts[position] = put(old, rest, text) if rest and old.startswith("{") else _wrapped(text, rest)
        if not self._positions(key):
            old = self._added.get(key, "")
            self._added[key] = put(old, rest, text) if rest and old else _wrapped(text, rest)

    def drop(self, *path: str) -> bool:
        """Take out what stands at ``path``, and its parent where that is empty then. False when there is nothing."""
        if not self.has(*path):
            return False
        key, rest = path[0], path[1:]
        if not rest:
            self._added.pop(key, None)
            for position in self._positions(key):
                self._texts[position] = None
            return True
        for position in self._positions(key):
            text = self._text(position) or ""
            if text.startswith("{"):
                self._texts[position] = without(text, rest)
        if key in self._added:
            self._added[key] = without(self._added[key], rest)
        if self.get(*path[:-1]) == {}:
            self.drop(*path[:-1])
        return True

    def rename(self, old: str, new: str) -> None:
        """Move a top-level member to another key, its text as it is; one that stands there already stays."""
        text = self.text(old)
        if text is None:
            return
        self.drop(old)
        if self.text(new) is None:
            self.put_text(text, new)

    def replace_in(self, key: str, old: str, new: str) -> bool:
        """Replace a text inside a member's text. False when it is not in it."""
        found = False
        for position in self._positions(key):
            text = self._text(position)
            if text is not None and old in text:
                self._texts[position], found = text.replace(old, new), True
        return found

    def body(self) -> bytes:
        """The whole object again."""
        if not self.is_changed:
            return self._document.encode()
        kept = [position for position in range(len(self._members)) if self._texts.get(position, "") is not None]
        head = self._members[0].key_start if self._members else self._end
        pieces = [self._document[:head]]
        for before, position in zip([None, *kept], kept, strict=False):
            if before is not None:  # the comma and spaces that stood behind the member before it
                pieces.append(self._document[self._members[before].end : self._members[before + 1].key_start])
            member = self._members[position]
            pieces += [self._document[member.key_start : member.start], self._text(position) or ""]
        added = ",".join(f"{json.dumps(key)}:{text}" for key, text in self._added.items())
        pieces += [",", added] if added and kept else [added]
        tail = self._members[-1].end if self._members else self._end
        return ("".join(pieces) + self._document[tail:]).encode()

    def _positions(self, key: str) -> list[int]:
        return [
            position
            for position, member in enumerate(self._members)
            if member.key == key and self._texts.get(position, "") is not None
        ]

    def _text(self, position: int) -> str | None:
        if position in self._texts:
            return self._texts[position]
        member = self._members[position]
        return self._document[member.start : member.end]


def without(text: str, path: Sequence[str]) -> str:
    """A JSON object's text without what stands at ``path``; as it is where nothing does."""
    found, _ = members(text)
    for position in range(len(found) - 1, -1, -1):
        member = found[position]
        if member.key != path[0]:
            continue
        if path[1:]:
            if isinstance(member.value, dict):
                text = text[: member.start] + without(text[member.start : member.end], path[1:]) + text[member.end :]
        elif position + 1 < len(found):
            text = text[: member.key_start] + text[found[position + 1].key_start :]
        else:
            text = text[: found[position - 1].end if position else member.key_start] + text[member.end :]
        found, _ = members(text)
    return text


def _wrapped(text: str, path: Sequence[str]) -> str:
    for key in reversed(path):
        text = f"{{{json.dumps(key)}:{text}}}"
    return text
