"""The official xAI SDK, unchanged, over gRPC against the official library's server: its answers are right and so is the ledger."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.harness import ADDON, RunningProxy, base_environment, running_proxy, wait_for
from e2e.prices import tokens_of
from e2e.sdk import CLIENTS, TEXT
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.cli.demo_provider.authority import make_authority

SDK = importlib.util.find_spec("xai_sdk")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(SDK is None, reason="xai-sdk is not installed")]

NANOUSD_PER_TICK = 10
RATES = {"input": 200, "cache_read": 50, "output": 500}
"""grok-4-fast's list price in nano-dollars a token."""
WORDS = 8


@dataclass(slots=True)
class FakeXai:
    """A fake xAI in a process of its own, and its bill."""

    port: int
    trusted: Path
    bill: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.bill.read_text().splitlines()]

    def billed(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "complete" in line]

    def seen(self) -> int:
        return sum(1 for line in self.lines() if "seen" in line)


def _path() -> str:
    """The SDK may stand in a folder of its own."""
    assert SDK is not None
    assert SDK.origin is not None
    return os.pathsep.join((str(ADDON), str(Path(SDK.origin).parent.parent)))


@pytest.fixture(scope="module")
def started_xai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeXai]:
    folder = tmp_path_factory.mktemp("xai")
    authority = make_authority(("api.x.ai",))
    pem, trusted, bill = folder / "server.pem", folder / "trusted.pem", folder / "bill.jsonl"
    pem.write_bytes(authority._key_pem + authority._chain_pem)
    trusted.write_bytes(authority.root_pem)
    bill.touch()
    command = [sys.executable, str(CLIENTS / "xai_provider.py"), str(pem), str(bill)]
    environment = base_environment() | {"PYTHONPATH": _path()}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield FakeXai(int(process.stdout.readline()), trusted, bill)
        process.kill()


@pytest.fixture
def xai(started_xai: FakeXai) -> FakeXai:
    """The module's fake with an empty bill."""
    started_xai.bill.write_text("")
    return started_xai


def _extra(xai: FakeXai) -> dict[str, str]:
    return {"TOLLKEEPER_RESOLVE": f"api.x.ai:443=127.0.0.1:{xai.port}", "SSL_CERT_FILE": str(xai.trusted)}


