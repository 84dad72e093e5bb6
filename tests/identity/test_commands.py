"""login, whoami and logout as people type them, and what doctor says of identity."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from identity.certified import Certified
from identity.issuers import AUD, jwks, key, parsed, person, subject
from tollkeeper.cli import login, logout, whoami
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.gate.health import State
from tollkeeper.identity.answers import IdentityError
from tollkeeper.identity.config import NOBODY
from tollkeeper.identity.health import identity_checks
from tollkeeper.identity.here import job_audience
from tollkeeper.identity.local import LoginNote
from tollkeeper.identity.token_store import Session

ADDON = Path(__file__).resolve().parents[2] / "addon"
CI = ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "TOLLKEEPER_ID_TOKEN", "TOLLKEEPER_TOKEN_FILE")


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CI:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


def home() -> Path:
    folder = Path(os.environ["TOLLKEEPER_HOME"])
    folder.mkdir(exist_ok=True)
    return folder


def write(provider: Certified) -> Path:
    text = (
        f'[issuer.idp]\nkind = "oidc"\nissuer = "{provider.issuer}"\nclient_id = "cli"\nsubject = "{{email}}"\n'
        'scopes = ["openid", "email", "offline_access"]\n'
    )
    (home() / "identity.toml").write_text(text)
    return home()


def log_in(tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """The command as a process, with a browser that logs ada in."""
    visitor = tmp_path / "browser.py"
    visitor.write_text("import sys\nfrom identity.certified import Browser\nBrowser().log_in(sys.argv[1], 'ada')\n")
    environment = {**os.environ, "PYTHONPATH": f"{ADDON}:{ADDON.parent / 'tests'}", "BROWSER": f"{sys.executable} {visitor} %s"}
    script = "from tollkeeper.cli.login import command; command()"
    return subprocess.run(
        [sys.executable, "-c", script, "--browser"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_a_person_logs_in_is_known_and_logs_out(provider: Certified, tmp_path: Path) -> None:
    folder = write(provider)
    done = log_in(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ada@example.com (verified by http://127.0.0.1" in done.stderr
    assert "renewed by itself every 14 min" in done.stderr or "renewed by itself every 15 min" in done.stderr
    assert "readable by you only" in done.stderr
    found = LoginNote(folder / "identity" / "login.json").current(time.time())
    assert found is not None
    assert (found.subject, found.assurance) == ("ada@example.com", Assurance.LOCAL_LOGIN)
    shown = json.loads(run(whoami.command, "--json").output)
    assert (shown["source"], shown["subject"], shown["assurance"]) == ("session", "ada@example.com", "verified")
    assert [check.state for check in identity_checks(folder, {})] == [State.OK] * 4
    assert "logged out of idp" in run(logout.command).output
    assert json.loads(run(whoami.command, "--json").output)["source"] == "machine"
    assert "nobody was logged in" in run(logout.command, "idp").output
    assert LoginNote(folder / "identity" / "login.json").current(time.time()) is None
    warned = [check for check in identity_checks(folder, {}) if check.state is State.WARNING]
    assert [check.remedy for check in warned] == ["tollkeeper login idp"]


def test_without_an_issuer_whoami_names_this_machines_login() -> None:
    shown = run(whoami.command)
    assert shown.exit_code == 0
    assert "(local-login by local)" in shown.output
    assert "nothing proves it" in shown.output
    assert [check.state for check in identity_checks(home(), {})] == [State.OK]


@pytest.mark.parametrize("verb", [whoami.command, logout.command])
def test_the_state_folder_that_a_question_makes_is_private(verb: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the umask: the ledger of later will stand in it."""
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path / "new"))
    before = os.umask(0o022)
    try:
        assert run(verb).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_whoami_names_whom_a_call_without_a_proof_is_booked_to() -> None:
    """Whoever logged in last, for as long as that holds, also where the session itself cannot be read from here."""
    ada = Principal(subject="ada", issuer="https://idp.example", assurance=Assurance.VERIFIED, groups=frozenset({"ml"}))
    LoginNote(home() / "identity" / "login.json").write(ada, int(time.time()) + 3_600)
    shown = json.loads(run(whoami.command, "--json").output)
    assert (shown["subject"], shown["issuer"], shown["assurance"], shown["groups"]) == (
        "ada", "https://idp.example", "local-login", ["ml"],
    )  # fmt: skip


def test_a_log_in_without_a_place_to_log_in_says_what_to_write() -> None:
    with pytest.raises(IdentityError, match=r"docs/identity\.md"):
        CliRunner().invoke(login.command, [], catch_exceptions=False)
    row = 'kind = "oidc"\nissuer = "https://a.example"\nclient_id = "x"\n'
    (home() / "identity.toml").write_text(f"[issuer.a]\n{row}[issuer.b]\n{row}")
    with pytest.raises(IdentityError, match="say one of: a, b"):
        CliRunner().invoke(login.command, [], catch_exceptions=False)
    with pytest.raises(IdentityError, match='no issuer "c"'):
        CliRunner().invoke(login.command, ["c"], catch_exceptions=False)


