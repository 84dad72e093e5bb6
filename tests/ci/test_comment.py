"""One comment on the pull request, changed only when it says something else."""

from typing import Any

import pytest

from tollkeeper.cli.ci_comment import Place, place_of, write_once
from tollkeeper.cli.ci_job import Job
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
