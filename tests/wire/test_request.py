"""Requests: what they ask, and rewrites that touch nothing else."""

import gzip
import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Ask
from tollkeeper.core.errors import WireError
from tollkeeper.wire.request import MAX_PROMPT_CHARS, decode_body, prompt_text, read_ask, set_model, set_output_cap
from tollkeeper.wire.routes import endpoint_for
from wire.samples import ALL, CHAT, GENERATE, MESSAGES, RESPONSES

MISTRAL = endpoint_for("mistral", "api.mistral.ai", "POST", "/v1/chat/completions")
AZURE_PATH = "/openai/deployments/my%2Dgpt/chat/completions?api-version=2025-01-01"
AZURE = endpoint_for("azure", "h", "POST", AZURE_PATH)
CODE_ASSIST = endpoint_for("code-assist", "h", "POST", "/v1internal:streamGenerateContent?alt=sse")
EMBED = endpoint_for("openai", "api.openai.com", "POST", "/v1/embeddings")


def body(**members: Any) -> bytes:
    return json.dumps(members).encode()


USER = {"role": "user", "content": "héllo"}


def test_a_chat_request_is_read() -> None:
    ask = read_ask(
        CHAT,
        body(model="gpt-4o", stream=True, max_tokens=50, max_completion_tokens=40, n=3, service_tier="flex", messages=[USER]),
    )
    assert ask == Ask(
        model="gpt-4o", streamed=True, max_output_tokens=40, choices=3, usage_requested=False, input_bytes=6, service_tier="flex"
    )


LONG = "ft:gpt-4o-mini-2024-07-18:my-very-long-organization-name-inc:customer-support-v2:9abcDEFg"


@pytest.mark.parametrize(
    ("model", "read"),
    [
        (LONG, LONG),
        ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5[1m]"),
        ("a" * 200, "a" * 200),
        ("a" * 201, None),
        ("claude[/red]", None),  # would be markup on a screen
        ("claude[bold]x", None),
        ("my secret plan", None),
        ("[1m]", None),
    ],
)
def test_a_model_s_name_may_be_long_and_end_in_a_context_window_but_is_never_free_text(model: str, read: str | None) -> None:
    assert read_ask(CHAT, body(model=model)).model == read
    assert read_ask(MESSAGES, body(model=model)).model == read


def test_usage_counts_as_requested_when_asked_for_unstreamed_or_given_unasked() -> None:
    assert read_ask(CHAT, body(stream=True, stream_options={"include_usage": True})).usage_requested
    assert not read_ask(CHAT, body(stream=True, stream_options={"include_usage": False})).usage_requested
    assert read_ask(CHAT, body(messages=[])).usage_requested
    assert read_ask(MISTRAL, body(stream=True)).usage_requested


@pytest.mark.parametrize(
    ("endpoint", "members"),
    [
        (CHAT, {"messages": [USER, {"role": "assistant", "content": "hi"}]}),
        (MESSAGES, {"messages": [USER, {"role": "assistant", "content": "hi"}]}),
        (RESPONSES, {"input": [USER], "previous_response_id": "resp_1"}),
        (RESPONSES, {"input": [USER, {"type": "reasoning", "encrypted_content": "x"}]}),
        (GENERATE, {"contents": [{"role": "model", "parts": []}]}),
        (GENERATE, {"contents": [], "cachedContent": "cachedContents/1"}),
    ],
)
def test_a_conversation_under_way_is_not_fresh(endpoint: Any, members: dict[str, Any]) -> None:
    assert not read_ask(endpoint, body(model="m", **members)).fresh


def test_a_messages_request_tells_cache_tools_media_and_bounds() -> None:
    ask = read_ask(
        MESSAGES,
        body(
            model="claude-sonnet-5",
            max_tokens=1000,
            system=[{"type": "text", "text": "abc", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 4}],
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 999}}],
                }
            ],
        ),
    )
    assert (ask.cache_write_ttl, ask.server_tools, ask.media_parts, ask.max_output_tokens) == ("1h", 4, 1, 1000)
    assert ask.input_bytes < 200  # the picture is no text
    assert ask.fresh


