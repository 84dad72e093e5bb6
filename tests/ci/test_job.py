"""Which job this is, by the variables of each platform."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.cli.ci_job import job_of

GITHUB = {
    "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/app", "GITHUB_WORKFLOW": "nightly", "GITHUB_JOB": "test", "GITHUB_RUN_ID": "17",
    "GITHUB_RUN_ATTEMPT": "2", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_REF_NAME": "5/merge", "GITHUB_HEAD_REF": "feature",
    "GITHUB_BASE_REF": "main", "GITHUB_SHA": "abc", "GITHUB_SERVER_URL": "https://github.com",
}  # fmt: skip
GITLAB = {
    "GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/app", "CI_PIPELINE_ID": "17", "CI_PIPELINE_SOURCE": "push", "CI_JOB_NAME": "test",
    "CI_COMMIT_REF_NAME": "feature", "CI_MERGE_REQUEST_IID": "5", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
}  # fmt: skip
BUILDKITE = {
    "BUILDKITE": "true", "BUILDKITE_REPO": "git@github.com:acme/app.git", "BUILDKITE_PIPELINE_SLUG": "app", "BUILDKITE_BUILD_ID": "17",
    "BUILDKITE_BRANCH": "feature", "BUILDKITE_PULL_REQUEST": "5", "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main",
}  # fmt: skip
AZURE = {
    "TF_BUILD": "True", "BUILD_REPOSITORY_NAME": "acme/app", "BUILD_BUILDID": "17", "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature",
    "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main", "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "5",
}  # fmt: skip
CIRCLECI = {
    "CIRCLECI": "true", "CIRCLE_PROJECT_USERNAME": "acme", "CIRCLE_PROJECT_REPONAME": "app", "CIRCLE_WORKFLOW_ID": "17",
    "CIRCLE_BRANCH": "feature", "CIRCLE_PULL_REQUEST": "https://github.com/acme/app/pull/5",
}  # fmt: skip
JENKINS = {
    "JENKINS_URL": "http://j/", "GIT_URL": "https://user:secret@git.example/acme/app.git", "BUILD_TAG": "17", "CHANGE_ID": "5",
    "CHANGE_BRANCH": "feature", "CHANGE_TARGET": "main",
}  # fmt: skip
BITBUCKET = {
    "BITBUCKET_BUILD_NUMBER": "17", "BITBUCKET_REPO_FULL_NAME": "acme/app", "BITBUCKET_BRANCH": "feature", "BITBUCKET_PR_ID": "5",
    "BITBUCKET_PR_DESTINATION_BRANCH": "main",
}  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "environment"),
    [("github", GITHUB), ("gitlab", GITLAB), ("buildkite", BUILDKITE), ("azure", AZURE), ("circleci", CIRCLECI), ("jenkins", JENKINS),
     ("bitbucket", BITBUCKET)],
)  # fmt: skip
def test_a_pull_requests_job_is_told_alike_on_every_platform(platform: str, environment: dict[str, str]) -> None:
    job = job_of(environment)
    assert (job.platform, job.repository, job.run, job.branch, job.pull_request) == (platform, "acme/app", "17", "feature", "5")
    assert job.subject == f"{platform}:acme/app"
    assert job.run_key == f"{platform}:acme/app:17"
    assert job.labels["pull_request"] == "5"
    assert job.base in {"main", ""}


def test_no_login_of_a_clone_address_is_kept() -> None:
    assert "secret" not in str(job_of(JENKINS))


def test_outside_of_ci_the_job_is_local() -> None:
    assert (job_of({}).platform, job_of({"CI": "1"}).platform) == ("local", "ci")
    assert job_of({}).run_key == ""


@given(st.dictionaries(st.sampled_from(sorted({*GITHUB, *GITLAB, *AZURE})), st.text(max_size=600)))
def test_whatever_a_branch_is_called_the_job_is_printable_and_bounded(environment: dict[str, str]) -> None:
    job = job_of({**environment, "GITHUB_ACTIONS": "true"})
    for value in (job.branch, job.repository, job.run, job.workflow, job.commit):
        assert len(value) <= 256
        assert value.isprintable()
