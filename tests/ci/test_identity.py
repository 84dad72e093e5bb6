"""A job that proves itself with its platform's own token: asked for, verified by the issuer's keys, stored nowhere."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ci.test_flow import GITHUB, Runner, call, runner  # noqa: F401 — a fixture
from e2e.harness import LedgerView
from identity.issuers import SigningKey, jwks, key
from tollkeeper.cli.ci_job import job_of
from tollkeeper.cli.ci_start import job_principal
from tollkeeper.core.errors import SetupError
from tollkeeper.core.principal import Assurance, Principal

ISSUER = "https://token.actions.githubusercontent.com"
SECRET = "runner-secret-c0ffee"
RIGHT, WRONG = key("one"), key("two")
GITLAB = {
    "CI": "true", "GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/app", "CI_PIPELINE_ID": "31", "CI_JOB_NAME": "test",
    "CI_JOB_ID": "9", "CI_COMMIT_REF_NAME": "feature", "CI_SERVER_URL": "https://gitlab.com",
}  # fmt: skip


@dataclass
class Platform:
    """GitHub, as a job sees it: keys for everybody, tokens for whoever knows the job's secret."""

    port: int = 0
    claims: dict[str, Any] = field(default_factory=dict)
    """What is changed in the claims of the tokens it gives."""
    signed_by: SigningKey = RIGHT
    given: list[str] = field(default_factory=list)

    @property
    def document(self) -> str:
        """An identity.toml that believes it, for GitHub and for GitLab."""
        keys = f'audience = "tollkeeper"\njwks_url = "http://127.0.0.1:{self.port}/keys"\n'
        github = f'[issuer.github]\nkind = "github-actions"\nowner_id = "9919"\n{keys}'
        return f'{github}[issuer.gitlab]\nkind = "gitlab"\nnamespace_id = "72"\n{keys}'

    @property
    def variables(self) -> dict[str, str]:
        """What GitHub's runner puts into a job's environment."""
        url = f"http://127.0.0.1:{self.port}/token?api-version=2.0"
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": SECRET}

    def github(self, audience: str) -> str:
        claims = {"iss": ISSUER, "aud": audience, "sub": "repo:acme/app:pull_request", "repository": "acme/app"}
        return self.sign({**claims, "repository_owner_id": "9919", "run_id": "17", "ref": "refs/pull/5/merge", "actor": "eve"})

    def gitlab(self, audience: str = "tollkeeper") -> str:
        claims = {"iss": "https://gitlab.com", "aud": audience, "sub": "project_path:acme/app", "project_path": "acme/app"}
        return self.sign({**claims, "namespace_id": "72", "pipeline_id": "31", "ref": "feature"})

    def sign(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        self.given.append(self.signed_by.sign({"iat": now - 5, "nbf": now - 5, "exp": now + 300, **claims, **self.claims}))
        return self.given[-1]


@pytest.fixture
def platform() -> Iterator[Platform]:
    served = Platform()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/keys":
                self.answer(200, jwks(RIGHT))
            elif self.headers["authorization"] != f"bearer {SECRET}":
                self.answer(401, b"{}")
            else:
                audience = parse_qs(parts.query).get("audience", ["https://github.com/acme"])[0]
                self.answer(200, json.dumps({"value": served.github(audience)}).encode())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def kept(folder: Path, *said: str) -> str:
    """Everything that was written or said."""
    files = [path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file()]
    return "\n".join([*files, *said])


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_job_is_proved_by_its_own_token_which_is_stored_nowhere(
    name: str,
    runner: Runner,  # noqa: F811
    platform: Platform,
) -> None:
    (runner.folder / ".tollkeeper").mkdir()
    (runner.folder / ".tollkeeper" / "identity.toml").write_text(platform.document)
    if name == "github":
        runner.environment |= platform.variables
    else:
        runner.environment = {key: value for key, value in runner.environment.items() if key not in GITHUB}
        runner.environment |= GITLAB | {"TOLLKEEPER_ID_TOKEN": platform.gitlab()}
    started = runner.start("--require-identity")
    assert started.returncode == 0, started.stderr
    assert f"as {name}:acme/app (proved)" in started.stderr
    call(runner)
    done = runner("finish", "--fail-on", "all", "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    (entry,) = LedgerView(runner.folder / "home" / "ledger.db").entries("settle")
    issuer = ISSUER if name == "github" else "https://gitlab.com"
    assert (entry["subject"], entry["issuer"], entry["assurance"]) == (f"{name}:acme/app", issuer, "verified")
    assert entry["project"] == "acme/app"
    (token,) = platform.given
    everything = kept(runner.folder, started.stdout, started.stderr, done.stdout, done.stderr)
    assert f"{name}:acme/app" in everything
    assert [secret for secret in (token, token.split(".")[2], SECRET) if secret in everything] == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "wrong audience": ({"aud": "somebody-else"}, "made out to another audience"),
    "foreign owner": ({"repository_owner_id": "666"}, "repository_owner_id"),
    "expired": ({"iat": 1_000, "nbf": 1_000, "exp": 2_000}, "ended .* ago"),
    "another issuer": ({"iss": "https://token.actions.githubusercontent.com.evil.example"}, "not configured"),
    "no repository": ({"repository": None}, "repository is missing"),
}


@pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])
@pytest.mark.parametrize("name", [*REFUSED, "another key"])
def test_a_token_that_is_wrong_stops_the_job_and_says_why(
    name: str, required: bool, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no proof is asked for: a wrong token must not be worth as much as none."""
    platform.claims, said = REFUSED.get(name, ({}, "signature is wrong"))
    platform.signed_by = RIGHT if name in REFUSED else SigningKey(RIGHT.kid, RIGHT.algorithm, WRONG.private)
    with pytest.raises(SetupError, match=said) as caught:
        principal(platform, tmp_path, monkeypatch, platform.variables, required=required)
    assert "the token of GitHub Actions is refused" in str(caught.value)
    assert platform.given[0].split(".")[1] not in str(caught.value)


def test_without_a_token_the_job_is_only_as_its_environment_says_or_does_not_start(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SetupError, match="permissions: id-token: write"):
        principal(platform, tmp_path, monkeypatch, {}, required=True)
    found = principal(platform, tmp_path, monkeypatch, {}, required=False)
    assert (found.subject, found.assurance) == ("github:acme/app", Assurance.CLAIMED)
    assert "unproved" in capsys.readouterr().err
    wrong = platform.variables | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "not-it"}
    with pytest.raises(SetupError, match="GitHub gave no token"):
        principal(platform, tmp_path, monkeypatch, wrong, required=True)


def principal(
    platform: Platform, folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, required: bool
) -> Principal:
    """Whom ``ci start`` would book the job's calls to."""
    (folder / "identity.toml").write_text(platform.document)
    for variable in ("TOLLKEEPER_ID_TOKEN", "TOLLKEEPER_TOKEN_FILE", *platform.variables):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {**GITHUB, **variables}.items():
        monkeypatch.setenv(variable, value)
    return asyncio.run(job_principal(job_of({**GITHUB, **variables}), folder, "tollkeeper", required=required))
