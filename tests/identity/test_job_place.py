"""What a job's token says of project, branch and run is named as ``tollkeeper ci`` names it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.identity.job_place import NO_JOB, JobPlace, job_place


@pytest.mark.parametrize(
    ("evidence", "place"),
    [
        (
            {"repository": "acme/app", "run_id": "7", "ref": "refs/heads/main", "job_workflow_ref": "w.yml", "actor": "ada"},
            JobPlace("acme/app", "main", "github:acme/app:7", (("actor", "ada"), ("workflow", "w.yml"))),
        ),
        (
            {"project_path": "acme/app", "pipeline_id": "8", "ref": "main", "job_id": "9", "user_login": "bo"},
            JobPlace("acme/app", "main", "gitlab:acme/app:8", (("actor", "bo"), ("job", "9"))),
        ),
        (
            {"pipeline_slug": "app", "build_number": "3", "build_branch": "x", "step_key": "test", "job_id": "9"},
            JobPlace("app", "x", "buildkite:app:3", (("job", "9"), ("workflow", "app"))),
        ),
        (
            {"oidc.circleci.com/vcs-origin": "github.com/a/b", "oidc.circleci.com/vcs-ref": "refs/heads/y"},
            JobPlace("github.com/a/b", "y"),
        ),
        ({}, NO_JOB),
    ],
)
def test_each_platforms_token_names_project_branch_and_run(evidence: dict[str, str], place: JobPlace) -> None:
    assert job_place(evidence) == place


@given(st.dictionaries(st.sampled_from(["repository", "run_id", "ref", "job_id", "pipeline_id", "actor"]), st.text(max_size=8)))
def test_a_run_is_named_only_with_its_project_and_nothing_raises(evidence: dict[str, str]) -> None:
    place = job_place(evidence)
    assert not place.run or place.project
    assert all(value for _, value in place.labels)
