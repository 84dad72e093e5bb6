"""What a caller may still spend, from the proxy's own address and from the command that agents start."""

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.harness import TOLLKEEPER, RunningProxy, base_environment, proxy_environment
from e2e.raw import SHAPES, Caller
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

POLICY = (
    'schema = 1\nmode = "enforce"\n[budget.day]\namount = "1 USD"\nwindow = "day"\nwarn_at = [0]\n'
    '[alert.file]\nto = "command"\ncommand = ["tee", "%s"]\n'
)


def test_the_page_the_tool_the_warning_and_the_alert_say_the_same(
    start: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: pytest.TempPathFactory
) -> None:
    told = tmp_path / "told.json"  # type: ignore[operator]
    proxy = start(policy=POLICY.replace("[0]", "[1]") % told)
    answer = Caller(provider, proxy.bundle, proxy.port).call(
        SHAPES["messages"], {"user-agent": "claude-cli/2.1"}, output_tokens=4_000
    )
    assert answer.status == 200
    proxy.ledger.of(answer.json()["id"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{proxy.url}/v1/budget", timeout=60) as response:
        (budget,) = json.load(response)["budgets"]
    assert budget["spent"] == sum(entry["exposure_nanousd"] for entry in proxy.ledger.entries("settle")) > 10_000_000
    asked = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "budget", "arguments": {}}},
    ]
    done = subprocess.run(
        [*TOLLKEEPER, "mcp"],
        input="\n".join(map(json.dumps, asked)) + "\n",
        env={**base_environment(), "TOLLKEEPER_HOME": str(proxy.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[1])["result"]
    assert json.loads(result["content"][0]["text"])["budgets"][0]["spent"] == budget["spent"]
    second = Caller(provider, proxy.bundle, proxy.port).call(SHAPES["messages"], {"user-agent": "claude-cli/2.1"})
    assert second.headers["x-tollkeeper-warning"].startswith("budget day: ")
    assert second.headers["anthropic-ratelimit-unified-status"] == "allowed_warning"
    proxy.ledger.wait(lambda _: told.exists() and told.read_text(), "somebody has been told")
    alert = json.loads(told.read_text())
    assert (alert["kind"], alert["percent"], alert["budget"]) == ("threshold", 1, "day")


def test_the_tool_works_under_run_without_a_standing_proxy(provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir(mode=0o700)
    (home / "policy.toml").write_text('[budget.day]\namount = "1 USD"\nwindow = "day"\n')
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "budget", "arguments": {}}}
    done = subprocess.run(
        [*TOLLKEEPER, "run", "--", *TOLLKEEPER, "mcp"],
        input=json.dumps(asked) + "\n",
        env=proxy_environment(home, provider),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[0])["result"]
    assert result["isError"] is False, result
    assert [one["rule"] for one in json.loads(result["content"][0]["text"])["budgets"]] == ["budget.day"]
