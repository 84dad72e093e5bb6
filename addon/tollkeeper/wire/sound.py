"""How long a recording plays, by what its head says: for transcription billed by duration where nobody states it.

Bounded looks at a few kilobytes, no decoding. WAV: RFC 2361 and the RIFF specification; FLAC: RFC 9639, 8.2; MPEG audio: ISO 11172-3,
2.4.2.3 and the Xing/VBRI headers; Ogg: RFC 3533 and RFC 7845; ISO media (m4a, mp4): ISO 14496-12, 8.2.2.
"""

from collections.abc import Callable
from fractions import Fraction

LEAST_BYTES_PER_SECOND = 1_500
"""12 kbit/s, the thinnest speech in use (Opus voice notes are 16 to 24): bounds a recording of unknown form by its size."""

MAX_SECONDS = 7 * 24 * 3600
_LOOK_BYTES = 256 * 1024
_MAX_BOXES = 64

_MP3_RATES = (44_100, 48_000, 32_000)
_V1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

type Bytes = bytes | memoryview


def seconds_of(content: Bytes, size: int | None = None) -> Fraction | None:
    """The length that the recording states, None when it cannot be told. ``size`` is that of the whole where this is its start only.

    Never raises.
    """
    whole = len(content) if size is None else size
    head = bytes(content[:_LOOK_BYTES])
    for read in _READERS:
        try:
            found = read(head, content, whole)
        except (IndexError, ZeroDivisionError, ValueError, OverflowError):
            found = None
        if found is not None:
            return found if 0 < found <= MAX_SECONDS else None
    return None


def most_seconds(size: int) -> int:
    """A bound on the length of a recording of ``size`` bytes whose form is unknown."""
    return min(-(-size // LEAST_BYTES_PER_SECOND), MAX_SECONDS)


def _wav(head: bytes, content: Bytes, size: int) -> Fraction | None:
    if head[:4] not in {b"RIFF", b"RF64"} or head[8:12] != b"WAVE":
        return None
    position, per_second = 12, 0
    while position + 8 <= len(head):
        kind, length = head[position : position + 4], int.from_bytes(head[position + 4 : position + 8], "little")
        if kind == b"fmt ":
            per_second = int.from_bytes(head[position + 16 : position + 20], "little")
        elif kind == b"data":
            return Fraction(min(length, max(0, size - position - 8)), per_second)
        position += 8 + length + (length & 1)
    return None


def _flac(head: bytes, content: Bytes, size: int) -> Fraction | None:
    if head[:4] != b"fLaC":
        return None
    packed = int.from_bytes(head[18:26], "big")
    return Fraction(packed & (2**36 - 1), packed >> 44)


def _ogg(head: bytes, content: Bytes, size: int) -> Fraction | None:
    """The last page's position; both ends must be at hand."""
    if head[:4] != b"OggS" or size != len(content):
        return None
    tail = bytes(content[-65_536:])
    at = tail.rfind(b"OggS")
    samples = int.from_bytes(tail[at + 6 : at + 14], "little", signed=True)
    if (opus := head.find(b"OpusHead", 0, 512)) >= 0:
        return Fraction(samples - int.from_bytes(head[opus + 10 : opus + 12], "little"), 48_000)
    vorbis = head.find(b"\x01vorbis", 0, 512)
    return Fraction(samples, int.from_bytes(head[vorbis + 12 : vorbis + 16], "little")) if vorbis >= 0 else None


def _iso(head: bytes, content: Bytes, size: int) -> Fraction | None:
    """``mvhd`` inside ``moov``, which may stand behind the sound itself."""
    if head[4:8] != b"ftyp":
        return None
    position = 0
    for _ in range(_MAX_BOXES):
        box = bytes(content[position : position + 16])
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:16], "big")
        if box[4:8] == b"moov":
            inside = bytes(content[position : position + 4096])
            at = inside.find(b"mvhd") + 4
            wide = 8 if inside[at] == 1 else 4
            at += 4 + 2 * wide
            scale = int.from_bytes(inside[at : at + 4], "big")
            return Fraction(int.from_bytes(inside[at + 4 : at + 4 + wide], "big"), scale)
        if length < 8 or position + length >= len(content):
            return None
        position += length
    return None


def _mp3(head: bytes, content: Bytes, size: int) -> Fraction | None:
    start = 0
    if head[:3] == b"ID3":
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    frame = bytes(content[start : start + 512])
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # layer III
        return None
    version = frame[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    if version == 1 or frame[2] >> 4 == 15 or frame[2] >> 2 & 3 == 3:
        return None
    rate = _MP3_RATES[frame[2] >> 2 & 3] >> (0 if version == 3 else 1 if version == 2 else 2)
    samples = 1152 if version == 3 else 576
    for mark, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = frame.find(mark)
        if at >= 0 and (mark == b"VBRI" or frame[at + 7] & 1):
            return Fraction(int.from_bytes(frame[at + offset : at + offset + 4], "big") * samples, rate)
    kbps = (_V1_KBPS if version == 3 else _V2_KBPS)[frame[2] >> 4]
    return Fraction(max(0, size - start) * 8, kbps * 1000)


_READERS: tuple[Callable[[bytes, Bytes, int], Fraction | None], ...] = (_wav, _flac, _ogg, _iso, _mp3)
