"""``tollkeeper env`` and ``tollkeeper doctor``, as commands."""

import json
import os
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tollkeeper.cli import doctor, env
from tollkeeper.core.clock import from_datetime, system_clock
from tollkeeper.core.errors import GateError
from tollkeeper.core.paths import home
from tollkeeper.gate.bundle import write_bundle
from tollkeeper.gate.ca import ensure_ca
from tollkeeper.gate.health import State
from tollkeeper.gate.hosts import HostTable
from tollkeeper.ledger.process import this_process
from tollkeeper.pricing.book import CatalogueInfo


@pytest.fixture
def running(clean_environment: None) -> dict[str, Any]:
    """The files that a running proxy leaves; this test process stands in for it."""
    own = home()
    own.make()
    authority = ensure_ca(own.ca, HostTable.load().permitted_names(), system_clock())
    write_bundle(own.ca / "bundle.pem", authority.root_certificate, {})
    state = {
        "pid": os.getpid(),
        "process": this_process(),
        "host": "127.0.0.1",
        "port": 8877,
        "started_at": 1,
        "mode": "observe",
        "proxy_user": "",
        "proxy_password": "",
    }
    own.state.write_text(json.dumps(state))
    return state


def run(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(env.command, arguments, env={"SHELL": "/bin/bash", **(environ or {})})


def test_a_shell_that_evaluates_the_output_goes_through_the_proxy(running: dict[str, Any]) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    script = result.stdout + 'printf "%s %s" "$HTTPS_PROXY" "$SSL_CERT_FILE"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"http://127.0.0.1:8877 {home().ca / 'bundle.pem'}"


def test_unset_gives_the_shell_back_what_it_had(running: dict[str, Any]) -> None:
    before = {"SSL_CERT_FILE": "/company.pem", "NO_PROXY": "intranet"}
    exports = run(environ=before).stdout
    script = exports + "env -0"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60, env={**before, "PATH": os.environ["PATH"]}
    )
    shell = dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    script = run("--unset", environ=shell).stdout + 'printf "%s %s %s" "$SSL_CERT_FILE" "$NO_PROXY" "${HTTPS_PROXY-gone}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60, env=shell)
    assert done.stdout == "/company.pem intranet gone"


def test_the_password_of_the_proxy_is_in_the_url(running: dict[str, Any]) -> None:
    home().state.write_text(json.dumps({**running, "proxy_user": "laptop-1", "proxy_password": "s3cret"}))
    assert "HTTPS_PROXY=http://laptop-1:s3cret@127.0.0.1:8877\n" in run("--shell", "docker").stdout


def test_files_for_other_tools_carry_no_shell_memory(running: dict[str, Any]) -> None:
    assert "TOLLKEEPER_SAVED" not in run("--shell", "github").stdout
    assert "TOLLKEEPER_SAVED" in run("--shell", "fish").stdout


def test_without_a_proxy_the_command_says_how_to_start_one(clean_environment: None) -> None:
    result = run()
    assert isinstance(result.exception, GateError)
    assert result.exception.exit_code == 3
    assert "tollkeeper start" in str(result.exception)
    assert result.stdout == ""


def test_a_state_file_of_a_dead_process_counts_as_no_proxy(running: dict[str, Any]) -> None:
    home().state.write_text(
        json.dumps({**running, "pid": 2**22 + 1, "process": this_process().replace(str(os.getpid()), str(2**22 + 1))})
    )
    assert isinstance(run().exception, GateError)


def test_a_missing_bundle_is_said_and_not_exported(running: dict[str, Any]) -> None:
    (home().ca / "bundle.pem").unlink()
    result = run()
    assert isinstance(result.exception, GateError)
    assert result.stdout == ""


def diagnose(*arguments: str) -> Result:
    return CliRunner().invoke(doctor.command, arguments)


def test_the_doctor_begins_with_the_verdict_and_ends_with_zero_when_nothing_is_broken(clean_environment: None) -> None:
    result = diagnose()
    assert result.output.splitlines()[0] == "DEGRADED", result.output
    assert result.exit_code == 0
    assert "→ tollkeeper start" in result.output


