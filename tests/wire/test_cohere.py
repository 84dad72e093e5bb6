"""Cohere bills its billed units: chat, generate, embed, rerank and classify, in both versions of its API; rerank elsewhere."""

import pytest

from tollkeeper.core.call import Ask, Metering
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.request import prompt_text, set_model, set_output_cap
from wire.own_shapes import COHERE_LINES, ask_of, at, figures, lines, only, whole
from wire.samples import read, some_splits, sse

V1, V2 = at("cohere", "/v1/chat"), at("cohere", "/v2/chat")
EMBED, RERANK = at("cohere", "/v2/embed"), at("cohere", "/v2/rerank")

USAGE = {
    "billed_units": {"input_tokens": 84, "output_tokens": 314},
    "cached_tokens": 1008,
    "tokens": {"input_tokens": 1501, "output_tokens": 346, "reasoning_tokens": 304},
}
BODY = {"id": "c-1", "message": {"role": "assistant", "content": [{"type": "text", "text": "Ahoy"}]}, "usage": USAGE}
STREAM = sse(
    {"id": "c-1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Ahoy, "}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "mätey"}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
    "[DONE]",
    named=True,
)
LINES = lines(
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g-1"},
    {"is_finished": False, "event_type": "text-generation", "text": "Ahoy, "},
    {"is_finished": False, "event_type": "text-generation", "text": "mätey"},
    {
        "is_finished": True,
        "event_type": "stream-end",
        "finish_reason": "COMPLETE",
        "response": {"response_id": "r-1", "text": "Ahoy, mätey", "meta": USAGE},
    },
)


def test_the_billed_units_are_the_bill_and_not_the_tokens_beside_them() -> None:
    reading = whole(V2, BODY, Ask(model="command-a"))
    assert reading.source is UsageSource.REPORTED
    assert figures(reading) == (84, 0, 0, 314, 304)
    assert (only(reading).model, reading.response_id) == ("command-a", "c-1")


@pytest.mark.parametrize(
    ("endpoint", "body", "headers"), [(V2, STREAM, {"content-type": "text/event-stream"}), (V1, LINES, COHERE_LINES)]
)
def test_any_split_of_a_stream_gives_the_same_figures(endpoint, body, headers) -> None:  # type: ignore[no-untyped-def]
    expected = read(endpoint, body, headers)
    assert (figures(expected), expected.source, expected.complete) == ((84, 0, 0, 314, 304), UsageSource.REPORTED, True)
    for cuts in some_splits(body, 3):
        assert read(endpoint, body, headers, at=cuts) == expected


@pytest.mark.parametrize(
    ("endpoint", "body", "headers"), [(V2, STREAM, {"content-type": "text/event-stream"}), (V1, LINES, COHERE_LINES)]
)
def test_a_cut_stream_keeps_the_text_until_the_figures_have_come(endpoint, body, headers) -> None:  # type: ignore[no-untyped-def]
    for end in range(len(body)):
        reading = read(endpoint, body[:end], headers, cut=True)
        if reading.source is UsageSource.REPORTED:
            assert figures(reading) == (84, 0, 0, 314, 304)
        else:
            assert (reading.source, reading.calls) == (UsageSource.PARTIAL, ())
            assert "Ahoy, mätey".startswith(reading.visible_output)


def test_rerank_is_billed_by_the_search_and_embeddings_by_token_picture_or_picture_token() -> None:
    assert only(whole(RERANK, {"id": "x", "results": [], "meta": {"billed_units": {"search_units": 3}}})).units == {
        "search_units": 3
    }
    assert only(whole(EMBED, {"meta": {"billed_units": {"images": 2}}})).units == {"input_images": 2}
    pictured = only(whole(EMBED, {"meta": {"billed_units": {"input_tokens": 10, "image_tokens": 250}}}))
    assert (pictured.input_tokens, pictured.units) == (260, {"image_input_tokens": 250})
    assert only(whole(at("cohere", "/v1/classify"), {"meta": {"billed_units": {"classifications": 5}}})).units == {
        "classifications": 5
    }


