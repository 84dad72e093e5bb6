"""Which job this is, by the variables of each platform."""

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.cli.ci_job import job_of
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.facts import values
from tollkeeper.policy.matching import bucket_key, covers

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


def test_the_budgets_of_the_page_count_by_run_by_workflow_and_by_pull_request() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()
    text = textwrap.dedent(page[page.index("    [budget.run]") : page.index("A window that outlives the job")])
    budgets = {budget.name: budget for budget in parse_policy(text, "docs/ci.md").budgets}

    def buckets(job: dict[str, str]) -> dict[str, str]:
        found = job_of(job)
        facts = values(project=found.repository, run=found.run_key, labels=found.labels)
        return {name: bucket_key(budget, facts) for name, budget in budgets.items() if covers(budget, facts)}

    one = buckets(GITHUB)
    assert set(one) == {"run", "workflow", "pull-request"}
    for changed, same in (
        ({"GITHUB_RUN_ID": "18"}, {"workflow", "pull-request"}),
        ({"GITHUB_WORKFLOW": "release"}, {"run", "pull-request"}),
        ({"GITHUB_REF": "refs/pull/6/merge", "GITHUB_REF_NAME": "6/merge"}, {"run", "workflow"}),
    ):
        other = buckets({**GITHUB, **changed})
        assert {name for name in one if one[name] == other[name]} == same
    pushed = {**GITHUB, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_HEAD_REF": ""}
    assert set(buckets(pushed)) == {"run", "workflow"}, "outside of pull requests nothing counts in theirs"


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
