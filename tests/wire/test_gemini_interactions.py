"""Gemini Interactions: whole, streamed, running totals, in the background, agents, and Vertex AI's spelling."""

import json
from typing import Any

from tollkeeper.core.call import Ask
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.wire.request import prompt_text, read_ask, set_output_cap
from tollkeeper.wire.routes import endpoint_for
from wire.samples import JSON, SSE, read, sse

HOST = "generativelanguage.googleapis.com"
POST = endpoint_for("gemini", HOST, "POST", "/v1beta/interactions?alt=sse")
GET = endpoint_for("gemini", HOST, "GET", "/v1beta/interactions/v1_abc?stream=false")
VERTEX = endpoint_for(
    "vertex", "aiplatform.googleapis.com", "POST", "/v1beta1/projects/p/locations/global/interactions:createStream"
)

USAGE = {
    "total_input_tokens": 100,
    "total_cached_tokens": 40,
    "total_output_tokens": 20,
    "total_thought_tokens": 5,
    "total_tool_use_tokens": 7,
    "total_tokens": 132,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 70}, {"modality": "audio", "tokens": 30}],
    "cached_tokens_by_modality": [{"modality": "audio", "tokens": 10}],
    "output_tokens_by_modality": [{"modality": "image", "tokens": 12}],
    "raw_prompt_token": 130,
}
EXPECTED = Usage(
    model="gemini-3-flash-preview",
    input_tokens=67,
    cache_read_tokens=40,
    output_tokens=25,
    reasoning_tokens=5,
    units={"audio_input_tokens": 20, "audio_cache_read_tokens": 10, "image_output_tokens": 12},
)
DELTA = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Guten Tag"}}


def interaction(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "v1_abc", "model": "gemini-3-flash-preview", "object": "interaction", "status": status, **more}


CREATED = {"event_type": "interaction.created", "interaction": interaction("in_progress")}
COMPLETED = {"event_type": "interaction.completed", "interaction": interaction(usage=USAGE, service_tier="standard")}
STREAM = sse(CREATED, DELTA, COMPLETED, "[DONE]")


def whole(body: dict[str, Any], endpoint: Any = POST, headers: dict[str, str] = JSON) -> Reading:
    return read(endpoint, json.dumps(body).encode(), headers)


def test_a_whole_answer_and_a_stream_give_the_same_counts_and_id() -> None:
    for reading in (whole(interaction(usage=USAGE)), read(POST, STREAM)):
        assert (reading.calls, reading.source, reading.complete) == ((EXPECTED,), UsageSource.REPORTED, True)
        assert (reading.response_id, reading.is_repeatable, reading.flags) == ("v1_abc", True, ())


def test_an_answer_that_waits_for_a_tool_is_billed_like_any_other() -> None:
    assert whole(interaction("requires_action", usage=USAGE)).calls == (EXPECTED,)


def test_a_stream_cut_early_keeps_its_running_total_and_the_text_seen() -> None:
    running = {**DELTA, "metadata": {"total_usage": {"total_input_tokens": 9, "total_tokens": 9}}}
    reading = read(POST, sse(CREATED, running), cut=True)
    assert (reading.source, reading.calls[0].input_tokens, reading.visible_output) == (UsageSource.PARTIAL, 9, "Guten Tag")
    bare = read(POST, sse(CREATED, DELTA), cut=True)
    assert (bare.source, bare.calls, bare.visible_output, bare.model) == (
        UsageSource.PARTIAL,
        (),
        "Guten Tag",
        "gemini-3-flash-preview",
    )


def test_a_background_interaction_is_deferred_and_billed_where_it_is_read_again() -> None:
    begun = whole(interaction("in_progress"))
    assert (begun.source, begun.calls, begun.response_id, begun.flags) == (UsageSource.DEFERRED, (), "v1_abc", ("background",))
    looked = whole(interaction("in_progress"), GET)
    assert (looked.source, looked.calls, looked.results_of) == (UsageSource.NONE, (), ())
    done = whole(interaction(usage=USAGE), GET)
    assert (done.source, done.calls, done.response_id) == (UsageSource.REPORTED, (EXPECTED,), "v1_abc")
    assert (done.is_repeatable, done.results_of) == (True, ("v1_abc",))
    streamed = read(GET, STREAM)
    assert (streamed.calls, streamed.results_of) == ((EXPECTED,), ("v1_abc",))


def test_an_interaction_that_failed_names_its_error_and_bills_nothing_unsaid() -> None:
    failed = whole({**interaction("failed"), "error": {"code": "internal", "message": "a secret"}})
    assert (failed.source, failed.error, failed.calls) == (UsageSource.NONE, "internal", ())
    event = {"event_type": "error", "error": {"code": "deadline_exceeded", "message": "a secret"}}
    assert read(POST, sse(CREATED, event), cut=False).error == "deadline_exceeded"


def test_an_agents_searches_are_counted_and_it_is_priced_under_its_own_name() -> None:
    body = {key: value for key, value in interaction(usage=USAGE).items() if key != "model"}
    usage = {**USAGE, "grounding_tool_count": [{"type": "google_search", "count": 12}, {"type": "google_maps", "count": 2}]}
    reading = whole({**body, "agent": "deep-research-pro-preview-12-2025", "usage": usage})
    (call,) = reading.calls
    assert call.model == "deep-research-pro-preview-12-2025"
    assert (call.units["web_search_requests"], call.units["maps_search_requests"]) == (12, 2)


