"""Sessions over WebSockets: what is a turn, what it used, how it is refused, and that no frame breaks the reader."""

import base64
import io
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.usage import MAX_COUNT, Usage, UsageSource
from tollkeeper.wire.archives import read_archive
from tollkeeper.wire.dialects import SESSIONS
from tollkeeper.wire.exchange import Exchange, exchange_turns, read_exchange
from tollkeeper.wire.recorded_session import read_session
from tollkeeper.wire.routes import endpoint_for, model_in_query
from tollkeeper.wire.sessions import (
    MAX_FRAME_BYTES,
    MAX_OPEN_TURNS,
    MAX_TEXT_CHARS,
    UNUSED,
    Opening,
    OpenTurn,
    SessionReader,
    Turn,
    parse_frame,
)

GEMINI_LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
ENDPOINTS = {
    "responses": endpoint_for("openai", "api.openai.com", "WEBSOCKET", "/v1/responses"),
    "codex": endpoint_for("chatgpt", "chatgpt.com", "WEBSOCKET", "/backend-api/codex/responses"),
    "realtime": endpoint_for("openai", "api.openai.com", "WEBSOCKET", "/v1/realtime?model=gpt-realtime"),
    "azure": endpoint_for("azure", "x.openai.azure.com", "WEBSOCKET", "/openai/realtime?deployment=gpt-realtime"),
    "xai": endpoint_for("xai", "api.x.ai", "WEBSOCKET", "/v1/realtime?model=grok-voice-latest"),
    "live": endpoint_for("openai", "api.openai.com", "WEBSOCKET", "/v1/live/sessions"),
    "gemini": endpoint_for("gemini", "generativelanguage.googleapis.com", "WEBSOCKET", GEMINI_LIVE),
}
VAD = {"type": "server_vad", "create_response": True}
USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
REALTIME_CALL = Usage(
    model="gpt-realtime",
    input_tokens=68,
    cache_read_tokens=64,
    output_tokens=121,
    units={"audio_input_tokens": 9, "audio_output_tokens": 91, "audio_cache_read_tokens": 4},
)


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> int:
        return round(self.seconds * 1_000_000)


def session(kind: str, clock: Callable[[], int] = lambda: 0, model: str = "") -> SessionReader:
    endpoint = ENDPOINTS[kind]
    return SESSIONS[endpoint.dialect or ""](endpoint, model, clock)


def created(identity: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "response.created",
        "response": {"id": identity, "model": "gpt-5.2", "status": "in_progress", "usage": None},
    } | more


def completed(
    identity: str, tokens: tuple[int, int] = (100, 20), kind: str = "response.completed", **more: Any
) -> dict[str, Any]:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {"type": kind, "response": {"id": identity, "model": "gpt-5.2", "usage": usage}} | more


def ask(**more: Any) -> dict[str, Any]:
    return {"type": "response.create", "model": "gpt-5.2", "input": "hi", **more}


def realtime_session(kind: str = "session.created", **input_settings: Any) -> dict[str, Any]:
    return {"type": kind, "session": {"type": "realtime", "model": "gpt-realtime", "audio": {"input": input_settings}}}


