"""The ledger equals the provider's own bill, to the nano-dollar."""

import pytest

from e2e.harness import RunningProxy
from e2e.prices import assert_entry_equals_bill, cost_nanousd
from e2e.raw import SHAPES, Caller
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

TOKENS = {
    "plain": {"input_tokens": 1_001, "output_tokens": 77},
    "cached": {"input_tokens": 3, "cache_read_tokens": 99_997, "output_tokens": 1},
    "reasoning": {"input_tokens": 12, "output_tokens": 4_321, "reasoning_tokens": 4_000},
}


@pytest.mark.parametrize("kinds", TOKENS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_call_is_recorded_as_billed(
    name: str, kinds: str, proxied: Caller, provider: FakeProvider, observing: RunningProxy
) -> None:
    script = dict(TOKENS[kinds])
    if name.startswith("messages"):
        script.pop("reasoning_tokens", None)
    assert proxied.call(SHAPES[name], **script).whole
    (billed,) = provider.bills.billed()
    entry = observing.ledger.of(billed.id)
    assert_entry_equals_bill(entry, billed)
    assert (entry["kind"], entry["outcome"], entry["status"]) == ("settle", "ok", 200)
    assert entry["streamed"] == billed.streamed


@pytest.mark.parametrize("name", ["messages", "messages-stream"])
def test_anthropic_cache_writes_and_searches_are_recorded_as_billed(
    name: str, proxied: Caller, provider: FakeProvider, observing: RunningProxy
) -> None:
    proxied.call(
        SHAPES[name],
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=7_000,
        cache_write_5m_tokens=1_100,
        cache_write_1h_tokens=2_200,
        web_search_requests=3,
    )
    (billed,) = provider.bills.billed()
    assert_entry_equals_bill(observing.ledger.of(billed.id), billed)
    assert cost_nanousd(billed) == 10 * 1_000 + 5 * 5_000 + 7_000 * 100 + 1_100 * 1_250 + 2_200 * 2_000 + 3 * 10_000_000


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini"])
def test_the_sum_of_many_calls_is_exact(model: str, proxied: Caller, provider: FakeProvider, observing: RunningProxy) -> None:
    shape = SHAPES["chat"]
    body = shape.body | {"model": model}
    for count in range(1, 20):
        proxied.call(
            type(shape)(name="", host=shape.host, path=shape.path, body=body), input_tokens=count, output_tokens=count * 3
        )
    billed = provider.bills.billed()
    assert len(billed) == 19
    assert sum(observing.ledger.of(call.id)["cost_nanousd"] for call in billed) == sum(map(cost_nanousd, billed))


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
@pytest.mark.parametrize("name", ["chat", "chat-stream", "messages-stream", "gemini"])
def test_a_call_that_failed_costs_nothing_and_keeps_its_status(
    name: str, status: int, proxied: Caller, observing: RunningProxy
) -> None:
    before = len(observing.ledger.ended())
    assert proxied.call(SHAPES[name], status=status).status == status
    entry = observing.ledger.since(before)
    assert (entry["kind"], entry["outcome"], entry["status"], entry["exposure_nanousd"]) == ("void", "error", status, 0)


def test_the_answer_is_recorded_before_the_client_sees_its_end(
    proxied: Caller, provider: FakeProvider, observing: RunningProxy
) -> None:
    for _ in range(10):
        proxied.call(SHAPES["messages-stream"])
    assert {call.id for call in provider.bills.billed()} <= set(observing.ledger.by_response())


def test_counting_tokens_is_free_and_needs_no_hold(proxied: Caller, provider: FakeProvider, observing: RunningProxy) -> None:
    shape = SHAPES["messages"]
    before = len(observing.ledger.ended())
    answer = proxied.call(type(shape)(name="", host=shape.host, path="/v1/messages/count_tokens", body=shape.body))
    assert answer.status == 200
    assert observing.ledger.since(before)["exposure_nanousd"] == 0
    assert not provider.bills.billed()


def test_an_unknown_path_is_forwarded_and_recorded_as_unmetered(
    proxied: Caller, provider: FakeProvider, observing: RunningProxy
) -> None:
    shape = SHAPES["chat"]
    before = len(observing.ledger.ended())
    answer = proxied.call(type(shape)(name="", host=shape.host, path="/v1/something/new", body=shape.body))
    assert answer.json()["path"] == "/v1/something/new"
    assert [request.path for request in provider.bills.seen()] == ["/v1/something/new"]
    entry = observing.ledger.since(before)
    assert entry["usage_source"] == "unmetered"
    assert entry["unmetered"]


def test_many_calls_on_one_connection_are_each_recorded(proxied: Caller, provider: FakeProvider, observing: RunningProxy) -> None:
    from e2e.raw import OPENAI, read, send

    connection = proxied.connect(OPENAI)
    for count in range(1, 13):
        send(connection, SHAPES["chat-stream"], input_tokens=count)
        assert read(connection.getresponse()).whole
    connection.close()
    billed = provider.bills.billed()
    assert [call.input_tokens for call in billed] == list(range(1, 13))
    entries = observing.ledger.by_response()
    for call in billed:
        assert_entry_equals_bill(entries[call.id], call)