def test_older_models_are_billed_one_search_a_prompt_and_steps_stand_in_for_a_missing_count() -> None:
    usage = {"total_input_tokens": 1, "grounding_tool_count": [{"type": "google_search", "count": 3}]}
    assert whole(interaction(model="gemini-2.5-flash", usage=usage)).calls[0].units == {"web_search_requests": 1}
    steps = [{"type": "google_search_call", "arguments": {"queries": ["a", "b"]}}, {"type": "google_search_result"}]
    assert whole(interaction(usage={"total_input_tokens": 1}, steps=steps)).calls[0].units == {"web_search_requests": 2}


def test_the_tier_that_served_is_taken_over_the_one_asked_for() -> None:
    reading = whole(interaction(usage=USAGE), headers={**JSON, "x-gemini-service-tier": "standard"})
    assert reading.terms == {"service_tier": "standard"}
    assert whole(interaction(usage=USAGE, service_tier="SERVICE_TIER_FLEX")).terms == {"service_tier": "flex"}


def test_vertex_spells_in_camel_case_and_wraps_its_events() -> None:
    usage = {
        "totalInputTokens": 10,
        "totalOutputTokens": "3",
        "totalTokens": 13,
        "groundingToolCount": [{"type": "GOOGLE_SEARCH", "count": 1}],
        "outputTokensByModality": [{"modality": "AUDIO", "tokens": 2}],
    }
    inner = {
        "id": "projects/p/interactions/i1",
        "status": "COMPLETED",
        "modelInteraction": {"model": "gemini-3-pro"},
        "usage": usage,
    }
    reading = read(VERTEX, sse({"interactionCompletedEvent": {"interaction": inner}}))
    (call,) = reading.calls
    assert (reading.source, reading.response_id, call.model) == (UsageSource.REPORTED, "i1", "gemini-3-pro")
    assert (call.input_tokens, call.output_tokens, call.units) == (10, 3, {"audio_output_tokens": 2, "web_search_requests": 1})


def test_lyrias_older_events_on_vertex_are_read_too() -> None:
    old = [{"event_type": "interaction.start", "interaction": interaction("in_progress")}]
    old += [{"event_type": "content.delta", "delta": {"type": "text", "text": "la"}}]
    old += [{"event_type": "interaction.complete", "interaction": interaction(usage=USAGE)}]
    assert read(POST, sse(*old)).calls == (EXPECTED,)


def test_an_id_too_long_to_be_kept_is_told_apart_by_its_digest() -> None:
    long = "v1_" + "Ch" * 60
    one, other = whole(interaction(usage=USAGE, id=long)), whole(interaction(usage=USAGE, id=long + "x"))
    assert one.response_id != other.response_id
    assert one.response_id is not None
    assert one.response_id.startswith("sha256:")
    assert long not in one.response_id


def test_what_a_request_asks_for() -> None:
    body = {
        "model": "models/gemini-3-flash-preview",
        "input": [
            {
                "type": "user_input",
                "content": [{"type": "text", "text": "Hallo"}, {"type": "audio", "data": "AAAA", "mime_type": "audio/wav"}],
            }
        ],
        "system_instruction": "kurz",
        "stream": True,
        "service_tier": "flex",
        "generation_config": {"max_output_tokens": 77},
        "tools": [{"type": "google_search"}, {"type": "google_maps"}, {"type": "function", "name": "f"}],
    }
    ask = read_ask(POST, json.dumps(body).encode())
    assert (ask.model, ask.streamed, ask.max_output_tokens, ask.fresh) == ("gemini-3-flash-preview", True, 77, True)
    assert (ask.service_tier, ask.server_tools, dict(ask.units), ask.media_parts) == ("flex", 10, {"maps_search_requests": 10}, 1)
    text = prompt_text(POST, json.dumps(body).encode())
    assert "Hallo" in text
    assert "kurz" in text
    assert "AAAA" not in text


def test_a_conversation_that_goes_on_is_not_fresh() -> None:
    for more in (
        {"previous_interaction_id": "v1_x"},
        {"agent": "deep-research-pro-preview-12-2025"},
        {"input": [{"type": "model_output", "content": []}]},
        {"input": [{"role": "model", "content": "x"}]},
        {"input": [{"type": "function_result", "call_id": "c"}]},
    ):
        assert read_ask(POST, json.dumps({"model": "m", "input": "x", **more}).encode()).fresh is False
    agent = read_ask(POST, json.dumps({"agent": "deep-research-pro-preview-12-2025", "input": "x"}).encode())
    assert (agent.model, agent.server_tools) == ("deep-research-pro-preview-12-2025", 10)


def test_a_cap_is_lowered_where_the_request_has_it() -> None:
    body = b'{"model":"m","input":"x","generation_config":{"max_output_tokens":900}}'
    assert b'"max_output_tokens":50' in set_output_cap(POST, body, 50)
    assert json.loads(set_output_cap(POST, b'{"model":"m","input":"x"}', 50))["generation_config"] == {"max_output_tokens": 50}


def test_a_stream_without_any_usage_is_counted_from_its_text() -> None:
    end = {"event_type": "interaction.completed", "interaction": interaction()}
    reading = read(POST, sse(CREATED, DELTA, end, "[DONE]"), SSE, ask=Ask(model="m", streamed=True))
    assert (reading.source, reading.visible_output) == (UsageSource.COUNTED, "Guten Tag")
