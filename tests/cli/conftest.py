"""The command as a user calls it, and a ledger to read."""

from collections.abc import Callable

import pytest

from report.conftest import clock, path
from tollkeeper.cli.entry import main

__all__ = ("clock", "path")

type Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Run ``tollkeeper`` with arguments: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr("sys.argv", ["tollkeeper", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run
