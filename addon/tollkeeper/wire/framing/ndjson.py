"""JSON lines: raw bytes in any split in, each non-empty line out."""

from . import MAX_ELEMENT_BYTES


class NdjsonReader:
    """Cuts a byte stream into lines ended by LF or CRLF; a line over ``limit`` bytes is skipped and counted."""

    __slots__ = ("_limit", "_oversize", "_pending", "_size", "skipped")

    def __init__(self, limit: int = MAX_ELEMENT_BYTES) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0
        self._oversize = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes."""
        lines = data.split(b"\n")
        rest = lines.pop()
        found: list[bytes] = []
        for line in lines:
            if self._pending or self._oversize:
                self._pending.append(line)
                line = b"".join(self._pending)  # noqa: PLW2901 — the line begins in an earlier piece
                self._pending.clear()
                self._size = 0
            self._finish(line, found)
        if rest:
            self._size += len(rest)
            self._oversize = self._oversize or self._size > self._limit
            if self._oversize:
                self._pending.clear()
            else:
                self._pending.append(rest)
        return found

    def close(self) -> list[bytes]:
        """The last line, when it had no line end."""
        found: list[bytes] = []
        self._finish(b"".join(self._pending), found)
        self._pending.clear()
        return found

    def _finish(self, line: bytes, found: list[bytes]) -> None:
        if self._oversize or len(line) > self._limit:
            self._oversize = False
            self.skipped += 1
        elif line := line.strip(b" \t\r"):
            found.append(line)
