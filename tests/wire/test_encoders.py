"""A changed body leaves under the encoding it came with."""

import gzip
import json
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import WireError
from tollkeeper.wire.framing.decoders import decoder_for
from tollkeeper.wire.framing.encoders import encode_body
from tollkeeper.wire.request import decode_body, set_model
from tollkeeper.wire.routes import endpoint_for

NAMES = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
BODY = json.dumps({"model": "gpt-5", "input": "hello " * 200}).encode()


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@given(body=st.binary(max_size=400), names=st.lists(st.sampled_from(NAMES), max_size=4))
def test_what_is_put_on_comes_off_again(body: bytes, names: list[str]) -> None:
    body = b'{"a":' + body  # what the decoders would take for another encoding is no request
    assert decode_body(encode_body(body, ", ".join(names)), ", ".join(names)) == body


@pytest.mark.parametrize("name", NAMES[:-1])
def test_every_split_of_an_encoded_body_gives_it_back(name: str) -> None:
    packed = encode_body(BODY, name)
    for position in range(len(packed)):
        decoder = decoder_for(name)
        assert decoder is not None
        assert decoder.feed(packed[:position]) + decoder.feed(packed[position:]) + decoder.close() == BODY


@pytest.mark.parametrize(
    ("name", "unpack"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("br", brotli.decompress),
        ("zstd", lambda packed: zstandard.ZstdDecompressor().decompress(packed)),
    ],
)
def test_other_peoples_decoders_read_it(name: str, unpack: object) -> None:
    assert unpack(encode_body(BODY, name)) == BODY  # type: ignore[operator]


def test_a_header_above_a_plain_body_stays_above_a_plain_body() -> None:
    for name in ("gzip", "zstd", "br", "deflate"):
        assert encode_body(BODY, name, original=BODY) == BODY


def test_raw_deflate_stays_raw() -> None:
    packed = encode_body(BODY, "deflate", original=raw_deflate(b"before"))
    assert zlib.decompress(packed, wbits=-15) == BODY
    assert zlib.decompress(encode_body(BODY, "deflate", original=zlib.compress(b"before"))) == BODY


def test_codexs_zstd_request_keeps_its_encoding_through_a_rewrite() -> None:
    endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
    came = zstandard.ZstdCompressor().compress(BODY)
    _, changed = set_model(endpoint, endpoint.path, decode_body(came, "zstd"), "gpt-5-mini")
    sent = encode_body(changed, "zstd", original=came)
    assert sent.startswith(b"\x28\xb5\x2f\xfd")
    assert json.loads(decode_body(sent, "zstd"))["model"] == "gpt-5-mini"


def test_unknown_and_endless_encodings_are_refused() -> None:
    with pytest.raises(WireError, match="compress"):
        encode_body(BODY, "compress")
    with pytest.raises(WireError, match="5 content-encodings"):
        encode_body(BODY, "gzip, gzip, gzip, gzip, gzip")
