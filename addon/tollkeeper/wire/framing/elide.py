"""Long JSON strings cut short as they stream past: a picture in base64 is megabytes, and no figure stands in it."""

KEPT_BYTES = 1_024
"""How much of a string is kept: names, ids, sizes and error classes are shorter."""

_ESCAPE_BYTES = 6
"""The longest escape, ``\\u`` and four digits: one that may not fit whole is left out."""


class StringElider:
    """Any split of bytes in, the same bytes out without the rest of every JSON string beyond ``kept`` bytes.

    Works on a JSON text and on events and lines of JSON alike: a string holds no raw line end (RFC 8259, 7), so one that was opened
    by a stray quote outside JSON ends with its line. No escape and no UTF-8 sequence is cut in half. Linear in the bytes, in
    constant memory.
    """

    __slots__ = ("_escaped", "_full", "_inside", "_kept", "_length")

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._inside = False
        self._escaped = False
        self._full = False
        self._length = 0

    def feed(self, data: bytes) -> bytes:
        """What is left of ``data``."""
        out: list[bytes] = []
        position, end = 0, len(data)
        quote = slash = line = -2
        while position < end:
            quote = _next(data, b'"', quote, position)
            if not self._inside:
                stop = quote + 1 if quote >= 0 else end
                out.append(data[position:stop])
                self._inside, self._full, self._length = quote >= 0, False, 0
                position = stop
                continue
            if self._escaped:
                self._escaped = False
                self._keep(data, position, position + 1, out)
                position += 1
                continue
            slash, line = _next(data, b"\\", slash, position), _next(data, b"\n", line, position)
            stop = min(at if at >= 0 else end for at in (quote, slash, line))
            self._keep(data, position, stop, out)
            if stop < end and stop == slash:
                self._full = self._full or self._kept - self._length < _ESCAPE_BYTES
                self._keep(data, stop, stop + 1, out)
                self._escaped = True
            elif stop < end:
                self._inside = False
                out.append(data[stop : stop + 1])
            position = stop + 1 if stop < end else end
        return b"".join(out)

    def _keep(self, data: bytes, start: int, stop: int, out: list[bytes]) -> None:
        if self._full or start >= stop:
            return
        upto = min(stop, start + max(0, self._kept - self._length))
        while upto < stop and 0x80 <= data[upto] < 0xC0:  # the rest of a UTF-8 sequence that has begun
            upto += 1
        self._full = upto < stop
        self._length += upto - start
        out.append(data[start:upto])


def _next(data: bytes, byte: bytes, known: int, position: int) -> int:
    """Where ``byte`` stands at or after ``position``, −1 for nowhere; ``known`` is the last answer, −2 for none yet."""
    return known if known == -1 or known >= position else data.find(byte, position)
