"""Budgets that hold: refused in full, rewritten in the model alone, never passed by a burst; observing blocks nothing."""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest

from e2e.harness import RunningProxy
from e2e.prices import NANOUSD_PER_TOKEN, assert_entry_equals_bill, cost_nanousd
from e2e.raw import SHAPES, STREAM_SHAPES, Caller, Shape
from e2e.sdk import run_client
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.ledger.repeats import MOST_EACH, more_like_it

pytestmark = pytest.mark.e2e

HEAD = 'schema = 1\nmode = "enforce"\n'
REWRITING = (
    HEAD
    + """
[budget.dear]
amount = "0.000001 USD"
window = "day"
model = ["gpt-4o", "gpt-5", "*sonnet*", "gemini-2.5-pro"]
on_exceed = { rewrite = ["gpt-4o-mini", "gpt-5-mini", "claude-haiku-4-5", "gemini-2.5-flash"] }
"""
)
BURST = 256


def _asking(shape: Shape, model: str) -> Shape:
    if "googleapis" in shape.host:
        return replace(shape, path=shape.path.replace("gemini-2.5-flash", model))
    return replace(shape, body=shape.body | {"model": model})


@pytest.mark.parametrize("name", SHAPES)
def test_a_refusal_is_in_the_providers_own_shape(name: str, refusing: RunningProxy, provider: FakeProvider) -> None:
    answer = Caller(provider, refusing.bundle, refusing.port).call(SHAPES[name])
    assert answer.status == 400
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert answer.headers["content-type"].startswith("application/json")
    said = answer.json()
    said = said[0] if isinstance(said, list) else said
    if name.startswith("messages"):
        assert (said["type"], said["error"]["type"]) == ("error", "invalid_request_error")
    elif name.startswith("gemini"):
        assert (said["error"]["code"], said["error"]["status"]) == (400, "INVALID_ARGUMENT")
    else:
        assert said["error"]["type"] == "invalid_request_error"
    for words in ("tiny", "$0.00", "resets on", "Ask ada."):
        assert words in said["error"]["message"]
    assert not provider.bills.seen()


