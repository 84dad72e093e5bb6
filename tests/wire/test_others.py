"""watsonx, Replicate, Alibaba, MiniMax, Mistral's own surfaces, Voyage, and Perplexity's asynchronous answers."""

from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.core.call import Ask, Metering
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.request import set_output_cap
from wire.own_shapes import ask_of, at, figures, only, whole
from wire.samples import read, sse

# --- watsonx ---------------------------------------------------------------------------------------------------------------------------
GENERATION = at("watsonx", "/ml/v1/text/generation_stream?version=2024-02-15")


def result(written: int, read_tokens: int, stop: str) -> dict[str, Any]:
    """One event of a generation stream."""
    one = {"generated_text": "x", "generated_token_count": written, "input_token_count": read_tokens, "stop_reason": stop}
    return {"model_id": "ibm/granite", "results": [one]}


WATSONX_STREAM = sse(result(0, 8, "not_finished"), result(5, 0, "not_finished"), result(11, 0, "eos_token"))


def test_a_watsonx_stream_repeats_running_counts() -> None:
    reading = read(GENERATION, WATSONX_STREAM)
    assert (reading.source, figures(reading)[:4], only(reading).model) == (UsageSource.REPORTED, (8, 0, 0, 11), "ibm/granite")
    assert read(GENERATION, WATSONX_STREAM[:-20], cut=True).source is UsageSource.PARTIAL


