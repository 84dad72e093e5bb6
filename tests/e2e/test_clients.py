"""The official SDKs and curl, unchanged, set up by environment variables alone: their answers are right and so is the ledger."""

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from e2e.harness import RunningProxy
from e2e.prices import assert_entry_equals_bill
from e2e.sdk import TEXT, run_client
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

CASES = {
    "openai_calls": {
        "chat", "chat-stream", "chat-stream-usage", "responses", "responses-stream",
        "async-chat", "async-chat-stream", "async-responses", "async-responses-stream",
    },
    "anthropic_calls": {"messages", "messages-stream", "messages-helper", "async-messages", "async-messages-helper"},
    "genai_calls": {"generate", "generate-stream", "async-generate", "async-generate-stream"},
}  # fmt: skip


@pytest.mark.parametrize("script", CASES)
def test_an_sdk_gets_its_answers_and_the_ledger_equals_the_bill(
    script: str, observing: RunningProxy, provider: FakeProvider
) -> None:
    results = run_client(script, observing)
    assert set(results) == CASES[script]
    assert {name: result["error"] for name, result in results.items() if result["error"]} == {}
    assert {name: result["text"] for name, result in results.items()} == dict.fromkeys(results, TEXT)
    billed = {call.id: call for call in provider.bills.billed()}
    assert set(billed) == {result["id"] for result in results.values()}
    for call in billed.values():
        assert (call.input_tokens, call.output_tokens) == (210, 40)
        entry = observing.ledger.of(call.id)
        assert_entry_equals_bill(entry, call)
    assert not observing.ledger.holds()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("streamed", [False, True])
def test_curl_gets_its_answer_and_the_ledger_equals_the_bill(
    streamed: bool, observing: RunningProxy, provider: FakeProvider
) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    command = ["curl", "-sS", "--fail", "https://api.openai.com/v1/chat/completions", "-H", "content-type: application/json"]
    command += ["-H", "authorization: Bearer sk-test", "-d", json.dumps(body)]
    done = subprocess.run(command, env=observing.client_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("data: [DONE]\n\n") if streamed else json.loads(done.stdout)["object"] == "chat.completion"
    (billed,) = provider.bills.billed()
    assert_entry_equals_bill(observing.ledger.of(billed.id), billed)


@pytest.mark.parametrize("script", CASES)
def test_a_refusal_stops_an_sdk_at_its_first_try_and_is_shown_in_full(
    script: str, start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    policy = 'schema = 1\nmode = "enforce"\n[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'
    proxy = start(policy=policy)
    results = run_client(script, proxy)
    assert set(results) == CASES[script]
    for name, result in results.items():
        assert result["status"] == 400, (name, result)
        for words in ("Blocked by tollkeeper", '"tiny"', "Ask ada.", "resets"):
            assert words.strip('"') in result["message"], (name, result)
    assert not provider.bills.seen(), "nothing may reach the provider"
    refused = proxy.ledger.entries("refuse")
    assert len(refused) == len(results), "one try each, no retries"
    assert {entry["budget"] for entry in refused} == {"tiny"}
    assert sum(entry["exposure_nanousd"] for entry in refused) == 0
    assert not proxy.ledger.holds()
