"""Handles: what a proxy password stands for, for how long, and for whom."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from identity.issuers import NOW_S, FakeClock
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.handles import HandleBook, mint

ADA = Principal(
    subject="ada@example.com", issuer="https://a.example", channel="login", assurance=Assurance.VERIFIED, groups=frozenset({"x"})
)
UID = os.getuid()


def book(tmp_path: Path, clock: FakeClock | None = None) -> HandleBook:
    return HandleBook(tmp_path / "identity" / "handles.json", clock or FakeClock())


def test_a_running_proxy_learns_of_a_handle_that_another_process_wrote(tmp_path: Path) -> None:
    proxy, command = book(tmp_path), book(tmp_path)
    assert isinstance(proxy.prove("x", "y"), Refused)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    command.add(handle)
    found = proxy.prove(login.user, login.password, UID)
    assert isinstance(found, Proof)
    assert (found.principal.subject, found.principal.assurance) == ("ada@example.com", Assurance.VERIFIED)
    assert (found.principal.channel, found.principal.groups) == ("handle", {"x"})
    assert found.expires_at == NOW_S + 60


def test_only_a_digest_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    book(tmp_path).add(handle)
    file = tmp_path / "identity" / "handles.json"
    assert login.password not in file.read_text()
    assert login.password not in f"{login!r}{handle!r}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["password", "user", "empty", "long", "surrogate"])
def test_a_wrong_password_is_refused(tmp_path: Path, change: str) -> None:
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own = book(tmp_path)
    own.add(handle)
    user = "run-00000000" if change == "user" else login.user
    other = "y" if login.password.startswith("x") else "x"
    given = {"password": other + login.password[1:], "empty": "", "long": login.password * 99, "surrogate": "\ud800"}
    found = own.prove(user, given.get(change, login.password))
    assert isinstance(found, Refused)
    assert found.why is Why.HANDLE
    assert "tollkeeper run" in found.remedy


def test_a_handle_ends(tmp_path: Path) -> None:
    clock = FakeClock()
    own = book(tmp_path, clock)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.add(handle)
    clock.now_s += 60
    found = own.prove(login.user, login.password)
    assert isinstance(found, Refused)
    assert found.why is Why.EXPIRED
    assert own.listed() == ()


def test_another_user_of_the_machine_cannot_use_it(tmp_path: Path) -> None:
    own = book(tmp_path)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.hold(handle)
    assert isinstance(own.prove(login.user, login.password, UID), Proof)
    assert isinstance(own.prove(login.user, login.password, None), Proof)
    found = own.prove(login.user, login.password, UID + 1)
    assert isinstance(found, Refused)
    assert "another user" in found.reason


def test_a_job_keeps_its_handle_in_memory_only(tmp_path: Path) -> None:
    own = HandleBook(None, FakeClock())
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.hold(handle)
    assert isinstance(own.prove(login.user, login.password), Proof)
    assert list(tmp_path.iterdir()) == []


def test_a_log_out_takes_the_handles_along(tmp_path: Path) -> None:
    own = book(tmp_path)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.add(handle)
    assert own.remove(lambda one: one.principal.subject != "ada@example.com") == 1
    assert isinstance(own.prove(login.user, login.password), Refused)


def test_many_commands_at_once_lose_no_handle(tmp_path: Path) -> None:
    made = [mint(ADA, uid=UID, expires_at=NOW_S + 60) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: book(tmp_path).add(one[1]), made))
    own = book(tmp_path)
    assert all(isinstance(own.prove(login.user, login.password), Proof) for login, _ in made)


@pytest.mark.parametrize("damage", ["{", '{"handles":[{}]}', '{"handles":3}', "[]", ""])
def test_a_damaged_file_makes_nobody_known(tmp_path: Path, damage: str) -> None:
    own = book(tmp_path)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.add(handle)
    file = tmp_path / "identity" / "handles.json"
    file.write_text(damage)
    assert isinstance(own.prove(login.user, login.password), Refused)
    own.add(handle)
    assert isinstance(own.prove(login.user, login.password), Proof)


def test_a_file_that_others_can_read_makes_nobody_known(tmp_path: Path) -> None:
    own = book(tmp_path)
    login, handle = mint(ADA, uid=UID, expires_at=NOW_S + 60)
    own.add(handle)
    (tmp_path / "identity" / "handles.json").chmod(0o644)
    assert isinstance(book(tmp_path).prove(login.user, login.password), Refused)


def test_a_password_survives_a_url() -> None:
    from urllib.parse import quote

    login, _ = mint(ADA, uid=UID, expires_at=1, label="strange label!")
    assert quote(login.user, safe="") == login.user
    assert quote(login.password, safe="") == login.password
