"""xAI over gRPC: framing and field numbers, in any split, however damaged; the last usage is the bill."""

import contextlib
import gzip
import json
import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Ask, Endpoint, Metering
from tollkeeper.core.errors import WireError
from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire.framing.grpc import GrpcReader, frame
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.protobuf import Message, Text, Whole, put, read, tagged
from tollkeeper.wire.refuse import refusal
from tollkeeper.wire.request import prompt_text, read_ask, set_model, set_output_cap
from tollkeeper.wire.routes import endpoint_for
from wire.grpc_samples import STREAM, WHOLE, Value, ask, chunk, message, response, usage, varint
from wire.samples import pieces, some_splits

HEADERS = {"content-type": "application/grpc"}
OK = {"grpc-status": "0"}


def endpoint(method: str) -> Endpoint:
    return endpoint_for("xai", "api.x.ai", "POST", f"/xai_api.{method}")


CHAT, CHUNKS = endpoint("Chat/GetCompletion"), endpoint("Chat/GetCompletionChunk")


def reading(
    to: Endpoint,
    body: bytes,
    *,
    headers: dict[str, str] | None = None,
    trailers: dict[str, str] | None = None,
    cut: bool = False,
    at: list[int] | None = None,
    asked: Ask | None = None,
) -> Reading:
    """What the meter says of a body that comes in pieces."""
    meter = Meter(to, asked or Ask(model="grok-4-fast", streamed=to is CHUNKS), 200, HEADERS if headers is None else headers)
    for piece in pieces(body, at or []):
        meter.feed(piece)
    if trailers is not None:
        meter.trailers(trailers)
    return meter.close(cut=cut)


# --- Framing -------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_messages_come_out_whole_in_any_split(messages: list[bytes], data: st.DataObject) -> None:
    body = b"".join(frame(one) for one in messages)
    at = data.draw(st.lists(st.integers(1, max(1, len(body) - 1)), max_size=10))
    reader = GrpcReader()
    found = [one for piece in pieces(body, at) for one in reader.feed(piece)]
    assert [*found, *reader.close()] == messages
    assert reader.skipped == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_message_is_unpacked_and_a_plain_one_beside_it_is_left(encoding: str) -> None:
    packed = gzip.compress(b"hello" * 99) if encoding == "gzip" else zlib.compress(b"hello" * 99)
    body = b"\1" + len(packed).to_bytes(4) + packed + frame(b"\x1f\x8b plain")
    assert GrpcReader(encoding).feed(body) == [b"hello" * 99, b"\x1f\x8b plain"]


def test_what_cannot_be_unpacked_or_is_too_long_is_skipped_and_the_rest_is_read() -> None:
    damaged = b"\1" + (9).to_bytes(4) + b"\x1f\x8bdamaged"
    reader = GrpcReader("gzip", limit=20)
    found = [one for piece in pieces(damaged + frame(b"x" * 21) + frame(b"y"), list(range(1, 60))) for one in reader.feed(piece)]
    assert (found, reader.skipped) == ([b"y"], 2)
    bomb = gzip.compress(b"x" * 1000)
    reader = GrpcReader("gzip", limit=100)
    assert reader.feed(b"\1" + len(bomb).to_bytes(4) + bomb) == []
    assert reader.skipped == 1


def test_a_bare_message_as_recorders_keep_it_is_one_message() -> None:
    reader = GrpcReader()
    bare = response("hi", 1)
    assert [*reader.feed(bare[:3]), *reader.feed(bare[3:]), *reader.close()] == [bare]
    reader = GrpcReader()
    assert [*reader.feed(b"\x0a\x00"), *reader.close()] == [b"\x0a\x00"]


def test_a_prefix_that_is_none_in_the_middle_is_an_error() -> None:
    with pytest.raises(WireError, match="begins with 7"):
        GrpcReader().feed(frame(b"a") + b"\7\0\0\0\1x")


# --- Wire format ---------------------------------------------------------------------------------------------------------------------

