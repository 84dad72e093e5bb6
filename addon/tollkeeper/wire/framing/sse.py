"""Server-sent events: raw bytes in any split in, the data of each event out (WHATWG HTML, "9.2 Server-sent events")."""

from . import MAX_ELEMENT_BYTES

_BOM = b"\xef\xbb\xbf"


class SseReader:
    """Cuts a byte stream into the data of its events.

    Lines end with CR, LF or CRLF and with nothing else (U+2028 is text). Several ``data`` lines are joined by LF, comments and
    other fields are passed over, an event without data is none. The cost is linear in the bytes for any split. An event over
    ``limit`` bytes is skipped, counted in ``skipped``, and the next one is read again.
    """

    __slots__ = ("_at_start", "_last_cr", "_limit", "_oversize", "_pending", "_size", "skipped")

    def __init__(self, limit: int = MAX_ELEMENT_BYTES) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0
        self._last_cr = False
        self._at_start = True
        self._oversize = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that ``data`` completes."""
        if self._last_cr or b"\r" in data:
            data = self._line_feeds(data)
        if not data:
            return []
        pending = self._pending
        if not pending and data[:6] == b"data: " and data[-1] == 10 and data.find(b"\n") == len(data) - 2 <= self._limit:
            self._at_start = False  # one event of one line in one piece: nearly all of them
            return [data[6:-2]]
        if pending and data[0] == 10 and pending[-1].endswith(b"\n"):  # the blank line was split between two pieces
            pending[-1] = pending[-1][:-1]
            blocks = [b"", *data[1:].split(b"\n\n")]
        else:
            blocks = data.split(b"\n\n")
        rest = blocks.pop()
        events: list[bytes] = []
        if blocks:
            if pending:
                pending.append(blocks[0])
                blocks[0] = b"".join(pending)
                pending.clear()
                self._size = 0
            for block in blocks:
                self._finish(block, events)
        if rest:
            self._hold(rest)
        return events

    def close(self) -> list[bytes]:
        """The event that the stream ended in without its blank line, if it has data."""
        events: list[bytes] = []
        block = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        self._finish(block, events)
        return events

    def _hold(self, rest: bytes) -> None:
        self._size += len(rest)
        if self._size > self._limit + 1:  # one more: a held line end may turn out to be half of the blank line
            self._oversize = True
        if self._oversize:
            self._pending[:] = [rest[-1:]]  # its last byte tells whether the next piece completes a blank line
        else:
            self._pending.append(rest)

    def _finish(self, block: bytes, events: list[bytes]) -> None:
        if self._at_start:
            if block[:3] == _BOM:
                block = block[3:]
            self._at_start = False
        if self._oversize or len(block) > self._limit:
            self._oversize = False
            self.skipped += 1
            return
        if block[:6] == b"data: " and b"\n" not in block:  # the common case, at a third of the cost
            events.append(block[6:])
            return
        data = data_of(block)
        if data is not None:
            events.append(data)

    def _line_feeds(self, data: bytes) -> bytes:
        if self._last_cr and data[:1] == b"\n":
            data = data[1:]
            if not data:
                self._last_cr = False
                return b""
        self._last_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def data_of(block: bytes) -> bytes | None:
    """The data of one event whose lines end with LF; None when it has no data line."""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        if line[:5] == b"data:":
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None
