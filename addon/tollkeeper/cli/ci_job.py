"""Which CI job this is, from the variables its platform sets. Pure: environment in, values out.

Sources: GitHub "Default environment variables", GitLab "Predefined CI/CD variables", CircleCI "Built-in environment variables", Buildkite
"Environment variables", Azure Pipelines "Predefined variables", Jenkins "Using environment variables", Bitbucket "Variables and secrets".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_CHARS = 256

type Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a pipeline. Empty means that the platform does not say.

    ``base``: the branch that a pull request goes to. ``run``: the id of the whole run, shared by its jobs and shards.
    """

    platform: str
    repository: str = ""
    workflow: str = ""
    name: str = ""
    run: str = ""
    attempt: str = ""
    branch: str = ""
    base: str = ""
    pull_request: str = ""
    commit: str = ""
    url: str = ""

    @property
    def subject(self) -> str:
        """Who pays when no token proves it: the repository, as the environment names it."""
        return f"{self.platform}:{self.repository or 'unknown'}"

    @property
    def run_key(self) -> str:
        """What budgets of one run count under; a second attempt is the same run."""
        return f"{self.platform}:{self.repository}:{self.run}" if self.run else ""

    @property
    def labels(self) -> dict[str, str]:
        """What every call is labelled with, for budgets and reports."""
        named = {"workflow": self.workflow, "job": self.name, "pull_request": self.pull_request, "commit": self.commit[:12]}
        return {name: value for name, value in named.items() if value}


def job_of(environment: Environment) -> Job:
    """The job that ``environment`` describes; platform ``local`` outside of CI."""
    for variable, value, read in _PLATFORMS:
        if environment.get(variable, "").lower() == value or (value == "*" and environment.get(variable)):
            return read(lambda name: _clean(environment.get(name, "")))
    return Job(platform="ci" if environment.get("CI") else "local", branch=_clean(environment.get("CI_BRANCH", "")))


type Read = Callable[[str], str]


def _github(read: Read) -> Job:
    number = re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", read("GITHUB_REF"))
    server, repository, run = read("GITHUB_SERVER_URL"), read("GITHUB_REPOSITORY"), read("GITHUB_RUN_ID")
    return Job(
        platform="github",
        repository=repository,
        workflow=read("GITHUB_WORKFLOW"),
        name=read("GITHUB_JOB"),
        run=run,
        attempt=read("GITHUB_RUN_ATTEMPT"),
        branch=read("GITHUB_HEAD_REF") or read("GITHUB_REF_NAME"),
        base=read("GITHUB_BASE_REF"),
        pull_request=number[1] if number else "",
        commit=read("GITHUB_SHA"),
        url=f"{server}/{repository}/actions/runs/{run}" if server and run else "",
    )


def _gitlab(read: Read) -> Job:
    return Job(
        platform="gitlab",
        repository=read("CI_PROJECT_PATH"),
        workflow=read("CI_PIPELINE_NAME") or read("CI_PIPELINE_SOURCE"),
        name=read("CI_JOB_NAME"),
        run=read("CI_PIPELINE_ID"),
        attempt="",
        branch=read("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or read("CI_COMMIT_REF_NAME"),
        base=read("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
        pull_request=read("CI_MERGE_REQUEST_IID"),
        commit=read("CI_COMMIT_SHA"),
        url=read("CI_JOB_URL"),
    )


def _circleci(read: Read) -> Job:
    return Job(
        platform="circleci",
        repository="/".join(filter(None, (read("CIRCLE_PROJECT_USERNAME"), read("CIRCLE_PROJECT_REPONAME")))),
        name=read("CIRCLE_JOB"),
        run=read("CIRCLE_WORKFLOW_ID"),
        branch=read("CIRCLE_BRANCH"),
        pull_request=read("CIRCLE_PULL_REQUEST").rpartition("/")[2],
        commit=read("CIRCLE_SHA1"),
        url=read("CIRCLE_BUILD_URL"),
    )


def _buildkite(read: Read) -> Job:
    number = read("BUILDKITE_PULL_REQUEST")
    return Job(
        platform="buildkite",
        repository=_repository(read("BUILDKITE_REPO")),
        workflow=read("BUILDKITE_PIPELINE_SLUG"),
        name=read("BUILDKITE_STEP_KEY") or read("BUILDKITE_LABEL"),
        run=read("BUILDKITE_BUILD_ID"),
        attempt=read("BUILDKITE_RETRY_COUNT"),
        branch=read("BUILDKITE_BRANCH"),
        base=read("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
        pull_request="" if number == "false" else number,
        commit=read("BUILDKITE_COMMIT"),
        url=read("BUILDKITE_BUILD_URL"),
    )


def _azure(read: Read) -> Job:
    return Job(
        platform="azure",
        repository=read("BUILD_REPOSITORY_NAME"),
        workflow=read("BUILD_DEFINITIONNAME"),
        name=read("SYSTEM_JOBDISPLAYNAME"),
        run=read("BUILD_BUILDID"),
        attempt=read("SYSTEM_JOBATTEMPT"),
        branch=(read("SYSTEM_PULLREQUEST_SOURCEBRANCH") or read("BUILD_SOURCEBRANCH")).removeprefix("refs/heads/"),
        base=read("SYSTEM_PULLREQUEST_TARGETBRANCH").removeprefix("refs/heads/"),
        pull_request=read("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER") or read("SYSTEM_PULLREQUEST_PULLREQUESTID"),
        commit=read("BUILD_SOURCEVERSION"),
    )


def _bitbucket(read: Read) -> Job:
    return Job(
        platform="bitbucket",
        repository=read("BITBUCKET_REPO_FULL_NAME"),
        workflow="pipelines",
        name=read("BITBUCKET_STEP_UUID"),
        run=read("BITBUCKET_BUILD_NUMBER"),
        branch=read("BITBUCKET_BRANCH"),
        base=read("BITBUCKET_PR_DESTINATION_BRANCH"),
        pull_request=read("BITBUCKET_PR_ID"),
        commit=read("BITBUCKET_COMMIT"),
    )


def _jenkins(read: Read) -> Job:
    return Job(
        platform="jenkins",
        repository=_repository(read("GIT_URL")),
        workflow=read("JOB_NAME"),
        name=read("STAGE_NAME"),
        run=read("BUILD_TAG") or read("BUILD_ID"),
        branch=read("CHANGE_BRANCH") or read("BRANCH_NAME") or read("GIT_BRANCH"),
        base=read("CHANGE_TARGET"),
        pull_request=read("CHANGE_ID"),
        commit=read("GIT_COMMIT"),
        url=read("BUILD_URL"),
    )


_PLATFORMS: tuple[tuple[str, str, Callable[[Read], Job]], ...] = (
    ("GITHUB_ACTIONS", "true", _github),
    ("GITLAB_CI", "true", _gitlab),
    ("CIRCLECI", "true", _circleci),
    ("BUILDKITE", "true", _buildkite),
    ("TF_BUILD", "true", _azure),
    ("BITBUCKET_BUILD_NUMBER", "*", _bitbucket),
    ("JENKINS_URL", "*", _jenkins),
)


def _repository(address: str) -> str:
    """``owner/name`` of a clone address, without any login in it."""
    path = urlsplit(address).path if "://" in address else address.partition(":")[2]
    return path.strip("/").removesuffix(".git")


def _clean(value: str) -> str:
    """Printable text of a bounded length: branch names are chosen by whoever opens the pull request."""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:MAX_CHARS])
