"""What a running proxy says of a stream that is still coming, and how the dashboard shows it."""

import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from e2e.harness import RunningProxy, wait_for
from e2e.raw import SHAPES, Caller
from e2e.ws import connected
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.cli.process import read_state
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.plain import print_once

MINUTE = 60.0


def flying(proxy: RunningProxy, model: str) -> dict[str, Any] | None:
    """What the proxy says of the stream to that model, once there is something to say."""
    status = proxy.status()
    held = {row["call_id"]: row["model"] for row in proxy.ledger.query("SELECT call_id, model_requested AS model FROM entry")}
    found = [one for one in status.get("open_calls", ()) if held.get(one["call_id"]) == model]
    return found[0] if found and found[0]["output_tokens"] else None


@pytest.mark.parametrize("name", ["messages-stream", "chat-stream"])
def test_a_stream_under_way_tells_what_it_cost_so_far(observing: RunningProxy, proxied: Caller, name: str) -> None:
    """The second asks for no usage, so its figures are all estimates: what it asked and what could be seen of its answer."""
    shape = SHAPES[name]
    if "max_tokens" in shape.body:  # as many as come, or what was held is passed while this machine is busy
        shape = replace(shape, body={**shape.body, "max_tokens": 8_000})
    with proxied.opened(shape, chunks=4_000, output_tokens=8_000, delay_ms=20) as answer:
        answer.read1(1)
        first = wait_for(lambda: flying(observing, shape.body["model"]), "the stream is told of", MINUTE)
        assert first["cost_nanousd"] > 0

        def grown() -> dict[str, Any] | None:
            now = flying(observing, shape.body["model"])
            return now if now is not None and now["output_tokens"] > first["output_tokens"] else None

        later = wait_for(grown, "it goes on", MINUTE)
        assert later["call_id"] == first["call_id"]
        assert later["cost_nanousd"] > first["cost_nanousd"]
        assert later["cost_nanousd"] < observing.ledger.holds()[0]["amount"]
        line = shown_in_top(observing, shape.body["model"])
        assert re.search(r"~\d+/s +~<?\$0\.\d+ +≤\$", line), line
    observing.ledger.wait(lambda ledger: not ledger.holds(), "the call is settled", MINUTE)
    assert flying(observing, shape.body["model"]) is None


def shown_in_top(proxy: RunningProxy, model: str) -> str:
    """The line of `tollkeeper top` about the call in flight."""
    state = read_state(proxy.home / "proxy.json")
    assert state is not None
    feed = Feed(proxy.home / "ledger.db", ask_proxies=lambda: ({**state, **proxy.status()},))
    screen = io.StringIO()
    try:
        feed.ask()
        print_once(feed.load(), screen, width=160)
    finally:
        feed.close()
    return next(line for line in screen.getvalue().splitlines() if line.startswith("▸") and model in line)


def test_a_turn_of_a_websocket_tells_as_well(observing: RunningProxy, provider: FakeProvider) -> None:
    """Codex speaks nothing else."""
    headers = {"x-fake-chunks": "4000", "x-fake-output-tokens": "8000", "x-fake-delay-ms": "20"}
    with connected(observing, "wss://api.openai.com/v1/responses", headers) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "gpt-5.1-codex", "input": "What does this call cost?"}))
        found = wait_for(lambda: flying(observing, "gpt-5.1-codex"), "the turn is told of", MINUTE)
        assert found["cost_nanousd"] > 0
    observing.ledger.wait(lambda ledger: not ledger.holds(), "the turn is settled", MINUTE)