INNER = Message("inner", {1: Whole("n"), 2: Text("t", repeated=True)})
OUTER = Message(
    "outer",
    {
        1: Text("name"),
        2: Whole("count"),
        3: INNER,
        4: Whole("kinds", repeated=True, words={1: "one"}),
        5: Message("many", INNER.fields, repeated=True),
    },
)


def test_fields_are_read_by_number_the_last_wins_and_embedded_messages_merge() -> None:
    data = message({9: "unknown", 1: ["old", "new"], 2: [1, -5], 3: [{1: 1, 2: "a"}, {2: "b"}], 4: [1, 7], 5: [{1: 1}, {1: 2}]})
    data += varint(4 << 3 | 2) + varint(2) + b"\1\2"  # packed
    data += (
        varint(8 << 3 | 1) + b"12345678" + varint(8 << 3 | 5) + b"1234" + b"\x43\x08\x01\x44"
    )  # fixed sizes and a group: skipped
    assert read(data, OUTER) == {
        "name": "new",
        "count": -5,
        "inner": {"n": 1, "t": ["a", "b"]},
        "kinds": ["one", 7, "one", 2],
        "many": [{"n": 1}, {"n": 2}],
    }


@given(st.binary(max_size=120))
def test_junk_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    for what in (OUTER, Message("deep", {1: OUTER, 2: OUTER, 3: OUTER})):
        with contextlib.suppress(WireError):
            json.dumps(read(data, what))
    with contextlib.suppress(WireError):
        assert all(at < start <= end for _, at, start, end in tagged(data))
        assert read(put(data, 1, "x"), OUTER)["name"] == "x"


def test_a_message_nested_without_end_is_refused() -> None:
    loop: dict[int, object] = {}
    endless = Message("endless", loop)  # type: ignore[arg-type]
    loop[1] = endless
    data = b""
    for _ in range(100):
        data = varint(1 << 3 | 2) + varint(len(data)) + data
    with pytest.raises(WireError, match="nested"):
        read(data, endless)


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x12\x05abc", b"\x09123", b"\x0d12", b"\x00\x01", b"\x0c", b"\x0f", b"\xff" * 11, b"\x0b\x08\x01"]
)
def test_a_damaged_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read(data, OUTER)


# --- Answers -------------------------------------------------------------------------------------------------------------------------


def test_a_whole_answer_gives_its_figures_with_reasoning_beside_the_completion() -> None:
    got = reading(CHAT, WHOLE, trailers=OK)
    (call,) = got.calls
    assert got.source is UsageSource.REPORTED
    assert (call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens) == (120, 90, 15, 12)
    assert (got.model, got.response_id, got.terms, got.complete) == (
        "grok-4-fast-reasoning",
        "id-1",
        {"service_tier": "priority"},
        True,
    )


def test_a_stream_is_billed_by_its_last_usage_with_its_tools_and_the_stated_cost() -> None:
    got = reading(CHUNKS, STREAM, trailers=OK)
    (call,) = got.calls
    assert (got.source, call.output_tokens, got.provider_cost_usd) == (UsageSource.REPORTED, 15, Decimal("0.00150605"))
    assert call.units == {"web_search_requests": 2, "social_search_requests": 1}


@pytest.mark.parametrize("body", [STREAM, WHOLE])
def test_any_split_gives_the_same_reading(body: bytes) -> None:
    to = CHAT if body is WHOLE else CHUNKS
    whole = reading(to, body, trailers=OK)
    for at in some_splits(body, seed=len(body)):
        assert reading(to, body, trailers=OK, at=at) == whole


def test_a_stream_cut_at_every_byte_is_charged_for_what_came() -> None:
    seen = 0
    for length in range(len(STREAM)):
        got = reading(CHUNKS, STREAM[:length], cut=True)
        assert got.source is UsageSource.PARTIAL
        output = got.calls[0].output_tokens if got.calls else 0
        assert output >= seen
        assert got.visible_output == "".join((" the", " cost", "", " of")[: max(0, output - 12)])
        seen = output
    assert reading(CHUNKS, STREAM, cut=True).source is UsageSource.REPORTED, "the client left right after the last message"


