"""A set of keys is read within limits: what could verify a token by mistake is left out."""

import json
from typing import Any

import pytest

from identity.issuers import SigningKey, jwks, key
from tollkeeper.identity.keys import MAX_KEYS, KeysError, read_keys

ALLOWED = ("RS256", "ES256", "EdDSA", "ES384")


def keys_of(*entries: object) -> dict[str, Any]:
    return read_keys(json.dumps({"keys": list(entries)}).encode(), ALLOWED)


def test_keys_are_found_by_name_with_the_algorithms_of_their_type() -> None:
    found = keys_of(key("r").jwk(), key("e", "ES256").jwk(), key("d", "EdDSA").jwk(), key("p", "ES384").jwk(alg=None))
    assert {kid: found[kid].algorithms for kid in found} == {
        "r": ("RS256",), "e": ("ES256",), "d": ("EdDSA",), "p": ("ES384",),
    }  # fmt: skip


GOOD = key("good").jwk()
LEFT_OUT: dict[str, object] = {
    "for encryption": key("x").jwk(use="enc"),
    "without a name": {k: v for k, v in key("x").jwk().items() if k != "kid"},
    "a name that is a number": key("x").jwk(kid=7),
    "a symmetric key": {"kty": "oct", "kid": "x", "alg": "HS256", "k": "AAAA"},
    "a symmetric key that calls itself RS256": {"kty": "oct", "kid": "x", "alg": "RS256", "k": "AAAA"},
    "a private key": key("x").jwk(d="AQAB"),
    "another algorithm": key("x").jwk(alg="RS512"),
    "an unknown curve": key("x", "ES256").jwk(crv="secp256k1"),
    "a curve as a list": key("x", "ES256").jwk(crv=["P-256"]),
    "a short key": key("x", bits=1024).jwk(),
    "a slow key": key("x").jwk(e="_" * 400),
    "damaged numbers": key("x").jwk(n="!!"),
    "operations that do not verify": key("x").jwk(key_ops=["sign"]),
    "a text": "x",
    "nothing": None,
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_key_that_must_not_verify_is_left_out(name: str) -> None:
    assert set(keys_of(GOOD, LEFT_OUT[name])) == {"good"}


def test_a_name_that_stands_for_two_keys_stands_for_none() -> None:
    other = SigningKey("good", "RS256", key("other").private)
    assert set(keys_of(GOOD, other.jwk(), key("third").jwk())) == {"third"}


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"<html>", b"\xff\xfe", b'{"keys":[1]}', b"[" * 30_000],
)
def test_what_is_no_set_of_keys_is_an_error(raw: bytes) -> None:
    with pytest.raises(KeysError):
        read_keys(raw, ALLOWED)


def test_a_set_has_a_largest_size() -> None:
    with pytest.raises(KeysError, match="most"):
        keys_of(*[GOOD] * (MAX_KEYS + 1))
    assert read_keys(jwks(key("good")), ALLOWED)
