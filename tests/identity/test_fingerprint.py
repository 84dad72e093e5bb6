"""Fingerprints of provider keys: the same key is the same here, nobody can guess it, rotating tokens have none."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.principal import Assurance
from tollkeeper.identity.fingerprint import by_key, fingerprint, local_salt, provider_key

SALT = b"s" * 32


@given(st.text(min_size=1), st.text(min_size=1))
def test_equal_keys_and_only_they_have_equal_fingerprints(one: str, other: str) -> None:
    same = one.encode("utf-8", "replace") == other.encode("utf-8", "replace")
    assert (fingerprint(SALT, one) == fingerprint(SALT, other)) is same
    assert fingerprint(SALT, one) != fingerprint(b"t" * 32, one)


@pytest.mark.parametrize(
    "headers",
    [[("x-api-key", "sk-ant-api03-abc")], [("Authorization", "Bearer sk-ant-api03-abc")], [("x-goog-api-key", "sk-ant-api03-abc")],
     [("X-API-KEY", "sk-ant-api03-abc"), ("authorization", "bearer sk-ant-api03-abc")]],
)  # fmt: skip
def test_a_key_is_found_where_providers_want_it(headers: list[tuple[str, str]]) -> None:
    assert provider_key(headers) == "sk-ant-api03-abc"


@pytest.mark.parametrize(
    "headers",
    [[], [("authorization", "Basic abcdefgh")], [("authorization", "Bearer eyJhbGciOi.eyJ.x")], [("x-api-key", "short")],
     [("authorization", "Bearer sk-ant-oat01-xyz")], [("x-api-key", "one-key-1"), ("x-api-key", "other-key")]],
)  # fmt: skip
def test_what_rotates_is_unclear_or_is_no_key_names_nobody(headers: list[tuple[str, str]]) -> None:
    assert by_key(SALT, headers) is None


def test_the_holder_of_a_key_is_only_claimed() -> None:
    found = by_key(SALT, [("x-api-key", "sk-secret-secret")])
    assert found is not None
    assert found.assurance is Assurance.CLAIMED
    assert found.subject.startswith("key:")
    assert "sk-secret" not in repr(found)


def test_the_salt_is_made_once_even_by_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "identity" / "salt"
    with ThreadPoolExecutor(8) as pool:
        salts = set(pool.map(lambda _: local_salt(path), range(32)))
    assert len(salts) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["salt"]


def test_a_salt_that_is_none_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"short")
    assert len(local_salt(tmp_path / "salt")) == 32
