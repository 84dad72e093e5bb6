"""OpenAI's shapes and the deviations of those who speak them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.core.usage import Usage, UsageSource
from tollkeeper.wire.routes import endpoint_for
from wire.samples import CHAT, CHAT_STREAM, FINISH, JSON, RESPONSE_STREAM, RESPONSE_USAGE, RESPONSES, chunk, read, sse


def host(provider: str, path: str = "/v1/chat/completions") -> Any:
    return endpoint_for(provider, "h", "POST", path)


def one(usage: dict[str, Any], provider: str = "openai", path: str = "/v1/chat/completions", **more: Any) -> Usage:
    body = json.dumps({"model": "m", "choices": [{"finish_reason": "stop"}], "usage": usage, **more}).encode()
    reading = read(host(provider, path), body, JSON)
    assert reading.source is UsageSource.REPORTED
    (call,) = reading.calls
    return call


def test_cached_tokens_stand_inside_the_prompt_and_reasoning_inside_the_completion() -> None:
    reading = read(CHAT, CHAT_STREAM)
    expected = Usage(model="gpt-4o-mini-2024-07-18", input_tokens=60, cache_read_tokens=40, output_tokens=20, reasoning_tokens=8)
    assert (reading.source, reading.calls, reading.complete) == (UsageSource.REPORTED, (expected,), True)
    assert (reading.response_id, reading.model) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")


def test_cache_writes_stand_inside_the_prompt_too() -> None:
    details = {
        "cached_tokens": 10,
        "cache_write_tokens": 30,
        "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
    }
    call = one({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
    assert (call.input_tokens, call.cache_read_tokens, call.cache_write_5m_tokens, call.cache_write_1h_tokens) == (60, 10, 10, 20)


R = "completion_tokens_details"


@pytest.mark.parametrize(
    ("provider", "usage", "expected"),
    [
        ("xai", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35, R: {"reasoning_tokens": 20}}, (10, 0, 25, 20)),
        ("xai", {"prompt_tokens": 10, "completion_tokens": 5, R: {"reasoning_tokens": 20}}, (10, 0, 25, 20)),
        ("openrouter", {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, R: {"reasoning_tokens": 8}}, (9, 0, 5, 5)),
        ("deepseek", {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 6}, (3, 6, 5, 0)),
        ("moonshot", {"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 4}, (5, 4, 5, 0)),
        ("perplexity", {"prompt_tokens": 3, "completion_tokens": 70, "total_tokens": 73, "reasoning_tokens": 700}, (3, 0, 770, 700)),
        ("writer", {"prompt_tokens": 9, "completion_tokens": 5, "prompt_token_details": {"cached_tokens": 2}}, (7, 2, 5, 0)),
        ("voyage", {"total_tokens": 9}, (9, 0, 0, 0)),
    ],
)  # fmt: skip
def test_each_hosts_arithmetic(provider: str, usage: dict[str, Any], expected: tuple[int, int, int, int]) -> None:
    call = one(usage, provider)
    assert (call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens) == expected


def test_geminis_openai_surface_leaves_thoughts_out_of_the_completion() -> None:
    call = one({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 50}, "gemini", "/v1beta/openai/chat/completions")
    assert call.output_tokens == 40


def test_audio_beside_the_prompt_is_told_by_the_total() -> None:
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 15,
        "total_tokens": 401,
        "prompt_tokens_details": {"audio_tokens": 375, "cached_tokens": 9},
    }
    call = one(usage, "mistral")
    assert (call.input_tokens, call.units["audio_input_tokens"]) == (377, 375)


def test_more_cached_than_prompted_is_clamped_and_flagged() -> None:
    body = json.dumps(
        {"usage": {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}}
    ).encode()
    reading = read(CHAT, body, JSON)
    assert (reading.calls[0].input_tokens, reading.calls[0].cache_read_tokens) == (0, 9)
    assert reading.flags == ("cached-over-prompt",)


@pytest.mark.parametrize(
    ("value", "count", "flag"),
    [(True, 0, "count-not-a-number"), (-9, 0, "count-negative"), (10**30, 10**9, "count-too-large"), ("12", 12, None),
     (7.5, 7, "count-not-whole"),
     ([], 0, "count-not-a-number"), ("1e999999", 0, "count-not-a-number"), (None, 0, None)],
)  # fmt: skip
def test_a_count_that_is_none_is_clamped_and_flagged(value: Any, count: int, flag: str | None) -> None:
    reading = read(CHAT, json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": value}}).encode(), JSON)
    assert reading.calls[0].output_tokens == count
    assert reading.flags == ((flag,) if flag else ())


def test_running_figures_beside_unfinished_choices_are_not_the_bill_until_the_end() -> None:
    running = [chunk("a", usage={"prompt_tokens": 5, "completion_tokens": number}) for number in (1, 2)]
    cut = read(host("perplexity"), sse(*running), cut=True)
    assert (cut.source, cut.calls[0].output_tokens) == (UsageSource.PARTIAL, 2)
    done = read(host("perplexity"), sse(*running, {**FINISH, "usage": {"prompt_tokens": 5, "completion_tokens": 3}}))
    assert (done.source, done.calls[0].output_tokens, done.complete) == (UsageSource.REPORTED, 3, True)


@pytest.mark.parametrize(
    "more",
    [
        {"cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 20}},
        {
            "prompt_tokens_details": {
                "cache_creation_tokens": 30,
                "cache_creation_token_details": {"ephemeral_1h_input_tokens": 20},
            }
        },
    ],
)
def test_cache_writes_of_an_hour_that_a_gateway_passes_on_are_told_apart(more: dict[str, Any]) -> None:
    call = one({"prompt_tokens": 100, "completion_tokens": 7, **more}, "unknown:h")
    assert (call.input_tokens, call.cache_write_5m_tokens, call.cache_write_1h_tokens) == (70, 10, 20)


def test_figures_in_a_stream_without_finish_reasons_and_end_mark_are_the_bill() -> None:
    said = {"model": "m", "choices": [{"delta": {"content": "a"}}], "usage": {}}
    last = {"model": "m", "choices": [{"delta": {}}], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}
    reading = read(host("snowflake", "/api/v2/cortex/inference:complete"), sse(said, said, last))
    assert (reading.source, reading.complete, reading.calls[0].output_tokens) == (UsageSource.REPORTED, True, 7)
    assert read(host("snowflake", "/api/v2/cortex/inference:complete"), sse(said, said)).source is UsageSource.PARTIAL
    assert read(host("snowflake", "/api/v2/cortex/inference:complete"), sse(said, last), cut=True).source is UsageSource.PARTIAL


def test_usage_that_comes_in_parts_is_put_together_and_zeros_take_nothing_back() -> None:
    first, last = {"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100}, {"completion_tokens": 20}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    parts = read(CHAT, sse(chunk("a", usage=first), {**FINISH, "usage": last}, {"choices": [], "usage": zeros}, "[DONE]"))
    assert [(call.input_tokens, call.output_tokens) for call in parts.calls] == [(100, 20)]


def test_groqs_repeated_usage_is_not_added_and_moonshots_in_the_choice_is_found() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    assert read(host("groq"), sse({**FINISH, "usage": usage, "x_groq": {"usage": usage}}, "[DONE]")).calls[0].output_tokens == 3
    assert read(host("groq"), sse({**FINISH, "x_groq": {"usage": usage}}, "[DONE]")).calls[0].output_tokens == 3
    assert (
        read(host("moonshot"), sse({"choices": [{"finish_reason": "stop", "usage": usage}]}, "[DONE]")).calls[0].output_tokens
        == 3
    )


def test_azures_first_chunk_is_no_usage() -> None:
    first = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    assert read(host("azure"), sse(first, chunk("a"), FINISH, "[DONE]")).source is UsageSource.COUNTED


@pytest.mark.parametrize(
    ("usage", "more", "cost"),
    [
        ({"cost": 0.00123}, {}, "0.00123"),
        ({"cost": "0.00045"}, {}, "0.00045"),
        ({"cost": {"total_cost": 0.006}}, {}, "0.006"),
        ({"cost_in_usd_ticks": 4240000}, {}, "0.000424"),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, {}, "0.021"),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, {}, None),
        ({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, {}, "19.95"),
        ({"cost": 0.02, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.03}}, {}, "0.02"),
        ({"pydantic_ai_gateway": {"cost_estimate": "0.5"}}, {}, "0.5"),
        ({}, {"copilot_usage": {"total_nano_aiu": 123}}, "1.23E-9"),
        ({}, {"copilot_usage": {"total_nano_aiu": 0.0}}, None),
        ({"cost": -1}, {}, None),
        ({"cost": True}, {}, None),
    ],
)
def test_a_stated_cost_is_kept_exactly(usage: dict[str, Any], more: dict[str, Any], cost: str | None) -> None:
    body = json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 1, **usage}, **more}).encode()
    assert read(CHAT, body, JSON).provider_cost_usd == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("usage", "is_told"), [({"cost": 0, "is_byok": False}, True), ({"cost": 0}, False), ({"cost": 1, "is_byok": False}, False)]
)
def test_that_nothing_is_charged_is_told_only_where_the_provider_says_it_outright(usage: dict[str, Any], is_told: bool) -> None:
    body = json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 1, **usage}}).encode()
    assert ("charged-nothing" in read(CHAT, body, JSON).flags) is is_told


def test_a_response_is_read_from_the_event_that_ends_it() -> None:
    reading = read(RESPONSES, RESPONSE_STREAM)
    expected = Usage(
        model="gpt-5-mini",
        input_tokens=35,
        cache_read_tokens=10,
        cache_write_5m_tokens=5,
        output_tokens=30,
        reasoning_tokens=12,
        units={"web_search_requests": 1},
    )
    assert (reading.source, reading.calls, reading.terms, reading.response_id) == (
        UsageSource.REPORTED,
        (expected,),
        {"service_tier": "flex"},
        "resp_1",
    )


def test_hosted_tools_are_counted_from_the_items_or_as_stated() -> None:
    items = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "code_interpreter_call", "container_id": "c1"},
    ]
    body = {"id": "r", "model": "m", "status": "completed", "output": items, "usage": RESPONSE_USAGE}
    units = {"web_search_requests": 1, "file_search_requests": 1, "code_interpreter_sessions": 1}
    assert read(RESPONSES, json.dumps(body).encode(), JSON).calls[0].units == units
    stated = {**body, "tool_usage": {"web_search": {"num_requests": 3}}}
    assert read(RESPONSES, json.dumps(stated).encode(), JSON).calls[0].units["web_search_requests"] == 3


def test_image_generation_inside_a_response_is_a_call_of_its_own() -> None:
    image = {"input_tokens": 12, "output_tokens": 300, "output_tokens_details": {"image_tokens": 290, "text_tokens": 10}}
    body = {
        "model": "gpt-5",
        "usage": RESPONSE_USAGE,
        "tool_usage": {"image_gen": image},
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
    }
    main, drawn = read(RESPONSES, json.dumps(body).encode(), JSON).calls
    assert (main.model, drawn.model, drawn.output_tokens, drawn.units) == (
        "gpt-5",
        "gpt-image-2",
        300,
        {"image_output_tokens": 290},
    )


def test_xais_own_count_of_its_tools_goes_before_the_items() -> None:
    told = {"web_search_calls": 2, "x_search_calls": 3, "code_interpreter_calls": 0, "mcp_calls": 9}
    items = [{"type": "web_search_call", "action": {"type": "open_page"}}]
    usage = {**RESPONSE_USAGE, "cost_in_usd_ticks": 123, "server_side_tool_usage_details": told}
    body = json.dumps({"model": "grok-4.5", "output": items, "usage": usage}).encode()
    assert read(RESPONSES, body, JSON).calls[0].units == {"web_search_requests": 2, "social_search_requests": 3}


@pytest.mark.parametrize("nothing", [0, "0", "0.0", None])
def test_an_image_tool_that_drew_nothing_is_no_call(nothing: Any) -> None:
    image = {"input_tokens": nothing, "output_tokens": nothing, "total_tokens": 0}
    body = json.dumps({"model": "gpt-5", "usage": RESPONSE_USAGE, "tool_usage": {"image_gen": image}}).encode()
    assert [call.model for call in read(RESPONSES, body, JSON).calls] == ["gpt-5"]


def test_a_queued_response_has_no_figures_yet_and_says_so() -> None:
    reading = read(RESPONSES, b'{"id":"r","status":"queued","usage":null,"output":[]}', JSON)
    assert (reading.source, reading.flags, reading.response_id) == (UsageSource.DEFERRED, ("background",), "r")


def test_a_compaction_is_billed() -> None:
    body = json.dumps({"id": "c", "object": "response.compaction", "output": [], "usage": RESPONSE_USAGE}).encode()
    reading = read(endpoint_for("openai", "h", "POST", "/v1/responses/compact"), body, JSON)
    assert (reading.source, reading.calls[0].model) == (UsageSource.REPORTED, "asked")


DRAWN = {"type": "image_generation_call", "status": "completed", "quality": "high", "size": "1024x1024", "result": "iVBORw0K"}


def drawing(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A response with these items, whose tool draws with gpt-image-1 (4,160 tokens a picture of high quality at 1024²)."""
    tools = [{"type": "image_generation", "model": "gpt-image-1", "quality": "low", "size": "1024x1024"}]
    return {"id": "r", "model": "gpt-4.1", "tools": tools, "output": list(items), "usage": RESPONSE_USAGE, **more}