def test_a_large_embeddings_answer_is_read_without_its_vectors() -> None:
    vectors = [[0.25] * 20_000]
    assert (
        only(
            whole(EMBED, {"id": "e", "embeddings": {"float": vectors}, "meta": {"billed_units": {"input_tokens": 208}}})
        ).input_tokens
        == 208
    )


def test_without_billed_units_the_tokens_are_taken_and_flagged() -> None:
    reading = whole(V2, {"usage": {"tokens": {"input_tokens": 9, "output_tokens": 4}}})
    assert figures(reading)[:4] == (9, 0, 0, 4)
    assert "billed-units-missing" in reading.flags


def test_an_error_inside_a_stream_is_named() -> None:
    failed = sse({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "boom"}}, named=True)
    assert read(V2, failed).error == "error"
    toxic = lines({"is_finished": True, "finish_reason": "ERROR_TOXIC", "response": {"text": ""}})
    assert read(V1, toxic, COHERE_LINES).error == "error_toxic"


def test_what_a_request_asks() -> None:
    told = ask_of(
        V1, {"message": "hello", "chat_history": [{"role": "CHATBOT", "message": "hi"}], "stream": True, "max_tokens": 7}
    )
    assert (told.streamed, told.fresh, told.max_output_tokens, told.input_bytes) == (True, False, 7, 7)
    assert not ask_of(V1, {"message": "hello", "conversation_id": "c"}).fresh
    many = ask_of(RERANK, {"model": "rerank-v3.5", "query": "q", "documents": ["d"] * 250})
    assert many.units == {"search_units": 3}
    assert ask_of(EMBED, {"model": "embed-v4.0", "images": ["data:image/png;base64,AAAA"]}).units == {"input_images": 1}
    assert "Ahoy" in prompt_text(V2, b'{"messages": [{"role": "user", "content": "Ahoy"}]}')


def test_a_rewrite_changes_the_model_and_the_cap() -> None:
    body = b'{"model": "command-a", "messages": []}'
    assert set_model(V2, V2.path, body, "command-r7b")[1] == b'{"model": "command-r7b", "messages": []}'
    assert b'"max_tokens"' in set_output_cap(V2, body, 50)


@pytest.mark.parametrize(
    ("method", "path", "metering"),
    [
        ("POST", "/v1/tokenize", Metering.FREE),
        ("GET", "/v1/models", Metering.FREE),
        ("POST", "/v1/embed-jobs", Metering.UNMETERED),
        ("POST", "/v1/summarize", Metering.METERED),
        ("POST", "/compatibility/v1/chat/completions", Metering.METERED),
    ],
)
def test_what_is_metered_free_or_not_readable(method: str, path: str, metering: Metering) -> None:
    assert at("cohere", path, method).metering is metering


@pytest.mark.parametrize("provider", ["voyage", "together", "vllm", "jina", "azure"])
def test_rerank_elsewhere_states_tokens_or_searches(provider: str) -> None:
    endpoint = at(provider, "/v1/rerank")
    assert figures(whole(endpoint, {"model": "m", "data": [], "usage": {"total_tokens": 26}}))[0] == 26
    assert only(whole(endpoint, {"id": "x", "meta": {"billed_units": {"search_units": 1}}})).units == {"search_units": 1}
    siliconflow = {"id": "x", "results": [], "meta": {"billed_units": {"input_tokens": 29}, "tokens": {"input_tokens": 29}}}
    assert figures(whole(endpoint, siliconflow))[0] == 29
    assert whole(endpoint, {"results": []}).source is UsageSource.COUNTED


def test_cohere_models_elsewhere_are_held_by_the_search() -> None:
    assert ask_of(at("azure", "/v1/rerank"), {"model": "rerank-v3.5", "query": "q", "documents": ["d"]}).units == {
        "search_units": 1
    }
    assert ask_of(at("voyage", "/v1/rerank"), {"model": "rerank-2.5", "query": "q", "documents": ["d"]}).units == {
        "search_units": 1
    }
