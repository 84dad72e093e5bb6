"""A CI job's token: asked of its platform, checked for its form, and when there is none, what the job lacks."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from identity.issuers import Asked, Web, key, parsed, subject
from tollkeeper.identity.answers import IdentityError
from tollkeeper.identity.cloudflared import access_token
from tollkeeper.identity.issuer import Issuer
from tollkeeper.identity.job_token import JobToken, job_token

TOKEN = key("one").sign(subject())


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def asked(environ: Mapping[str, str]) -> JobToken | None:
    return asyncio.run(job_token(environ, "tollkeeper"))


def command(folder: Path, name: str, script: str) -> dict[str, str]:
    """A command of that name, first on the path."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return {"PATH": f"{folder}:{os.defpath}"}


def test_outside_of_a_job_there_is_no_token() -> None:
    assert asked({}) is None


def test_github_is_asked_for_our_audience(web: Start) -> None:
    async def run() -> tuple[JobToken | None, Asked]:
        async with web() as server:
            server.answer("/token", {"value": TOKEN})
            environ = {
                "GITHUB_ACTIONS": "true",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{server.url}/token?api-version=2.0",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
            }
            return await job_token(environ, "toll keeper&x"), server.asked[0]

    found, request = asyncio.run(run())
    assert found == JobToken("GitHub Actions", TOKEN)
    assert request.target == "/token?api-version=2.0&audience=toll%20keeper%26x"
    assert request.headers["authorization"] == "bearer runner-secret"


@pytest.mark.parametrize("answer", [(403, b"{}"), (200, b"{}"), (200, b"<html>"), (200, b'{"value":7}'), b""])
def test_github_saying_no_is_told_without_its_secret(web: Start, answer: object) -> None:
    async def run() -> str:
        async with web() as server:
            server.routes["/token"] = lambda _: answer  # type: ignore[assignment,return-value]
            environ = {
                "GITHUB_ACTIONS": "true",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{server.url}/token",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
            }
            with pytest.raises(IdentityError) as caught:
                await job_token(environ, "tollkeeper")
            return str(caught.value)

    assert "runner-secret" not in asyncio.run(run())


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GITHUB_ACTIONS": "true"}, "permissions: id-token: write"),
        ({"GITLAB_CI": "true"}, 'id_tokens: { TOLLKEEPER_ID_TOKEN: { aud: "tollkeeper" } }'),
        ({"BUILDKITE": "true", "PATH": ""}, "buildkite-agent gave no token"),
        ({"CIRCLECI": "true", "PATH": ""}, "CIRCLE_OIDC_TOKEN_V2 gave no token"),
        ({"TOLLKEEPER_ID_TOKEN": "nonsense"}, "TOLLKEEPER_ID_TOKEN gave no token"),
        ({"TOLLKEEPER_TOKEN_FILE": "/nowhere/token"}, "cannot be read"),
        ({"TOLLKEEPER_TOKEN_FILE": "/dev/zero"}, "not a plain file"),
    ],
)
def test_a_job_that_has_no_token_is_told_what_to_add(environ: dict[str, str], said: str) -> None:
    with pytest.raises(IdentityError) as caught:
        asked(environ)
    assert said in str(caught.value)


def test_gitlab_circleci_and_files_bring_theirs(tmp_path: Path) -> None:
    assert asked({"GITLAB_CI": "true", "TOLLKEEPER_ID_TOKEN": f" {TOKEN}\n"}) == JobToken("TOLLKEEPER_ID_TOKEN", TOKEN)
    assert asked({"CIRCLECI": "true", "CIRCLE_OIDC_TOKEN_V2": TOKEN, "PATH": ""}) == JobToken("CircleCI", TOKEN)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    found = asked({"TOLLKEEPER_TOKEN_FILE": str(tmp_path / "token")})
    assert found is not None
    assert found.token == TOKEN
    assert TOKEN not in repr(found)


def test_buildkite_and_circleci_are_asked_for_our_audience(tmp_path: Path) -> None:
    path = command(tmp_path / "bin", "buildkite-agent", f'test "$4" = tollkeeper && echo {TOKEN}')
    assert asked({"BUILDKITE": "true", **path}) == JobToken("Buildkite", TOKEN)
    path = command(tmp_path / "bin", "circleci", f'test "$5" = \'{{"aud": "tollkeeper"}}\' && echo {TOKEN}')
    assert asked({"CIRCLECI": "true", **path}) == JobToken("CircleCI", TOKEN)


def access_row(extra: str = 'app_url = "https://ai.example.com/"') -> Issuer:
    return parsed(f'[issuer.access]\nkind = "cloudflare-access"\nteam = "acme"\naudience = "{"a" * 64}"\n{extra}\n').issuers[0]


def test_cloudflared_is_asked_past_our_own_proxy(tmp_path: Path) -> None:
    script = f'test "$1 $2 $3" = "access token -app=https://ai.example.com/" && test -z "$HTTPS_PROXY" && echo {TOKEN}'
    environ = command(tmp_path / "bin", "cloudflared", script)
    environ |= {"HTTPS_PROXY": "http://127.0.0.1:8877", "TOLLKEEPER_ACTIVE": "1"}
    assert asyncio.run(access_token(access_row(), environ)) == TOKEN


def test_nobody_logged_in_at_access_is_told_how_or_logged_in(tmp_path: Path) -> None:
    marker = tmp_path / "in"
    script = f'case "$2" in login) touch {marker};; *) test -e {marker} && echo {TOKEN} || echo "Unable to find token";; esac'
    environ = command(tmp_path / "bin", "cloudflared", script)
    with pytest.raises(IdentityError, match="nobody is logged in"):
        asyncio.run(access_token(access_row(), environ))
    assert asyncio.run(access_token(access_row(), environ, log_in=True)) == TOKEN


def test_without_cloudflared_or_its_application_it_is_said() -> None:
    with pytest.raises(IdentityError, match="not installed"):
        asyncio.run(access_token(access_row(), {"PATH": ""}))
    with pytest.raises(IdentityError, match="add app_url"):
        asyncio.run(access_token(access_row(""), {"PATH": ""}))
