"""Every command that a page shows is run as it stands: here on a seeded ledger, or in the test that is named for it."""

import json
import os
import shlex
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from click.testing import CliRunner

from test_docs import COMMANDS
from tollkeeper.cli.main import cli
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.gate.bundle import write_bundle
from tollkeeper.gate.ca import ensure_ca
from tollkeeper.gate.hosts import HostTable
from tollkeeper.ledger.process import this_process

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "tollkeeper run": "tests/e2e/test_lifecycle.py",
    "tollkeeper start": "tests/e2e/test_lifecycle.py",
    "tollkeeper stop": "tests/e2e/test_first_day.py",
    "tollkeeper demo": "tests/e2e/test_demo.py",
    "tollkeeper ci ": "tests/ci",
    "tollkeeper top --serve": "tests/report/test_in_browser.py",
    "tollkeeper export otlp --endpoint": "tests/cli/test_export.py",
    "tollkeeper export prometheus --port": "tests/cli/test_export.py",
    "tollkeeper mcp": "tests",
    "tollkeeper service": "tests/cli/test_onboarding.py",
    "tollkeeper transparent": "tests/transparent",
    "tollkeeper grant revoke": "tests/ledger/test_budget_commands.py",
    "tollkeeper login": "tests/identity",
    "tollkeeper logout": "tests/identity",
    "tollkeeper doctor": "tests/cli/test_doctor.py",
}
"""What starts servers, asks for other programs or changes the machine is run where that is made ready."""
HERE = [command for command in COMMANDS if not any(command.startswith(start) for start in ELSEWHERE)]
MEANT = {
    "FILE": "draft.toml",
    "PATTERN": "claude*",
    "MODEL": "claude-sonnet-4-5",
    "DATE": "2026-11-01",
    "shard-*/ledger.db": "shard-1/ledger.db",
}
"""What a reader puts in the place of a word in capitals, and what a shell makes of a pattern."""
ENDS = {"tollkeeper status": {0}, "tollkeeper budget": {0, 1}}
"""Exit codes that say something of the figures, not of the command."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader sits: a home with a ledger and a policy, the files that the pages speak of."""
    loader = SourceFileLoader("script_seed_ledger_for_docs", str(ROOT / "scripts" / "seed_ledger"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    folder = tmp_path_factory.mktemp("docs")
    for name, number in (("home", 1), ("shard-1", 2)):
        for _ in module.seed(folder / name, calls=200, days=5, until=1_795_195_800_000_000, number=number):
            pass
    policy = (folder / "home" / "policy.toml").read_text().replace("[budget.company]", "[budget.job]").replace("research*", "*")
    (folder / "home" / "policy.toml").write_text(policy + '\n[budget.month]\namount = "900 USD"\nwindow = "month"\n')
    for name in ("policy.toml", "draft.toml", "old.toml", "new.toml"):
        shutil.copy(folder / "home" / "policy.toml", folder / name)
    shutil.copytree(ROOT / "policies", folder / "policies")
    identity = '[issuer.okta]\nkind = "okta"\nissuer = "https://acme.okta.com/oauth2/default"\naudience = "api://default"\n'
    (folder / "home" / "identity.toml").write_text(identity)
    (folder / "capture.har").write_text(json.dumps({"log": {"version": "1.2", "entries": []}}))
    return folder


@pytest.fixture
def reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TOLLKEEPER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TOLLKEEPER_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    home = folder / "home"
    authority = ensure_ca(home / "ca", HostTable.load().permitted_names(), 1_795_195_800_000_000)
    write_bundle(home / "ca" / "bundle.pem", authority.root_certificate, {})
    state = {"pid": os.getpid(), "process": this_process(), "host": "127.0.0.1", "port": 9, "started_at": 1, "mode": "observe"}
    counters = dict.fromkeys(
        ("calls", "inflight", "refused", "rewritten", "unmetered", "tunnelled", "faults", "ledger_errors"), 0
    )
    more = {"untrusting_hosts": {}, "policy": "", "ledger": "x", "last_fault": "", "proxy_user": "", "proxy_password": ""}
    (home / "proxy.json").write_text(json.dumps({**state, **counters, **more}))
    return folder


@pytest.mark.parametrize("command", HERE)
def test_a_command_that_is_shown_runs(command: str, reader: Path) -> None:
    words = shlex.split(command)[1:]
    for stop in (">", ">>", "&&", "|"):
        words = words[: words.index(stop)] if stop in words else words
    if words[0] == "show":
        words = ["show", a_call(reader)]
    if words[0] == "prices" and words[1] == "check":
        (reader / "draft.toml").write_text("schema = 1\n")
    elif "draft.toml" in words or "FILE" in words:
        shutil.copy(reader / "policy.toml", reader / "draft.toml")
    if words[0] == "init":
        words = [*words, "--print"]
    result = CliRunner().invoke(cli, [MEANT.get(word, word) for word in words])
    allowed = next((codes for start, codes in ENDS.items() if command.startswith(start)), {0})
    error = result.exception
    told = error if isinstance(error, TollkeeperError) else result.output[-1500:]
    assert not isinstance(error, TollkeeperError), told
    assert result.exit_code in allowed, (told, result.stderr[-1500:], error)


def test_what_is_not_run_here_is_run_where_it_says() -> None:
    for start, place in ELSEWHERE.items():
        files = [ROOT / place] if place.endswith(".py") else [*(ROOT / place).rglob("*.py")]
        assert any(start.split()[1] in file.read_text() for file in files), start


def a_call(folder: Path) -> str:
    """The beginning of the id of a call in the reader's ledger."""
    from tollkeeper.ledger.queries import tail

    return tail(folder / "home" / "ledger.db", last=1)[0].call_id
