"""Runs the client scripts: a child process, unchanged SDKs, nothing but environment variables."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.harness import RunningProxy
from e2e.identities import Through

CLIENTS = Path(__file__).resolve().parent / "clients"
SCRIPTS = ("openai_calls", "anthropic_calls", "genai_calls")
TEXT = " the cost of a call is known when"
"""What the fake provider answers, as every SDK must put it together."""


def run_client(
    script: str, proxy: RunningProxy | Through, *, how: tuple[str, ...] = ("sync", "async")
) -> dict[str, dict[str, Any]]:
    """The results of a client script, by case."""
    command = [sys.executable, str(CLIENTS / f"{script}.py"), *how]
    done = subprocess.run(
        command,
        env=proxy.client_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["case"]: result for result in results}