@pytest.fixture(scope="module")
def proxy(
    started_xai: FakeXai, shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    """A proxy without a policy, whose api.x.ai is the fake."""
    with running_proxy(tmp_path_factory.mktemp("xai-proxy") / "home", shared_provider, extra=_extra(started_xai)) as running:
        yield running


@pytest.fixture
def enforcing(started_xai: FakeXai, shared_provider: FakeProvider, tmp_path: Path) -> Callable[..., Any]:
    """Starts one with a policy."""
    return lambda policy: running_proxy(tmp_path / "home", shared_provider, policy=policy, extra=_extra(started_xai))


def run_calls(proxy: RunningProxy, *how: str, **extra: str) -> dict[str, dict[str, Any]]:
    """The results of the client script, by case."""
    environment = proxy.client_environment() | {"PYTHONPATH": _path(), **extra}
    command = [sys.executable, str(CLIENTS / "xai_calls.py"), *how]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return {result["case"]: result for result in map(json.loads, done.stdout.splitlines())}


def test_every_way_of_asking_is_answered_and_the_ledger_equals_the_bill(proxy: RunningProxy, xai: FakeXai) -> None:
    results = run_calls(proxy, "sync", "async")
    assert set(results) == {
        "sample", "sample-computed", "sample-gzip", "stream", "stream-gzip", "defer", "async-sample", "async-stream",
    }  # fmt: skip
    assert {name: result["error"] for name, result in results.items() if result["error"]} == {}
    assert {name: result["text"] for name, result in results.items()} == dict.fromkeys(results, TEXT) | {"stream-gzip": TEXT * 20}
    billed = {line["id"]: line for line in xai.billed()}
    assert {result["id"] for result in results.values()} == set(billed)
    for name, result in results.items():
        entry = proxy.ledger.of(result["id"])
        assert (entry["usage_source"], entry["outcome"], entry["model_billed"]) == ("reported", "ok", "grok-4-fast-reasoning")
        tokens = tokens_of(entry)
        output = WORDS * (20 if name == "stream-gzip" else 1) + 12
        assert (tokens["cache_read"], tokens["output"], tokens["reasoning"]) == (90, output, 12)
        assert tokens["input"] == (3910 if name == "sample-gzip" else 120)
        stated = billed[result["id"]]["ticks"] // NANOUSD_PER_TICK
        computed = sum(rate * tokens[kind] for kind, rate in RATES.items())
        assert entry["cost_nanousd"] == entry["exposure_nanousd"] == (stated or computed)
    searched = proxy.ledger.of(results["stream"]["id"])
    assert searched["list_cost_nanousd"] == searched["cost_nanousd"], "two searches at $5 per 1,000"
    assert not proxy.ledger.holds()


def test_a_picture_is_billed_as_stated_and_what_is_free_is_recorded_so(proxy: RunningProxy, xai: FakeXai) -> None:
    before = len(proxy.ledger.ended())
    results = run_calls(proxy, "other")
    assert {name: result["error"] for name, result in results.items()} == {"image": None, "tokenize": None, "key": None}
    entries = {entry["operation"]: entry for entry in proxy.ledger.ended()[before:]}
    picture = entries["image_generation"]
    assert (picture["cost_nanousd"], picture["usage_source"]) == (20_000_000, "reported")
    for free in ("count_tokens", "other"):
        assert (entries[free]["exposure_nanousd"], entries[free]["usage_source"]) == (0, "none")


def test_a_client_that_leaves_in_the_middle_is_charged_for_what_came(proxy: RunningProxy, xai: FakeXai) -> None:
    before = len(proxy.ledger.ended())
    results = run_calls(proxy, "leaving")
    assert results["leaving"]["text"] == (TEXT * 2)[: len(results["leaving"]["text"])]
    (billed,) = wait_for(xai.billed, "the provider sees that the client has left")
    assert not billed["complete"]
    entry = proxy.ledger.since(before)
    assert (entry["usage_source"], entry["outcome"]) == ("partial", "aborted")
    assert 10 + 12 <= tokens_of(entry)["output"] <= billed["output"] + 12 + 1
    assert tokens_of(entry)["input"] == 120
    assert not proxy.ledger.holds()


def test_a_failure_of_the_provider_reaches_the_client_as_it_is_and_costs_what_had_been_said(
    proxy: RunningProxy, xai: FakeXai
) -> None:
    before = len(proxy.ledger.ended())
    results = run_calls(proxy, "failing")
    assert "StatusCode.INTERNAL" in results["fails-midway"]["message"]
    assert "StatusCode.RESOURCE_EXHAUSTED" in results["fails-at-once"]["message"]
    assert "the fake provider was told to fail" in results["bad-key"]["message"]
    entries = proxy.ledger.wait(lambda view: len(view.ended()) == before + 3 and view.ended()[before:], "all are settled")
    (midway,) = [entry for entry in entries if entry["usage_source"] == "partial"]
    at_once, key = [entry for entry in entries if entry is not midway]
    assert (midway["outcome"], midway["usage_source"], midway["error"]) == ("error", "partial", "INTERNAL")
    assert tokens_of(midway)["output"] == 5 + 12
    assert [(entry["error"], entry["exposure_nanousd"]) for entry in (at_once, key)] == [
        ("RESOURCE_EXHAUSTED", 0),
        ("UNAUTHENTICATED", 0),
    ]
    assert not proxy.ledger.holds()


def test_a_refusal_stops_the_sdk_at_its_first_try_and_is_shown_in_full(enforcing: Callable[..., Any], xai: FakeXai) -> None:
    policy = 'schema = 1\nmode = "enforce"\n[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada – 50 %."\n'
    with enforcing(policy) as proxy:
        results = run_calls(proxy, "sync", "async")
        for name, result in results.items():
            assert "StatusCode.INVALID_ARGUMENT" in result["message"], (name, result)
            for words in ("Blocked by tollkeeper", "tiny", "Ask ada – 50 %.", "resets"):
                assert words in result["message"], (name, result)
        assert not xai.lines(), "nothing may reach the provider"
        refused = proxy.ledger.entries("refuse")
        assert len(refused) == len(results), "one try each, no retries"
        assert not proxy.ledger.holds()


def test_a_budget_moves_a_call_to_a_cheaper_model(enforcing: Callable[..., Any], xai: FakeXai) -> None:
    policy = (
        'schema = 1\nmode = "enforce"\n[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = ["grok-4"]\n'
        'on_exceed = { rewrite = ["grok-4-fast"] }\n'
    )
    with enforcing(policy) as proxy:
        results = run_calls(proxy, "async", FAKE_MODEL="grok-4")
        assert {result["text"] for result in results.values()} == {TEXT}
        assert [line["seen"] for line in xai.lines() if "seen" in line] == ["grok-4-fast"] * len(results)
        assert {entry["model_requested"] for entry in proxy.ledger.entries("settle")} == {"grok-4"}
        assert not proxy.ledger.holds()


def test_no_secret_of_ours_reaches_the_provider(proxy: RunningProxy, xai: FakeXai) -> None:
    run_calls(proxy, "async")
    names = {name for line in xai.lines() if "seen" in line for name in line["meta"]}
    assert names <= {"user-agent", "authorization", "xai-sdk-version", "xai-sdk-language", "accept-encoding"}
