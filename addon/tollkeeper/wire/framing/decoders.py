"""Content-encodings, incrementally and with a cap: gzip, deflate (zlib or raw), br, zstd, identity, and chains of them.

What an encoding is called is not believed over what the bytes are: recorders, and some proxies, keep the header above a plain body,
so the first bytes decide (RFC 1952 2.3.1, RFC 1950 2.2, RFC 8878 3.1.1; brotli has no mark, so plain JSON or SSE is told by its text).
"""

import codecs
import re
import zlib
from typing import Protocol

import brotli
import zstandard

from tollkeeper.core.errors import WireError

MAX_OUTPUT_BYTES = 512 * 1024 * 1024
"""The most one body may unpack to: above any answer seen, below what a laptop cannot spare in passing."""

MAX_RATIO = 2_000
"""Output over input, beyond ``FREE_OUTPUT_BYTES``. zlib cannot pass 1032; zstd and br can, and only a bomb does."""

FREE_OUTPUT_BYTES = 8 * 1024 * 1024
MAX_ENCODINGS = 4
_SNIFF_BYTES = 32
"""What is looked at where the encoding has no mark: one br body in 800 begins like JSON or SSE, and none goes on as 32 bytes of text."""
_MARK_BYTES = 4
_SLICE = 512
"""Bytes given to zstd at once: a block of 128 KiB needs 4 of them, so one slice makes at most 16 MiB."""

_PLAIN = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[\[{"\]\d]|[\[{]\s*$|data:|event:|id:|retry:|:|<)|\s+$')
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Decoder(Protocol):
    """Undoes one encoding. Raises ``WireError`` when the bytes are damaged or unpack past the cap."""

    def feed(self, data: bytes) -> bytes:
        """What ``data`` unpacks to, as far as it can be known now."""

    def close(self) -> bytes:
        """What was still held back; a truncated body is no error here."""


class _Zlib:
    """gzip (with several members) and deflate in both its forms."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._inner = zlib.decompressobj(window_bits)

    def unpack(self, data: bytes, room: int) -> bytes:
        out: list[bytes] = []
        while data and room > 0:
            if self._inner.eof:
                if self._window_bits != 31 or data[:1] != b"\x1f":  # padding after the last member is no member
                    break
                self._inner = zlib.decompressobj(self._window_bits)
            piece = self._inner.decompress(data, room)
            out.append(piece)
            room -= len(piece)
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
        return b"".join(out)


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def unpack(self, data: bytes, room: int) -> bytes:
        if self._inner.is_finished():
            return b""
        out = [self._inner.process(data, output_buffer_limit=room)]
        made = len(out[0])
        while made < room and not self._inner.can_accept_more_data():
            piece = self._inner.process(b"", output_buffer_limit=room - made)
            if not piece:
                break
            made += len(piece)
            out.append(piece)
        return b"".join(out)


class _Zstd:
    def __init__(self) -> None:
        # 128 MiB is what RFC 8878 (3.1.1.1.2) asks of no decoder but allows; the HTTP rule (RFC 9659) is 8 MiB.
        self._inner = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(read_across_frames=True)

    def unpack(self, data: bytes, room: int) -> bytes:
        out: list[bytes] = []
        for start in range(0, len(data), _SLICE):
            if room <= 0:
                break
            piece = self._inner.decompress(data[start : start + _SLICE])
            room -= len(piece)
            out.append(piece)
        return b"".join(out)


class _Plain:
    def unpack(self, data: bytes, room: int) -> bytes:
        return data[:room]


_MARKED = frozenset({"gzip", "zstd"})
"""Encodings whose first bytes cannot be mistaken: without them the body is plain."""

type _Unpacker = _Zlib | _Brotli | _Zstd | _Plain


class _Sniffing:
    """Waits for the first bytes, picks what really unpacks them, and keeps the cap."""

    def __init__(self, name: str, max_output: int) -> None:
        self._name = name
        self._max_output = max_output
        self._head = b""
        self._inner: _Unpacker | None = None
        self._in = 0
        self._out = 0

    def feed(self, data: bytes) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < (_MARK_BYTES if self._name in _MARKED else _SNIFF_BYTES):
                return b""
            data, self._head = self._head, b""
            self._inner = _pick(self._name, data)
        return self._unpack(self._inner, data)

    def close(self) -> bytes:
        if self._inner is not None or not self._head:
            return b""
        data, self._head = self._head, b""
        self._inner = _pick(self._name, data)
        return self._unpack(self._inner, data)

    def _unpack(self, inner: _Unpacker, data: bytes) -> bytes:
        self._in += len(data)
        cap = min(self._max_output, max(FREE_OUTPUT_BYTES, self._in * MAX_RATIO))
        room = cap - self._out + 1
        try:
            made = inner.unpack(data, room)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise WireError(f"a {self._name} body is damaged after {self._in} bytes ({error})") from error
        self._out += len(made)
        if self._out > cap:
            raise WireError(
                f"a {self._name} body of {self._in} bytes unpacks to more than {cap} bytes: refused as a decompression bomb"
            )
        return made


def _pick(name: str, head: bytes) -> _Unpacker:
    if head[:2] == b"\x1f\x8b":
        return _Zlib(31)
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return _Zstd()
    if name in _MARKED or (_PLAIN.match(head) and _is_text(head[:_SNIFF_BYTES])):
        return _Plain()
    if name == "br":
        return _Brotli()
    if len(head) > 1 and head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0:
        return _Zlib(15)
    return _Zlib(-15)


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(head) is None


class _Chain:
    def __init__(self, decoders: list[_Sniffing]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> bytes:
        for decoder in self._decoders:
            data = decoder.feed(data)
        return data

    def close(self) -> bytes:
        data = b""
        for decoder in self._decoders:
            data = (decoder.feed(data) if data else b"") + decoder.close()
        return data


NO_ENCODING = frozenset({"identity", "none", "utf-8", "aws-chunked"})
"""Words that stand in the header though nothing is encoded: servers that take it for the character set, S3's own framing of uploads."""

_NAMES = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}


def decoder_for(encodings: str, max_output: int = MAX_OUTPUT_BYTES) -> Decoder | None:
    """A decoder for a ``content-encoding`` header, None when there is nothing to undo.

    Raises ``WireError`` for a name that is not known, or for more than ``MAX_ENCODINGS`` of them.
    """
    names = [name for part in encodings.lower().split(",") if (name := part.strip()) and name not in NO_ENCODING]
    if not names:
        return None
    if len(names) > MAX_ENCODINGS:
        raise WireError(f"{len(names)} content-encodings on one body; at most {MAX_ENCODINGS} are undone")
    for name in names:
        if name not in _NAMES:
            raise WireError(f"content-encoding {name[:40]!r} is not known; known are gzip, deflate, br, zstd, identity")
    # Encodings are listed in the order they were applied (RFC 9110 8.4), so they come off in the reverse.
    return _Chain([_Sniffing(_NAMES[name], max_output) for name in reversed(names)])
