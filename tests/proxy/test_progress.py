"""What is told of calls in flight: looking changes nothing, and the list is bounded."""

import json

import pytest

from tollkeeper.core.call import Ask, Call
from tollkeeper.pricing.book import PriceBook
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.progress import MAX_TOLD, open_calls
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.routes import endpoint_for

SSE = {"content-type": "text/event-stream"}
WORDS = [f"word {number} " for number in range(200)]


def chat(words: list[str]) -> list[bytes]:
    pieces = [{"id": "c1", "model": "gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    return [f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces]


def messages(words: list[str]) -> list[bytes]:
    usage = {"input_tokens": 1_000, "output_tokens": 1}
    begun = {"type": "message_start", "message": {"id": "m1", "model": "claude-haiku-4-5", "usage": usage}}
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (begun, *deltas)]


STREAMS = {
    "chat": ("openai", "api.openai.com", "/v1/chat/completions", "gpt-4o-mini", chat(WORDS)),
    "messages": ("anthropic", "api.anthropic.com", "/v1/messages", "claude-haiku-4-5", messages(WORDS)),
}


def begun(name: str, number: int = 0) -> tuple[Passage, list[bytes]]:
    provider, host, path, model, pieces = STREAMS[name]
    endpoint = endpoint_for(provider, host, "POST", path)
    ask = Ask(model=model, streamed=True, input_bytes=4_000)
    call = Call(id=f"{number:026}", started_at=number, endpoint=endpoint, ask=ask)
    return Passage(call=call, meter=Meter(endpoint, ask, 200, SSE)), pieces


@pytest.mark.parametrize("name", STREAMS)
def test_a_meter_that_is_looked_at_says_the_same_in_the_end(name: str, book: PriceBook) -> None:
    looked_at, pieces = begun(name)
    left_alone, _ = begun(name)
    assert looked_at.meter is not None
    assert left_alone.meter is not None
    tokens = []
    for piece in pieces:
        looked_at.meter.feed(piece)
        left_alone.meter.feed(piece)
        tokens += [one["output_tokens"] for one in open_calls([looked_at], book)]
    assert tokens == sorted(tokens)
    said = len("".join(WORDS).encode())
    assert 0.8 * said / 4 <= int(tokens[-1] or 0) <= 1.2 * said / 4
    assert looked_at.meter.close(cut=True) == left_alone.meter.close(cut=True)


def test_the_cost_so_far_is_what_the_figures_come_to(book: PriceBook) -> None:
    """Claude Haiku 4.5: $1 a million in, $5 out; the provider has said how much went in."""
    passage, pieces = begun("messages")
    assert passage.meter is not None
    for piece in pieces:
        passage.meter.feed(piece)
    (told,) = open_calls([passage], book)
    assert told["cost_nanousd"] == 1_000 * 1_000 + int(told["output_tokens"] or 0) * 5_000


def test_no_more_than_the_newest_are_told_of_and_none_that_has_not_begun_or_is_over(book: PriceBook) -> None:
    passages = []
    for number in range(MAX_TOLD + 20):
        passage, pieces = begun("chat", number)
        assert passage.meter is not None
        passage.meter.feed(pieces[0])
        passages.append(passage)
    told = open_calls(passages, book)
    assert len(told) == MAX_TOLD
    assert told[0]["call_id"] == passages[-1].call.id
    silent, _ = begun("chat")
    passages[0].settled = True
    assert open_calls([silent, passages[0], Passage(call=silent.call)], book) == []
