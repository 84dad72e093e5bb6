"""Where a job's token says the job runs: project, branch, run, and labels, all signed by its platform. Pure.

The names are those of ``tollkeeper ci``, so that a budget of one run counts alike, whichever way the job comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_LABELS = (
    ("job_workflow_ref", "workflow"), ("pipeline_slug", "workflow"), ("job_id", "job"), ("step_key", "job"), ("actor", "actor"),
    ("user_login", "actor"), ("environment", "environment"), ("event_name", "trigger"), ("pipeline_source", "trigger"),
)  # fmt: skip
"""Claims and the labels they become; of two for one label, the first that is there."""


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Empty means that the token does not say."""

    project: str = ""
    branch: str = ""
    run: str = ""
    labels: tuple[tuple[str, str], ...] = ()


NO_JOB = JobPlace()


def job_place(evidence: Mapping[str, str]) -> JobPlace:
    """What a proof's evidence (``Proof.evidence``) says of its job."""
    if not evidence:
        return NO_JOB
    labels: dict[str, str] = {}
    for claim, label in _LABELS:
        if value := evidence.get(claim, ""):
            labels.setdefault(label, value)
    return JobPlace(
        project=_first(evidence, "repository", "project_path", "oidc.circleci.com/vcs-origin", "pipeline_slug"),
        branch=_first(evidence, "ref", "oidc.circleci.com/vcs-ref", "build_branch").removeprefix("refs/heads/"),
        run=_run(evidence),
        labels=tuple(sorted(labels.items())),
    )


def _run(evidence: Mapping[str, str]) -> str:
    for platform, project, number in (
        ("github", "repository", "run_id"),
        ("gitlab", "project_path", "pipeline_id"),
        ("buildkite", "pipeline_slug", "build_number"),
    ):
        if evidence.get(project) and evidence.get(number):
            return f"{platform}:{evidence[project]}:{evidence[number]}"
    return ""


def _first(evidence: Mapping[str, str], *names: str) -> str:
    return next((evidence[name] for name in names if evidence.get(name)), "")