@pytest.mark.parametrize(
    ("items", "tokens"),
    [
        ([DRAWN], 4160),
        ([DRAWN, {**DRAWN, "quality": "medium"}], 4160 + 1056),
        ([{**DRAWN, "size": "1024x1536", "quality": "medium"}], 1584),
        ([{"type": "image_generation_call", "status": "completed"}], 272),  # by what the tool was set to
        ([DRAWN, {**DRAWN, "status": "failed"}], 4160),
    ],
)
@pytest.mark.parametrize("tool_usage", [None, {"image_gen": {"input_tokens": 0, "output_tokens": 0}}])
def test_pictures_inside_a_response_that_states_no_tokens_of_them_are_counted(
    items: list[dict[str, Any]], tokens: int, tool_usage: Any
) -> None:
    reading = read(RESPONSES, json.dumps(drawing(*items, tool_usage=tool_usage)).encode(), JSON)
    text, picture = reading.calls
    assert (text.model, picture.model, picture.units) == ("gpt-4.1", "gpt-image-1", {"image_output_tokens": tokens})
    assert (reading.source, "estimated-images" in reading.flags) == (UsageSource.REPORTED, True)


def test_a_picture_that_failed_is_no_call() -> None:
    reading = read(RESPONSES, json.dumps(drawing({**DRAWN, "status": "failed"})).encode(), JSON)
    assert [call.model for call in reading.calls] == ["gpt-4.1"]