@pytest.fixture(scope="module")
def refusing(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> object:
    from e2e.harness import running_proxy

    policy = HEAD + '[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'
    with running_proxy(tmp_path_factory.mktemp("refusing") / "home", shared_provider, policy=policy) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def rewriting(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> object:
    from e2e.harness import running_proxy

    with running_proxy(tmp_path_factory.mktemp("rewriting") / "home", shared_provider, policy=REWRITING) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("name", "asked", "served"),
    [
        ("chat", "gpt-4o", "gpt-4o-mini"),
        ("chat-stream", "gpt-4o", "gpt-4o-mini"),
        ("messages", "claude-sonnet-4-5", "claude-haiku-4-5"),
        ("messages-stream", "claude-sonnet-4-5", "claude-haiku-4-5"),
        ("gemini", "gemini-2.5-pro", "gemini-2.5-flash"),
        ("gemini-sse", "gemini-2.5-pro", "gemini-2.5-flash"),
    ],
)
def test_a_rewrite_changes_the_model_and_nothing_else(
    name: str, asked: str, served: str, rewriting: RunningProxy, provider: FakeProvider
) -> None:
    shape = _asking(SHAPES[name], asked)
    answer = Caller(provider, rewriting.bundle, rewriting.port).call(shape)
    assert answer.whole
    assert served in answer.headers["x-tollkeeper-rewrote"]
    (seen,) = provider.bills.seen()
    expected = json.dumps(shape.body).replace(f'"{asked}"', f'"{served}"')
    sent = json.loads(seen.body)
    sent.pop("stream_options", None)
    assert sent == json.loads(expected)
    assert seen.path.partition("?")[0] == shape.path.partition("?")[0].replace(asked, served)
    (billed,) = provider.bills.billed()
    assert billed.model == served
    entry = rewriting.ledger.of(billed.id)
    assert_entry_equals_bill(entry, billed)
    assert (entry["verdict"], entry["model_requested"], entry["budget"]) == ("rewrite", asked, "dear")


def test_a_conversation_that_is_under_way_is_refused_rather_than_rewritten(
    rewriting: RunningProxy, provider: FakeProvider
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    shape = replace(SHAPES["messages"], body=SHAPES["messages"].body | {"model": "claude-sonnet-4-5", "messages": turns})
    answer = Caller(provider, rewriting.bundle, rewriting.port).call(shape)
    assert answer.status == 400
    assert not provider.bills.seen()


def test_an_sdk_gets_its_answer_from_the_cheaper_model(start: Callable[..., RunningProxy], provider: FakeProvider) -> None:
    policy = REWRITING.replace('"gpt-4o", "gpt-5"', '"gpt-4o-mini", "gpt-5-mini"').replace(
        '"gpt-4o-mini", "gpt-5-mini", "claude-haiku-4-5"', '"gpt-4.1-nano", "gpt-5-nano", "claude-haiku-4-5"'
    )
    results = run_client("openai_calls", start(policy=policy), how=("sync",))
    assert {name: result["error"] for name, result in results.items() if result["error"]} == {}
    assert {call.model for call in provider.bills.billed()} <= {"gpt-4.1-nano", "gpt-5-nano"}


def test_observing_blocks_nothing_and_records_what_it_would_have_done(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    policy = REWRITING.replace('"enforce"', '"observe"') + '[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\n'
    proxy = start(policy=policy)
    caller = Caller(provider, proxy.bundle, proxy.port)
    for shape in (SHAPES["chat"], *STREAM_SHAPES):
        assert caller.call(shape).status == 200
    billed = provider.bills.billed()
    assert len(billed) == 1 + len(STREAM_SHAPES)
    entries = [proxy.ledger.of(call.id) for call in billed]
    assert {entry["verdict"] for entry in entries} == {"allow"}
    assert {entry["would"] for entry in entries} == {"refuse"}


def test_a_burst_of_concurrent_callers_never_passes_the_amount(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    tokens_in, tokens_out = 60, 100
    rates = NANOUSD_PER_TOKEN["claude-haiku-4-5"]
    cost = tokens_in * rates["input"] + tokens_out * rates["output"]
    amount = 40 * cost
    policy = HEAD + f'[budget.small]\namount = "{amount / 1e9:.9f} USD"\nwindow = "day"\nshare = "pool"\n'
    proxy = start(policy=policy)
    shape = replace(SHAPES["messages"], body=SHAPES["messages"].body | {"max_tokens": tokens_out})
    statuses = asyncio.run(_burst(proxy, shape, input_tokens=tokens_in, output_tokens=tokens_out, first_delay_ms=300))
    assert len(statuses) == BURST
    assert set(statuses) <= {200, 400}
    billed = provider.bills.billed()
    assert statuses.count(200) == len(billed)
    assert 0 < sum(map(cost_nanousd, billed)) <= amount
    proxy.ledger.wait(lambda view: len(view.entries("settle")) == len(billed), "all calls are settled")
    entries = proxy.ledger.entries("settle")
    assert sum(entry["exposure_nanousd"] for entry in entries) == len(billed) * cost
    assert len(proxy.ledger.entries("refuse")) == min(MOST_EACH, BURST - len(billed)), "of many alike a few are entries"
    assert not proxy.ledger.holds()
    proxy.stop()
    refused = proxy.ledger.entries("refuse")
    assert len(refused) + sum(more_like_it(entry["actions"]) for entry in refused) == BURST - len(billed)
    running = 0
    for entry in proxy.ledger.entries():
        running += {"hold": entry["hold_nanousd"]}.get(entry["kind"], 0)
        if entry["kind"] in {"settle", "void"}:
            hold = next(one for one in proxy.ledger.entries("hold") if one["call_id"] == entry["call_id"])
            running += entry["exposure_nanousd"] - hold["hold_nanousd"]
        assert running <= amount, "not even for a moment, held money included"


async def _burst(proxy: RunningProxy, shape: Shape, **script: object) -> list[int]:
    context = ssl.create_default_context(cafile=str(proxy.bundle))
    body = json.dumps(shape.body).encode()
    lines = [f"POST {shape.path} HTTP/1.1", f"host: {shape.host}", "content-type: application/json", "connection: close"]
    lines += [f"x-fake-{name.replace('_', '-')}: {value}" for name, value in script.items()]
    request = ("\r\n".join([*lines, f"content-length: {len(body)}"]) + "\r\n\r\n").encode() + body
    gate = asyncio.Event()
    ready = 0

    async def one() -> int:
        nonlocal ready
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(f"CONNECT {shape.host}:443 HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(context, server_hostname=shape.host, ssl_handshake_timeout=60)
        ready += 1
        if ready == BURST:
            gate.set()
        await gate.wait()
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    return list(await asyncio.gather(*(one() for _ in range(BURST))))