def test_a_stream_cut_between_the_rounds_of_its_tools_is_charged_for_the_searches_that_were_made() -> None:
    def called(state: int) -> bytes:
        tool: Value = {2: 2, 3: state, 10: {1: "web_search", 2: "{}"}}
        return message({1: "id-1", 2: {1: {2: 5 if state else 2, 3: tool}, 3: 0 if state else 4}, 6: usage(9, ticks=600_000)})

    got = reading(CHUNKS, frame(called(0)) + frame(called(1)) + frame(called(1)), cut=True)
    assert (got.source, got.calls[0].units) == (UsageSource.PARTIAL, {"web_search_requests": 2})
    assert got.provider_cost_usd is None, "the cost stated so far leaves the searches out"
    before = reading(CHUNKS, frame(called(0)), cut=True)
    assert before.provider_cost_usd == Decimal("0.00006")


def test_a_message_without_figures_takes_none_away() -> None:
    empty = message({1: "id-1", 2: {1: {2: 5}}, 6: {}})
    assert reading(CHUNKS, frame(chunk("a", 7)) + frame(empty), cut=True).calls[0].output_tokens == 19


@pytest.mark.parametrize("kept", ["bare", "json"])
def test_what_a_recorder_left_of_an_answer_is_read_as_well(kept: str) -> None:
    said = {"id": "id-1", "model": "grok-4-fast-reasoning", "outputs": [{"finish_reason": "REASON_STOP"}]}
    figures = {
        "prompt_tokens": 210,
        "completion_tokens": 3,
        "total_tokens": 225,
        "reasoning_tokens": 12,
        "cached_prompt_text_tokens": 90,
    }
    used = ["SERVER_SIDE_TOOL_WEB_SEARCH", "SERVER_SIDE_TOOL_WEB_SEARCH", "SERVER_SIDE_TOOL_X_SEARCH"]
    text = json.dumps(said | {"usage": figures | {"server_side_tools_used": used, "cost_in_usd_ticks": "15060500"}}).encode()
    bare = b"".join(GrpcReader().feed(STREAM))  # protobuf messages one after the other are one message
    got = reading(CHUNKS, bare if kept == "bare" else text, headers={})
    assert (got.source, got.calls, got.provider_cost_usd) == (
        UsageSource.REPORTED,
        reading(CHUNKS, STREAM).calls,
        Decimal("0.00150605"),
    )


@pytest.mark.parametrize("end", ["headers", "trailers"])
def test_a_failure_is_named_by_its_status_and_costs_nothing(end: str) -> None:
    stated = {"grpc-status": "8", "grpc-message": "no"}
    got = reading(
        CHAT, b"", headers=HEADERS | (stated if end == "headers" else {}), trailers=stated if end == "trailers" else None
    )
    assert (got.source, got.error, got.calls) == (UsageSource.NONE, "RESOURCE_EXHAUSTED", ())
    odd = reading(CHAT, b"", headers=HEADERS | {"grpc-status": "²"})
    assert odd.error == "UNKNOWN"


def test_a_failure_in_a_stream_is_charged_for_what_was_said() -> None:
    got = reading(CHUNKS, frame(chunk("a", 7)), trailers={"grpc-status": "13"})
    assert (got.source, got.error, got.calls[0].output_tokens) == (UsageSource.PARTIAL, "INTERNAL", 19)


