"""Gemini's counting: the cache inside the prompt, thoughts and tool prompts beside."""

import json
from typing import Any

from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.wire.request import read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import GEMINI_ARRAY, GEMINI_CHUNKS, GEMINI_STREAM, GENERATE, JSON, gemini, read, sse

EXPECTED = Usage(
    model="gemini-2.5-flash",
    input_tokens=14,
    cache_read_tokens=2,
    output_tokens=109,
    reasoning_tokens=30,
    units={"audio_input_tokens": 7},
)


def body(usage: dict[str, Any], **more: Any) -> Reading:
    return read(GENERATE, json.dumps({**gemini("x", usage, "STOP"), **more}).encode(), JSON)


def test_the_last_counts_win_although_they_fell() -> None:
    for stream, headers in ((GEMINI_STREAM, None), (GEMINI_ARRAY, JSON)):
        reading = read(GENERATE, stream, headers or {"content-type": "text/event-stream"})
        assert (reading.calls, reading.source, reading.complete) == ((EXPECTED,), UsageSource.REPORTED, True)
        assert (reading.terms, reading.response_id) == ({"traffic_type": "ON_DEMAND"}, "r1")


def test_a_stream_cut_before_its_end_is_partial_with_the_figures_so_far() -> None:
    reading = read(GENERATE, sse(*GEMINI_CHUNKS[:2]), cut=True)
    assert (reading.source, reading.calls[0].output_tokens, reading.visible_output) == (
        UsageSource.PARTIAL,
        169,
        'Ciao "mondo" ]}',
    )


def test_a_traffic_type_alone_is_no_figure() -> None:
    reading = read(GENERATE, sse(GEMINI_CHUNKS[0]), cut=True)
    assert (reading.source, reading.calls) == (UsageSource.PARTIAL, ())


def test_a_blocked_prompt_is_a_whole_answer() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}}
    reading = read(GENERATE, sse(blocked))
    assert (reading.source, reading.complete, reading.calls[0].input_tokens) == (UsageSource.REPORTED, True, 8)


def test_kinds_of_input_and_output_are_told_apart() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 30,
        "candidatesTokenCount": 1290,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}, {"modality": "IMAGE", "tokenCount": 20}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
    }
    (call,) = body(usage).calls
    assert call.units == {
        "audio_input_tokens": 30,
        "audio_cache_read_tokens": 30,
        "image_input_tokens": 20,
        "image_output_tokens": 1290,
    }


def test_kinds_that_come_as_numbers_are_the_same_kinds() -> None:
    """google-generativeai over REST asks for ``$alt=json;enum-encoding=int``: sound would be billed as text, a third of its price."""
    details = [{"modality": 1, "tokenCount": 20}, {"modality": 4, "tokenCount": 60}, {"modality": 2, "tokenCount": 20}]
    (call,) = body({"promptTokenCount": 100, "candidatesTokenCount": 1, "promptTokensDetails": details}).calls
    assert call.units == {"audio_input_tokens": 60, "image_input_tokens": 20}
    odd: list[Any] = [{"modality": value, "tokenCount": 1} for value in (True, 4.0, [4], {"a": 4}, None, 99)]
    (call,) = body({"promptTokenCount": 100, "candidatesTokenCount": 1, "promptTokensDetails": odd}).calls
    assert call.units == {}


