"""Gemini Live: turns the client begins, turns the model begins, generations within a turn, and sessions that state nothing."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.usage import MAX_COUNT, Usage, UsageSource
from tollkeeper.wire.dialects.gemini_live import gemini_live_session
from tollkeeper.wire.routes import endpoint_for
from tollkeeper.wire.sessions import Opening, SessionReader, Turn

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "exchanges.jsonl.gz"

ENDPOINT = endpoint_for(
    "gemini",
    "generativelanguage.googleapis.com",
    "WEBSOCKET",
    "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=secret",
)
SETUP = {"setup": {"model": "models/gemini-3.8-live", "generationConfig": {"maxOutputTokens": 300}, "systemInstruction": "kurz"}}
ASKED = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "Hallo"}]}], "turnComplete": True}}
OVER = {"serverContent": {"turnComplete": True}}
USAGE = {
    "promptTokenCount": 522,
    "cachedContentTokenCount": 100,
    "responseTokenCount": 42,
    "thoughtsTokenCount": 136,
    "totalTokenCount": 564,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 332}, {"modality": "AUDIO", "tokenCount": 165}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 42}],
}
EXPECTED = Usage(
    model="gemini-3.8-live",
    input_tokens=422,
    cache_read_tokens=100,
    output_tokens=178,
    reasoning_tokens=136,
    units={"audio_input_tokens": 165, "audio_output_tokens": 42},
)


def session() -> SessionReader:
    reader = gemini_live_session(ENDPOINT, "", lambda: 0)
    assert reader.client(SETUP) is None
    reader.server({"setupComplete": {"sessionId": "s-1"}})
    return reader


def said(text: str) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"parts": [{"text": text}]}}}


def test_a_turn_of_the_client_is_opened_with_bounds_and_billed_as_stated() -> None:
    reader = session()
    opening = reader.client(ASKED)
    assert isinstance(opening, Opening)
    assert (opening.ask.model, opening.ask.max_output_tokens, opening.ask.fresh) == ("gemini-3.8-live", 300, False)
    assert reader.server(said("Guten Tag")) is None
    assert reader.take_turns() == ()
    reader.server({**OVER, "usageMetadata": USAGE})
    (turn,) = reader.take_turns()
    assert (turn.number, turn.reading.calls, turn.reading.source) == (opening.number, (EXPECTED,), UsageSource.REPORTED)
    assert (turn.reading.flags, turn.reading.visible_output, reader.notes.response_id) == ((), "", "s-1")
    assert reader.finish() == ()


def test_usage_that_comes_after_the_end_of_its_turn_belongs_to_it() -> None:
    reader = session()
    reader.client(ASKED)
    reader.server(said("Guten Tag"))
    reader.server(OVER)
    reader.server({"usageMetadata": USAGE})
    (turn,) = reader.take_turns()
    assert turn.reading.calls == (EXPECTED,)


def test_each_generation_of_a_turn_with_tools_is_billed() -> None:
    reader = session()
    opening = reader.client(ASKED)
    reader.server({"toolCall": {"functionCalls": [{"name": "f", "args": {}}]}, "usageMetadata": USAGE})
    assert reader.client({"toolResponse": {"functionResponses": [{"id": "1", "response": {"ok": True}}]}}) is None
    reader.server({**OVER, "usageMetadata": {"promptTokenCount": 600, "responseTokenCount": 10}})
    (turn,) = reader.take_turns()
    assert opening is not None
    assert turn.number == opening.number
    assert [call.total_input_tokens for call in turn.reading.calls] == [522, 600]


def test_running_figures_within_a_generation_are_not_added_up() -> None:
    reader = session()
    reader.client(ASKED)
    reader.server({**said("a"), "usageMetadata": {"promptTokenCount": 5, "responseTokenCount": 1}})
    reader.server({**said("b"), "usageMetadata": {"promptTokenCount": 5, "responseTokenCount": 2}})
    reader.server(OVER)
    (turn,) = (*reader.take_turns(), *reader.finish())
    assert [(call.input_tokens, call.output_tokens) for call in turn.reading.calls] == [(5, 2)]


def test_a_model_that_begins_by_itself_is_an_opening_of_the_server() -> None:
    reader = session()
    sound = {"realtimeInput": {"audio": {"data": "A" * 42_667, "mimeType": "audio/pcm;rate=16000"}}}
    assert reader.client(sound) is None
    opening = reader.server(said("Ja?"))
    assert opening is not None
    assert opening.ask.input_bytes >= 32 * 3
    assert not opening.is_request


@pytest.mark.parametrize("realtime", [{"text": "Bist du da?"}, {"activityEnd": {}}])
def test_text_and_the_end_of_an_activity_begin_a_turn(realtime: dict[str, Any]) -> None:
    assert session().client({"realtimeInput": realtime}) is not None


def test_what_the_next_turn_may_cost_grows_with_the_session() -> None:
    reader = session()
    first = reader.client(ASKED)
    reader.server({**OVER, "usageMetadata": USAGE})
    second = reader.client(ASKED)
    assert first is not None
    assert second is not None
    assert second.ask.input_bytes > first.ask.input_bytes + 1_000


def test_a_turn_that_states_nothing_is_flagged_and_counted_by_text_or_sound() -> None:
    reader = session()
    reader.client(ASKED)
    reader.server(said("Guten Tag"))
    reader.server(OVER)
    (turn,) = reader.finish()
    assert (turn.reading.source, turn.reading.visible_output) == (UsageSource.COUNTED, "Guten Tag")
    assert "usage-missing" in turn.reading.flags
    reader.client(ASKED)
    data = {"inlineData": {"mimeType": "audio/pcm", "data": "A" * 64_000}}
    reader.server({"serverContent": {"modelTurn": {"parts": [data]}}})
    reader.server(OVER)
    (spoken,) = reader.finish()
    assert (spoken.reading.source, spoken.reading.calls[0].output_tokens) == (UsageSource.COUNTED, 25)
    assert spoken.reading.calls[0].units == {"audio_output_tokens": 25}


def test_a_socket_that_breaks_gives_its_turn_as_partial() -> None:
    reader = session()
    reader.client(ASKED)
    reader.server(said("Gut"))
    (turn,) = reader.finish()
    assert (turn.reading.source, turn.reading.complete, turn.reading.visible_output) == (UsageSource.PARTIAL, False, "Gut")
    assert reader.finish() == ()


def test_a_refused_turn_is_forgotten_and_the_socket_is_closed_behind_a_reason() -> None:
    reader = session()
    opening = reader.client(ASKED)
    assert opening is not None
    refused = reader.refuse(opening, "the budget is used up")
    assert refused.ends_session
    assert json.loads(refused.to_client)["error"]["message"] == "the budget is used up"
    assert reader.finish() == ()


def test_searches_are_counted_by_query() -> None:
    reader = session()
    reader.client(ASKED)
    reader.server({"serverContent": {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}})
    reader.server({**OVER, "usageMetadata": {"promptTokenCount": 1, "responseTokenCount": 1}})
    (turn,) = reader.take_turns()
    assert turn.reading.calls[0].units == {"web_search_requests": 2}


def kinds(usage: Usage) -> dict[str, int]:
    """Our counts by the recordings' names."""
    units = usage.units
    return {
        "input": usage.input_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_5m_tokens,
        "cache_write_1h": usage.cache_write_1h_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
        **{kind: units.get(f"{kind}_tokens", 0) for kind in ("audio_input", "audio_output", "image_input", "image_output")},
    }


