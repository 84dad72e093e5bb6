"""Batches, background work and re-reads: what each submission asks, and what each result used."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.usage import MAX_COUNT, Reading, Usage, UsageSource
from tollkeeper.wire.batch_asks import MAX_GROUPS, gathered, lines_of
from tollkeeper.wire.dialects import batch_results
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.request import is_too_large, read_ask, settled_endpoint
from tollkeeper.wire.routes import endpoint_for
from wire.samples import JSON, SSE, read, sse

LINES = {"content-type": "application/octet-stream"}
OPENAI, ANTHROPIC, GEMINI = "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"


def at(provider: str, host: str, method: str, path: str) -> Endpoint:
    return endpoint_for(provider, host, method, path)


UPLOAD = at("openai", OPENAI, "POST", "/v1/files")
CREATE = at("openai", OPENAI, "POST", "/v1/batches")
LOOK = at("openai", OPENAI, "GET", "/v1/batches/batch_1")
OUTPUT = at("openai", OPENAI, "GET", "/v1/files/file-out/content")
SUBMIT = at("anthropic", ANTHROPIC, "POST", "/v1/messages/batches")
RESULTS = at("anthropic", ANTHROPIC, "GET", "/v1/messages/batches/msgbatch_1/results")
ENQUEUE = at("gemini", GEMINI, "POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent")
OPERATION = at("gemini", GEMINI, "GET", "/v1beta/batches/b1")
DOWNLOAD = at("gemini", GEMINI, "GET", "/download/v1beta/files/batch-b1:download?alt=media")
RESPONSE = at("openai", OPENAI, "GET", "/v1/responses/resp_1")
RUN = at("openai", OPENAI, "POST", "/v1/threads/thread_1/runs")
POLL = at("openai", OPENAI, "GET", "/v1/threads/thread_1/runs/run_1")


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def form(content: bytes, purpose: str = "batch") -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode()
    file = b'\r\n--xyz\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' + content
    return head + file + b"\r\n--xyz--\r\n"


def question(
    custom_id: str, model: str = "gpt-5", cap: int | None = 100, text: str = "hello", url: str = "/v1/chat/completions"
) -> Any:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if cap is not None:
        body["max_completion_tokens"] = cap
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def chat_result(custom_id: str, identity: str, prompt: int = 10, answer: int = 5) -> Any:
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    body = {"id": f"chatcmpl-{identity}", "object": "chat.completion", "model": "gpt-5-2026", "choices": [], "usage": usage}
    return {"id": f"batch_req_{identity}", "custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def counts(calls: tuple[Usage, ...]) -> list[tuple[str | None, int, int, str | None, str | None]]:
    return [(call.model, call.input_tokens, call.output_tokens, call.response_id, call.custom_id) for call in calls]


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_alike_requests_of_a_file_are_one_group_with_their_average_size() -> None:
    ask = read_ask(UPLOAD, form(jsonl(question("a", text="x" * 10), question("b", text="x" * 13), question("c", cap=7))))
    assert [(part.model, part.max_output_tokens, part.requests, part.input_bytes) for part in ask.parts] == [
        ("gpt-5", 100, 2, 12),
        ("gpt-5", 7, 1, 5),
    ]
    assert all(part.service_tier == "batch" for part in ask.parts)
    assert ask.model == "gpt-5"


def test_the_lines_shape_decides_how_a_request_is_read() -> None:
    embedding = {"custom_id": "e", "url": "/v1/embeddings", "body": {"model": "text-embedding-3-small", "input": "abcd"}}
    response = {"custom_id": "r", "url": "/v1/responses", "body": {"model": "gpt-5", "input": "abc", "max_output_tokens": 9}}
    ask = read_ask(UPLOAD, form(jsonl(embedding, response)))
    assert [(part.model, part.operation, part.input_bytes, part.max_output_tokens) for part in ask.parts] == [
        ("text-embedding-3-small", "embeddings", 4, None),
        ("gpt-5", "", 3, 9),
    ]


def test_only_a_file_for_a_batch_is_metered() -> None:
    batch = read_ask(UPLOAD, form(jsonl(question("a"))))
    assert settled_endpoint(UPLOAD, batch).metering is Metering.METERED
    other = read_ask(UPLOAD, form(jsonl(question("a")), purpose="fine-tune"))
    free = settled_endpoint(UPLOAD, other)
    assert (other.parts, free.metering, bool(free.reason)) == ((), Metering.FREE, True)
    assert read(free, b'{"id":"file-1"}', JSON).source is UsageSource.NONE


def test_damaged_lines_are_left_out_and_the_rest_is_read() -> None:
    content = b"\n not json\n[1]\n" + jsonl(question("a")) + b'{"custom_id":"b","body":null}\n{"body":' + jsonl(question("c"))
    assert sum(part.requests for part in read_ask(UPLOAD, form(content)).parts) == 1 + 0
    assert len(list(lines_of(jsonl(question("a"), question("b"))[:-1]))) == 2


def test_very_different_requests_still_make_few_groups() -> None:
    ask = gathered(Ask(model="gpt-5", max_output_tokens=cap, input_bytes=1) for cap in range(1, MAX_GROUPS * 4))
    assert len(ask.parts) <= MAX_GROUPS + 1
    assert sum(part.requests for part in ask.parts) == MAX_GROUPS * 4 - 1
    assert ask.parts[-1].max_output_tokens is None


def test_a_gemini_upload_is_bare_lines_without_a_model() -> None:
    endpoint = at("gemini", GEMINI, "POST", "/upload/v1beta/files?upload_id=1")
    request = {"contents": [{"parts": [{"text": "abcd"}]}], "generationConfig": {"maxOutputTokens": 8}}
    for content in (
        jsonl({"key": "1", "request": request}, {"key": "2", "request": request}),
        jsonl({"key": "1", "request": request}),
    ):
        ask = read_ask(endpoint, content)
        assert [(part.model, part.max_output_tokens, part.input_bytes) for part in ask.parts] == [(None, 8, 4)]
    assert read_ask(endpoint, b"\x89PNG\r\n").parts == ()


def test_anthropic_and_gemini_send_their_requests_with_the_submission() -> None:
    params = {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "abc"}]}
    body = json.dumps(
        {"requests": [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": {**params, "model": "claude-opus-4-6"}}]}
    )
    ask = read_ask(SUBMIT, body.encode())
    assert [(part.model, part.max_output_tokens, part.requests) for part in ask.parts] == [
        ("claude-sonnet-4-5", 50, 1),
        ("claude-opus-4-6", 50, 1),
    ]
    request = {"request": {"contents": [{"parts": [{"text": "abcd"}]}]}, "metadata": {"key": "k"}}
    body = json.dumps({"batch": {"display_name": "d", "input_config": {"requests": {"requests": [request, request]}}}})
    ask = read_ask(ENQUEUE, body.encode())
    assert (ask.model, [(part.model, part.requests) for part in ask.parts]) == ("gemini-2.5-flash", [("gemini-2.5-flash", 2)])
    ask = read_ask(ENQUEUE, b'{"batch":{"inputConfig":{"fileName":"files/in"}}}')
    assert (ask.batch_file, ask.parts, ask.model) == ("files/in", (), "gemini-2.5-flash")


def test_a_batch_made_of_a_file_names_it() -> None:
    ask = read_ask(CREATE, b'{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h"}')
    assert (ask.batch_file, ask.parts, ask.fresh) == ("file-1", (), False)
    job = at("mistral", "api.mistral.ai", "POST", "/v1/batch/jobs")
    ask = read_ask(job, b'{"input_files":["f-1"],"model":"mistral-small-latest","endpoint":"/v1/chat/completions"}')
    assert (ask.batch_file, ask.model) == ("f-1", "mistral-small-latest")


def test_an_upload_above_every_providers_limit_is_passed_on_unread() -> None:
    assert not is_too_large(UPLOAD, str(200 * 2**20))
    assert is_too_large(UPLOAD, str(300 * 2**20))
    assert not any(is_too_large(UPLOAD, length) for length in (None, "", "-1", "²", "x"))
    assert not is_too_large(CREATE, str(2**40))


# -- what was used -----------------------------------------------------------------------------------------------------


def test_a_submission_costs_nothing_yet_and_says_what_to_wait_for() -> None:
    made = read(CREATE, b'{"id":"batch_1","object":"batch","status":"validating","output_file_id":null}', JSON)
    assert (made.source, made.response_id, made.calls) == (UsageSource.DEFERRED, "batch_1", ())
    made = read(SUBMIT, b'{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}', JSON)
    assert (made.source, made.response_id) == (UsageSource.DEFERRED, "msgbatch_1")
    made = read(ENQUEUE, b'{"name":"batches/b1","metadata":{"state":"BATCH_STATE_PENDING"}}', JSON)
    assert (made.source, made.response_id) == (UsageSource.DEFERRED, "batches/b1")


def test_looking_at_a_batch_bills_nothing_though_it_repeats_a_total() -> None:
    body = {"id": "batch_1", "status": "completed", "output_file_id": "file-out", "error_file_id": "file-err",
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}  # fmt: skip
    found = read(LOOK, json.dumps(body).encode(), JSON)
    assert (found.source, found.calls, dict(found.links), found.results_of) == (UsageSource.NONE, (), {"file-out": "batch_1"}, ())
    failed = read(LOOK, b'{"id":"batch_1","status":"failed","output_file_id":null}', JSON)
    assert failed.results_of == ("batch_1",)
    running = read(LOOK, b'{"id":"batch_1","status":"in_progress"}', JSON)
    assert (running.results_of, dict(running.links)) == ((), {})


def test_each_line_of_an_output_file_is_a_call_of_its_own_at_the_batch_price() -> None:
    error = {
        "id": "batch_req_9",
        "custom_id": "z",
        "response": {"status_code": 400, "body": {"error": {"code": "x"}}},
        "error": None,
    }
    response = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "output": [],
        "usage": {"input_tokens": 7, "output_tokens": 2},
    }
    other = {"id": "batch_req_3", "custom_id": "c", "response": {"status_code": 200, "body": response}}
    found = read(OUTPUT, jsonl(chat_result("a", "1"), chat_result("b", "2", 20, 6), error, other), LINES)
    assert found.source is UsageSource.REPORTED
    assert counts(found.calls) == [
        ("gpt-5-2026", 10, 5, "batch_req_1", "a"),
        ("gpt-5-2026", 20, 6, "batch_req_2", "b"),
        ("gpt-5", 7, 2, "batch_req_3", "c"),
    ]
    assert (found.terms["service_tier"], found.is_repeatable, found.results_of) == ("batch", True, ("file-out",))


def test_an_output_that_breaks_off_is_billed_as_far_as_it_was_read_and_stays_open() -> None:
    whole = jsonl(chat_result("a", "1"), chat_result("b", "2"))
    found = read(OUTPUT, whole[: len(whole) - 20], LINES, cut=True)
    assert (found.source, len(found.calls), found.results_of) == (UsageSource.REPORTED, 1, ())


@pytest.mark.parametrize("body", [b"\x89PNG\r\n\x1a\n" + b"\x00" * 500, b"plain text", b'{"a":1}\n{"b":2}\n', b"", b"[1,2]"])
def test_any_other_file_costs_nothing(body: bytes) -> None:
    found = read(OUTPUT, body, LINES)
    assert (found.source, found.calls, found.results_of) == (UsageSource.NONE, (), ())


def test_anthropics_results_bill_what_succeeded() -> None:
    usage = {"input_tokens": 11, "output_tokens": 4, "cache_read_input_tokens": 3, "service_tier": "batch"}
    message = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    lines = jsonl(
        {"custom_id": "a", "result": {"type": "succeeded", "message": message}},
        {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "invalid_request_error"}}}},
        {"custom_id": "c", "result": {"type": "expired"}},
    )
    found = read(RESULTS, lines, {"content-type": "application/x-jsonl"})
    assert counts(found.calls) == [("claude-sonnet-4-5", 11, 4, "msg_1", "a")]
    assert (found.calls[0].cache_read_tokens, found.terms["service_tier"], found.results_of) == (3, "batch", ("msgbatch_1",))


def test_geminis_results_stand_in_the_operation_or_in_a_file() -> None:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 3, "totalTokenCount": 11}
    answer = {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "id1",
    }
    nameless = {**answer, "responseId": None}
    inlined = [
        {"response": answer, "metadata": {"key": "k1"}},
        {"error": {"code": 3}},
        {"response": nameless, "metadata": {"key": "k2"}},
    ]
    body = {
        "name": "batches/b1",
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "model": "models/gemini-2.5-flash"},
        "done": True,
        "response": {"inlinedResponses": {"inlinedResponses": inlined}},
    }
    found = read(OPERATION, json.dumps(body).encode(), JSON)
    assert counts(found.calls) == [
        ("gemini-2.5-flash", 8, 3, "id1", "k1"),
        ("gemini-2.5-flash", 8, 3, "batches/b1#k2", "k2"),
    ]
    assert (found.source, found.results_of) == (UsageSource.REPORTED, ("batches/b1",))
    body["response"] = {"responsesFile": "files/batch-b1"}
    found = read(OPERATION, json.dumps(body).encode(), JSON)
    assert (found.source, dict(found.links), found.results_of) == (UsageSource.NONE, {"files/batch-b1": "batches/b1"}, ())
    found = read(DOWNLOAD, jsonl({"key": "k1", "response": answer}), LINES)
    assert (counts(found.calls)[0][3:], found.results_of) == (("id1", "k1"), ("files/batch-b1",))


def test_a_pending_gemini_operation_is_nothing_yet() -> None:
    found = read(OPERATION, b'{"name":"batches/b1","metadata":{"state":"BATCH_STATE_RUNNING"}}', JSON)
    assert (found.source, found.results_of) == (UsageSource.NONE, ())


def test_lines_beyond_the_bound_are_added_up_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_results, "MAX_RESULTS", 2)
    found = read(OUTPUT, jsonl(*(chat_result(str(number), str(number)) for number in range(5))), LINES)
    assert [call.input_tokens for call in found.calls] == [10, 10, 30]
    assert "batch-too-long" in found.flags


# -- background responses and runs -------------------------------------------------------------------------------------

USED = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


def test_a_background_response_is_billed_to_whoever_reads_its_end() -> None:
    asked = at("openai", OPENAI, "POST", "/v1/responses")
    queued = read(asked, b'{"id":"resp_1","status":"queued","background":true,"usage":null}', JSON, ask=Ask(model="gpt-5"))
    assert (queued.source, queued.response_id, queued.flags) == (UsageSource.DEFERRED, "resp_1", ("background",))
    polled = read(RESPONSE, b'{"id":"resp_1","status":"in_progress","background":true,"usage":null}', JSON)
    assert polled.source is UsageSource.NONE
    body = {"id": "resp_1", "status": "completed", "background": True, "model": "gpt-5", "output": [], "usage": USED}
    done = read(RESPONSE, json.dumps(body).encode(), JSON)
    assert (done.source, done.is_repeatable, done.results_of) == (UsageSource.REPORTED, True, ("resp_1",))
    assert (done.calls[0].input_tokens, done.calls[0].output_tokens) == (9, 4)


def test_any_other_response_read_again_was_billed_when_it_was_made() -> None:
    body = {"id": "resp_1", "status": "completed", "background": False, "model": "gpt-5", "output": [], "usage": USED}
    assert read(RESPONSE, json.dumps(body).encode(), JSON).source is UsageSource.NONE
    del body["background"]
    assert read(RESPONSE, json.dumps(body).encode(), JSON).calls == ()


def test_a_background_stream_that_is_left_goes_on_and_is_billed_where_it_is_picked_up() -> None:
    asked = at("openai", OPENAI, "POST", "/v1/responses")
    begun = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "background": True}}
    text = {"type": "response.output_text.delta", "delta": "Hello"}
    end = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "background": True, "usage": USED}}
    left = read(asked, sse(begun, text), cut=True)
    assert (left.source, left.response_id) == (UsageSource.DEFERRED, "resp_1")
    whole = read(asked, sse(begun, text, end))
    assert (whole.source, whole.is_repeatable) == (UsageSource.REPORTED, True)
    resumed = at("openai", OPENAI, "GET", "/v1/responses/resp_1?stream=true&starting_after=4")
    picked_up = read(resumed, sse(text, end))
    assert (picked_up.source, picked_up.results_of) == (UsageSource.REPORTED, ("resp_1",))
    assert read(resumed, sse(text), cut=True).source is UsageSource.NONE


def run(status: str, usage: Any = None, identity: str = "run_1") -> dict[str, Any]:
    return {"id": identity, "object": "thread.run", "status": status, "model": "gpt-4o-mini", "usage": usage}


def test_a_run_is_billed_at_its_end_by_its_own_total() -> None:
    used = {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39}
    step = {
        "id": "step_1",
        "object": "thread.run.step",
        "status": "completed",
        "usage": {"prompt_tokens": 12, "completion_tokens": 4},
    }
    made = read(RUN, json.dumps(run("queued")).encode(), JSON, ask=Ask())
    assert (made.source, made.response_id) == (UsageSource.DEFERRED, "run_1")
    assert read(POLL, json.dumps(run("in_progress")).encode(), JSON).source is UsageSource.NONE
    done = read(POLL, json.dumps(run("completed", used)).encode(), JSON)
    assert (done.source, done.is_repeatable, done.results_of) == (UsageSource.REPORTED, True, ("run_1",))
    assert (done.model, done.calls[0].input_tokens, done.calls[0].output_tokens) == ("gpt-4o-mini", 30, 9)
    streamed = read(RUN, sse(run("in_progress"), step, run("completed", used), "[DONE]"))
    assert (streamed.source, counts(streamed.calls)) == (UsageSource.REPORTED, [("gpt-4o-mini", 30, 9, None, None)])


def test_a_run_that_waits_for_tools_or_is_left_goes_on() -> None:
    waiting = read(RUN, sse(run("in_progress"), run("requires_action"), "[DONE]"))
    assert waiting.source is UsageSource.DEFERRED
    assert read(RUN, sse(run("in_progress")), cut=True).source is UsageSource.DEFERRED
    failed = read(POLL, json.dumps({**run("failed"), "last_error": {"code": "rate_limit_exceeded"}}).encode(), JSON)
    assert (failed.source, failed.error, failed.results_of) == (UsageSource.NONE, "rate_limit_exceeded", ("run_1",))


# -- laws --------------------------------------------------------------------------------------------------------------

READABLE = (
    (OUTPUT, jsonl(chat_result("a", "1"), chat_result("b", "2")), LINES),
    (
        RESULTS,
        jsonl(
            {"custom_id": "a", "result": {"message": {"id": "m", "model": "c", "usage": {"input_tokens": 1, "output_tokens": 2}}}}
        ),
        LINES,
    ),
    (DOWNLOAD, jsonl({"key": "a", "response": {"usageMetadata": {"promptTokenCount": 3}}}), LINES),
    (RUN, sse(run("in_progress"), run("completed", {"prompt_tokens": 3, "completion_tokens": 1}), "[DONE]"), SSE),
)


@pytest.mark.parametrize(("endpoint", "body", "headers"), READABLE)
def test_any_split_of_the_bytes_gives_the_same_reading(endpoint: Endpoint, body: bytes, headers: dict[str, str]) -> None:
    whole = read(endpoint, body, headers)
    assert whole.source is UsageSource.REPORTED
    for position in range(1, len(body), 3):
        assert read(endpoint, body, headers, at=[position]) == whole
    assert read(endpoint, body, headers, at=list(range(len(body)))) == whole


@pytest.mark.parametrize(("endpoint", "body", "headers"), READABLE)
def test_an_answer_cut_at_any_byte_never_raises_and_never_bills_more(
    endpoint: Endpoint, body: bytes, headers: dict[str, str]
) -> None:
    most = read(endpoint, body, headers).calls
    for end in range(len(body)):
        found = read(endpoint, body[:end], headers, cut=True)
        assert len(found.calls) <= len(most)
        assert found.source in {UsageSource.REPORTED, UsageSource.NONE, UsageSource.DEFERRED, UsageSource.PARTIAL}


WORDS = st.sampled_from(
    ["id", "custom_id", "response", "body", "usage", "prompt_tokens", "completion_tokens", "result", "message", "input_tokens",
     "output_tokens", "key", "usageMetadata", "promptTokenCount", "inlinedResponses", "metadata", "state", "name", "status", "object",
     "output_file_id", "requests", "params", "batch", "input_config", "input_file_id", "file", "model", "max_tokens", "background",
     "output", "request"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["thread.run", "completed", "queued", "response", "BATCH_STATE_SUCCEEDED", "x", -9, 10**30, 0.5, True, None, "7", 3]
)
SHAPES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=25
)


@pytest.mark.parametrize(
    "endpoint", [CREATE, LOOK, OUTPUT, SUBMIT, RESULTS, ENQUEUE, OPERATION, DOWNLOAD, RESPONSE, RUN, POLL, UPLOAD]
)
@given(payload=st.dictionaries(WORDS, SHAPES, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_shape_raises_or_gives_an_absurd_count(endpoint: Endpoint, payload: dict[str, Any]) -> None:
    body = json.dumps(payload).encode()
    ask = read_ask(endpoint, body)
    assert all(part.requests > 0 and part.input_bytes >= 0 for part in ask.parts)
    found: Reading = read(endpoint, body + b"\n" + body, JSON)
    found = found if found.calls else read(endpoint, body, JSON)
    for call in found.calls:
        assert 0 <= call.input_tokens <= MAX_COUNT
        assert 0 <= call.output_tokens <= MAX_COUNT
        assert call.response_id is None or len(call.response_id) <= 160
    assert "meter-fault" not in found.flags


def test_fifty_thousand_results_fit_in_memory_and_time() -> None:
    meter = Meter(OUTPUT, Ask(), 200, LINES)
    line = jsonl(chat_result("a", "1"))
    for number in range(50_000):
        meter.feed(line.replace(b"batch_req_1", b"batch_req_%d" % number))
    found = meter.close(cut=False)
    assert (len(found.calls), len({call.response_id for call in found.calls})) == (50_000, 50_000)


def test_work_that_failed_without_a_figure_is_the_result_of_its_own_id() -> None:
    poll = at("replicate", "api.replicate.com", "GET", "/v1/predictions/p1")
    failed = read(poll, b'{"id":"p1","status":"failed","error":"boom"}', JSON)
    assert (failed.source, failed.results_of) == (UsageSource.NONE, ("p1",))
    assert read(poll, b'{"id":"p1","status":"processing"}', JSON).results_of == ()