def done(identity: str, usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": identity, "status": "completed", "usage": usage, **more}}


# -- Responses ------------------------------------------------------------------------------------------------------------


def test_each_response_create_is_a_turn_that_ends_with_its_usage() -> None:
    reader = session("responses")
    for number in (1, 2):
        opening = reader.client(ask())
        assert opening is not None
        assert (opening.number, opening.ask.model, opening.is_request, opening.ask.fresh) == (number, "gpt-5.2", True, True)
        assert reader.server(created(f"resp_{number}")) is None
        assert reader.take_turns() == ()
        reader.server(completed(f"resp_{number}"))
        (turn,) = reader.take_turns()
        assert (turn.number, turn.reading.source, turn.reading.response_id) == (number, UsageSource.REPORTED, f"resp_{number}")
        assert turn.reading.calls == (Usage(model="gpt-5.2", input_tokens=100, output_tokens=20),)
    assert reader.finish() == ()


def test_lanes_are_told_apart_by_stream_id_and_served_in_order_within_one() -> None:
    reader = session("responses")
    for lane in ("a", "b", "a"):
        reader.client(ask(stream_id=lane))
    reader.server(created("resp_b", stream_id="b"))
    reader.server(created("resp_a1", stream_id="a"))
    reader.server({"type": "response.output_text.delta", "delta": "hello", "stream_id": "a"})
    reader.server(completed("resp_b", (1, 1), stream_id="b"))
    reader.server(completed("resp_a1", (2, 2), stream_id="a"))
    reader.server(created("resp_a2", stream_id="a"))
    reader.server(completed("resp_a2", (3, 3), stream_id="a"))
    found = {turn.number: (turn.reading.response_id, turn.reading.calls[0].input_tokens) for turn in reader.take_turns()}
    assert found == {1: ("resp_a1", 2), 2: ("resp_b", 1), 3: ("resp_a2", 3)}


def test_a_steered_response_is_followed_by_one_that_the_provider_begins_and_that_is_held_for() -> None:
    reader = session("responses")
    reader.client(ask())
    reader.server(created("resp_1"))
    assert reader.client({"type": "response.steer", "previous_response_id": "resp_1", "input": "shorter"}) is None
    reader.server(completed("resp_1", kind="response.incomplete"))
    opening = reader.server(created("resp_2"))
    assert opening is not None
    assert (opening.number, opening.is_request, opening.ask.model) == (2, False, "gpt-5.2")
    reader.server(completed("resp_2"))
    assert [turn.number for turn in reader.take_turns()] == [1, 2]
    assert reader.refuse(opening, "No.").ends_session, "no frame stops a response that nobody asked for"


def test_a_turn_that_continues_another_is_held_for_with_all_that_came_before() -> None:
    reader = session("responses")
    reader.client(ask())
    reader.server(created("resp_1"))
    reader.server(completed("resp_1", (90_000, 10_000)))
    opening = reader.client(ask(previous_response_id="resp_1"))
    assert opening is not None
    assert opening.ask.input_bytes > 300_000
    assert not opening.ask.fresh


def test_an_error_frame_ends_the_turn_without_a_cost() -> None:
    reader = session("responses")
    reader.client(ask(stream_id="a"))
    reader.server(
        {"type": "error", "status": 400, "error": {"type": "invalid_request_error", "code": "previous_response_not_found"}}
    )
    (turn,) = reader.take_turns()
    assert (turn.reading.source, turn.reading.error, turn.reading.calls) == (UsageSource.NONE, "invalid_request_error", ())
    assert reader.finish() == ()


def test_a_socket_that_dies_leaves_its_turns_partial_with_the_text_to_count() -> None:
    reader = session("responses")
    reader.client(ask())
    reader.server(created("resp_1"))
    for piece in ("the cost", " of a call"):
        reader.server({"type": "response.output_text.delta", "delta": piece})
    (turn,) = reader.finish()
    reading = turn.reading
    assert (reading.source, reading.visible_output, reading.complete) == (UsageSource.PARTIAL, "the cost of a call", False)
    assert "the cost" not in repr(reading)
    assert reader.finish() == ()


def test_a_response_whose_end_was_lost_is_closed_when_the_next_one_begins() -> None:
    reader = session("responses")
    reader.client(ask())
    reader.server(created("resp_1"))
    assert reader.server(created("resp_2")) is not None
    reader.server(completed("resp_2"))
    assert [(turn.number, turn.reading.complete) for turn in reader.take_turns()] == [(1, False), (2, True)]


def test_a_refused_response_create_is_answered_with_the_error_frame_on_which_codex_stops() -> None:
    reader = session("codex")
    opening = reader.client(ask(stream_id="a"))
    assert opening is not None
    refused = reader.refuse(opening, "Blocked by tollkeeper: no.")
    frame = json.loads(refused.to_client)
    assert (frame["type"], frame["status"], frame["stream_id"]) == ("error", 400, "a")
    assert frame["error"] == {
        "type": "invalid_request_error", "code": None, "message": "Blocked by tollkeeper: no.", "param": None,
    }  # fmt: skip
    assert (refused.to_server, refused.ends_session) == (b"", False)
    assert reader.finish() == (), "a refused turn is none"


def test_open_turns_are_bounded_and_none_is_lost() -> None:
    reader = session("responses")
    for number in range(MAX_OPEN_TURNS + 40):
        assert reader.client(ask(stream_id=f"lane{number}")) is not None
    early = reader.take_turns()
    assert len(early) == 40
    assert len(early) + len(reader.finish()) == MAX_OPEN_TURNS + 40


# -- Realtime -------------------------------------------------------------------------------------------------------------


def test_a_realtime_response_states_audio_and_cache_apart() -> None:
    reader = session("realtime")
    reader.server(realtime_session(turn_detection=None))
    opening = reader.client({"type": "response.create", "response": {"max_output_tokens": 200}})
    assert opening is not None
    assert (opening.ask.model, opening.ask.max_output_tokens, opening.is_request) == ("gpt-realtime", 200, False)
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    reader.server(done("r1"))
    (turn,) = reader.take_turns()
    assert (turn.number, turn.reading.source, turn.reading.calls) == (1, UsageSource.REPORTED, (REALTIME_CALL,))


def test_where_voice_activity_starts_responses_a_turn_is_held_for_in_advance_and_anew_after_each() -> None:
    reader = session("realtime")
    first = reader.server(realtime_session(turn_detection=VAD))
    assert first is not None
    assert first.in_advance
    assert reader.server({"type": "response.created", "response": {"id": "r1"}}) is None, "its hold stands already"
    second = reader.server(done("r1"))
    assert second is not None
    assert (second.in_advance, second.number) == (True, 2)
    assert second.ask.input_bytes > 900, "the next response reads all that the last one read and wrote"
    assert [turn.number for turn in reader.take_turns()] == [1]
    (unused,) = reader.finish()
    assert (unused.number, unused.reading.source, unused.reading.flags) == (2, UsageSource.NONE, (UNUSED,))


def test_switching_voice_activity_off_lets_the_hold_go() -> None:
    reader = session("realtime")
    assert reader.server(realtime_session(turn_detection=VAD)) is not None
    assert reader.server(realtime_session("session.updated", turn_detection=None)) is None
    (turn,) = reader.take_turns()
    assert turn.reading.flags == (UNUSED,)


def test_the_beta_shape_of_a_session_is_read_too() -> None:
    reader = session("azure")
    beta = {"model": "gpt-4o-realtime-preview", "turn_detection": VAD, "input_audio_transcription": {"model": "whisper-1"}}
    opening = reader.server({"type": "session.created", "session": beta | {"max_response_output_tokens": "inf"}})
    assert opening is not None
    assert (opening.ask.model, opening.ask.max_output_tokens) == ("gpt-4o-realtime-preview", 4096)


def test_a_session_that_only_transcribes_holds_nothing_and_each_transcript_is_a_call_of_its_own() -> None:
    reader = session("realtime")
    audio = {"input": {"turn_detection": VAD, "transcription": {"model": "gpt-4o-transcribe"}}}
    assert reader.server({"type": "session.created", "session": {"type": "transcription", "audio": audio}}) is None
    event = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i1", "transcript": "secret words"}
    tokens = {
        "type": "tokens",
        "total_tokens": 22,
        "input_tokens": 13,
        "output_tokens": 9,
        "input_token_details": {"audio_tokens": 13},
    }
    reader.server(event | {"usage": tokens})
    reader.server(event | {"item_id": "i2", "usage": {"type": "duration", "seconds": "2.3"}})
    reader.server(event | {"item_id": "i3"})
    by_tokens, by_duration = reader.take_turns()
    expected = Usage(model="gpt-4o-transcribe", input_tokens=13, output_tokens=9, units={"audio_input_tokens": 13})
    assert by_tokens.reading.calls == (expected,)
    assert by_duration.reading.calls == (Usage(model="gpt-4o-transcribe", units={"audio_input_seconds": 3}),)
    assert "secret" not in repr((by_tokens, by_duration))


def test_an_error_ends_only_the_response_create_that_it_names() -> None:
    reader = session("realtime")
    reader.server(realtime_session(turn_detection=None))
    reader.client({"type": "response.create", "event_id": "e1"})
    reader.client({"type": "response.create", "event_id": "e2"})
    reader.server({"type": "error", "error": {"type": "invalid_request_error", "code": "unknown_item", "event_id": "e9"}})
    reader.server({"type": "error", "error": {"type": "invalid_request_error", "code": "bad", "event_id": "e2"}})
    (failed,) = reader.take_turns()
    assert (failed.number, failed.reading.source, failed.reading.error) == (2, UsageSource.NONE, "bad")
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    reader.server(done("r1"))
    assert [turn.number for turn in reader.take_turns()] == [1]


def test_a_failed_response_states_zeros_and_costs_nothing() -> None:
    reader = session("realtime")
    reader.client({"type": "response.create"})
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    details = {"type": "failed", "error": {"type": "invalid_request_error", "code": "inference_rate_limit_exceeded"}}
    reader.server(done("r1", {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}, status="failed", status_details=details))
    (turn,) = reader.take_turns()
    assert (turn.reading.source, turn.reading.error) == (UsageSource.NONE, "inference_rate_limit_exceeded")


def test_a_cancelled_response_is_billed_for_what_it_states() -> None:
    reader = session("realtime")
    reader.client({"type": "response.create"})
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    reader.server(done("r1", status="cancelled", status_details={"type": "cancelled", "reason": "turn_detected"}))
    (turn,) = reader.take_turns()
    assert (turn.reading.source, turn.reading.error) == (UsageSource.REPORTED, None)


def test_a_response_whose_beginning_was_lost_is_the_one_that_was_asked_for() -> None:
    reader = session("realtime", model="gpt-realtime")
    opening = reader.client({"type": "response.create"})
    assert opening is not None
    reader.server(done("r1"))
    assert [turn.number for turn in reader.take_turns()] == [opening.number]
    assert reader.finish() == ()


def test_a_response_that_breaks_off_is_estimated_from_the_sound_that_went_past() -> None:
    reader = session("realtime", model="gpt-realtime")
    second_of_sound = base64.b64encode(bytes(48_000)).decode()
    for _ in range(4):
        reader.client({"type": "input_audio_buffer.append", "audio": second_of_sound})
    reader.client({"type": "response.create"})
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    for _ in range(3):
        reader.server({"type": "response.output_audio.delta", "response_id": "r1", "delta": second_of_sound})
    reader.server({"type": "response.output_audio_transcript.delta", "response_id": "r1", "delta": "hello there"})
    (turn,) = reader.finish()
    reading = turn.reading
    assert reading.calls == (Usage(model="gpt-realtime", input_tokens=40, output_tokens=60, units={"audio_output_tokens": 60}),)
    assert (reading.source, reading.visible_output) == (UsageSource.PARTIAL, "hello there")
    assert {"estimated-output", "estimated-input"} <= set(reading.flags)


def test_each_kind_of_realtime_turn_is_refused_in_its_own_way() -> None:
    reader = session("realtime")
    standing = reader.server(realtime_session(turn_detection=VAD))
    assert standing is not None
    refused = reader.refuse(standing, "No.")
    error = json.loads(refused.to_client)
    assert (error["type"], error["error"]["type"], error["error"]["message"]) == ("error", "invalid_request_error", "No.")
    assert refused.ends_session, "what starts by itself can only be stopped by an end"

    asked = reader.client({"type": "response.create"})
    assert asked is not None
    refused = reader.refuse(asked, "No.")
    assert (refused.to_server, refused.ends_session) == (b"", False)

    by_itself = reader.server({"type": "response.created", "response": {"id": "r7"}})
    assert by_itself is not None
    assert json.loads(reader.refuse(by_itself, "No.").to_server) == {"type": "response.cancel", "response_id": "r7"}
    reader.server(done("r7", status="cancelled"))
    assert [turn.number for turn in reader.take_turns()] == [by_itself.number], "what it used until then is still read"


def test_xai_bills_the_seconds_a_session_is_open_and_the_messages_put_in() -> None:
    clock = Clock()
    reader = session("xai", clock, "grok-voice-latest")
    opening = reader.server({"type": "session.created", "session": {"turn_detection": {"type": "server_vad"}}})
    assert opening is not None
    assert opening.ask.units["audio_seconds"] > 0
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    reader.client({"type": "conversation.item.create", "item": item})
    clock.seconds = 90.2
    reader.server({"type": "response.created", "response": {"id": "r1"}})
    reader.server(done("r1", {"input_tokens": 5, "output_tokens": 5}))
    clock.seconds = 120
    turns = [*reader.take_turns(), *reader.finish()]
    units = [turn.reading.calls[0].units for turn in turns]
    assert units == [{"audio_seconds": 91, "input_text_messages": 1}, {"audio_seconds": 29}]
    assert {turn.reading.calls[0].model for turn in turns} == {"grok-voice-latest"}
    assert all(turn.reading.calls[0].output_tokens == 0 for turn in turns), "its tokens are not what it bills"


def test_xai_s_figures_beside_the_response_are_read_and_its_billable_seconds_count_once() -> None:
    """``response.usage`` is empty there; the seconds are those of the session so far. As captured from api.x.ai."""
    reader = session("xai", model="grok-voice-latest")  # recorded frames: a clock that stands
    usages = [{"input_tokens": 10, "output_tokens": 277, "billable_audio_seconds": seconds} for seconds in (3, "7.4")]
    turns = []
    for number, usage in enumerate(usages):
        reader.server({"type": "response.created", "response": {"id": f"r{number}"}})
        reader.server({**done(f"r{number}", {}), "usage": usage})
        turns += reader.take_turns()
    assert [turn.reading.calls[0].units for turn in turns] == [{"audio_seconds": 3}, {"audio_seconds": 5}]
    assert [turn.reading.raw[0]["output_tokens"] for turn in turns] == [277, 277]


def test_billable_seconds_that_the_clock_has_counted_are_not_counted_again() -> None:
    clock = Clock()
    reader = session("xai", clock, "grok-voice-latest")
    clock.seconds = 20
    reader.server({"type": "response.created", "response": {"id": "r"}})
    reader.server({**done("r", {}), "usage": {"input_tokens": 1, "output_tokens": 1, "billable_audio_seconds": 12}})
    assert [turn.reading.calls[0].units for turn in reader.take_turns()] == [{"audio_seconds": 20}]


# -- GPT-Live -------------------------------------------------------------------------------------------------------------

START = {"type": "session.start", "session": {"model": "gpt-live-1"}}
STARTED = {"type": "session.started", "session": {"id": "live_1"}}


def seconds(count: Any, kind: str = "session.usage.updated") -> dict[str, Any]:
    return {"type": kind, "usage": {"seconds": count}}


def test_a_live_session_is_billed_by_the_seconds_it_states_slice_by_slice() -> None:
    reader = session("live")
    first = reader.client(START)
    assert first is not None
    assert (first.ask.model, first.ask.units) == ("gpt-live-1", {"audio_seconds": 300})
    reader.server(STARTED)
    assert reader.server(seconds("120.5")) is None
    second = reader.server(seconds("300.25"))
    assert second is not None, "the budget is asked again while it goes on"
    reader.server(seconds("412.5", "session.closed"))
    turns = [*reader.take_turns(), *reader.finish()]
    assert [(turn.number, turn.reading.calls[0].units) for turn in turns] == [
        (1, {"audio_seconds": 301}),
        (2, {"audio_seconds": 112}),
    ]
    assert {turn.reading.source for turn in turns} == {UsageSource.REPORTED}
    assert {turn.reading.response_id for turn in turns} == {"live_1"}


def test_what_a_live_session_delegates_is_a_call_at_its_own_model() -> None:
    reader = session("live")
    reader.client(START)
    reader.server(STARTED)
    opening = reader.server({"type": "response.event", "delegation_id": "d", "event": created("resp_1")})
    assert opening is not None
    reader.server({"type": "response.event", "delegation_id": "d", "event": completed("resp_1")})
    (turn,) = reader.take_turns()
    assert turn.number == opening.number
    assert turn.reading.calls == (Usage(model="gpt-5.2", input_tokens=100, output_tokens=20),)


def test_a_live_session_that_breaks_off_is_billed_by_our_own_clock() -> None:
    clock = Clock()
    reader = session("live", clock)
    reader.client(START)
    reader.server(STARTED)
    reader.server(seconds(30))
    clock.seconds = 44.4
    (turn,) = reader.finish()
    assert turn.reading.calls[0].units == {"audio_seconds": 45}
    assert (turn.reading.source, "seconds-by-clock" in turn.reading.flags) == (UsageSource.PARTIAL, True)


def test_a_live_session_that_is_refused_never_starts() -> None:
    reader = session("live")
    opening = reader.client(START)
    assert opening is not None
    refused = reader.refuse(opening, "No.")
    assert (json.loads(refused.to_client)["error"]["message"], refused.ends_session) == ("No.", False)
    assert reader.finish() == ()


# -- past sessions --------------------------------------------------------------------------------------------------------


def recorded(*frames: tuple[str, Any]) -> bytes:
    return "\n".join(json.dumps({"direction": direction, "data": data}) for direction, data in frames).encode()


def test_a_recorded_socket_is_one_reading_with_the_calls_of_all_its_turns() -> None:
    body = recorded(
        ("sent", ask()),
        ("received", created("resp_1")),
        ("received", json.dumps(completed("resp_1", (1, 2)))),
        ("sent", ask()),
        ("received", base64.b64encode(json.dumps(completed("resp_2", (3, 4))).encode()).decode()),
        ("received", "no JSON at all"),
    )
    exchange = Exchange(id="x", method="GET", url="wss://api.openai.com/v1/responses", status=101, response_body=body)
    endpoint, _, reading = read_exchange(exchange, "openai")
    assert endpoint.dialect == "openai-responses"
    assert [(call.input_tokens, call.output_tokens) for call in reading.calls] == [(1, 2), (3, 4)]
    assert reading.source is UsageSource.REPORTED


def test_the_turns_of_a_recorded_socket_keep_their_own_terms_costs_and_prompts() -> None:
    first, second = completed("resp_1", (1, 2)), completed("resp_2", (3, 4))
    first["response"] |= {"service_tier": "priority"}
    second["response"] |= {"service_tier": "default", "usage": second["response"]["usage"] | {"cost": 0.25}}
    delta = {"type": "response.output_text.delta", "delta": "hello"}
    frames = [
        ("sent", ask()),
        ("received", created("resp_1")),
        ("received", first),
        ("sent", ask()),
        ("received", created("resp_2")),
    ]
    body = recorded(
        *frames, ("received", second), ("sent", ask(input="why?")), ("received", created("resp_3")), ("received", delta)
    )
    exchange = Exchange(id="x", method="GET", url="wss://api.openai.com/v1/responses", status=101, response_body=body)
    turns = exchange_turns(ENDPOINTS["responses"], exchange)
    assert [turn.reading.source for turn in turns] == [UsageSource.REPORTED, UsageSource.REPORTED, UsageSource.PARTIAL]
    assert [turn.reading.terms.get("service_tier") for turn in turns] == ["priority", "default", None]
    assert [turn.reading.provider_cost_usd for turn in turns] == [None, Decimal("0.25"), None]
    assert (turns[2].prompt, turns[2].reading.visible_output) == ("why?", "hello")


def test_only_a_socket_whose_frames_were_kept_has_turns() -> None:
    exchange = Exchange(id="x", method="POST", url="https://api.openai.com/v1/responses", status=200, response_body=b"{}")
    assert exchange_turns(ENDPOINTS["responses"], exchange) == ()
    bare = Exchange(id="x", method="GET", url="wss://api.openai.com/v1/responses", status=101)
    assert exchange_turns(ENDPOINTS["responses"], bare) == ()


def test_a_session_in_a_har_file_is_read_from_the_frames_that_chrome_adds() -> None:
    frames = [{"type": "send", "opcode": 1, "data": json.dumps(ask())}]
    frames += [{"type": "receive", "opcode": 1, "data": json.dumps(event)} for event in (created("r"), completed("r"))]
    entry = {
        "request": {"method": "GET", "url": "wss://api.openai.com/v1/responses", "headers": []},
        "response": {"status": 101, "headers": [], "content": {}},
        "startedDateTime": "2026-11-22T12:00:00Z",
        "_webSocketMessages": frames,
    }
    (exchange,) = read_archive(io.BytesIO(json.dumps({"log": {"entries": [entry]}}).encode()), "x.har")
    assert isinstance(exchange, Exchange)
    _, _, reading = read_exchange(exchange, "openai")
    assert [(call.input_tokens, call.output_tokens) for call in reading.calls] == [(100, 20)]


def test_a_session_without_a_turn_used_nothing() -> None:
    reading = read_session(ENDPOINTS["realtime"], "gpt-realtime", recorded(("received", realtime_session(turn_detection=VAD))))
    assert (reading.source, reading.flags) == (UsageSource.NONE, ("no-turns",))


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/realtime?model=gpt-realtime&x=1", "gpt-realtime"),
        ("/openai/realtime?deployment=mine&api-version=1", "mine"),
        ("/v1/realtime", ""),
        ("/v1/realtime?model=" + "a" * 300, ""),
        ("/v1/realtime?" + "&".join("a=1" for _ in range(500)), ""),
        ("/v1/realtime?model=%00evil", ""),
    ],
)
def test_the_model_in_a_sockets_url(path: str, model: str) -> None:
    assert model_in_query(path) == model


