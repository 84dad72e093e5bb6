"""One comment on the pull request, changed only when it says something else."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tollkeeper.cli.ci_comment import Place, command, place_of, write_once
from tollkeeper.cli.ci_job import Job
from tollkeeper.cli.ci_state import FOLDER_VARIABLE
from tollkeeper.core.errors import SetupError
from tollkeeper.report.markdown import MARKER

PLACE = Place(comments="c", one="c/{id}", change="PATCH", headers={})


class Comments:
    """The comments of a pull request, as the platform keeps them."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = dict(enumerate(bodies, 1))
        self.asked: list[str] = []

    def ask(self, method: str, url: str, document: Any) -> Any:
        self.asked.append(method)
        if method == "GET":
            page = int(url.rpartition("=")[2])
            listed = [{"id": number, "body": body} for number, body in self.bodies.items()]
            return listed[(page - 1) * 100 : page * 100]
        number = len(self.bodies) + 1 if method == "POST" else int(url.rpartition("/")[2])
        self.bodies[number] = document["body"]
        return {}


def test_the_first_run_creates_and_later_ones_change_that_one() -> None:
    comments = Comments("hello")
    assert write_once(PLACE, f"{MARKER}\none", comments.ask) == "created"
    assert write_once(PLACE, f"{MARKER}\ntwo", comments.ask) == "changed"
    assert list(comments.bodies.values()) == ["hello", f"{MARKER}\ntwo"]


def test_the_same_words_write_nothing() -> None:
    comments = Comments(f"{MARKER}\r\none\r\n")
    assert write_once(PLACE, f"{MARKER}\none\n", comments.ask) == "unchanged"
    assert comments.asked == ["GET"]


def test_our_comment_is_found_among_hundreds() -> None:
    comments = Comments(*["x"] * 250, f"{MARKER}\nold")
    assert write_once(PLACE, f"{MARKER}\nnew", comments.ask) == "changed"


def test_a_comment_that_only_quotes_ours_is_left_alone() -> None:
    comments = Comments(f"> {MARKER}\nsomebody's words")
    assert write_once(PLACE, f"{MARKER}\none", comments.ask) == "created"
    assert comments.bodies[1].endswith("somebody's words")


class Signed(Comments):
    """The comments of a platform that names authors: 1 is who asks, unless it does not say who that is."""

    def __init__(self, *bodies: tuple[dict[str, Any] | None, str], key: str = "user", tells: bool = True) -> None:
        super().__init__(*(body for _, body in bodies))
        self.authors = {number: author for number, (author, _) in enumerate(bodies, 1)}
        self.key, self.tells = key, tells

    def ask(self, method: str, url: str, document: Any) -> Any:
        if url == "me":
            if self.tells:
                return {"id": 1}
            raise SetupError("GET answered 403")
        found = super().ask(method, url, document)
        if method == "GET":
            return [{**comment, self.key: self.authors.get(comment["id"])} for comment in found]
        return found


SIGNED = Place(comments="c", one="c/{id}", change="PATCH", headers={}, me="me")


@pytest.mark.parametrize("key", ["user", "author"])
def test_a_strangers_comment_that_begins_like_ours_is_left_alone(key: str) -> None:
    forged = f"{MARKER}\nforged"
    comments = Signed(({"id": 2}, forged), (None, forged), ({"id": 1}, f"{MARKER}\nold"), key=key)
    assert write_once(SIGNED, f"{MARKER}\nnew", comments.ask) == "changed"
    assert comments.bodies == {1: forged, 2: forged, 3: f"{MARKER}\nnew"}


def test_a_token_that_is_not_told_who_it_is_owns_what_a_bot_wrote() -> None:
    forged = f"{MARKER}\nforged"
    comments = Signed(
        ({"id": 2, "type": "User"}, forged), ({"id": 41898282, "type": "Bot"}, f"{MARKER}\nold"), tells=False
    )  # fmt: skip
    assert write_once(SIGNED, f"{MARKER}\nnew", comments.ask) == "changed"
    assert comments.bodies == {1: forged, 2: f"{MARKER}\nnew"}


@pytest.mark.parametrize("content", [None, b"caf\xe9"])
def test_a_summary_that_is_not_there_or_no_utf8_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_REPOSITORY": "a/b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if content is not None:
        (tmp_path / "summary.md").write_bytes(content)
    found = CliRunner().invoke(command)
    assert isinstance(found.exception, SetupError)
    assert ("GITHUB_TOKEN" if content else "ci finish") in str(found.exception)


def test_places_are_those_of_the_platform_and_need_its_token() -> None:
    github = place_of(Job(platform="github", repository="a/b", pull_request="5"), {"GITHUB_TOKEN": "t0ken"})
    assert github.comments == "https://api.github.com/repos/a/b/issues/5/comments"
    assert "t0ken" not in repr(github)
    gitlab = place_of(
        Job(platform="gitlab", repository="a/b", pull_request="5"),
        {"TOLLKEEPER_GITLAB_TOKEN": "t", "CI_API_V4_URL": "https://g/api/v4"},
    )
    assert gitlab.comments == "https://g/api/v4/projects/a%2Fb/merge_requests/5/notes"
    for platform in ("github", "gitlab", "jenkins"):
        with pytest.raises(SetupError):
            place_of(Job(platform=platform, repository="a/b", pull_request="5"), {})