def test_searches_are_counted_by_prompt_before_gemini_3_and_by_query_since() -> None:
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    candidates = [{"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["a", "b", ""]}}]
    assert body(usage, candidates=candidates).calls[0].units == {"web_search_requests": 1}
    assert body(usage, candidates=candidates, modelVersion="gemini-3-pro").calls[0].units == {"web_search_requests": 2}


def test_a_finish_between_rounds_of_built_in_tools_is_not_the_end() -> None:
    """Recorded seven times: a candidate finishes, and goes on after its code has run."""
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2}
    finished = {
        "candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage,
    }
    going_on = {"candidates": [{"content": {"parts": [{"text": "b"}]}, "index": 0}], "usageMetadata": usage}
    assert read(GENERATE, sse(finished, going_on), cut=True).source is UsageSource.PARTIAL
    assert read(GENERATE, sse(finished, going_on, finished), cut=True).source is UsageSource.REPORTED
    other = {"candidates": [{"content": {"parts": [{"text": "c"}]}, "index": 1}], "usageMetadata": usage}
    assert read(GENERATE, sse(finished, other), cut=True).source is UsageSource.PARTIAL
    assert read(GENERATE, sse(finished, {"usageMetadata": usage}), cut=True).source is UsageSource.REPORTED


def test_code_assist_answers_are_read_inside_their_wrapping() -> None:
    endpoint = endpoint_for("code-assist", "h", "POST", "/v1internal:streamGenerateContent?alt=sse")
    reading = read(endpoint, sse(*({"response": chunk} for chunk in GEMINI_CHUNKS)))
    assert reading.calls == (EXPECTED,)
    cut = read(endpoint, sse({"response": GEMINI_CHUNKS[0]}), cut=True)
    assert cut.visible_output == "Ciao"


def test_an_error_as_the_last_element_is_named() -> None:
    stream = json.dumps([GEMINI_CHUNKS[0], {"error": {"code": 503, "message": "secret", "status": "UNAVAILABLE"}}]).encode()
    reading = read(GENERATE, stream, JSON)
    assert (reading.error, reading.source) == ("UNAVAILABLE", UsageSource.PARTIAL)


def asked(tools: list[dict[str, Any]], grounding: dict[str, Any], model: str = "gemini-3-pro") -> dict[str, int]:
    """The units of an answer with this grounding, to a request with these tools."""
    ask = read_ask(GENERATE, json.dumps({"contents": [], "tools": tools}).encode())
    answer = {
        "candidates": [{"finishReason": "STOP", "groundingMetadata": grounding}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
        "modelVersion": model,
    }
    return dict(read(GENERATE, json.dumps(answer).encode(), JSON, ask=ask).calls[0].units)


def test_each_kind_of_grounding_is_billed_under_its_own_name() -> None:
    queries, places = {"webSearchQueries": ["a", "b"]}, {"groundingChunks": [{"maps": {"title": "t"}}]}
    assert asked([{"googleSearch": {}}], queries) == {"web_search_requests": 2}
    assert asked([{"enterpriseWebSearch": {}}], queries) == {"enterprise_search_requests": 2}
    assert asked([{"googleMaps": {}}], {**queries, **places}) == {"maps_search_requests": 2}
    assert asked([{"google_maps": {}}], places, "gemini-2.5-pro") == {"maps_search_requests": 1}
    both = [{"googleSearch": {}}, {"googleMaps": {}}]
    assert asked(both, {**queries, **places}) == {"web_search_requests": 2, "maps_search_requests": 1}
    own = [{"retrieval": {"vertexAiSearch": {}}}]
    assert asked(own, {"retrievalQueries": ["q"]}) == {"retrieval_requests": 1}
    assert asked([{"googleSearch": {}}], {"imageSearchQueries": ["x"]}) == {"web_search_requests": 1}
    assert asked([{"urlContext": {}}, {"codeExecution": {}}, {"fileSearch": {}}], {}) == {}


def test_a_request_with_billed_tools_says_how_much_of_them_it_may_use() -> None:
    ask = read_ask(GENERATE, b'{"contents":[],"tools":[{"googleSearch":{}},{"googleMaps":{}},{"retrieval":{}}]}')
    assert (ask.server_tools, dict(ask.units)) == (1, {"maps_search_requests": 1, "retrieval_requests": 1})


def test_the_tier_that_served_is_told_by_a_header_when_priority_was_downgraded() -> None:
    headers = {**JSON, "x-gemini-service-tier": "standard"}
    ask = read_ask(GENERATE, b'{"contents":[],"serviceTier":"SERVICE_TIER_PRIORITY"}')
    assert ask.service_tier == "priority"
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    reading = read(GENERATE, json.dumps(gemini("x", usage, "STOP")).encode(), headers, ask=ask)
    assert reading.terms == {"service_tier": "standard"}


def test_speech_is_audio_output_and_pictures_are_image_output() -> None:
    usage = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 250,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 250}],
    }
    assert body(usage).calls[0].units == {"audio_output_tokens": 250}