def test_a_gemini_request_takes_model_and_streaming_from_the_path_and_both_spellings() -> None:
    ask = read_ask(
        GENERATE, body(contents=[{"parts": [{"text": "hi"}]}], generation_config={"max_output_tokens": 9, "candidate_count": 2})
    )
    assert (ask.model, ask.streamed, ask.max_output_tokens, ask.choices) == ("gemini-2.5-flash", True, 9, 2)


def test_code_assist_is_read_inside_its_wrapping() -> None:
    inner = {"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": 5}}
    ask = read_ask(CODE_ASSIST, body(model="gemini-2.5-pro", request=inner))
    assert (ask.model, ask.max_output_tokens, ask.input_bytes, ask.streamed) == ("gemini-2.5-pro", 5, 5, True)


def test_what_searches_with_a_fee_is_held_for() -> None:
    assert read_ask(CHAT, body(model="gpt-4o-search-preview")).units == {"web_search_preview_requests": 1}
    assert read_ask(CHAT, body(model="gpt-5-search-api-2025-10-14")).units == {"web_search_requests": 1}
    assert read_ask(CHAT, body(model="gpt-4o")).units == {}
    older = read_ask(RESPONSES, body(model="gpt-4o", tools=[{"type": "web_search_preview"}], max_tool_calls=3))
    assert (older.server_tools, older.units) == (3, {"web_search_preview_requests": 3})


def test_hosted_search_tools_are_bounded() -> None:
    assert read_ask(RESPONSES, body(tools=[{"type": "web_search_preview"}], max_tool_calls=2)).server_tools == 2
    assert read_ask(RESPONSES, body(tools=[{"type": "function", "name": "f"}])).server_tools == 0


@pytest.mark.parametrize(
    "junk", [b"", b"\xff\xfe", b"[]", b"null", b'{"model":', b"[" * 100_000, b'{"n":' + b"9" * 10_000 + b"}"]
)
def test_what_is_no_json_object_gives_its_size_only(junk: bytes) -> None:
    assert read_ask(CHAT, junk) == Ask(input_bytes=len(junk))
    assert prompt_text(CHAT, junk) == ""


def test_prompt_text_holds_everything_that_goes_in_and_is_bounded() -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    text = prompt_text(
        CHAT, body(messages=[USER, {"role": "system", "content": [{"type": "text", "text": "rules"}]}], tools=tools)
    )
    assert all(word in text for word in ("héllo", "rules", "weather"))
    assert len(prompt_text(CHAT, body(messages=[{"content": "x" * (MAX_PROMPT_CHARS + 5)}]))) == MAX_PROMPT_CHARS


def test_token_arrays_count_one_word_a_token() -> None:
    assert prompt_text(EMBED, body(input=[[1, 2, 3], [4]])).count("a") == 4


AWKWARD = '{ "\\u006dodel" :"gpt-4o" ,\t"x":1e400,"é":"\\ud83d\\ude00 \\/",\r\n "messages":[{"role":"user","model":"inner"}] }'


def test_a_new_model_changes_its_own_bytes_and_no_others() -> None:
    path, changed = set_model(CHAT, "/v1/chat/completions", AWKWARD.encode(), 'gpt-"5"')
    assert changed == AWKWARD.replace('"gpt-4o"', '"gpt-\\"5\\""').encode()
    assert path == "/v1/chat/completions"


def test_a_model_named_twice_is_changed_twice() -> None:
    assert set_model(CHAT, "/", b'{"model":"a","model":"b"}', "c")[1] == b'{"model":"c","model":"c"}'


def test_a_model_in_the_path_is_changed_there_and_the_query_stays() -> None:
    path, changed = set_model(AZURE, AZURE_PATH, b'{"messages":[]}', "small one@1")
    assert (path, changed) == ("/openai/deployments/small%20one@1/chat/completions?api-version=2025-01-01", b'{"messages":[]}')
    escaped = "/v1beta/models/gemini-2.5-flash%3AgenerateContent"
    assert set_model(GENERATE, escaped, b"{}", "new")[0] == "/v1beta/models/new%3AgenerateContent"
    full = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=k"
    assert set_model(GENERATE, full, b"{}", "gemini-2.5-flash-lite")[0] == full.replace("flash", "flash-lite")


