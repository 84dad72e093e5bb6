"""gRPC's framing: length-prefixed messages in any split in, each whole message out, decompressed.

Reference: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. A prefix begins with 0 or 1, which no protobuf message can: what begins
otherwise is one bare message, as recorders of gRPC keep them.
"""

import zlib

from tollkeeper.core.errors import WireError

from . import MAX_ELEMENT_BYTES
from .decoders import decoder_for

PREFIX_BYTES = 5
_GZIP_OR_ZLIB = 47


class GrpcReader:
    """Cuts a byte stream into messages; one over ``limit`` bytes, or packed in a way that is not known, is skipped and counted.

    ``encoding`` is the header ``grpc-encoding``: it holds for those messages whose prefix says that they are compressed.
    """

    __slots__ = ("_bare", "_begun", "_buffer", "_encoding", "_limit", "_skip", "skipped")

    def __init__(self, encoding: str = "", limit: int = MAX_ELEMENT_BYTES) -> None:
        self._encoding = encoding
        self._limit = limit
        self._buffer = bytearray()
        self._skip = 0
        self._begun = False
        self._bare = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes. Raises ``WireError`` for a prefix that is none."""
        found: list[bytes] = []
        buffer = self._buffer
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        buffer += data
        if self._bare:
            self._check_size()
            return found
        while len(buffer) >= PREFIX_BYTES:
            if buffer[0] > 1:
                if self._begun:
                    raise WireError(f"a gRPC message begins with {buffer[0]}, where only 0 and 1 can stand")
                self._bare = True
                self._check_size()
                return found
            self._begun = True
            size = int.from_bytes(buffer[1:PREFIX_BYTES])
            if size > self._limit:
                self.skipped += 1
                self._skip = max(0, size - (len(buffer) - PREFIX_BYTES))
                del buffer[: PREFIX_BYTES + size]
                continue
            if len(buffer) < PREFIX_BYTES + size:
                break
            message = bytes(buffer[PREFIX_BYTES : PREFIX_BYTES + size])
            packed = buffer[0] == 1
            del buffer[: PREFIX_BYTES + size]
            if not packed:
                found.append(message)
            elif (plain := self._unpack(message)) is not None:
                found.append(plain)
        return found

    def close(self) -> list[bytes]:
        """A bare message, which ends where the body does; a message that was cut is none."""
        bare = bool(self._buffer) and not self._begun and self._buffer[0] > 1
        found = [bytes(self._buffer)] if bare else []
        self._buffer.clear()
        return found

    def _check_size(self) -> None:
        if len(self._buffer) > self._limit:
            raise WireError(f"a bare protobuf message of more than {self._limit} bytes")

    def _unpack(self, message: bytes) -> bytes | None:
        try:
            decoder = decoder_for(self._encoding, self._limit)
            if decoder is None:
                raise WireError("a compressed gRPC message without grpc-encoding")
            return decoder.feed(message) + decoder.close()
        except WireError:
            self.skipped += 1
            return None


def unframe(body: bytes, limit: int) -> bytes:
    """The one message of a request, unpacked. Raises ``WireError`` when there is not just one, or it is damaged or over ``limit`` bytes.

    Which packing the headers name is not asked: gzip and zlib, the two that gRPC knows, tell themselves apart.
    """
    if body[:1] > b"\1":
        return body
    message = body[PREFIX_BYTES:]
    if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES]) != len(message):
        raise WireError(f"a gRPC request of {len(body)} bytes does not hold just one whole message")
    if body[0] == 0:
        return message
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpacker.decompress(message, limit + 1)
    except zlib.error as error:
        raise WireError(f"a packed gRPC request of {len(body)} bytes is damaged ({error})") from error
    if not unpacker.eof or unpacker.unused_data or len(plain) > limit:
        raise WireError(f"a packed gRPC request of {len(body)} bytes is damaged, or unpacks to more than {limit} bytes")
    return plain


def frame(message: bytes) -> bytes:
    """A message with its prefix, not compressed."""
    return b"\0" + len(message).to_bytes(4) + message
