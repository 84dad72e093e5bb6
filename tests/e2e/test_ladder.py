"""The ladder carried out by the real proxy: clamped, moved, sent elsewhere, tried again; each try recorded, none paid in silence."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from e2e.harness import RunningProxy, running_proxy
from e2e.prices import NANOUSD_PER_TOKEN, cost_nanousd
from e2e.raw import SHAPES, Answer, Caller, Shape
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.request import read_ask
from tollkeeper.wire.routes import endpoint_for

pytestmark = pytest.mark.e2e

HEAD = 'schema = 1\nmode = "enforce"\n'

PROVIDERS = {"api.openai.com": "openai", "api.anthropic.com": "anthropic", "generativelanguage.googleapis.com": "gemini"}

type Start = Callable[..., RunningProxy]


def asking(name: str, **body: Any) -> Shape:
    return replace(SHAPES[name], body=SHAPES[name].body | body)


def call(
    proxy: RunningProxy, provider: FakeProvider, shape: Shape, headers: dict[str, str] | None = None, **script: Any
) -> Answer:
    return Caller(provider, proxy.bundle, proxy.port).call(shape, headers, **script)


def bodies(provider: FakeProvider) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in provider.bills.seen()]


def test_an_answer_is_clamped_to_what_is_left(start: Start, provider: FakeProvider) -> None:
    rates = NANOUSD_PER_TOKEN["claude-haiku-4-5"]
    amount = rates["output"] * 3_000
    policy = HEAD + f'[budget.day]\namount = "{amount / 1e9:.9f} USD"\nwindow = "day"\non_exceed = ["clamp", "refuse"]\n'
    proxy = start(policy=policy)
    answer = call(proxy, provider, asking("messages", max_tokens=60_000), output_tokens=1_200)
    assert answer.status == 200
    (sent,) = bodies(provider)
    assert 1_024 <= sent["max_tokens"] < 3_000
    assert f"max_output_tokens {sent['max_tokens']}" in answer.headers["x-tollkeeper-rewrote"]
    (billed,) = provider.bills.billed()
    entry = proxy.ledger.of(billed.id)
    assert entry["verdict"] == "rewrite"
    assert entry["exposure_nanousd"] == cost_nanousd(billed) <= amount


@pytest.mark.parametrize("name", ["chat", "chat-stream"])
def test_a_downgrade_is_repaired_for_its_target(name: str, start: Start, provider: FakeProvider) -> None:
    policy = HEAD + (
        '[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-4o"\non_exceed = { downgrade = ["gpt-5-mini"] }\n'
    )
    shape = asking(name, model="gpt-4o", temperature=0.2, max_tokens=300)
    answer = call(start(policy=policy), provider, shape)
    assert answer.status == 200
    assert "temperature dropped" in answer.headers["x-tollkeeper-repaired"]
    (sent,) = bodies(provider)
    assert (sent["model"], sent["max_completion_tokens"]) == ("gpt-5-mini", 300)
    assert not sent.keys() & {"temperature", "max_tokens"}


def test_a_call_is_sent_to_another_provider_with_the_key_of_that_provider(start: Start, provider: FakeProvider) -> None:
    policy = HEAD + (
        '[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-4o"\n'
        'on_exceed = { downgrade = [{ model = "gemini-2.5-flash", provider = "gemini", key = "env:OTHER_KEY" }] }\n'
    )
    proxy = start(policy=policy, extra={"OTHER_KEY": "the-other-key"})
    shape = asking("chat", model="gpt-4o")
    answer = call(proxy, provider, shape, {"openai-organization": "org"})
    (seen,) = provider.bills.seen()
    assert (seen.host, seen.path) == ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions")
    assert seen.headers["host"] == "generativelanguage.googleapis.com"
    assert seen.headers["authorization"] == "Bearer the-other-key"
    assert not seen.headers.keys() & {"x-api-key", "openai-organization"}
    assert answer.status == 200
    assert "the-other-key" not in proxy.said()
    assert b"the-other-key" not in (proxy.home / "ledger.db").read_bytes()


def test_a_call_without_a_key_for_the_other_provider_is_not_sent_there(start: Start, provider: FakeProvider) -> None:
    policy = HEAD + (
        '[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-4o"\n'
        'on_exceed = { downgrade = [{ model = "gemini-2.5-flash", provider = "gemini", key = "env:NOT_SET" }] }\n'
    )
    answer = call(start(policy=policy), provider, asking("chat", model="gpt-4o"))
    assert answer.status == 400
    assert "env:NOT_SET" in answer.json()["error"]["message"]
    assert not provider.bills.seen()


FALLBACK = HEAD + (
    '[route.safe]\nmodel = "claude-sonnet-4-5"\nto = { model = "claude-sonnet-4-5", timeout = "%s" }\nfallback = ["claude-haiku-4-5"]\n'
    '[budget.all]\namount = "10 USD"\nwindow = "day"\n'
)


@pytest.fixture(scope="module")
def fallback(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Waits a minute for the first model."""
    home = tmp_path_factory.mktemp("fallback") / "home"
    with running_proxy(home, shared_provider, policy=FALLBACK % "60s") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hasty(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Waits half a second for the first model."""
    home = tmp_path_factory.mktemp("hasty") / "home"
    with running_proxy(home, shared_provider, policy=FALLBACK % "500ms") as proxy:
        yield proxy


@pytest.mark.parametrize(
    "failure", [{"status": 529}, {"status": 500}, {"cut": "before-headers"}, {"first_delay_ms": 3000}], ids=str
)
@pytest.mark.parametrize("name", ["messages", "messages-stream"])
def test_a_provider_that_fails_before_its_first_byte_is_followed_by_the_fallback(
    name: str, failure: dict[str, Any], fallback: RunningProxy, hasty: RunningProxy, provider: FakeProvider
) -> None:
    proxy = hasty if "first_delay_ms" in failure else fallback
    before = len(proxy.ledger.ended()) if proxy.ledger.path.exists() else 0
    answer = call(proxy, provider, asking(name, model="claude-sonnet-4-5"), fail_model="claude-sonnet-4-5", **failure)
    assert answer.status == 200
    assert answer.whole
    assert [body["model"] for body in bodies(provider)] == ["claude-sonnet-4-5", "claude-haiku-4-5"]
    billed = [one for one in provider.bills.billed() if one.model == "claude-haiku-4-5"]
    entry = proxy.ledger.of(billed[0].id)
    assert (entry["verdict"], entry["rule"], entry["model"]) == ("rewrite", "route.safe", "claude-haiku-4-5")
    assert entry["cost_nanousd"] == cost_nanousd(billed[0])
    ended = proxy.ledger.wait(lambda view: len(view.ended()) == before + 2 and view.ended()[before:], "both tries are recorded")
    assert "tried-elsewhere" in ended[0]["flags"]
    assert not proxy.ledger.holds()
    if "status" in failure:
        assert (ended[0]["status"], ended[0]["exposure_nanousd"]) == (failure["status"], 0)


def test_when_every_fallback_fails_the_client_gets_the_last_answer(fallback: RunningProxy, provider: FakeProvider) -> None:
    before = len(fallback.ledger.ended()) if fallback.ledger.path.exists() else 0
    answer = call(fallback, provider, asking("messages", model="claude-sonnet-4-5"), status=529)
    assert (answer.status, answer.json()["error"]["type"]) == (529, "overloaded_error")
    assert len(provider.bills.seen()) == 2
    fallback.ledger.wait(lambda view: len(view.ended()) == before + 2 and not view.holds(), "both tries are recorded")


def test_an_error_of_the_client_is_not_tried_elsewhere(fallback: RunningProxy, provider: FakeProvider) -> None:
    before = len(fallback.ledger.ended()) if fallback.ledger.path.exists() else 0
    answer = call(fallback, provider, asking("messages", model="claude-sonnet-4-5"), status=404)
    assert answer.status == 404
    assert len(provider.bills.seen()) == 1
    assert fallback.ledger.since(before)["status"] == 404


ROUTED = HEAD + '[route.cheap]\nmodel = "gpt-4o"\nto = "gpt-4o-mini"\n[budget.all]\namount = "10 USD"\nwindow = "day"\n'


def test_a_rewrite_that_the_provider_refuses_is_surfaced_or_sent_as_asked(start: Start, provider: FakeProvider) -> None:
    shape = asking("chat", model="gpt-4o")
    answer = call(start(policy=ROUTED), provider, shape, status=400, fail_model="gpt-4o-mini")
    assert answer.status == 400
    assert len(provider.bills.seen()) == 1
    provider.bills.clear()
    proxy = start(policy=ROUTED.replace("\n", '\non_rewrite_error = "resend"\n', 1))
    answer = call(proxy, provider, shape, status=400, fail_model="gpt-4o-mini")
    assert answer.status == 200
    assert [body["model"] for body in bodies(provider)] == ["gpt-4o-mini", "gpt-4o"]
    (billed,) = provider.bills.billed()
    entry = proxy.ledger.of(billed.id)
    assert "resent-as-asked" in entry["flags"]
    first = proxy.ledger.ended()[0]
    assert "rewrite-refused" in first["flags"]
    assert (first["status"], first["exposure_nanousd"]) == (400, 0)


def test_a_request_without_room_as_asked_is_not_sent_again(start: Start, provider: FakeProvider) -> None:
    policy = HEAD + (
        'on_rewrite_error = "resend"\n[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-4o"\n'
        'on_exceed = { downgrade = ["gpt-4o-mini"] }\n'
    )
    answer = call(start(policy=policy), provider, asking("chat", model="gpt-4o"), status=400, fail_model="gpt-4o-mini")
    assert answer.status == 400
    assert [body["model"] for body in bodies(provider)] == ["gpt-4o-mini"]


SPENT = HEAD + 'refusal = "message"\n[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'


@pytest.fixture(scope="module")
def speaking(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path_factory.mktemp("speaking") / "home", shared_provider, policy=SPENT) as proxy:
        yield proxy


@pytest.mark.parametrize("name", SHAPES)
def test_a_refusal_said_as_an_answer_is_one_that_the_reader_of_its_dialect_understands(
    name: str, speaking: RunningProxy, provider: FakeProvider
) -> None:
    shape = SHAPES[name]
    answer = call(speaking, provider, shape)
    assert answer.status == 200
    assert answer.headers["x-tollkeeper-verdict"] == "refuse"
    assert not provider.bills.seen()
    endpoint = endpoint_for(PROVIDERS[shape.host], shape.host, "POST", shape.path)
    ask = read_ask(endpoint, json.dumps(shape.body).encode())
    assert ("event-stream" in answer.headers["content-type"]) is (ask.streamed and name != "gemini-array")
    meter = Meter(endpoint, ask, 200, answer.headers)
    meter.feed(answer.body)
    reading = meter.close(cut=False)
    assert (reading.complete, reading.error, reading.flags) == (True, None, ())
    assert sum(usage.output_tokens for usage in reading.calls) == 0
    assert b"Ask ada." in answer.body


def test_gemini_cli_is_never_answered_in_prose(speaking: RunningProxy, provider: FakeProvider) -> None:
    answer = call(speaking, provider, SHAPES["gemini"], {"user-agent": "GeminiCLI/0.9 (linux)"})
    assert answer.status == 400


@pytest.fixture(scope="module")
def stopping(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    policy = HEAD + 'mid_stream_stop = true\nhold = "worst"\n[budget.day]\namount = "10 USD"\nwindow = "day"\n'
    with running_proxy(tmp_path_factory.mktemp("stopping") / "home", shared_provider, policy=policy) as proxy:
        yield proxy


@pytest.mark.parametrize("name", ["messages-stream", "chat-stream", "responses-stream", "gemini-sse"])
def test_a_stream_that_passes_what_was_held_ends_well_formed_and_is_settled(
    name: str, stopping: RunningProxy, provider: FakeProvider
) -> None:
    proxy, before = stopping, len(stopping.ledger.ended()) if stopping.ledger.path.exists() else 0
    cap = {
        "messages-stream": {"max_tokens": 50},
        "chat-stream": {"max_tokens": 50},
        "responses-stream": {"max_output_tokens": 50},
    }
    body = cap.get(name, {"generationConfig": {"maxOutputTokens": 50}})
    answer = call(proxy, provider, asking(name, **body), chunks=2_000, delay_ms=10)
    assert answer.status == 200
    assert answer.whole
    ends = {"messages-stream": b"message_stop", "chat-stream": b"[DONE]", "responses-stream": b"response.incomplete"}
    assert ends.get(name, b"MAX_TOKENS") in answer.body[-4000:]
    assert answer.body.count(b"\n\n") < 300
    entry = proxy.ledger.since(before)
    assert "stopped-mid-stream" in entry["flags"]
    assert entry["outcome"] == "ok"
    assert 0 < entry["lines"][0]["output_tokens"] < 300
    (billed,) = proxy.ledger.wait(lambda _: provider.bills.billed(), "the provider has noticed")
    assert billed.output_tokens < 1_500, "the provider goes on generating no longer than it must"
    again = call(proxy, provider, SHAPES["chat"])
    assert again.status == 200
    proxy.ledger.of(again.json()["id"])
