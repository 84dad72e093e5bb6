"""A JSON array that is written piecemeal (Gemini without ``alt=sse``): each top-level object as soon as it is complete."""

import re

from . import MAX_ELEMENT_BYTES

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')


class JsonArrayReader:
    """Cuts the bytes of one JSON array into its objects.

    Only brackets and strings are followed, so nothing is parsed twice and the cost is linear for any split; scalars among the
    elements are passed over. An object over ``limit`` bytes is skipped and counted.
    """

    __slots__ = ("_depth", "_escaped", "_in_string", "_limit", "_oversize", "_pending", "_size", "ended", "skipped")

    def __init__(self, limit: int = MAX_ELEMENT_BYTES) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._oversize = False
        self.ended = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that ``data`` completes."""
        found: list[bytes] = []
        position, start, size = 0, 0, len(data)
        if self._escaped and size:
            position, self._escaped = 1, False
        while position < size and not self.ended:
            if self._in_string:
                match = _INSIDE.search(data, position)
                if match is None:
                    break
                position = match.end()
                if data[position - 1] == 34:
                    self._in_string = False
                elif position == size:
                    self._escaped = True
                else:
                    position += 1
                continue
            match = _OUTSIDE.search(data, position)
            if match is None:
                break
            position = match.end()
            start = self._structural(data, position, start, found)
        if self._depth > 1 and start < size:
            self._hold(data[start:])
        return found

    def close(self) -> list[bytes]:
        """Nothing: an object without its end cannot be read."""
        self._pending.clear()
        return []

    def _structural(self, data: bytes, position: int, start: int, found: list[bytes]) -> int:
        """Follow the quote or bracket that ends at ``position``; the start of the element being gathered comes back."""
        byte = data[position - 1]
        if byte == 34:
            self._in_string = True
        elif byte in b"{[":
            self._depth += 1
            if self._depth == 2:
                return position - 1
        else:
            self._depth -= 1
            if self._depth == 1:
                self._finish(data[start:position], found)
            elif self._depth <= 0:
                self.ended = True
        return start

    def _hold(self, rest: bytes) -> None:
        self._size += len(rest)
        self._oversize = self._oversize or self._size > self._limit
        if self._oversize:
            self._pending.clear()
        else:
            self._pending.append(rest)

    def _finish(self, rest: bytes, found: list[bytes]) -> None:
        size = self._size + len(rest)
        if self._oversize or size > self._limit:
            self.skipped += 1
        elif self._pending:
            found.append(b"".join((*self._pending, rest)))
        else:
            found.append(rest)
        self._pending.clear()
        self._size = 0
        self._oversize = False