def test_what_was_deferred_is_billed_when_it_is_fetched_and_under_one_id() -> None:
    started = reading(endpoint("Chat/StartDeferredCompletion"), frame(message({1: "later-1"})), trailers=OK)
    assert (started.source, started.response_id, started.calls) == (UsageSource.DEFERRED, "later-1", ())
    fetch = endpoint("Chat/GetDeferredCompletion")
    asked = read_ask(fetch, frame(message({1: "later-1"})))
    assert asked.earlier_id == "later-1"
    pending = reading(fetch, frame(message({2: 3})), trailers=OK, asked=asked)
    assert (pending.source, pending.results_of) == (UsageSource.NONE, ())
    done = reading(fetch, frame(message({1: response("hi", 3), 2: 1})), trailers=OK, asked=asked)
    assert (done.source, done.response_id, done.results_of, done.is_repeatable) == (
        UsageSource.REPORTED,
        "id-1",
        ("later-1",),
        True,
    )
    failed = reading(fetch, frame(message({2: 4})), trailers=OK, asked=asked)
    assert (failed.source, failed.error, failed.results_of) == (UsageSource.NONE, "FAILED", ("later-1",))


def test_pictures_and_film_are_counted_and_their_stated_cost_is_kept() -> None:
    draw = endpoint("Image/GenerateImage")
    asked = read_ask(draw, frame(message({1: "a booth", 2: "grok-imagine-image", 3: 2, 5: {1: "https://x"}})))
    assert dict(asked.units) == {"output_images": 2, "input_images": 1}
    body = frame(message({1: [{1: b"\xff" * 9_000_000}, {3: "https://y"}, {}], 2: "grok-imagine-image", 3: {11: 400_000_000}}))
    got = reading(draw, body, trailers=OK, asked=asked)
    assert (dict(got.calls[0].units), got.provider_cost_usd) == ({"output_images": 2, "input_images": 1}, Decimal("0.04"))
    film = endpoint("Video/GetDeferredVideo")
    asked = read_ask(film, frame(message({1: "v-1"})))
    got = reading(
        film, frame(message({1: 1, 2: {1: {4: 6}, 2: "grok-imagine-video", 3: {11: 3_000_000_000}}})), trailers=OK, asked=asked
    )
    assert (dict(got.calls[0].units), got.provider_cost_usd, got.response_id) == ({"video_seconds": 6}, Decimal("0.3"), "v-1")


JUNK = st.recursive(
    st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=8), st.binary(max_size=12)),
    lambda inner: st.dictionaries(st.integers(1, 20), st.one_of(inner, st.lists(inner, max_size=4)), max_size=6),
    max_leaves=25,
)


METHODS = [
    "Chat/GetCompletion", "Chat/GetCompletionChunk", "Chat/GetDeferredCompletion", "Sample/SampleText", "Chat/CompactContext",
    "Image/GenerateImage", "Video/GetDeferredVideo",
]  # fmt: skip
FIELDS = st.dictionaries(st.integers(1, 20), st.one_of(JUNK, st.lists(JUNK, max_size=4)), max_size=12)


@given(FIELDS, st.sampled_from(METHODS), st.booleans())
def test_messages_of_any_shape_never_raise_and_never_give_an_absurd_count(
    fields: dict[int, Value], method: str, cut: bool
) -> None:
    body = frame(message(fields))
    to = endpoint(method)
    got = reading(to, body + body[:7], cut=cut, asked=read_ask(to, body))
    assert "meter-fault" not in got.flags
    for call in got.calls:
        kinds = (call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens, *call.units.values())
        assert all(0 <= kind <= 2 * MAX_COUNT for kind in kinds)
    prompt_text(to, body)


# --- Requests ------------------------------------------------------------------------------------------------------------------------


def test_a_request_is_read_by_field_number() -> None:
    tool: Value = {1: {1: "weather", 2: "tells it", 4: '{"type":"object"}'}}
    body = ask(_7=500, _8=2, _17=[tool, {3: {}}], _25=3, _31=2)
    got = read_ask(CHUNKS, body)
    assert (got.model, got.max_output_tokens, got.choices, got.streamed, got.fresh) == ("grok-4-fast", 500, 2, True, True)
    assert (got.server_tools, got.service_tier) == (3, "priority")
    text = prompt_text(CHAT, body)
    assert got.input_bytes == len(text.replace("\n", "").encode())
    for words in ("What does this call cost?", "weather", "tells it", '{"type":"object"}'):
        assert words in text


