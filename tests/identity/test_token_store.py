"""Sessions between commands: private, whole or not there, in the system's keyring where there is one."""

import os
import stat
import types
from dataclasses import replace
from pathlib import Path

import keyring.core
import pytest

from tollkeeper.identity import token_store
from tollkeeper.identity.answers import IdentityError
from tollkeeper.identity.token_store import FileStore, KeyringStore, Session, open_store

SESSION = Session(issuer="okta", subject="ada", token="a.b.c", refresh_token="r", expires_at=5, logged_in_at=1)


def test_a_session_is_kept_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "sessions")
    store.save(SESSION)
    assert store.load("okta") == SESSION
    assert stat.S_IMODE((tmp_path / "sessions" / "okta.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sessions").stat().st_mode) == 0o700
    assert "readable by you only" in store.notice
    store.save(replace(SESSION, token="d.e.f"))
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["okta.json"]
    assert store.delete("okta")
    assert not store.delete("okta")
    assert store.load("okta") is None


def test_a_session_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save(SESSION)
    (tmp_path / "okta.json").chmod(0o640)
    with pytest.raises(IdentityError, match="others can read"):
        store.load("okta")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"issuer": 1}', SESSION.to_json().replace("5", '"5"'), "[" * 60_000, "x" * 99_999]
)
def test_a_damaged_session_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "okta.json").write_text(text)
    (tmp_path / "okta.json").chmod(0o600)
    assert FileStore(tmp_path).load("okta") is None


def test_a_row_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.\./x"):
        FileStore(tmp_path).load("../x")


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="cannot be kept"):
        FileStore(tmp_path / "file").save(SESSION)


class Ring:
    """A keyring, by the two words that the library has for it."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, name: str) -> str | None:
        if self.locked:
            raise RuntimeError("locked")
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        self.kept[service, name] = text

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


def test_a_keyring_keeps_sessions_without_a_notice() -> None:
    ring = Ring()
    store = KeyringStore(ring)
    store.save(SESSION)
    assert store.load("okta") == SESSION
    assert store.notice == ""
    ring.locked = True
    with pytest.raises(IdentityError, match="unlock it"):
        store.load("okta")
    ring.locked = False
    assert store.delete("okta")
    assert ring.kept == {}


class SystemRing(Ring):
    """A backend that says it is one of the library's own."""


@pytest.mark.parametrize("place", ["keyring.backends.SecretService", "keyring.backends.macOS", "keyrings.alt.file"])
@pytest.mark.parametrize("chained", [False, True])
def test_a_system_keyring_is_used_through_its_library_and_a_plain_file_in_its_clothes_is_not(
    place: str, chained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = SystemRing()
    monkeypatch.setattr(SystemRing, "__module__", place)
    chain = types.SimpleNamespace(backends=[backend])
    monkeypatch.setattr(keyring.core, "_keyring_backend", chain if chained else backend)
    store = open_store(tmp_path)
    store.save(SESSION)
    is_system = not place.startswith("keyrings.alt")
    assert isinstance(store, KeyringStore if is_system else FileStore)
    assert bool(backend.kept) is is_system
    assert open_store(tmp_path).load("okta") == SESSION
    assert (store.notice == "") is is_system
    assert store.delete("okta")
    assert open_store(tmp_path).load("okta") is None
    assert not backend.kept
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_system_keyring_the_tokens_are_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "_KEYRINGS", ())
    assert isinstance(open_store(tmp_path), FileStore)


def test_a_link_in_the_place_of_a_file_is_not_followed_when_writing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / f".okta.json.{os.getpid()}").symlink_to(victim)
    with pytest.raises(IdentityError):
        FileStore(folder).save(SESSION)
    assert victim.read_text() == "precious"
