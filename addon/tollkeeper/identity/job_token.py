"""A CI job's own token, asked of its platform when the job begins. Nothing is stored."""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .answers import IdentityError
from .helpers import printed
from .token import MAX_TOKEN_CHARS, looks_like_token
from .web import WebError, ask

FILE_VARIABLE = "TOLLKEEPER_TOKEN_FILE"
"""A file that holds a token and is written anew before it ends: Kubernetes' projected volumes, SPIFFE helpers."""
TOKEN_VARIABLE = "TOLLKEEPER_ID_TOKEN"  # noqa: S105 — the name of a variable
"""A token: what GitLab's ``id_tokens`` sets under that name."""
COMMAND_S = 20.0


@dataclass(frozen=True, slots=True)
class JobToken:
    """A token and who gave it."""

    source: str
    token: str = field(repr=False)


async def job_token(environ: Mapping[str, str], audience: str) -> JobToken | None:
    """The token of the job this process runs in, None outside of one. Raises ``IdentityError`` saying what the job lacks.

    ``audience`` is asked for where the platform lets one ask: GitHub, CircleCI, Buildkite.
    """
    if path := environ.get(FILE_VARIABLE):
        return JobToken(path, _checked(read_token_file(Path(path)), f"the file {path}"))
    if token := environ.get(TOKEN_VARIABLE):
        return JobToken(TOKEN_VARIABLE, _checked(token.strip(), TOKEN_VARIABLE))
    if environ.get("GITHUB_ACTIONS") == "true":
        return JobToken("GitHub Actions", await _github(environ, audience))
    if environ.get("BUILDKITE") == "true":
        command = ["buildkite-agent", "oidc", "request-token", "--audience", audience]
        return JobToken("Buildkite", _checked(await _said(command, environ), "buildkite-agent"))
    if environ.get("CIRCLECI") == "true":
        return JobToken("CircleCI", await _circleci(environ, audience))
    if environ.get("GITLAB_CI") == "true":
        told = f'add to the job: id_tokens: {{ {TOKEN_VARIABLE}: {{ aud: "{audience}" }} }}'
        raise IdentityError(f"this GitLab job has no token for us; {told}")
    return None


def read_token_file(path: Path) -> str:
    """The token in a file, read anew at every use: the kubelet replaces it at 80 % of its life. Raises ``IdentityError``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IdentityError(f"{path} is not a plain file")
            return file.read(MAX_TOKEN_CHARS + 2).decode("ascii", "replace").strip()
    except OSError as error:
        raise IdentityError(f"the token file {path} cannot be read: {error.strerror}; check {FILE_VARIABLE}") from None


async def _github(environ: Mapping[str, str], audience: str) -> str:
    """https://docs.github.com/actions/reference/security/oidc, "Methods for requesting the OIDC token"."""
    url, secret = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not secret:
        told = "add `permissions: id-token: write` to the job (pull requests from forks are never given it)"
        raise IdentityError(f"this GitHub job may not ask for a token; {told}")
    joint = "&" if "?" in url else "?"
    try:
        answer = await ask(f"{url}{joint}audience={quote(audience, safe='')}", headers=[("authorization", f"bearer {secret}")])
        value = json.loads(answer.body)["value"] if answer.status == 200 else ""
    except WebError as error:
        raise IdentityError(f"GitHub cannot be asked for the job's token: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        value = ""
    return _checked(value if isinstance(value, str) else "", "GitHub")


async def _circleci(environ: Mapping[str, str], audience: str) -> str:
    """The job's token, with our audience where the ``circleci`` command is there to ask for it."""
    if shutil.which("circleci", path=environ.get("PATH")):
        claims = json.dumps({"aud": audience})
        said = await _said(["circleci", "run", "oidc", "get", "--claims", claims], environ)
        if looks_like_token(said):
            return said
    return _checked(environ.get("CIRCLE_OIDC_TOKEN_V2", "").strip(), "CIRCLE_OIDC_TOKEN_V2")


def _checked(token: str, source: str) -> str:
    if not looks_like_token(token):
        raise IdentityError(f"{source} gave no token; see docs/identity.md for what the job needs")
    return token


async def _said(arguments: list[str], environ: Mapping[str, str]) -> str:
    """What a command prints; empty when it is missing or fails."""
    command = shutil.which(arguments[0], path=environ.get("PATH"))
    if command is None:
        return ""
    try:
        return await printed([command, *arguments[1:]], environ, COMMAND_S)
    except TimeoutError:
        return ""
