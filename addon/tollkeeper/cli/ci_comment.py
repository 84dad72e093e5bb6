"""``tollkeeper ci comment``: the summary on the pull request, as one comment that is changed only when it says something else."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from tollkeeper.core.errors import SetupError
from tollkeeper.report.markdown import MARKER

from .ci_job import Job, job_of
from .ci_state import public_folder

SECONDS = 20
PAGES = 10
PER_PAGE = 100
MAX_CHARS = 60_000
"""GitHub takes 65,536."""

type Ask = Callable[[str, str, Any], Any]
"""(method, URL, document) → the answer's document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where comments of one pull request are: to list and create, and to change one (``{id}``). ``me``: who asks."""

    comments: str
    one: str
    change: str
    headers: Mapping[str, str] = field(repr=False)
    me: str = ""


@click.command()
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Markdown.  [summary.md of `ci finish`]"
)
def command(path: Path | None) -> None:
    """Write the summary to the pull request (GitHub) or merge request (GitLab).

    Needs GITHUB_TOKEN with `pull-requests: write`, or TOLLKEEPER_GITLAB_TOKEN with the scope `api`.
    """
    job = job_of(os.environ)
    if not job.pull_request:
        click.echo("tollkeeper: this run belongs to no pull request, so nothing is written", err=True)
        return
    text = _text_of(path or public_folder(os.environ) / "summary.md")
    place = place_of(job, os.environ)
    done = write_once(place, text, _asker(place.headers))
    click.echo(f"tollkeeper: comment {done}", err=True)


def _text_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_CHARS)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be read ({error.strerror}): `tollkeeper ci finish` writes it, or name one with --file"
        ) from error


def place_of(job: Job, environment: Mapping[str, str]) -> Place:
    """The comments of this job's pull request. Raises ``SetupError`` when the platform has none, or no token was given."""
    if job.platform == "github":
        token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
        if not token:
            raise SetupError(
                "GITHUB_TOKEN is not set: give the step `env: GITHUB_TOKEN: ${{ github.token }}` and `pull-requests: write`"
            )
        api = environment.get("GITHUB_API_URL", "https://api.github.com")
        base = f"{api}/repos/{job.repository}/issues"
        return Place(
            comments=f"{base}/{job.pull_request}/comments",
            one=f"{base}/comments/{{id}}",
            change="PATCH",
            headers={
                "authorization": f"Bearer {token}",
                "accept": "application/vnd.github+json",
                "x-github-api-version": "2022-11-28",
            },
            me=f"{api}/user",
        )
    if job.platform == "gitlab":
        token = environment.get("TOLLKEEPER_GITLAB_TOKEN")
        if not token:
            raise SetupError("TOLLKEEPER_GITLAB_TOKEN is not set: a job's own token may not write comments (docs/ci.md)")
        api = environment.get("CI_API_V4_URL", "")
        base = f"{api}/projects/{quote(job.repository, safe='')}/merge_requests/{job.pull_request}/notes"
        return Place(comments=base, one=f"{base}/{{id}}", change="PUT", headers={"private-token": token}, me=f"{api}/user")
    raise SetupError(f"comments are written on GitHub and GitLab; this is {job.platform}")


def write_once(place: Place, text: str, ask: Ask) -> str:
    """``created``, ``changed`` or ``unchanged``. Ours is the first comment that begins with our marker and was written by this token."""
    for page in range(1, PAGES + 1):
        found = ask("GET", f"{place.comments}?per_page={PER_PAGE}&page={page}", None)
        for comment in found if isinstance(found, list) else []:
            body = str(comment.get("body", ""))
            if not body.startswith(MARKER) or not _is_mine(place, comment, ask):
                continue
            if body.replace("\r\n", "\n").strip() == text.strip():
                return "unchanged"
            ask(place.change, place.one.format(id=int(comment["id"])), {"body": text})
            return "changed"
        if not isinstance(found, list) or len(found) < PER_PAGE:
            break
    ask("POST", place.comments, {"body": text})
    return "created"


def _is_mine(place: Place, comment: Mapping[str, Any], ask: Ask) -> bool:
    """Whether the comment's author (GitHub: ``user``, GitLab: ``author``) is who asks; true where the platform names none.

    GitHub does not tell a workflow's own token who it is (403): its comments are a bot's.
    """
    if not {"user", "author"} & comment.keys():
        return True
    author = comment.get("user", comment.get("author"))
    if not isinstance(author, Mapping):  # the account is gone
        return False
    try:
        me = ask("GET", place.me, None)
    except SetupError:
        return bool(author.get("type", "Bot") == "Bot")
    return isinstance(me, Mapping) and bool(me.get("id") == author.get("id"))


def _asker(headers: Mapping[str, str]) -> Ask:
    def ask(method: str, url: str, document: Any) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(  # noqa: S310 — the platform's own API
            url, data, {**headers, "content-type": "application/json", "user-agent": "tollkeeper"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            hint = "; the token may not write comments" if error.code in {401, 403, 404} else ""
            raise SetupError(f"the comment could not be written: {method} answered {error.code}{hint}") from None
        except (OSError, ValueError) as error:
            raise SetupError(f"the comment could not be written: {type(error).__name__}") from None

    return ask