def test_the_doctor_makes_nothing(clean_environment: None) -> None:
    diagnose()
    assert not home().root.exists()


def test_a_proxy_that_does_not_answer_is_broken(running: dict[str, Any]) -> None:
    home().state.write_text(json.dumps({**running, "port": 9}))
    result = diagnose()
    assert result.output.splitlines()[0] == "BROKEN"
    assert result.exit_code == 1
    assert "does not answer" in result.output


def test_a_damaged_policy_is_broken_and_named(clean_environment: None) -> None:
    home().make()
    home().policy.write_text("mode = 7\nbudgets = 'x'\n")
    result = diagnose()
    assert result.exit_code == 1
    assert str(home().policy) in result.output


def test_a_ledger_that_is_no_database_is_broken(clean_environment: None) -> None:
    home().make()
    home().ledger.write_bytes(b"not a database" * 100)
    result = diagnose()
    assert result.exit_code == 1
    assert "XX  ledger" in result.output


def test_the_report_for_bugs_is_json(running: dict[str, Any]) -> None:
    home().state.write_text(json.dumps({**running, "port": 9, "proxy_user": "u", "proxy_password": "s3cret"}))
    result = diagnose("--json")
    report = json.loads(result.output)
    assert report["verdict"] == "BROKEN"
    assert {check["group"] for check in report["checks"]} >= {"proxy", "CA", "ledger", "policy", "versions"}
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("python", "mitmproxy", "state"),
    [
        ((3, 12, 1), "12.2.3", State.OK),
        ((3, 13, 0), "12.2.9", State.OK),
        ((3, 12, 1), "12.3.0", State.FAILED),
        ((3, 12, 1), "12.3.1", State.FAILED),
        ((3, 12, 1), "12.2.2", State.FAILED),
        ((3, 12, 1), "13.0", State.FAILED),
        ((3, 12, 1), None, State.FAILED),
        ((3, 11, 2), "12.2.3", State.FAILED),
    ],
)
def test_only_a_tested_mitmproxy_without_the_stolen_key_is_accepted(
    python: tuple[int, ...], mitmproxy: str | None, state: State
) -> None:
    assert doctor.verdict(doctor.version_checks(python, mitmproxy)) is state


@pytest.mark.parametrize(("age_days", "state"), [(0, State.OK), (30, State.OK), (31, State.WARNING), (4000, State.WARNING)])
def test_old_prices_are_a_warning(age_days: int, state: State) -> None:
    catalogue = CatalogueInfo(
        version="1.2.3", date=date(2026, 1, 1), warn_after_days=30, loud_after_days=60, overlays=("own.toml",)
    )
    at = from_datetime(datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=age_days))
    check = doctor.price_check(catalogue, at)
    assert check.state is state
    assert f"1.2.3, own.toml{':' if state is State.WARNING else ','} {age_days} days" in check.detail


def test_prices_of_unknown_age_are_a_warning() -> None:
    catalogue = CatalogueInfo(version="9.9.9", date=None, warn_after_days=30, loud_after_days=60)
    assert doctor.price_check(catalogue, 0).state is State.WARNING


def test_what_a_running_proxy_has_met_is_told() -> None:
    state = {"host": "127.0.0.1", "port": 8877, "pid": 7}
    status = {
        "version": "0.0.1",
        "mode": "observe",
        "calls": 3,
        "faults": 1,
        "last_fault": "x",
        "ledger_errors": 2,
        "untrusting_hosts": {"api.openai.com": 4},
    }
    checks = doctor.proxy_checks(state, status)
    assert [check.state for check in checks] == [State.OK, State.WARNING, State.WARNING, State.FAILED, State.WARNING]
    assert "0.0.1" in checks[1].detail
    assert "4 connections to api.openai.com" in checks[4].detail


def test_a_folder_of_state_that_nobody_can_read_is_a_finding(clean_environment: None, tmp_path: Path) -> None:
    home().root.parent.mkdir(parents=True, exist_ok=True)
    home().root.write_text("a file where a folder should be")
    result = diagnose()
    assert result.exit_code in {0, 1}
    assert result.output.splitlines()[0] in {"HEALTHY", "DEGRADED", "BROKEN"}
