"""A job from its first step to its last, with the real proxy: started, called, finished."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openai
import pytest
from cryptography import x509

from e2e.harness import TOLLKEEPER, LedgerView, proxy_environment
from tollkeeper.cli.ci_state import changeable_program
from tollkeeper.cli.demo_provider import FakeProvider

GITHUB = {
    "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/app", "GITHUB_RUN_ID": "17", "GITHUB_JOB": "test",
    "GITHUB_WORKFLOW": "nightly", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_BASE_REF": "main", "GITHUB_HEAD_REF": "feature",
}  # fmt: skip

ANYWHERE = ("--any-installation",) if changeable_program() else ()
"""A checkout that does not belong to root, or that a group may write."""


@dataclass
class Runner:
    """A machine that runs one job."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *words: str | bytes) -> subprocess.CompletedProcess[str]:
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


def test_a_job_cannot_keep_finish_from_its_summary(runner: Runner) -> None:
    runner.start()
    runner(b"step", b"caf\xe9")
    call(runner)
    with Path(runner.environment["TOLLKEEPER_CI"], "steps").open("a") as steps:
        steps.write('["x",1e999]\n["y",99999999999999999999]\n')
    done = runner("finish", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "caf?" in (runner.folder / "out" / "summary.md").read_text()


def test_a_summary_that_cannot_be_kept_is_still_shown_and_what_was_found_comes_first(runner: Runner) -> None:
    runner.start()
    (runner.folder / "file").write_text("")
    done = runner("finish", "--output", "file/out")
    assert (done.returncode, "--output" in done.stderr) == (3, True), done.stderr
    assert done.stdout.startswith("<!-- tollkeeper -->")
    runner.start()
    with pytest.raises(openai.BadRequestError):
        call(runner, "no-such-model-x1")
    assert runner("finish", "--output", "file/out", "--fail-on", "refused").returncode == 21


def test_with_json_nothing_but_the_object_is_on_standard_output(runner: Runner) -> None:
    runner.start()
    with pytest.raises(openai.BadRequestError):
        call(runner, "no-such-model-x1")
    done = runner("finish", "--json", "--fail-on", "refused")
    assert json.loads(done.stdout)["total"]["refused"] == 1
    assert "::error title=Tollkeeper (refused)::" in done.stderr, "GitHub reads its commands there too"


def test_a_second_finish_says_the_same_as_the_first(runner: Runner) -> None:
    runner.start("--ledger", "volume/ledger.db")
    call(runner)
    first, second = runner("finish", "--json"), runner("finish", "--json")
    assert "was gone" not in first.stderr + second.stderr
    assert [json.loads(done.stdout)["total"]["calls"] for done in (first, second)] == [1, 1]


def test_a_sidecar_that_was_killed_is_told_and_its_ledger_found(runner: Runner) -> None:
    runner.start("--ledger", "volume/ledger.db")
    call(runner)
    pid = int(str(runner.state["pid"]))
    os.kill(pid, signal.SIGKILL)
    done = runner("finish", "--json")
    assert "was gone before the job's end" in done.stderr
    assert json.loads(done.stdout)["total"]["calls"] == 1


@pytest.mark.parametrize("way", ["NO_PROXY", "GITHUB_ENV"])
def test_a_start_that_cannot_tell_the_job_leaves_no_sidecar(runner: Runner, tmp_path: Path, way: str) -> None:
    if way == "NO_PROXY":
        environment = {**runner.environment, "NO_PROXY": "a\nb"}
    else:
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        environment = {**runner.environment, "GITHUB_ENV": str(tmp_path / "link")}
    done = Runner(runner.folder, environment).start()
    assert done.returncode not in {0, 125}, done.stdout
    assert "Traceback" not in done.stderr
    assert "metering" not in done.stderr
    assert not (runner.folder / "home" / "proxy.json").exists()
    assert runner("finish").returncode == 3, "no job was started"
    assert runner.start().returncode == 0


def test_a_start_takes_no_steps_from_the_job_before(runner: Runner) -> None:
    runner.start()
    runner("step", "of yesterday")
    runner("finish")
    runner.start()
    assert Path(runner.environment["TOLLKEEPER_CI"], "steps").read_text() == ""


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
    root = x509.load_pem_x509_certificate((runner.folder / "home-public" / "root.pem").read_bytes())
    assert root.not_valid_after_utc < datetime.now(UTC) + timedelta(days=1, hours=2)


def test_identity_that_is_required_and_not_there_stops_the_job(runner: Runner) -> None:
    done = runner("start", "--port", "0", "--require-identity")
    assert done.returncode == 3
    assert "identity.toml" in done.stderr


def test_a_lock_needs_root_and_says_so(runner: Runner) -> None:
    if os.geteuid() == 0:
        done = runner("start", "--lock", "--proxy-user", "64010", "--job-user", "0", *ANYWHERE)
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
