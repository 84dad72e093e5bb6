"""What the doctor finds out about the CA and about a shell."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tollkeeper.gate.bundle import write_bundle
from tollkeeper.gate.ca import Authority, ensure_ca
from tollkeeper.gate.environment import client_environment
from tollkeeper.gate.files import SIGNING
from tollkeeper.gate.health import Check, State, authority_checks, shell_checks

NAMES = ("api.openai.com",)
NOW = 1_795_000_000_000_000
ADDRESS = ("127.0.0.1", 8877)

Shell = Callable[..., list[Check]]


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    authority = ensure_ca(tmp_path / "ca", NAMES, NOW)
    write_bundle(tmp_path / "ca" / "bundle.pem", authority.root_certificate, {})
    return authority


@pytest.fixture
def shell(made: Authority) -> Shell:
    """The checks of a shell with these variables; ``proxy`` is where the proxy listens, ``open_ports`` what else answers."""

    def check(environ: dict[str, str], proxy: tuple[str, int] | None = ADDRESS, open_ports: tuple[int, ...] = ()) -> list[Check]:
        root = made.root_certificate
        return shell_checks(environ, proxy, root.with_name("bundle.pem"), root, NAMES, lambda _, port: port in open_ports)

    return check


def exported(made: Authority, parent: dict[str, str] | None = None, port: int = 8877) -> dict[str, str]:
    root = made.root_certificate
    return client_environment(f"http://user:s3cret@127.0.0.1:{port}", root.with_name("bundle.pem"), root, parent or {})


def states(checks: list[Check]) -> list[State]:
    return [check.state for check in checks]


def test_a_sound_authority_is_one_good_line(made: Authority) -> None:
    folder = made.root_certificate.parent
    checks = authority_checks(folder, folder / "bundle.pem", NAMES, NOW)
    assert states(checks) == [State.OK]
    assert "365 days" in checks[0].detail


def test_a_missing_authority_is_a_warning_with_the_command_that_makes_one(tmp_path: Path) -> None:
    checks = authority_checks(tmp_path, tmp_path / "bundle.pem", NAMES, NOW)
    assert (states(checks), checks[0].remedy) == ([State.WARNING], "tollkeeper start")


def test_an_open_key_is_a_failure(made: Authority) -> None:
    (made.confdir / SIGNING).chmod(0o644)
    folder = made.root_certificate.parent
    checks = authority_checks(folder, folder / "bundle.pem", NAMES, NOW)
    assert states(checks) == [State.FAILED]
    assert "chmod 600" in checks[0].detail


def test_an_open_folder_and_a_missing_bundle_are_warnings(made: Authority) -> None:
    folder = made.root_certificate.parent
    folder.chmod(0o755)
    (folder / "bundle.pem").unlink()
    assert states(authority_checks(folder, folder / "bundle.pem", NAMES, NOW)) == [State.OK, State.WARNING, State.WARNING]


def test_a_bundle_without_our_root_is_a_failure(made: Authority, tmp_path: Path) -> None:
    folder = made.root_certificate.parent
    other = ensure_ca(tmp_path / "other", NAMES, NOW)
    write_bundle(folder / "bundle.pem", other.root_certificate, {})
    assert states(authority_checks(folder, folder / "bundle.pem", NAMES, NOW)) == [State.OK, State.FAILED]


def test_a_shell_with_our_exports_is_one_good_line_without_the_password(made: Authority, shell: Shell) -> None:
    checks = shell(exported(made))
    assert states(checks) == [State.OK]
    assert "s3cret" not in repr(checks)


def test_a_shell_without_exports_is_a_warning_only_while_a_proxy_runs(shell: Shell) -> None:
    assert states(shell({})) == [State.WARNING]
    assert shell({}, proxy=None) == []


def test_a_stale_port_is_a_failure_with_the_way_out(made: Authority, shell: Shell) -> None:
    moved = shell(exported(made, port=9999))
    assert states(moved) == [State.FAILED]
    assert "9999 is stale" in moved[0].detail
    gone = shell(exported(made), proxy=None)
    assert states(gone) == [State.FAILED]
    assert gone[0].remedy is not None
    assert "--unset" in gone[0].remedy
    assert "s3cret" not in repr([*moved, *gone])


def test_inside_a_run_the_proxy_of_that_run_counts(made: Authority, shell: Shell) -> None:
    assert states(shell(exported(made, port=9999), open_ports=(9999,))) == [State.OK]
    assert states(shell(exported(made, port=9999), proxy=None, open_ports=(9999,))) == [State.OK]


def test_another_proxy_is_a_warning_that_names_it_without_its_password(shell: Shell) -> None:
    checks = shell({"HTTPS_PROXY": "http://ada:hunter2@proxy.corp:3128"})
    assert states(checks) == [State.WARNING]
    assert "proxy.corp:3128" in checks[0].detail
    assert "hunter2" not in repr(checks)


def test_no_proxy_that_hides_an_ai_host_is_a_warning_that_names_it(made: Authority, shell: Shell) -> None:
    checks = shell(exported(made, {"NO_PROXY": ".openai.com"}))
    assert states(checks) == [State.OK, State.WARNING]
    assert "api.openai.com" in checks[1].detail


def test_a_ca_variable_that_leads_elsewhere_is_a_failure_that_names_it(made: Authority, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_text("nothing of ours")
    checks = shell({**exported(made), "SSL_CERT_FILE": str(tmp_path / "other.pem")})
    assert states(checks) == [State.OK, State.FAILED]
    assert checks[1].detail.startswith("SSL_CERT_FILE not set")


def test_a_ca_variable_that_names_no_file_is_a_failure(shell: Shell) -> None:
    checks = shell({"PIP_CERT": "/nowhere/company.pem"}, proxy=None)
    assert states(checks) == [State.FAILED]
    assert checks[0].remedy == "unset PIP_CERT"


@pytest.mark.parametrize("value", ["http://[::1", "http://127.0.0.1:99999", "::::", "http://"])
def test_an_odd_proxy_url_is_a_finding_and_not_a_crash(shell: Shell, value: str) -> None:
    assert State.OK not in states(shell({"HTTPS_PROXY": value}))


@pytest.mark.parametrize("value", ["127.0.0.1:8877", "http://localhost:8877", "http://127.0.0.1:8877/"])
def test_the_same_proxy_in_other_words_is_the_same_proxy(made: Authority, shell: Shell, value: str) -> None:
    environ = {**exported(made), **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), value)}
    assert states(shell(environ)) == [State.OK]
