"""Streams that are cut at every stage, by either side, are charged for what they used, once, and leave nothing held."""

import time

import pytest

from e2e.harness import RunningProxy, wait_for
from e2e.prices import NANOUSD_PER_TOKEN
from e2e.raw import SHAPES, Caller, send
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

STREAMS = ("chat-stream", "chat-stream-usage", "responses-stream", "messages-stream", "gemini-sse", "gemini-array")
USAGE_COMES_FIRST = {"messages-stream", "gemini-sse", "gemini-array"}
"""Their input counts are known before the first word."""


@pytest.mark.parametrize("stage", ["before-headers", "after-headers", "mid-event", "before-usage", "after-usage"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_provider_that_breaks_off_is_charged_for_what_came(
    name: str, stage: str, proxied: Caller, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.ended())
    script = {"cut": stage, "chunks": 40, "input_tokens": 900, "id": f"cut-{name}-{stage}"}
    if stage == "before-headers":
        answer = proxied.call(SHAPES[name], **script)
        assert answer.status == 502
        assert answer.json()["error"]["message"]
    else:
        answer = proxied.call(SHAPES[name], **script)
        assert not answer.whole, "the client must see that the stream is not complete"
    entry = observing.ledger.since(before)
    assert not observing.ledger.holds()
    (line,) = entry["lines"] or [None]
    if stage == "before-headers":
        assert entry["exposure_nanousd"] == 0
        return
    if stage == "after-usage":
        assert entry["usage_source"] == "reported"
        assert (line["input_tokens"], line["output_tokens"]) == (900, 40)
        return
    assert entry["usage_source"] in {"partial", "counted"}
    assert entry["outcome"] == "cut"
    assert entry["exposure_nanousd"] > 0
    sent = {"after-headers": 0, "mid-event": 20, "before-usage": 40}[stage]
    assert line["output_tokens"] == pytest.approx(sent, rel=0.5, abs=8)
    if name in USAGE_COMES_FIRST and sent:
        assert line["input_tokens"] == 900
    else:
        assert 0 < line["input_tokens"] < 200, "counted from the request: the fake's figure was never sent"


@pytest.mark.parametrize("name", STREAMS)
def test_a_client_that_leaves_in_the_middle_is_charged_for_what_came(
    name: str, proxied: Caller, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.ended())
    with proxied.opened(SHAPES[name], chunks=2000, delay_ms=10, input_tokens=700) as response:
        got = b""
        while got.count(b"data:") < 20 and got.count(b"candidates") < 15:
            got += response.read1(4096)
    entry = observing.ledger.since(before)
    assert entry["usage_source"] in {"partial", "counted"}
    assert entry["outcome"] == "aborted"
    assert not observing.ledger.holds()
    (billed,) = wait_for(provider.bills.billed, "the provider sees that the client has left")
    assert not billed.complete
    assert billed.output_tokens < 2000
    rates = NANOUSD_PER_TOKEN[entry["model"]]
    most = (1.5 * billed.output_tokens + 20) * rates["output"] + 700 * rates["input"]
    assert 5 * rates["output"] < entry["exposure_nanousd"] < most


@pytest.mark.parametrize("name", ["chat", "messages-stream"])
def test_a_client_that_leaves_before_the_answer_leaves_nothing_held(
    name: str, proxied: Caller, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.ended())
    shape = SHAPES[name]
    connection = proxied.connect(shape.host)
    send(connection, shape, first_delay_ms=60_000)
    wait_for(provider.bills.seen, "the request reaches the provider")
    connection.close()
    entry = observing.ledger.since(before)
    assert entry["outcome"] == "aborted"
    assert entry["exposure_nanousd"] > 0, "the provider had the request and may bill what went in"
    assert not observing.ledger.holds()


def test_a_client_that_leaves_right_after_the_last_event_has_had_its_whole_answer(
    proxied: Caller, observing: RunningProxy
) -> None:
    before = len(observing.ledger.ended())
    with proxied.opened(SHAPES["chat-stream-usage"], chunks=5, input_tokens=33) as response:
        got = b""
        while b"[DONE]" not in got:
            got += response.read1(4096)
    entry = observing.ledger.since(before)
    assert (entry["usage_source"], entry["outcome"]) == ("reported", "ok")


def test_a_client_that_never_finishes_its_request_is_not_sent_on(
    proxied: Caller, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.entries())
    connection = proxied.connect("api.openai.com")
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("content-length", "1000")
    connection.endheaders(b'{"model": "gpt-4o-mini", ')
    time.sleep(0.2)
    connection.close()
    assert proxied.call(SHAPES["chat"]).whole
    assert len(provider.bills.seen()) == 1
    assert {entry["kind"] for entry in observing.ledger.entries()[before:]} <= {"hold", "settle", "void"}
    assert not observing.ledger.holds()
