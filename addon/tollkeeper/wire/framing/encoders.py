"""Content-encodings put on again: a body that came compressed leaves compressed the same way (RFC 9110 8.4; Codex sends zstd)."""

import zlib

import brotli
import zstandard

from tollkeeper.core.errors import WireError

from .decoders import MAX_ENCODINGS, NO_ENCODING

_GZIP, _ZLIB, _RAW = b"\x1f\x8b", 15, -15
_ZSTD = b"\x28\xb5\x2f\xfd"
_LEVEL = 3
"""Of zlib and zstd: a request waits for this. Levels above save a few percent of bytes and cost twice the time and more."""

_BROTLI_QUALITY = 4


def encode_body(body: bytes, encodings: str, original: bytes = b"") -> bytes:
    """``body`` under a ``content-encoding`` header's encodings, in the order they are listed.

    ``original`` is the body as it came: where its bytes show that the header stood above a plain body, or that ``deflate`` was the raw
    form, the new one is made alike. Raises ``WireError`` for a name that is not known.
    """
    names = [name for part in encodings.lower().split(",") if (name := part.strip()) and name not in NO_ENCODING]
    if len(names) > MAX_ENCODINGS:
        raise WireError(f"{len(names)} content-encodings on one body; at most {MAX_ENCODINGS} are put on")
    if original and names and _was_plain(names[-1], original):
        return body
    for name in names:
        body = _encoded(name, body, original)
    return body


def _encoded(name: str, body: bytes, original: bytes) -> bytes:
    if name in {"gzip", "x-gzip"}:
        return _deflated(body, 31)
    if name == "deflate":
        return _deflated(body, _RAW if original and not _is_zlib(original) else _ZLIB)
    if name == "br":
        packed: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
        return packed
    if name == "zstd":
        # One frame with its content size: what the HTTP rule asks of senders is a window of 8 MiB at most (RFC 9659), level 3 has 2.
        return zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    raise WireError(f"content-encoding {name[:40]!r} is not known, so the changed body cannot be sent under it")


def _deflated(body: bytes, window_bits: int) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, window_bits)
    return packer.compress(body) + packer.flush()


def _was_plain(outermost: str, original: bytes) -> bool:
    if outermost in {"gzip", "x-gzip"}:
        return not original.startswith(_GZIP)
    if outermost == "zstd":
        return not original.startswith(_ZSTD)
    return original.lstrip()[:2] in {b'{"', b"[{"}


def _is_zlib(original: bytes) -> bool:
    """The two-byte header of RFC 1950 2.2."""
    return len(original) > 1 and original[0] & 0x0F == 8 and (original[0] << 8 | original[1]) % 31 == 0
