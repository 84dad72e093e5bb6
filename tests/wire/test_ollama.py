"""Ollama's own API, and the native ones of other servers of one's own: counts stand beside the text."""

import pytest

from tollkeeper.core.call import Ask, Metering
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.request import prompt_text, set_model, set_output_cap
from wire.own_shapes import NDJSON, ask_of, at, figures, lines, only, whole
from wire.samples import read, some_splits, sse

CHAT, GENERATE, EMBED = at("ollama", "/api/chat"), at("ollama", "/api/generate"), at("ollama", "/api/embed")
END = {
    "model": "llama3:8b",
    "message": {"content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 26,
    "eval_count": 63,
}
STREAM = lines(
    {"model": "llama3:8b", "message": {"role": "assistant", "content": "Hällo"}, "done": False},
    {"model": "llama3:8b", "message": {"role": "assistant", "content": " there"}, "done": False},
    END,
)


def test_the_last_line_of_a_stream_holds_the_figures() -> None:
    expected = read(CHAT, STREAM, NDJSON)
    assert (expected.source, figures(expected), only(expected).model) == (UsageSource.REPORTED, (26, 0, 0, 63, 0), "llama3:8b")
    for cuts in some_splits(STREAM, 5):
        assert read(CHAT, STREAM, NDJSON, at=cuts) == expected


def test_a_stream_under_another_content_type_is_still_read_by_its_lines() -> None:
    for stated in ({}, {"content-type": "application/json"}, {"content-type": "text/plain"}):
        assert figures(read(CHAT, STREAM, stated)) == (26, 0, 0, 63, 0)


def test_a_cut_stream_keeps_its_text() -> None:
    for end in range(len(STREAM)):
        reading = read(CHAT, STREAM[:end], NDJSON, cut=True)
        whole_end = end >= len(STREAM) - 1  # the line end is not needed
        assert reading.source is (UsageSource.REPORTED if whole_end else UsageSource.PARTIAL)
        assert whole_end or "Hällo there".startswith(reading.visible_output)


def test_cached_prompt_tokens_are_a_part_of_the_prompt() -> None:
    assert figures(whole(CHAT, {**END, "prompt_eval_cached_count": 20})) == (6, 20, 0, 63, 0)
    reading = whole(CHAT, {**END, "prompt_eval_cached_count": 30})
    assert figures(reading)[:2] == (0, 30)
    assert "cached-over-prompt" in reading.flags


def test_a_wholly_cached_prompt_of_an_older_version_is_no_input() -> None:
    assert figures(whole(GENERATE, {"model": "m", "response": "x", "done": True, "eval_count": 38}))[:4] == (0, 0, 0, 38)


def test_embeddings_state_what_went_in_or_are_counted() -> None:
    assert figures(whole(EMBED, {"model": "n", "embeddings": [[0.5]], "prompt_eval_count": 4}))[0] == 4
    assert figures(whole(EMBED, {"model": "n", "embeddings": [[0.5] * 30_000], "prompt_eval_count": 4}))[0] == 4
    assert whole(at("ollama", "/api/embeddings"), {"embedding": [0.5]}).source is UsageSource.COUNTED


def test_an_error_in_a_stream_is_named_and_what_was_said_is_charged() -> None:
    reading = read(CHAT, lines({"message": {"content": "Hi"}, "done": False}, {"error": "out of memory"}), NDJSON)
    assert (reading.source, reading.error, reading.visible_output) == (UsageSource.PARTIAL, "error", "Hi")


def test_what_a_request_asks() -> None:
    ask = ask_of(
        CHAT,
        {"model": "m", "messages": [{"role": "user", "content": "abc", "images": ["A" * 5000]}], "options": {"num_predict": 9}},
    )
    assert (ask.streamed, ask.input_bytes, ask.media_parts, ask.max_output_tokens) == (True, 3, 1, 9)
    assert not ask_of(CHAT, {"messages": [], "stream": False}).streamed
    assert not ask_of(EMBED, {"input": "x"}).streamed
    assert not ask_of(GENERATE, {"prompt": "x", "context": [1, 2]}).fresh
    assert ask_of(GENERATE, {"prompt": "x", "images": ["AAAA", "BBBB"]}).media_parts == 2
    assert prompt_text(CHAT, b'{"messages": [{"content": "abc", "images": ["QUJD"]}]}') == "abc"


def test_a_rewrite_changes_the_model_and_the_cap() -> None:
    assert set_model(CHAT, CHAT.path, b'{"model":"a","messages":[]}', "b")[1] == b'{"model":"b","messages":[]}'
    assert set_output_cap(CHAT, b'{"model":"a","options":{"num_predict":900}}', 5) == b'{"model":"a","options":{"num_predict":5}}'


@pytest.mark.parametrize("provider", ["local", "vllm", "llama-cpp", "lm-studio"])
def test_a_server_of_ones_own_is_read_in_every_shape_it_speaks(provider: str) -> None:
    assert figures(read(at(provider, "/api/chat"), STREAM, NDJSON)) == (26, 0, 0, 63, 0)
    llama_cpp = {"content": "Hi", "stop": True, "tokens_evaluated": 12, "tokens_predicted": 5, "model": "gemma"}
    assert figures(whole(at(provider, "/completion"), llama_cpp)) == (12, 0, 0, 5, 0)
    assert at(provider, "/v1/chat/completions").dialect == "openai-chat"
    assert at(provider, "/v1/messages").dialect == "anthropic-messages"
    assert at(provider, "/tokenize").metering is Metering.FREE


def test_a_server_that_holds_one_model_goes_by_its_own_name() -> None:
    endpoint = at("llama-cpp", "/completion")
    ask = ask_of(endpoint, {"prompt": "Hello", "n_predict": 5, "stream": True})
    assert (ask.model, ask.max_output_tokens, ask.streamed) == ("llama-cpp", 5, True)
    stream = sse({"content": "Hi", "stop": False}, {"content": "", "stop": True, "tokens_evaluated": 3, "tokens_predicted": 1})
    reading = read(endpoint, stream, ask=ask)
    assert (figures(reading)[:4], only(reading).model) == ((3, 0, 0, 1), "llama-cpp")
    assert read(endpoint, stream[:30], ask=ask, cut=True).visible_output in {"", "Hi"}


def test_text_generation_inference_says_its_counts_in_headers_or_details() -> None:
    endpoint = at("local", "/generate")
    headers = {"x-prompt-tokens": "16", "x-generated-tokens": "75"}
    assert figures(whole(endpoint, {"generated_text": "Hi"}, headers=headers))[:4] == (16, 0, 0, 75)
    details = {"finish_reason": "eos_token", "generated_tokens": 75, "prefill": []}
    stream = sse({"token": {"text": "H"}}, {"token": {"text": "i"}, "generated_text": "Hi", "details": details})
    assert figures(read(endpoint, stream))[3] == 75


def test_aleph_alpha_and_deepinfra_write_their_counts_beside_the_text() -> None:
    aleph = {
        "completions": [{"completion": "x"}],
        "model_version": "1",
        "num_tokens_prompt_total": 9,
        "num_tokens_generated": 1000,
    }
    assert figures(whole(at("aleph-alpha", "/complete"), aleph))[:4] == (9, 0, 0, 1000)
    status = {"status": "succeeded", "cost": 0.0000135, "tokens_generated": 20, "tokens_input": 30}
    reading = whole(at("deepinfra", "/v1/inference/meta-llama/Llama-3-8B"), {"results": [], "inference_status": status}, Ask())
    assert (figures(reading)[:4], only(reading).model) == ((30, 0, 0, 20), "meta-llama/Llama-3-8B")
    assert str(reading.provider_cost_usd) == "0.0000135"
