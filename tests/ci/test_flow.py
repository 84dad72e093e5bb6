"""A job from its first step to its last, with the real proxy: started, called, finished."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from e2e.harness import TOLLKEEPER, LedgerView, proxy_environment
from tollkeeper.cli.demo_provider import FakeProvider

GITHUB = {
    "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/app", "GITHUB_RUN_ID": "17", "GITHUB_JOB": "test",
    "GITHUB_WORKFLOW": "nightly", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_BASE_REF": "main", "GITHUB_HEAD_REF": "feature",
}  # fmt: skip


@dataclass
class Runner:
    """A machine that runs one job."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TOLLKEEPER, "ci", *words], env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )  # fmt: skip

    def start(self, *options: str) -> subprocess.CompletedProcess[str]:
        done = self("start", "--port", "0", *options)
        if done.returncode == 0:
            lines = (self.folder / "github-env").read_text().splitlines()
            self.environment |= dict(line.split("=", 1) for line in lines if "=" in line)
        return done

    @property
    def state(self) -> dict[str, object]:
        return dict(json.loads((self.folder / "home" / "proxy.json").read_text()))


@pytest.fixture
def runner(shared_provider: FakeProvider, tmp_path: Path) -> Iterator[Runner]:
    environment = {
        **proxy_environment(tmp_path / "home", shared_provider), **GITHUB, "GITHUB_ENV": str(tmp_path / "github-env"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }  # fmt: skip
    yield (found := Runner(tmp_path, environment))
    found("finish", "--fail-on", "none")


def call(runner: Runner, model: str = "gpt-4o-mini") -> None:
    url = f"http://127.0.0.1:{runner.state['port']}/openai/v1"
    with openai.OpenAI(api_key="sk-test", base_url=url, max_retries=0) as client:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])


def test_a_job_is_started_called_and_finished(runner: Runner) -> None:
    started = runner.start()
    assert started.returncode == 0, started.stderr
    assert "not proved" in started.stderr
    runner("step", "unit tests")
    call(runner)
    done = runner("finish", "--fail-on", "all", "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((runner.folder / "out" / "summary.json").read_text())
    assert document["total"]["calls"] == 1
    assert document["job"]["run"] == "17"
    assert "unit tests" in (runner.folder / "summary.md").read_text()
    assert (runner.folder / "out" / "junit.xml").exists()
    (entry,) = LedgerView(runner.folder / "home" / "ledger.db").entries("settle")
    assert (entry["project"], entry["subject"]) == ("acme/app", "github:acme/app")
    assert json.loads(entry["tags"])["pull_request"] == "5"


def test_the_shipped_policy_is_closed_and_an_unpriced_model_fails_the_job(runner: Runner) -> None:
    runner.start()
    with pytest.raises(openai.BadRequestError, match="price"):
        call(runner, "no-such-model-x1")
    done = runner("finish", "--fail-on", "refused")
    assert done.returncode == 21, done.stdout + done.stderr
    assert "::error title=Tollkeeper (refused)::" in done.stdout


def test_a_baseline_of_the_base_branch_is_compared_with(runner: Runner) -> None:
    runner.start()
    call(runner)
    runner("finish", "--output", "base")
    path = runner.folder / "base" / "summary.json"
    document = json.loads(path.read_text())
    document["job"]["branch"] = "main"
    path.write_text(json.dumps(document))
    runner.start()
    call(runner)
    call(runner)
    done = runner("finish", "--baseline", "base", "--output", "out")
    assert "(+100 %) against" in done.stdout, done.stdout + done.stderr


def test_the_policy_of_the_repository_is_in_force_as_it_was_at_the_start(runner: Runner) -> None:
    (runner.folder / ".tollkeeper").mkdir()
    policy = runner.folder / ".tollkeeper" / "policy.toml"
    policy.write_text(
        'schema = 1\nmode = "enforce"\nunknown_model = "refuse"\n[budget.run]\namount = "0.0000001 USD"\nwindow = "day"\n'
    )
    runner.start()
    policy.write_text('schema = 1\nmode = "observe"\n')
    assert runner.state["policy_watched"] is False, "nor does a change of the copy count"
    with pytest.raises(openai.BadRequestError):
        call(runner)
    assert runner("finish", "--fail-on", "over").returncode == 20


def test_a_second_start_is_refused_and_a_finish_without_a_start_too(runner: Runner) -> None:
    assert runner("finish").returncode == 3
    runner.start()
    assert "already started" in runner("start").stderr


def test_the_ca_of_a_job_lives_a_day(runner: Runner) -> None:
    runner.start()
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-checkend", str(86_400 + 7200), "-in", str(runner.folder / "home-public" / "root.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert text.returncode == 1, text.stdout


def test_identity_that_is_required_and_not_there_stops_the_job(runner: Runner) -> None:
    done = runner("start", "--port", "0", "--require-identity")
    assert done.returncode == 3
    assert "identity.toml" in done.stderr


def test_a_lock_needs_root_and_says_so(runner: Runner) -> None:
    if os.geteuid() == 0:
        done = runner("start", "--lock", "--proxy-user", "64010", "--job-user", "0")
        assert "cannot hold root" in done.stderr or "could replace it" in done.stderr
    else:
        assert "sudo" in runner("start", "--lock", "--proxy-user", "1").stderr


def test_shards_are_merged_into_one_ledger(runner: Runner, tmp_path: Path) -> None:
    runner.start()
    call(runner)
    runner("finish")
    ledger = runner.folder / "home" / "ledger.db"
    for _ in range(2):
        done = subprocess.run(
            [*TOLLKEEPER, "ledger", "merge", str(tmp_path / "all.db"), str(ledger)],
            env=runner.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "0 calls added" in done.stdout