# -- laws -----------------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**31), 10**31),
    st.sampled_from(["", "r1", "a", "1.5", "-3", "NaN", "x" * 100, "\ud83d"]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["id", "usage", "input_tokens", "output_tokens", "seconds", "error", "model", "audio"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(
    [
        "response.create", "response.created", "response.done", "response.completed", "response.failed", "response.queued", "error",
        "response.output_text.delta", "response.output_audio.delta", "session.created", "session.updated", "session.start",
        "session.started", "session.closed", "session.usage.updated", "response.event", "conversation.item.create",
        "conversation.item.input_audio_transcription.completed", "input_audio_buffer.append", "response.output_item.done",
        "codex.rate_limits",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "response", "session", "usage", "delta", "error", "stream_id", "response_id", "model", "event", "item", "audio", "item_id",
        "serverContent", "usageMetadata", "clientContent", "setup", "toolCall", "input", "status", "event_id",
    ]
)  # fmt: skip
FRAMES = st.builds(lambda kind, rest: {**rest, "type": kind}, st.one_of(TYPES, SCALARS), st.dictionaries(KEYS, JUNK, max_size=5))
SIDES = st.lists(st.tuples(st.booleans(), FRAMES), max_size=15)


def converse(reader: SessionReader, frames: Iterable[tuple[bool, dict[str, Any]]]) -> tuple[list[Opening], list[Turn]]:
    openings: list[Opening] = []
    turns: list[Turn] = []
    for from_client, frame in frames:
        opening = reader.client(frame) if from_client else reader.server(frame)
        turns += reader.take_turns()
        if opening is not None:
            openings.append(opening)
    return openings, [*turns, *reader.finish()]


def assert_lawful(openings: list[Opening], turns: list[Turn]) -> None:
    opened, ended = [opening.number for opening in openings], [turn.number for turn in turns]
    assert len(set(opened)) == len(opened)
    assert len(set(ended)) == len(ended), "a turn ends once"
    assert set(opened) <= set(ended), "and every one ends"
    for turn in turns:
        for call in turn.reading.calls:
            counts = [call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens, *call.units.values()]
            assert all(type(count) is int and 0 <= count <= 10 * MAX_COUNT for count in counts)


@pytest.mark.parametrize("kind", ["responses", "realtime", "xai", "live", "gemini"])
@settings(max_examples=50)
@given(frames=SIDES)
def test_no_frames_break_a_reader_and_every_turn_ends_once(kind: str, frames: list[tuple[bool, dict[str, Any]]]) -> None:
    assert_lawful(*converse(session(kind), frames))


REAL: dict[str, list[tuple[bool, dict[str, Any]]]] = {
    "responses": [
        (True, ask()),
        (False, created("resp_1")),
        (False, {"type": "response.output_text.delta", "delta": "hello"}),
        (False, completed("resp_1")),
    ],
    "realtime": [
        (False, realtime_session(turn_detection=VAD, transcription={"model": "whisper-1"})),
        (True, {"type": "input_audio_buffer.append", "audio": "AAAA"}),
        (False, {"type": "response.created", "response": {"id": "r1"}}),
        (False, {"type": "response.output_audio.delta", "response_id": "r1", "delta": "AAAA"}),
        (False, done("r1")),
    ],
    "live": [(True, START), (False, STARTED), (False, seconds(400)), (False, seconds(500, "session.closed"))],
}


@pytest.mark.parametrize("kind", REAL)
def test_a_session_may_break_off_at_any_frame(kind: str) -> None:
    for length in range(len(REAL[kind]) + 1):
        assert_lawful(*converse(session(kind), REAL[kind][:length]))


@pytest.mark.parametrize("kind", REAL)
@settings(max_examples=60)
@given(junk=FRAMES, at=st.integers(0, 5), from_client=st.booleans())
def test_a_strange_frame_among_real_ones_breaks_nothing(kind: str, junk: dict[str, Any], at: int, from_client: bool) -> None:
    frames = [*REAL[kind]]
    frames.insert(min(at, len(frames)), (from_client, junk))
    assert_lawful(*converse(session(kind), frames))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsing_of_a_frame(data: bytes) -> None:
    found = parse_frame(data)
    assert found is None or isinstance(found, dict)


def test_a_frame_too_large_or_too_deep_is_passed_by() -> None:
    assert parse_frame(b"[" * 100_000) is None
    assert parse_frame(b'{"a":' * 50_000 + b"1" + b"}" * 50_000) is None
    assert parse_frame(b" " * (MAX_FRAME_BYTES + 1)) is None


def test_visible_text_is_kept_within_bounds_with_its_scale() -> None:
    turn = OpenTurn(number=1, ask=session("responses").client(ask()).ask)  # type: ignore[union-attr]
    for _ in range(20):
        turn.say("x" * 100_000)
    reading = turn.close(cut=True).reading
    assert len(reading.visible_output) == 500_000
    assert reading.visible_output_scale == pytest.approx(4.0)


def test_one_text_too_long_to_keep_stands_for_itself_with_its_head() -> None:
    turn = OpenTurn(number=1, ask=session("responses").client(ask()).ask)  # type: ignore[union-attr]
    turn.say("hi")
    turn.say("x" * 2_000_000)
    reading = turn.close(cut=True).reading
    assert len(reading.visible_output) == MAX_TEXT_CHARS
    assert len(reading.visible_output) * reading.visible_output_scale == pytest.approx(2_000_002)


def test_every_endpoint_of_a_session_is_metered_and_its_reader_known() -> None:
    assert all(endpoint.dialect in SESSIONS for endpoint in ENDPOINTS.values())
    for path in ("/v1/realtime/translations", "/v1/live/sessions/s1/attach", "/v1/stt"):
        assert endpoint_for("openai", "api.openai.com", "WEBSOCKET", path).dialect is None
