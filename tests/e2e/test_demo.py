"""The newcomer's first minute: `tollkeeper demo` shows all three outcomes offline, and leaves nothing behind."""

import subprocess
from pathlib import Path

import pytest

from e2e.harness import TOLLKEEPER, base_environment

pytestmark = pytest.mark.e2e


def test_the_demo_shows_metered_downgraded_and_refused_calls_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**base_environment(), "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "COLUMNS": "120"}
    done = subprocess.run(
        [*TOLLKEEPER, "demo"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in ("metered", "downgraded to gpt-4o-mini", "downgraded to claude-haiku-4-5", "Blocked by tollkeeper", "HTTP 400"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    for words in ("gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "total", "1 refused"):
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []
