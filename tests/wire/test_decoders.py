"""Decoders: the same bytes whatever the split, and no bombs."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from tollkeeper.core.errors import WireError
from tollkeeper.wire.framing.decoders import decoder_for
from wire.samples import CHAT_STREAM


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


PLAIN = CHAT_STREAM
HALF = len(PLAIN) // 2
ENCODED = {
    "gzip": gzip.compress(PLAIN),
    "gzip members": gzip.compress(PLAIN[:HALF]) + gzip.compress(PLAIN[HALF:]),
    "deflate": zlib.compress(PLAIN),
    "deflate raw": raw_deflate(PLAIN),
    "br": brotli.compress(PLAIN),
    "zstd": zstandard.compress(PLAIN),
    "zstd frames": zstandard.compress(PLAIN[:HALF]) + zstandard.compress(PLAIN[HALF:]),
    "gzip, br": brotli.compress(gzip.compress(PLAIN)),
    "identity, gzip": gzip.compress(PLAIN),
}


def unpack(encodings: str, pieces: list[bytes]) -> bytes:
    decoder = decoder_for(encodings)
    assert decoder is not None
    return b"".join(decoder.feed(piece) for piece in pieces) + decoder.close()


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding_gives_the_plain_bytes_cut_at_any_byte(name: str) -> None:
    encodings, packed = name.removesuffix(" members").removesuffix(" frames").removesuffix(" raw"), ENCODED[name]
    for at in range(len(packed) + 1):
        assert unpack(encodings, [packed[:at], packed[at:]]) == PLAIN
    assert unpack(encodings, [packed[at : at + 1] for at in range(len(packed))]) == PLAIN


@pytest.mark.parametrize("encodings", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize(
    "plain", [PLAIN, b'{"id": 1}', b'[{"candidates": []}]', b"  \n", b": ping\n\n", b"{", b"event: x\ndata: {}\n\n"]
)
def test_a_header_above_plain_bytes_is_not_believed(encodings: str, plain: bytes) -> None:
    assert unpack(encodings, [plain[at : at + 1] for at in range(len(plain))]) == plain


def test_no_encoding_needs_no_decoder() -> None:
    assert decoder_for("") is None
    assert decoder_for(" identity ") is None


@pytest.mark.parametrize("length", [97, 101, 609, 613, 1121])
def test_a_brotli_body_whose_first_bytes_are_those_of_an_event_is_unpacked(length: int) -> None:
    plain = b'{"id":"a","text":"' + bytes(97 + (at * at * 7 + length) % 26 for at in range(length)) + b'"}'
    packed = brotli.compress(plain, quality=1)
    assert packed[:2] in {b"\x0b:", b"\x0b<"}  # white space and a comment, or mark-up, to whoever looks no further
    assert unpack("br", [packed]) == unpack("br", [packed[at : at + 1] for at in range(len(packed))]) == plain


@pytest.mark.parametrize("encodings", ["utf-8", "UTF-8", "none", "aws-chunked", "identity, none"])
def test_words_that_name_no_encoding_leave_the_body_as_it_is(encodings: str) -> None:
    assert decoder_for(encodings) is None


@pytest.mark.parametrize("encodings", ["compress", "gzip, snappy", "gzip,gzip,gzip,gzip,gzip"])
def test_unknown_or_too_many_encodings_are_refused(encodings: str) -> None:
    with pytest.raises(WireError):
        decoder_for(encodings)


@pytest.mark.parametrize(
    ("encodings", "packed"),
    [
        ("zstd", zstandard.compress(bytes(60_000_000))),
        ("br", brotli.compress(bytes(60_000_000), quality=5)),
        ("gzip", gzip.compress(bytes(60_000_000), 6)),
    ],
)
def test_a_bomb_is_refused_before_it_has_unpacked(encodings: str, packed: bytes) -> None:
    decoder = decoder_for(encodings, max_output=16_000_000)
    assert decoder is not None
    with pytest.raises(WireError, match="bomb"):
        decoder.feed(packed)


@pytest.mark.parametrize("name", ["gzip", "zstd", "br", "deflate"])
def test_damage_is_a_wire_error_and_truncation_is_none(name: str) -> None:
    packed = ENCODED[name]
    assert PLAIN.startswith(unpack(name, [packed[: len(packed) // 2]]))
    damaged = packed[:12] + bytes(byte ^ 0xA5 for byte in packed[12:])
    with pytest.raises(WireError):
        unpack(name, [damaged + packed])
