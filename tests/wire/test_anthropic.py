"""Anthropic's counting: exclusive, cumulative, itemised."""

import json
from typing import Any

from tollkeeper.core.usage import Reading, Usage, UsageSource
from wire.samples import JSON, MESSAGE_DELTA, MESSAGE_START, MESSAGE_STREAM, MESSAGES, read, sse


def body(usage: dict[str, Any]) -> Reading:
    return read(MESSAGES, json.dumps({"type": "message", "id": "m", "model": "claude-opus-5", "usage": usage}).encode(), JSON)


def test_the_last_value_wins_field_by_field() -> None:
    reading = read(MESSAGES, MESSAGE_STREAM)
    expected = Usage(
        model="claude-sonnet-4-5",
        input_tokens=22397,
        cache_read_tokens=10,
        cache_write_5m_tokens=20,
        cache_write_1h_tokens=30,
        output_tokens=86,
        units={"web_search_requests": 2},
    )
    assert (reading.calls, reading.source, reading.terms) == ((expected,), UsageSource.REPORTED, {"service_tier": "standard"})


def test_a_null_in_a_delta_takes_nothing_away() -> None:
    delta = {**MESSAGE_DELTA, "usage": {"output_tokens": 9, "input_tokens": None, "cache_read_input_tokens": None}}
    (call,) = read(MESSAGES, sse(MESSAGE_START, delta)).calls
    assert (call.input_tokens, call.cache_read_tokens, call.output_tokens) == (2068, 10, 9)


def test_cache_writes_without_a_split_are_five_minute_ones() -> None:
    (call,) = body({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 70}).calls
    assert (call.cache_write_5m_tokens, call.cache_write_1h_tokens) == (70, 0)
    (call,) = body(
        {"output_tokens": 1, "cache_creation_input_tokens": 70, "cache_creation": {"ephemeral_1h_input_tokens": 60}}
    ).calls
    assert (call.cache_write_5m_tokens, call.cache_write_1h_tokens) == (10, 60)


def test_thinking_is_part_of_the_output_and_terms_are_kept() -> None:
    reading = body(
        {
            "input_tokens": 5,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 40},
            "service_tier": "batch",
            "speed": "fast",
            "inference_geo": "us",
        }
    )
    assert (reading.calls[0].output_tokens, reading.calls[0].reasoning_tokens) == (50, 40)
    assert reading.terms == {"service_tier": "batch", "speed": "fast", "inference_geo": "us"}


def entry(kind: str, read_in: int, out: int, model: str | None = None) -> dict[str, Any]:
    return {"type": kind, "input_tokens": read_in, "output_tokens": out, **({"model": model} if model else {})}


def test_every_iteration_is_billed_at_its_own_model() -> None:
    reading = body(
        {
            "input_tokens": 220,
            "output_tokens": 30,
            "server_tool_use": {"web_search_requests": 1},
            "iterations": [
                entry("compaction", 55196, 522),
                entry("advisor_message", 900, 80, "claude-opus-6"),
                entry("message", 220, 30),
            ],
        }
    )
    assert [(call.model, call.input_tokens, call.output_tokens) for call in reading.calls] == [
        ("claude-opus-5", 55196, 522),
        ("claude-opus-6", 900, 80),
        ("claude-opus-5", 220, 30),
    ]
    assert [dict(call.units) for call in reading.calls] == [{}, {}, {"web_search_requests": 1}]
    assert reading.flags == ()


def test_a_model_that_declined_is_not_billed_and_its_stand_in_is() -> None:
    entries = [entry("message", 100, 0), entry("fallback_message", 120, 9, "claude-haiku-4-5")]
    (call,) = body({"input_tokens": 120, "output_tokens": 9, "iterations": entries}).calls
    assert (call.model, call.input_tokens, call.output_tokens) == ("claude-haiku-4-5", 120, 9)


def test_iterations_that_itemise_only_the_extras_come_on_top() -> None:
    reading = body({"input_tokens": 220, "output_tokens": 30, "iterations": [entry("compaction", 500, 5)]})
    assert [call.input_tokens for call in reading.calls] == [220, 500]


def test_iterations_that_contradict_the_total_are_flagged() -> None:
    reading = body({"input_tokens": 220, "output_tokens": 30, "iterations": [entry("message", 220, 31)]})
    assert (len(reading.calls), reading.flags) == (1, ("iterations-differ-from-total",))


def test_a_list_of_iterations_from_before_the_end_does_not_hide_what_followed() -> None:
    start = {**MESSAGE_START, "message": {**MESSAGE_START["message"], "usage": {"input_tokens": 100, "output_tokens": 1}}}
    start["message"]["usage"]["iterations"] = [entry("compaction", 7, 3), entry("message", 100, 1)]
    delta = {**MESSAGE_DELTA, "usage": {"output_tokens": 20}}
    calls = read(MESSAGES, sse(start, delta, {"type": "message_stop"})).calls
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [(7, 3), (100, 20)]


def test_zeros_at_the_end_take_nothing_of_what_went_in_away() -> None:
    start = {**MESSAGE_START, "message": {**MESSAGE_START["message"], "usage": {"input_tokens": 100, "output_tokens": 0}}}
    zeros = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": None, "output_tokens": 20}
    (call,) = read(MESSAGES, sse(start, {**MESSAGE_DELTA, "usage": zeros})).calls
    assert (call.input_tokens, call.output_tokens) == (100, 20)
    cached = {**zeros, "cache_read_input_tokens": 100}
    (call,) = read(MESSAGES, sse(start, {**MESSAGE_DELTA, "usage": cached})).calls
    assert (call.input_tokens, call.cache_read_tokens) == (0, 100)


def test_a_newer_sum_of_cache_writes_outweighs_an_older_split() -> None:
    split = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 0}
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 300, "cache_creation": split, "output_tokens": 1}
    start = {**MESSAGE_START, "message": {**MESSAGE_START["message"], "usage": usage}}
    moved = {"input_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 300, "output_tokens": 9}
    (call,) = read(MESSAGES, sse(start, {**MESSAGE_DELTA, "usage": moved})).calls
    assert (call.cache_read_tokens, call.cache_write_5m_tokens) == (300, 0)
    grown = {"input_tokens": 1, "cache_creation_input_tokens": 500, "cache_read_input_tokens": 0, "output_tokens": 9}
    (call,) = read(MESSAGES, sse(start, {**MESSAGE_DELTA, "usage": grown})).calls
    assert call.cache_write_5m_tokens == 500


def test_iterations_in_the_last_delta_are_read_too() -> None:
    delta = {**MESSAGE_DELTA, "usage": {"output_tokens": 5, "iterations": [entry("compaction", 7, 3), entry("message", 2068, 5)]}}
    calls = read(MESSAGES, sse(MESSAGE_START, delta, {"type": "message_stop"})).calls
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [(7, 3), (2068, 5)]