@pytest.mark.parametrize("broken", [b"", b"[1]", b'{"model":"a"', b'{"model" "a"}', b"\xff{}", b"{}", b'{"a":' + b"[" * 50_000])
def test_a_body_that_cannot_be_rewritten_is_a_wire_error(broken: bytes) -> None:
    with pytest.raises(WireError):
        set_model(CHAT, "/v1/chat/completions", broken, "m")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=6), st.text(), st.booleans(), st.sampled_from([None, 2]))
def test_set_model_changes_only_the_model(members: dict[str, Any], model: str, ascii_only: bool, indent: int | None) -> None:
    before = {**members, "model": "@before@", "tail": members}
    document = json.dumps(before, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    changed = set_model(CHAT, "/", document, model)[1]
    assert changed == document.replace(b'"@before@"', json.dumps(model).encode())


@pytest.mark.parametrize(
    ("endpoint", "before", "after"),
    [
        (CHAT, '{"a":1}', '{"a":1,"max_completion_tokens":7}'),
        (CHAT, '{"max_tokens": 90 ,"a":1}', '{"max_tokens": 7 ,"a":1}'),
        (CHAT, '{"max_completion_tokens":5}', '{"max_completion_tokens":5}'),
        (MISTRAL, "{}", '{"max_tokens":7}'),
        (RESPONSES, '{"max_output_tokens":null}', '{"max_output_tokens":7}'),
        (MESSAGES, '{"max_tokens":128000}', '{"max_tokens":7}'),
        (GENERATE, '{"contents":[]}', '{"contents":[],"generationConfig":{"maxOutputTokens":7}}'),
        (
            GENERATE,
            '{"generation_config":{"x":1, "max_output_tokens":9}}',
            '{"generation_config":{"x":1, "max_output_tokens":7}}',
        ),
        (CODE_ASSIST, '{"request":{"contents":[]}}', '{"request":{"contents":[],"generationConfig":{"maxOutputTokens":7}}}'),
    ],
)
def test_a_cap_is_added_or_lowered_never_raised(endpoint: Any, before: str, after: str) -> None:
    assert set_output_cap(endpoint, before.encode(), 7) == after.encode()


def test_compressed_requests_are_unpacked_within_a_bound() -> None:
    plain = body(model="m")
    assert decode_body(zstandard.compress(plain), "zstd") == plain
    assert decode_body(gzip.compress(plain), "gzip") == plain
    assert decode_body(plain, "") == plain
    with pytest.raises(WireError):
        decode_body(gzip.compress(bytes(20_000_000)), "gzip", limit=1_000_000)
    with pytest.raises(WireError):
        decode_body(plain, "lzma")


ODD = st.sampled_from([None, True, False, -1, 0, 1.5, "x", "12", 10**30, [], {}, [{}], [None], {"a": 1}, [["x"]]])
KEYS = st.sampled_from(
    ["model", "messages", "input", "contents", "system", "tools", "stream", "n", "max_tokens", "generationConfig", "request", "prompt",
     "stream_options", "tool_choice", "cache_control", "text", "instructions", "type", "role", "content", "data"]
)  # fmt: skip
SHAPES = st.recursive(ODD, lambda inner: st.dictionaries(KEYS, inner, max_size=5) | st.lists(inner, max_size=3), max_leaves=15)


@given(st.dictionaries(KEYS, SHAPES, max_size=8), st.sampled_from([*ALL, EMBED, CODE_ASSIST, AZURE]))
def test_no_shape_of_request_raises_or_gives_absurd_figures(members: dict[str, Any], endpoint: Any) -> None:
    document = json.dumps(members).encode()
    ask = read_ask(endpoint, document)
    assert ask.choices >= 1
    assert ask.max_output_tokens is None or ask.max_output_tokens > 0
    assert 0 <= ask.input_bytes <= 4 * len(document) + 100
    assert isinstance(prompt_text(endpoint, document), str)
    assert json.loads(set_output_cap(endpoint, document, 3)) is not None