@contextmanager
def issuer_with(body: bytes, clock_off_s: float = 0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + clock_off_s)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_job_is_known_by_its_token_and_a_bad_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with issuer_with(jwks(key("one"))) as url:
        (home() / "identity.toml").write_text(
            f'[issuer.ci]\nkind = "oidc"\nissuer = "{url}"\naudience = "tollkeeper"\njwks_url = "{url}/keys"\ngroups = "groups"\n'
        )
        now = int(time.time())
        monkeypatch.setenv("TOLLKEEPER_ID_TOKEN", key("one").sign(subject(iss=url, sub="job", iat=now, exp=now + 60)))
        shown = json.loads(run(whoami.command, "--json").output)
        assert (shown["source"], shown["subject"]) == ("job", "job")
        checks = identity_checks(home(), os.environ)
        assert [check.state for check in checks] == [State.OK, State.OK, State.OK, State.WARNING]
        assert "budgets by group will not see" in checks[-1].detail
        monkeypatch.setenv("TOLLKEEPER_ID_TOKEN", key("one").sign(subject(iss=url, iat=now, exp=now + 60, aud="other")))
        told = run(whoami.command)
        assert told.exit_code == 4
        assert "another audience" in told.output
        assert identity_checks(home(), os.environ)[-1].state is State.FAILED


def test_a_job_asks_for_the_audience_of_its_own_platform() -> None:
    config = parsed(
        '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "people"\n'
        '[issuer.g]\nkind = "github-actions"\nowner_id = "1"\naudience = "jobs"\n'
    )
    assert job_audience(config, {"GITHUB_ACTIONS": "true"}) == "jobs"
    assert job_audience(config, {}) == "people"
    assert job_audience(NOBODY, {}) == "tollkeeper"


def test_doctor_tells_of_a_wrong_document_and_of_keys_out_of_reach() -> None:
    (home() / "identity.toml").write_text("a = 1\n")
    assert identity_checks(home(), {})[0].state is State.FAILED
    (home() / "identity.toml").write_text(
        '[issuer.ci]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\njwks_url = "http://127.0.0.1:1/keys"\n'
    )
    failed = identity_checks(home(), {})[-1]
    assert failed.state is State.FAILED
    assert "ci: the keys of ci cannot be fetched: 127.0.0.1 cannot be reached" in failed.detail


def test_a_person_logs_in_at_access_through_cloudflared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, folder = int(time.time()), tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.defpath}")
    with issuer_with(jwks(key("one"))) as url:
        (home() / "identity.toml").write_text(
            f'[issuer.access]\nkind = "cloudflare-access"\nteam = "acme"\naudience = "{AUD}"\njwks_url = "{url}/keys"\n'
            'app_url = "https://ai.example.com"\ngroups = "custom.groups"\n'
        )
        missing = CliRunner().invoke(login.command, ["access"])
        assert isinstance(missing.exception, IdentityError)
        assert "not installed" in str(missing.exception)
        token = key("one").sign(person(iat=now - 5, nbf=now - 5, exp=now + 600, custom={"groups": ["research"]}))
        command = folder / "cloudflared"
        command.write_text(
            f'#!/bin/sh\ncase "$1 $2 $3" in\n"access login "*) touch {folder}/in;;\n'
            f'"access token -app=https://ai.example.com") test -e {folder}/in && echo {token};;\nesac\n'
        )
        command.chmod(0o755)
        done = CliRunner().invoke(login.command, ["access"], catch_exceptions=False)
        assert "ada@example.com (verified by https://acme.cloudflareaccess.com), groups: research" in done.output
        assert "min; log in again soon: tollkeeper login" in done.output
        shown = json.loads(run(whoami.command, "--json").output)
        assert (shown["subject"], shown["groups"], shown["assurance"]) == ("ada@example.com", ["research"], "verified")
        assert token not in run(whoami.command).output
        assert "logged out of access" in run(logout.command).output


def test_doctor_tells_a_clock_that_is_wrong_from_a_token_that_is() -> None:
    for off_s, state, said in (
        (0, State.OK, "agrees"),
        (-3600, State.FAILED, "ahead of"),
        (3600, State.FAILED, "behind that of ci"),
    ):
        with issuer_with(jwks(key("one")), off_s) as url:
            row = f'[issuer.ci]\nkind = "oidc"\nissuer = "{url}"\naudience = "x"\njwks_url = "{url}/keys"\n'
            (home() / "identity.toml").write_text(row)
            found = identity_checks(home(), {})[-1]
        assert (found.state, said in found.detail) == (state, True), found
        assert (found.remedy is None) == (off_s == 0)


def test_a_session_that_is_about_to_end_is_told_so() -> None:
    def told(left_s: int, refresh_token: str = "") -> str:
        session = Session(
            issuer="a", subject="ada", token="t", refresh_token=refresh_token, expires_at=1_000 + left_s, logged_in_at=0
        )
        return login.lasting(session, 1_000)

    assert told(600) == "ends in 10 min; log in again soon: tollkeeper login"
    assert told(7_500) == "ends in 2 h 5 min"
    assert told(600, "r") == "renewed by itself every 10 min, until the issuer ends the session"


def test_a_note_of_a_login_ends_and_is_not_taken_from_others(tmp_path: Path) -> None:
    path = tmp_path / "identity" / "login.json"
    note = LoginNote(path)
    assert note.current(0) is None
    note.write(Principal(subject="ada", issuer="https://a.example", groups=frozenset({"x"})), 100)
    found = LoginNote(path).current(99)
    assert found is not None
    assert (found.subject, found.channel, found.groups) == ("ada", "login", {"x"})
    assert note.current(100) is None
    path.chmod(0o644)
    assert LoginNote(path).current(0) is None
    path.chmod(0o600)
    path.write_text("{")
    assert LoginNote(path).current(0) is None


def test_help_of_the_commands_needs_no_mitmproxy() -> None:
    script = (
        "import sys\nfrom tollkeeper.cli import login, logout, whoami\n"
        "print(sorted(set(sys.modules) & {'mitmproxy', 'tiktoken', 'sqlite_utils', 'genai_prices'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ADDON)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