@pytest.mark.parametrize("turn", [{1: {1: "hi"}, 2: 2}, {1: {1: "{}"}, 2: 5}, {2: 1, 6: "sealed"}])
def test_a_conversation_under_way_is_not_fresh(turn: Value) -> None:
    body = frame(message({1: [{1: {1: "hi"}, 2: 1}, turn], 2: "grok-4"}))
    assert not read_ask(CHAT, body).fresh
    assert not read_ask(CHAT, ask(_22="resp-1")).fresh


def test_pictures_count_as_media_and_their_payload_is_no_text() -> None:
    data = "data:image/png;base64," + "A" * 5000
    body = frame(message({1: {1: [{1: "look"}, {2: {1: data}}, {3: {2: b"x" * 100}}], 2: 1}, 2: "grok-4"}))
    got = read_ask(CHAT, body)
    assert (got.media_parts, got.input_bytes) == (2, 4)


def test_a_rewrite_changes_the_model_and_the_cap_and_leaves_every_other_byte() -> None:
    body = ask(_5=1, _7=500)
    _, changed = set_model(CHAT, "/x", body, "grok-3-mini")
    capped = set_output_cap(CHAT, changed, 20)
    assert (read_ask(CHAT, capped).model, read_ask(CHAT, capped).max_output_tokens) == ("grok-3-mini", 20)
    assert set_output_cap(CHAT, body, 501) == body
    others = [body[5:][at:end] for number, at, _, end in tagged(body[5:]) if number not in {2, 7}]
    assert others == [capped[5:][at:end] for number, at, _, end in tagged(capped[5:]) if number not in {2, 7}]
    assert int.from_bytes(capped[1:5]) == len(capped) - 5


def test_a_compressed_request_is_read_and_rewritten_plain() -> None:
    packed = gzip.compress(ask()[5:])
    body = b"\1" + len(packed).to_bytes(4) + packed
    assert read_ask(CHAT, body).model == "grok-4-fast"
    _, changed = set_model(CHAT, "/x", body, "grok-3")
    assert (changed[0], read_ask(CHAT, changed).model) == (0, "grok-3")


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\5abc", b"not a message", ask() + ask(), b"\1\0\0\0\3abc"])
def test_a_request_that_cannot_be_read_is_not_rewritten(body: bytes) -> None:
    assert read_ask(CHAT, body).model is None
    with pytest.raises(WireError):
        set_model(CHAT, "/x", body, "grok-3")


# --- Paths and refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "metering"),
    [
        ("Chat/GetCompletion", Metering.METERED),
        ("Chat/GetStoredCompletion", Metering.FREE),
        ("Tokenize/TokenizeText", Metering.FREE),
        ("Models/ListLanguageModels", Metering.FREE),
        ("Auth/get_api_key_info", Metering.FREE),
        ("Files/UploadFile", Metering.FREE),
        ("Embedder/Embed", Metering.UNMETERED),
        ("BatchMgmt/AddBatchRequests", Metering.UNMETERED),
        ("BatchMgmt/ListBatchResults", Metering.UNMETERED),
        ("Documents/Search", Metering.UNMETERED),
        ("Dreams/Sell", Metering.UNMETERED),
    ],
)
def test_every_method_is_metered_free_or_unmetered_with_a_reason(method: str, metering: Metering) -> None:
    found = endpoint(method)
    assert found.metering is metering
    assert found.reason or metering is Metering.METERED


@pytest.mark.parametrize("method", ["Chat/GetCompletionChunk", "BatchMgmt/AddBatchRequests"])
def test_a_refusal_is_a_grpc_status_that_no_client_tries_again(method: str) -> None:
    reply = refusal(endpoint(method), 'Budget "tiny" – 100 % spent\nAsk ada.')
    assert (reply.status, reply.body, reply.headers["grpc-status"]) == (200, b"", "3")
    assert reply.headers["grpc-message"] == 'Budget "tiny" %E2%80%93 100 %25 spent%0AAsk ada.'
    assert refusal(endpoint_for("xai", "api.x.ai", "POST", "/v1/chat/completions"), "no").status == 400
