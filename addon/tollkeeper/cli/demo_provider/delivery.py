"""From an answer to the bytes of a body: compression, line ends, splitting, and where it is cut."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import zstandard

from .answer import Answer
from .script import Cut, Script

type Encoder = Callable[[bytes, bool], bytes]
"""Takes a piece and whether it is the last; gives bytes that decode up to there at once."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a body that are written together. ``content`` says that they carry one more piece of the answer."""

    data: bytes
    content: bool = False


def plan(answer: Answer, script: Script) -> tuple[list[Piece], bool]:
    """The pieces to write, and whether they are the whole body (False: drop the connection after them)."""
    pieces = [
        *(Piece(data) for data in answer.opening),
        *(Piece(data, content=True) for data in answer.content),
        *(Piece(data) for data in answer.usage),
        *(Piece(data) for data in answer.ending),
    ]
    pieces, whole = _cut(pieces, answer, script.cut)
    if script.crlf and answer.content_type.startswith("text/event-stream"):
        pieces = [Piece(piece.data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), piece.content) for piece in pieces]
    if script.encoding:
        encode = _encoder(script.encoding)
        last = len(pieces) - 1
        pieces = [Piece(encode(piece.data, whole and at == last), piece.content) for at, piece in enumerate(pieces)]
    if script.split:
        body = b"".join(piece.data for piece in pieces)
        pieces = [Piece(body[at : at + script.split], content=True) for at in range(0, len(body), script.split)]
    elif script.at_once:
        pieces = [Piece(b"".join(piece.data for piece in pieces), content=True)]
    return pieces, whole


def _cut(pieces: list[Piece], answer: Answer, cut: Cut) -> tuple[list[Piece], bool]:
    opening, content = len(answer.opening), len(answer.content)
    match cut:
        case Cut.NEVER | Cut.BEFORE_HEADERS:
            return pieces, True
        case Cut.AFTER_HEADERS:
            return [], False
        case Cut.MID_EVENT:
            middle = opening + content // 2
            torn = pieces[middle].data
            return [*pieces[:middle], Piece(torn[: len(torn) // 2])], False
        case Cut.BEFORE_USAGE:
            return pieces[: opening + content], False
        case Cut.AFTER_USAGE:
            return pieces[: opening + content + len(answer.usage)], False


def _encoder(name: str) -> Encoder:
    if name in {"gzip", "deflate"}:
        zipper = zlib.compressobj(wbits=31 if name == "gzip" else 15)
        return lambda data, last: zipper.compress(data) + zipper.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    if name == "br":
        brother = brotli.Compressor(quality=4)
        return lambda data, last: brother.process(data) + (brother.finish() if last else brother.flush())
    if name == "zstd":
        standard = zstandard.ZstdCompressor().compressobj()
        ends = {True: zstandard.COMPRESSOBJ_FLUSH_FINISH, False: zstandard.COMPRESSOBJ_FLUSH_BLOCK}
        return lambda data, last: standard.compress(data) + standard.flush(ends[last])
    raise ValueError(f"x-fake-encoding is {name}; known: gzip, deflate, br, zstd")
