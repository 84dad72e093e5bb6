"""The command: as text in a pipe, errors in one line, nothing heavy loaded for it."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tollkeeper.cli.main import cli
from tollkeeper.cli.top import SERVED, _again, _show, _theme
from tollkeeper.core.errors import SetupError
from tollkeeper.tui.feed import Feed
from tui.samples import spend

REPOSITORY = Path(__file__).resolve().parents[2]


def test_in_a_pipe_it_prints_the_overview_once(home: Path) -> None:
    result = CliRunner().invoke(
        cli, ["top", "--ledger", str(home / "ledger.db"), "--zone", "Europe/Rome", "--since", "2026-11-20"]
    )
    assert result.exit_code == 0, result.output
    assert "company" in result.output
    assert "since start ~$" in result.output
    assert "! 4 calls without a known price" in result.output
    assert "\x1b" not in result.output


def test_its_own_ledger_may_not_be_there_yet() -> None:
    result = CliRunner().invoke(cli, ["top", "--once"])
    assert result.exit_code == 0, result.output
    assert "observe: nothing is blocked" in result.output


def test_with_signs_in_ascii_there_is_no_other_letter_of_ours(home: Path) -> None:
    spend(home / "ledger.db", 10**9)
    result = CliRunner().invoke(
        cli, ["top", "--once", "--no-emoji", "--ledger", str(home / "ledger.db"), "--since", "2026-11-20"]
    )
    assert not set(result.output) & set("✓✗»▸█▒░│→▁▂▃▄▅▆▇")


def test_a_named_ledger_must_be_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["top", "--ledger", str(tmp_path / "no.db")])
    assert isinstance(result.exception, SetupError)
    assert "no.db" in str(result.exception)


@pytest.mark.parametrize("served", ["", "1"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_screen_that_ends_by_an_error_is_no_success(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, served: str
) -> None:
    ended = type("Ended", (), {"__init__": lambda self, *_, **__: None, "run": lambda self: None, "return_code": code})
    monkeypatch.setattr("tollkeeper.tui.app.TopApp", ended)
    monkeypatch.setenv(SERVED, served) if served else monkeypatch.delenv(SERVED, raising=False)
    with pytest.raises(SystemExit) as left:
        _show(feed, "textual-dark", ascii_only=False)
    gc.enable()
    assert left.value.code == code


def test_a_port_without_serving_is_a_mistake() -> None:
    result = CliRunner().invoke(cli, ["top", "--port", "80"])
    assert result.exit_code == 2


@pytest.mark.parametrize(("value", "theme"), [("15;0", "textual-dark"), ("0;15", "textual-light"), ("", "textual-dark")])
def test_the_theme_follows_the_terminal(monkeypatch: pytest.MonkeyPatch, value: str, theme: str) -> None:
    monkeypatch.setenv("COLORFGBG", value)
    assert _theme("auto") == theme
    assert _theme("light") == "textual-light"


def test_the_page_in_the_browser_shows_the_same_with_names_quoted_for_the_shell() -> None:
    command = _again(since="2h", ledger=Path("/a b/$(x)/ledger.db"), policy=None, no_emoji=True)
    assert command.endswith("top --since 2h --ledger '/a b/$(x)/ledger.db' --no-emoji")


def test_printing_once_needs_neither_textual_nor_mitmproxy(home: Path) -> None:
    script = (
        "import json, sys\n"
        f"sys.argv = ['tollkeeper', 'top', '--once', '--ledger', {str(home / 'ledger.db')!r}]\n"
        "from tollkeeper.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "addon")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, env=environment)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "tollkeeper.tui.plain" in loaded
    assert not loaded & {"textual", "mitmproxy", "genai_prices", "sqlite_utils", "aiohttp"}
