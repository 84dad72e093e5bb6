"""Asking for usage, and the client never noticing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Ask
from tollkeeper.core.errors import WireError
from tollkeeper.wire.inject import UsageChunkFilter, asks_for_usage, inject_usage_request
from tollkeeper.wire.request import read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import CHAT, CHAT_USAGE, FINISH, MESSAGES, RESPONSES, chunk, pieces


def test_only_a_chat_stream_that_will_carry_no_usage_is_asked() -> None:
    streamed = read_ask(CHAT, b'{"model":"m","stream":true}')
    assert asks_for_usage(CHAT, streamed)
    assert not asks_for_usage(CHAT, read_ask(CHAT, b'{"model":"m"}'))
    assert not asks_for_usage(CHAT, read_ask(CHAT, b'{"stream":true,"stream_options":{"include_usage":true}}'))
    for endpoint in (RESPONSES, MESSAGES):
        assert not asks_for_usage(endpoint, read_ask(endpoint, b'{"model":"m","stream":true}'))
    for provider, path in (
        ("mistral", "/v1/chat/completions"),
        ("unknown:x", "/v1/chat/completions"),
        ("openai", "/v1/embeddings"),
    ):
        assert not asks_for_usage(endpoint_for(provider, "h", "POST", path), Ask(streamed=True, usage_requested=False))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"stream": true}', '{"stream": true,"stream_options":{"include_usage":true}}'),
        ('{"stream_options":null , "a":1}', '{"stream_options":{"include_usage":true} , "a":1}'),
        ('{"stream_options":{ }}', '{"stream_options":{ "include_usage":true}}'),
        ('{"stream_options":{"x":[1, 2]}}', '{"stream_options":{"x":[1, 2],"include_usage":true}}'),
        ('{"stream_options":{"include_usage" : false,"x":1}}', '{"stream_options":{"include_usage" : true,"x":1}}'),
    ],
)
def test_the_question_is_put_in_and_nothing_else_changes(before: str, after: str) -> None:
    assert inject_usage_request(before.encode()) == after.encode()


def test_a_body_that_is_no_object_cannot_be_asked() -> None:
    with pytest.raises(WireError):
        inject_usage_request(b"[]")


def strain(stream: bytes, at: list[int]) -> bytes:
    strainer = UsageChunkFilter()
    return b"".join(strainer.feed(piece) or b"" for piece in pieces(stream, at)) + strainer.flush()


def dump(event: Any, spaced: bool) -> str:
    return json.dumps(event, separators=(", ", ": ") if spaced else (",", ":"), ensure_ascii=False)


def streams(contents: list[str], end: str, obfuscated: bool, spaced: bool = False) -> tuple[bytes, bytes]:
    """(as OpenAI sends it when asked, as it sends it when not)."""
    asked, plain = [], []
    for event in [*(chunk(text) for text in contents), FINISH]:
        padding = {"obfuscation": "xY"} if obfuscated else {}
        asked.append(dump({**event, "usage": None, **padding}, spaced))
        plain.append(dump({**event, **padding}, spaced))
    asked += [dump(chunk(choices=[], usage=CHAT_USAGE), spaced), "[DONE]"]
    plain.append("[DONE]")
    write = lambda events: "".join(f"data: {event}{end}{end}" for event in events).encode()  # noqa: E731
    return write(asked), write(plain)


TEXTS = st.lists(st.sampled_from(["a", '"usage":null', ',"usage":null}', "\u2028", "\n\n", "é", '"choices":[]', ""]), max_size=5)


@given(TEXTS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.lists(st.integers(1, 900), max_size=30))
def test_the_client_sees_the_bytes_it_would_have_seen(
    contents: list[str], end: str, obfuscated: bool, spaced: bool, at: list[int]
) -> None:
    asked, plain = streams(contents, end, obfuscated, spaced)
    assert strain(asked, at) == plain
    assert strain(plain, at) == plain


def test_byte_by_byte_too() -> None:
    for end in ("\n", "\r\n", "\r"):
        asked, plain = streams(["Hello", "wörld"], end, True)
        assert strain(asked, list(range(len(asked)))) == plain


def test_no_event_waits_for_the_next_one() -> None:
    strainer = UsageChunkFilter()
    for end in (b"\n\n", b"\r\n\r\n"):
        event = b'data: {"choices":[{"delta":{}}]}' + end
        assert strainer.feed(event) == event


def test_azures_first_chunk_and_a_nested_usage_stay() -> None:
    first = b'data: {"choices":[],"prompt_filter_results":[{"usage":null}],"id":""}\n\n'
    second = b'data: {"choices":[{"usage":null,"delta":{}}]}\n\ndata: {"usage":null}\n\n'
    assert strain(first + second, []) == first + second


def test_what_is_no_stream_passes_untouched() -> None:
    for whole in (b'{"error":{"message":"data: x"},"usage":null}', b"\x1f\x8b\x08", b"<html>\n\n", b"  \n"):
        assert strain(whole, [1, 2, 5]) == whole


def test_a_stream_without_its_last_blank_line_is_strained_too() -> None:
    usage = dump(chunk(choices=[], usage=CHAT_USAGE), False).encode()
    assert strain(b"data: a\n\ndata: " + usage, [7]) == b"data: a\n\n"
    assert strain(b"data: a\n\ndata: " + usage[:-3], []) == b"data: a\n\n"
    assert strain(b"data: a\n\ndata: {", []) == b"data: a\n\ndata: {"


def test_a_comment_or_an_endless_event_is_passed_on() -> None:
    assert strain(b': "usage":null}\n\n', [3]) == b': "usage":null}\n\n'
    endless = b"data: " + b"x" * 5_000_000
    strainer = UsageChunkFilter()
    assert strainer.feed(endless) == endless
    assert strainer.feed(b'"usage":null}\n\n') == b'"usage":null}\n\n'