def test_a_picture_in_a_stream_that_is_cut_is_charged_besides_the_text() -> None:
    events = [
        {"type": "response.created", "response": drawing(usage=None)},
        {"type": "response.output_item.done", "item": DRAWN},
        {"type": "response.output_text.delta", "delta": "Here it is"},
    ]
    reading = read(RESPONSES, sse(*events), cut=True)
    picture, text = reading.calls
    assert (reading.source, reading.visible_output) == (UsageSource.PARTIAL, "Here it is")
    assert (picture.model, picture.output_tokens) == ("gpt-image-1", 4160)
    assert (text.model, text.output_tokens) == ("gpt-4.1", 0), "the last call takes what is counted from the text"


@pytest.mark.parametrize(
    ("model", "units"),
    [
        ("gpt-4o-search-preview-2025-03-11", {"web_search_preview_requests": 1}),
        ("gpt-4o-mini-search-preview", {"web_search_preview_requests": 1}),
        ("openai/gpt-5-search-api", {"web_search_requests": 1}),
        ("gpt-4o", {}),
        ("perplexity/sonar-pro-search", {}),
    ],
)
def test_a_search_model_s_search_is_a_fee_of_every_answer(model: str, units: dict[str, int]) -> None:
    body = {"model": model, "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
    assert read(CHAT, json.dumps(body).encode(), JSON).calls[0].units == units


@pytest.mark.parametrize(
    ("tools", "unit"),
    [
        (["web_search_preview"], "web_search_preview_requests"),
        (["function", "web_search_preview_2025_03_11"], "web_search_preview_requests"),
        (["web_search"], "web_search_requests"),
        (["web_search_2025_08_26", "web_search_preview"], "web_search_requests"),
        ([], "web_search_requests"),
    ],
)
def test_searches_of_the_older_tool_are_told_from_those_of_the_newer(tools: list[str], unit: str) -> None:
    items = [{"type": "web_search_call", "action": {"type": "search"}}]
    body = {"model": "gpt-4o", "tools": [{"type": kind} for kind in tools], "output": items, "usage": RESPONSE_USAGE}
    assert read(RESPONSES, json.dumps(body).encode(), JSON).calls[0].units == {unit: 1}


def test_the_sources_that_xai_s_live_search_used_are_billed_over_http_as_over_grpc() -> None:
    assert one({"prompt_tokens": 10, "completion_tokens": 2, "num_sources_used": 3}, "xai").units == {"search_sources": 3}
    assert one({"prompt_tokens": 10, "completion_tokens": 2, "num_sources_used": 0}, "xai").units == {}


def compound(*models: tuple[str, int, int], total: tuple[int, int] = (130, 30)) -> tuple[Usage, ...]:
    usage = {"prompt_tokens": total[0], "completion_tokens": total[1], "total_tokens": sum(total)}
    parts = [{"model": model, "usage": {"prompt_tokens": read, "completion_tokens": said}} for model, read, said in models]
    body = {
        "model": "groq/compound",
        "choices": [{"finish_reason": "stop"}],
        "usage": usage,
        "usage_breakdown": {"models": parts},
    }
    return read(host("groq"), json.dumps(body).encode(), JSON).calls


def test_each_model_of_a_compound_system_is_a_call_of_its_own() -> None:
    calls = compound(("llama-3.3-70b-versatile", 100, 10), ("openai/gpt-oss-120b", 30, 20))
    assert [(call.model, call.input_tokens, call.output_tokens) for call in calls] == [
        ("llama-3.3-70b-versatile", 100, 10),
        ("openai/gpt-oss-120b", 30, 20),
    ]


def test_a_breakdown_that_leaves_something_out_is_not_the_bill() -> None:
    assert [(call.model, call.input_tokens) for call in compound(("openai/gpt-oss-120b", 30, 20))] == [("groq/compound", 130)]
    assert [call.model for call in compound()] == ["groq/compound"]


def test_a_deferred_completion_of_xai_is_billed_when_it_is_read() -> None:
    started = read(host("xai"), b'{"request_id":"f15c114e-f47d"}', JSON)
    assert (started.source, started.response_id, started.calls) == (UsageSource.DEFERRED, "f15c114e-f47d", ())
    fetch = endpoint_for("xai", "api.x.ai", "GET", "/v1/chat/deferred-completion/f15c114e-f47d")
    waiting = read(fetch, b"", JSON, status=202)
    assert (waiting.source, waiting.results_of) == (UsageSource.NONE, ())
    usage = {
        "prompt_tokens": 27,
        "completion_tokens": 48,
        "total_tokens": 85,
        "completion_tokens_details": {"reasoning_tokens": 10},
    }
    answer = {"id": "c-1", "model": "grok-4", "choices": [{"finish_reason": "stop"}], "usage": usage}
    done = read(fetch, json.dumps(answer).encode(), JSON)
    assert (done.source, done.response_id, done.results_of) == (UsageSource.REPORTED, "c-1", ("f15c114e-f47d",))
    assert (done.is_repeatable, done.calls[0].input_tokens, done.calls[0].output_tokens) == (True, 27, 58)