def test_watsonx_chat_embeddings_and_rerank() -> None:
    chat = {"id": "chat-1", "model_id": "m", "choices": [{"finish_reason": "stop"}]}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert figures(whole(at("watsonx", "/ml/v1/text/chat"), {**chat, "usage": usage}))[:4] == (5, 0, 0, 7)
    stream = sse(
        {**chat, "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}, {**chat, "choices": [], "usage": usage}
    )
    assert read(at("watsonx", "/ml/v1/text/chat_stream"), stream).source is UsageSource.REPORTED
    assert figures(whole(at("watsonx", "/ml/v1/text/embeddings"), {"results": [{}], "input_token_count": 10}))[0] == 10
    assert figures(whole(at("watsonx", "/ml/v1/text/rerank"), {"results": [{}], "input_token_count": 31}))[0] == 31
    assert at("watsonx", "/ml/v1/text/tokenization").metering is Metering.FREE
    ask = ask_of(GENERATION, {"model_id": "ibm/granite", "input": "abc", "parameters": {"max_new_tokens": 20}})
    assert (ask.model, ask.input_bytes, ask.max_output_tokens) == ("ibm/granite", 3, 20)
    assert b'"max_new_tokens":3' in set_output_cap(GENERATION, b'{"input":"x","parameters":{"max_new_tokens":20}}', 3)


# --- Replicate -------------------------------------------------------------------------------------------------------------------------
CREATE, POLL = at("replicate", "/v1/models/meta/llama-3-70b/predictions"), at("replicate", "/v1/predictions/p1", "GET")
SECONDS = {"predict_time": 1.2345, "total_time": 3.0}


def prediction(status: str, **metrics: Any) -> dict[str, Any]:
    """A prediction as Replicate describes it."""
    return {"id": "p1", "model": "meta/llama-3-70b", "version": "abc", "status": status, "output": ["Hi"], "metrics": metrics}


def test_a_prediction_that_goes_on_is_billed_when_it_is_read_again() -> None:
    started = whole(CREATE, prediction("starting"), Ask(model="abc"))
    assert (started.source, started.response_id) == (UsageSource.DEFERRED, "p1")
    assert whole(POLL, prediction("processing", predict_time=0.5)).source is UsageSource.NONE


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
def test_a_finished_prediction_is_billed_once_by_its_id_however_it_ended(status: str) -> None:
    reading = whole(POLL, prediction(status, **SECONDS), Ask())
    assert only(reading).units == {"hardware_milliseconds": 1235}
    assert (reading.response_id, reading.is_repeatable, only(reading).model) == ("p1", True, "meta/llama-3-70b")
    assert reading.source is UsageSource.REPORTED


def test_official_models_are_billed_by_what_they_took_and_gave() -> None:
    tokens = whole(CREATE, prediction("succeeded", input_token_count=13, output_token_count=40, **SECONDS))
    assert (figures(tokens)[:4], only(tokens).units) == ((13, 0, 0, 40), {})
    assert only(whole(CREATE, prediction("succeeded", image_count=2, **SECONDS))).units == {"output_images": 2}


def test_what_a_prediction_asks() -> None:
    ask = ask_of(CREATE, {"input": {"prompt": "abc", "max_tokens": 20}, "stream": True})
    assert (ask.model, ask.input_bytes, ask.max_output_tokens) == ("meta/llama-3-70b", 3, 20)
    assert ask_of(at("replicate", "/v1/predictions"), {"version": "abc", "input": {"prompt": "x"}}).model == "abc"
    assert at("replicate", "/v1/predictions", "GET").metering is Metering.FREE
    assert at("replicate", "/v1/models/a/b/versions/c/trainings").metering is Metering.UNMETERED


# --- Alibaba, MiniMax ------------------------------------------------------------------------------------------------------------------
QWEN = at("alibaba", "/api/v1/services/aigc/text-generation/generation")


def qwen(written: int, finish: str) -> dict[str, Any]:
    """One event of a native stream."""
    choice = {"finish_reason": finish, "message": {"content": "x"}}
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": min(2, written)}}
    return {
        "output": {"choices": [choice]},
        "usage": {"input_tokens": 10, "output_tokens": written, **details},
        "request_id": "r1",
    }


DASHSCOPE_STREAM = sse(qwen(1, "null"), qwen(3, "null"), qwen(7, "stop")).replace(
    b"data: ", b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:"
)


def test_a_native_stream_of_alibaba_repeats_running_counts() -> None:
    reading = read(QWEN, DASHSCOPE_STREAM, ask=Ask(model="qwen-plus"))
    assert (reading.source, figures(reading), reading.response_id) == (UsageSource.REPORTED, (6, 4, 0, 7, 2), "r1")
    pictured = whole(QWEN, {"output": {}, "usage": {"input_tokens": 1300, "image_tokens": 1250, "output_tokens": 9}})
    assert only(pictured).units == {"image_input_tokens": 1250}
    assert only(whole(QWEN, {"usage": {"input_tokens": 1, "output_tokens": 1, "plugins": {"search": {"count": 2}}}})).units == {
        "web_search_requests": 2
    }


def test_tasks_of_alibaba_are_billed_once_by_their_id() -> None:
    make = at("alibaba", "/api/v1/services/aigc/text2image/image-synthesis")
    assert whole(make, {"output": {"task_id": "t1", "task_status": "PENDING"}}).source is UsageSource.DEFERRED
    poll = at("alibaba", "/api/v1/tasks/t1", "GET")
    assert whole(poll, {"output": {"task_id": "t1", "task_status": "RUNNING"}}).source is UsageSource.NONE
    done = whole(poll, {"output": {"task_id": "t1", "task_status": "SUCCEEDED", "results": [{}]}, "usage": {"image_count": 2}})
    assert (only(done).units, done.response_id, done.is_repeatable) == ({"output_images": 2}, "t1", True)
    failed = whole(poll, {"output": {"task_id": "t1", "task_status": "FAILED", "code": "InvalidParameter"}})
    assert (failed.source, failed.error) == (UsageSource.NONE, "InvalidParameter")


def test_what_a_native_request_of_alibaba_asks() -> None:
    body = {"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "abc"}]}, "parameters": {"max_tokens": 9}}
    ask = ask_of(QWEN, body)
    assert (ask.model, ask.input_bytes, ask.max_output_tokens) == ("qwen-plus", 3, 9)
    assert at("alibaba", "/compatible-mode/v1/chat/completions").dialect == "openai-chat"


def test_minimax_names_its_errors_inside_a_good_answer() -> None:
    chat = at("minimax", "/v1/text/chatcompletion_v2")
    failed = whole(chat, {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "no money"}})
    assert (failed.source, failed.error) == (UsageSource.NONE, "1008")
    usage = {"total_tokens": 12, "prompt_tokens": 5, "completion_tokens": 7, "total_characters": 0}
    good = whole(chat, {"choices": [{"finish_reason": "stop"}], "usage": usage, "base_resp": {"status_code": 0}})
    assert (figures(good)[:4], good.error) == ((5, 0, 0, 7), None)
    spoken = whole(at("minimax", "/v1/t2a_v2"), {"data": {"audio": "00"}, "extra_info": {"usage_characters": 26}})
    assert only(spoken).units == {"input_characters": 26}


# --- Mistral, Voyage, Perplexity -------------------------------------------------------------------------------------------------------
CONVERSE = at("mistral", "/v1/conversations")
CONNECTED = {
    "prompt_tokens": 188,
    "completion_tokens": 55,
    "total_tokens": 7355,
    "connector_tokens": 7112,
    "connectors": {"web_search": 1, "code_interpreter": 2},
}
MISTRAL_STREAM = sse(
    {"type": "conversation.response.started", "conversation_id": "conv_1"},
    {"type": "message.output.delta", "id": "msg_1", "model": "mistral-medium-2505", "content": "Salut"},
    {"type": "conversation.response.done", "usage": CONNECTED},
    named=True,
)


def test_what_connectors_put_into_a_conversation_is_input_and_each_use_a_request() -> None:
    reading = read(CONVERSE, MISTRAL_STREAM)
    assert (figures(reading)[:4], only(reading).model, reading.source) == (
        (7300, 0, 0, 55),
        "mistral-medium-2505",
        UsageSource.REPORTED,
    )
    assert only(reading).units == {"web_search_requests": 1, "code_execution_requests": 2}
    outputs = [{"type": "message.output", "id": "msg_1", "model": "mistral-medium-2505", "content": "Salut"}]
    body = {
        "object": "conversation.response",
        "conversation_id": "c",
        "outputs": outputs,
        "usage": {**CONNECTED, "connectors": None},
    }
    assert (figures(whole(CONVERSE, body))[:4], whole(CONVERSE, body).response_id) == ((7300, 0, 0, 55), "msg_1")
    failed = sse({"type": "conversation.response.error", "message": "secret", "code": 3}, named=True)
    assert read(CONVERSE, failed).error == "3"


def test_what_a_conversation_asks() -> None:
    ask = ask_of(
        CONVERSE, {"model": "m", "inputs": "abc", "tools": [{"type": "web_search"}], "completion_args": {"max_tokens": 9}}
    )
    assert (ask.model, ask.input_bytes, ask.fresh, ask.max_output_tokens, ask.server_tools > 0) == ("m", 26, True, 9, True)
    assert not ask_of(at("mistral", "/v1/conversations/conv_1"), {"inputs": "abc"}).fresh
    assert at("mistral", "/v1/conversations/conv_1", "GET").metering is Metering.FREE


def test_documents_are_billed_by_the_page_and_dearer_when_annotated() -> None:
    ocr = at("mistral", "/v1/ocr")
    body = {"model": "mistral-ocr-2505-completion", "pages": [{"index": 0, "images": []}], "usage_info": {"pages_processed": 29}}
    assert only(whole(ocr, body)).units == {"document_pages": 29}
    assert only(whole(ocr, {**body, "document_annotation": "{}"})).units == {"annotated_document_pages": 29}
    boxed = [{"images": [{"image_annotation": "{}"}]}]
    assert only(whole(ocr, {**body, "pages": boxed})).units == {"annotated_document_pages": 29}


def test_transcription_at_mistral_is_billed_by_the_second() -> None:
    usage = {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635}
    endpoint = at("mistral", "/v1/audio/transcriptions")
    assert only(whole(endpoint, {"model": "voxtral-mini-2507", "text": "x", "usage": usage})).units == {
        "audio_input_seconds": 203
    }
    done = sse(
        {"type": "transcription.text.delta", "text": "x"},
        {"type": "transcription.done", "model": "v", "usage": usage},
        named=True,
    )
    assert only(read(endpoint, done)).units == {"audio_input_seconds": 203}


def test_sound_in_a_chat_at_mistral_is_billed_by_the_second_as_well() -> None:
    usage = {
        "prompt_tokens": 11,
        "prompt_audio_seconds": 5,
        "completion_tokens": 15,
        "total_tokens": 401,
        "prompt_tokens_details": {"audio_tokens": 375, "cached_tokens": 9},
    }
    reading = whole(at("mistral", "/v1/chat/completions"), {"model": "voxtral-small-2507", "choices": [], "usage": usage})
    assert (figures(reading)[:4], only(reading).units) == ((377, 9, 0, 15), {"audio_input_tokens": 375, "audio_input_seconds": 5})


def test_pictures_at_voyage_are_billed_by_the_pixel() -> None:
    endpoint = at("voyage", "/v1/multimodalembeddings")
    usage = {"text_tokens": 5, "image_pixels": 2_000_000, "total_tokens": 3576}
    pictured = only(whole(endpoint, {"model": "voyage-multimodal-3", "usage": usage}))
    assert (pictured.input_tokens, pictured.units) == (5, {"input_pixels": 2_000_000})
    assert only(whole(at("voyage", "/v1/contextualizedembeddings"), {"usage": {"total_tokens": 9}})).input_tokens == 9


def test_perplexity_s_asynchronous_answers_are_billed_once_when_they_are_there() -> None:
    make, poll = at("perplexity", "/async/chat/completions"), at("perplexity", "/async/chat/completions/req_1", "GET")
    ask = ask_of(make, {"request": {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "abc"}]}})
    assert (ask.model, ask.input_bytes) == ("sonar-deep-research", 3)
    job = {"id": "req_1", "model": "sonar-deep-research", "status": "CREATED", "response": None}
    assert (whole(make, job).source, whole(poll, job).source) == (UsageSource.DEFERRED, UsageSource.NONE)
    usage = {"prompt_tokens": 19, "completion_tokens": 498, "cost": {"total_cost": 0.81}}
    done = whole(
        poll, {**job, "status": "COMPLETED", "response": {"id": "other", "choices": [{"finish_reason": "stop"}], "usage": usage}}
    )
    assert (figures(done)[:4], done.response_id, done.is_repeatable) == ((19, 0, 0, 498), "req_1", True)
    assert done.provider_cost_usd == Decimal("0.81")


def test_perplexity_s_search_context_is_a_term_of_its_price() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "search_context_size": "low"}
    body = {"model": "sonar", "choices": [], "usage": usage}
    assert whole(at("perplexity", "/chat/completions"), body).terms == {"search_context_size": "low"}
    assert whole(at("openai", "/v1/chat/completions"), body).terms == {}