def play(body: bytes) -> list[Turn]:
    reader = gemini_live_session(ENDPOINT, "", lambda: 0)
    turns: list[Turn] = []
    for line in body.splitlines():
        frame = json.loads(line)
        data = frame["data"] if isinstance(frame["data"], dict) else json.loads(frame["data"])
        (reader.client if frame["direction"] == "sent" else reader.server)(data)
        turns.extend(reader.take_turns())
    return [*turns, *reader.finish()]


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
def test_recorded_sessions_give_what_was_billed_and_flag_those_that_state_nothing() -> None:
    from base64 import b64decode

    stated = silent = 0
    with gzip.open(RECORDINGS) as lines:
        for line in lines:
            whole = json.loads(line)
            if whole["framing"] != "websocket" or whole["provider"] not in {"gemini", "vertex"}:
                continue
            turns = play(b64decode(whole["response_body"]))
            reported = [call for turn in turns if turn.reading.source is UsageSource.REPORTED for call in turn.reading.calls]
            theirs = [{key: value for key, value in call.items() if key != "model"} for call in whole["billed"] or []]
            ours = [{key: kinds(call).get(key) for key in other} for call, other in zip(reported, theirs, strict=False)]
            assert (ours, len(reported)) == (theirs, len(theirs)), whole["id"]
            stated += len(theirs)
            silent += sum("usage-missing" in turn.reading.flags for turn in turns)
    assert (stated, silent) == (2, 14)


KEYS = (
    "setup", "model", "clientContent", "client_content", "turnComplete", "turns", "realtimeInput", "audio", "data", "mimeType",
    "mediaChunks", "text", "activityEnd", "toolResponse", "functionResponses", "setupComplete", "sessionId", "serverContent",
    "modelTurn", "parts", "inlineData", "usageMetadata", "promptTokenCount", "responseTokenCount", "totalTokenCount",
    "thoughtsTokenCount", "promptTokensDetails", "responseTokensDetails", "modality", "tokenCount", "toolCall", "functionCalls",
    "groundingMetadata", "webSearchQueries", "error", "tools", "generationConfig", "maxOutputTokens", "executableCode", "code",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 10**30),
    st.floats(allow_nan=False),
    st.sampled_from(["AUDIO", "12", "-1", "x" * 90]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=14,
)
FRAMES = st.lists(st.tuples(st.booleans(), st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=4)), max_size=12)


@settings(max_examples=120, deadline=None)
@given(FRAMES)
def test_no_frames_raise_or_give_absurd_counts_and_every_opening_is_closed_once(
    frames: list[tuple[bool, dict[str, Any]]],
) -> None:
    reader = gemini_live_session(ENDPOINT, "", lambda: 0)
    opened: list[int] = []
    closed: list[Turn] = []
    for is_client, frame in frames:
        opening = (reader.client if is_client else reader.server)(frame)
        if opening is not None:
            opened.append(opening.number)
            assert 0 <= opening.ask.input_bytes <= MAX_COUNT
        closed.extend(reader.take_turns())
    closed.extend(reader.finish())
    assert sorted(turn.number for turn in closed) == opened
    for turn in closed:
        for call in turn.reading.calls:
            figures = (call.input_tokens, call.cache_read_tokens, call.output_tokens, *call.units.values())
            assert all(0 <= figure <= 2 * MAX_COUNT for figure in figures)


def test_half_a_surrogate_pair_in_a_client_s_words_stops_no_turn() -> None:
    """JavaScript cuts text between two halves of a sign: JSON carries one half, UTF-8 cannot."""
    reader = session()
    half = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "Hallo \ud83d"}]}], "turnComplete": True}}
    assert reader.client(half) is not None
