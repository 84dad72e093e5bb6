"""What holds for every dialect: nonsense is survived, counts stay sane, and how the bytes come makes no difference."""

import ast
import gzip
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tollkeeper.wire
from tollkeeper.core.call import Endpoint, Metering
from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire import traits
from tollkeeper.wire.dialects import DIALECTS, SESSIONS
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.request import prompt_text, read_ask
from wire.junk import SCALARS

WIRE = Path(tollkeeper.wire.__file__).parent
TRAITS = sorted(value for key, value in vars(traits).items() if key.isupper() and isinstance(value, str))
OPERATIONS = (
    "chat",
    "embeddings",
    "generate_content",
    "image_generation",
    "transcription",
    "speech",
    "video",
    "rerank",
    "retrieve",
    "batch",
)
PATHS = {"xai-grpc": "/xai_api.Chat/GetCompletion"}
"""Where a dialect goes by the path."""
FRAMES = ("body", "sse", "lines", "array")
TYPES = {"body": "application/json", "sse": "text/event-stream", "lines": "application/x-ndjson", "array": "application/json"}


@cache
def words_of_the_room() -> tuple[str, ...]:
    """Every short text in the source of the room: the keys its readers look for are among them."""
    found: set[str] = set()
    for path in WIRE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
    return tuple(sorted(found))


def documents() -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(words_of_the_room())
    inner = st.recursive(
        st.one_of(SCALARS, names),
        lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(names, one, max_size=5)),
        max_leaves=20,
    )
    return st.dictionaries(names, inner, max_size=8)


def endpoint(dialect: str, operation: str, of: frozenset[str], model: str | None) -> Endpoint:
    return Endpoint(
        provider="x",
        host="x.example",
        path=PATHS.get(dialect, "/v1/x"),
        operation=operation,
        metering=Metering.METERED,
        dialect=dialect,
        model_in_path=model,
        traits=of,
    )


def framed(documents: list[dict[str, Any]], frame: str) -> bytes:
    texts = [json.dumps(document).encode() for document in documents]
    if frame == "sse":
        return b"".join(b"data: " + text + b"\n\n" for text in texts)
    if frame == "lines":
        return b"\n".join(texts)
    return b"[" + b",".join(texts) + b"]" if frame == "array" else texts[0]


def read(where: Endpoint, asked: bytes, answer: list[bytes], headers: dict[str, str], *, cut: bool = False) -> Reading:
    meter = Meter(where, read_ask(where, asked), 200, headers)
    for piece in answer:
        meter.feed(piece)
    return meter.close(cut=cut)


def check(reading: Reading) -> None:
    assert "meter-fault" not in reading.flags
    for usage in reading.calls:
        counts = (
            usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.output_tokens,
            usage.reasoning_tokens, *usage.units.values(),
        )  # fmt: skip
        assert all(type(count) is int and 0 <= count <= 100 * MAX_COUNT for count in counts), usage
    assert reading.provider_cost_usd is None or reading.provider_cost_usd >= 0


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_nonsense_is_survived_and_no_count_is_absurd(dialect: str, data: st.DataObject) -> None:
    where = endpoint(
        dialect,
        data.draw(st.sampled_from(OPERATIONS)),
        data.draw(st.frozensets(st.sampled_from(TRAITS), max_size=3)),
        data.draw(st.sampled_from([None, "gemini-2.5-flash", "us.anthropic.claude-sonnet-4-5", "m"])),
    )
    asked = json.dumps(data.draw(documents())).encode()
    frame = data.draw(st.sampled_from(FRAMES))
    answer = framed(data.draw(st.lists(documents(), min_size=1, max_size=4)), frame)
    cut = data.draw(st.booleans())

    whole = read(where, asked, [answer], {"content-type": TYPES[frame]}, cut=cut)
    size = data.draw(st.integers(1, 40))
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]

    check(whole)
    prompt_text(where, asked)
    assert read(where, asked, pieces, {"content-type": TYPES[frame]}, cut=cut) == whole


@pytest.mark.parametrize("session", sorted(SESSIONS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(frames=st.lists(st.tuples(st.booleans(), documents()), max_size=8))
def test_a_session_survives_nonsense_too(session: str, frames: list[tuple[bool, dict[str, Any]]]) -> None:
    reader = SESSIONS[session](endpoint(session, "realtime", frozenset(), None), "m", lambda: 0)
    for is_clients, payload in frames:
        opening = (reader.client if is_clients else reader.server)(payload)
        if opening is not None:
            reader.refuse(opening, "no room")
        for turn in reader.take_turns():
            check(turn.reading)
    for turn in reader.finish():
        check(turn.reading)


START = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
END = [{"type": "message_delta", "usage": {"output_tokens": 3}}, {"type": "message_stop"}]
USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
ANSWERS = {
    "openai-chat": framed(
        [{"choices": [{"delta": {"content": "hi"}}]}, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}],
        "sse",
    )
    + b"data: [DONE]\n\n",
    "anthropic-messages": framed([START, *END], "sse"),
    "ollama": framed([{"message": {"content": "hi"}}, {"done": True, "prompt_eval_count": 7, "eval_count": 3}], "lines"),
    "gemini-generate": framed([{"candidates": [{"finishReason": "STOP"}], "usageMetadata": USAGE}], "array"),
}
CONTENT = {
    "openai-chat": "text/event-stream",
    "anthropic-messages": "text/event-stream",
    "ollama": "application/x-ndjson",
    "gemini-generate": "application/json",
}
ENCODERS = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("dialect", ANSWERS)
def test_every_encoding_may_be_split_at_every_byte(dialect: str, encoding: str) -> None:
    packed = ENCODERS[encoding](ANSWERS[dialect])
    headers = {"content-type": CONTENT[dialect], **({"content-encoding": encoding} if encoding else {})}
    where = endpoint(dialect, "chat", frozenset(), "gemini-2.5-flash")
    for at in range(len(packed) + 1):
        (usage,) = read(where, b'{"model":"m","stream":true}', [packed[:at], packed[at:]], headers).calls
        assert (usage.input_tokens, usage.output_tokens) == (7, 3)


@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_stream_may_be_cut_at_every_byte(dialect: str) -> None:
    answer = ANSWERS[dialect]
    where = endpoint(dialect, "chat", frozenset(), "gemini-2.5-flash")
    for at in range(len(answer)):
        reading = read(where, b'{"model":"m","stream":true}', [answer[:at]], {"content-type": CONTENT[dialect]}, cut=True)
        check(reading)
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        assert not reading.complete or reading.source is UsageSource.REPORTED


GENERIC = {
    "id": "r1", "model": "m", "done": True, "type": "response.completed",
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    "usageMetadata": USAGE, "choices": [{"finish_reason": "stop", "delta": {"content": "hi"}}],
}  # fmt: skip


@pytest.mark.parametrize("frame", ["sse", "lines"])
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_dialect_may_be_cut_and_every_encoding_split_at_every_byte(dialect: str, frame: str) -> None:
    answer = framed([GENERIC], frame)
    where = endpoint(dialect, "chat", frozenset(), "gemini-2.5-flash")
    asked = b'{"model":"m","stream":true}'
    for at in range(len(answer)):
        check(read(where, asked, [answer[:at]], {"content-type": TYPES[frame]}, cut=True))
    for encoding, encode in ENCODERS.items():
        packed = encode(answer)
        headers = {"content-type": TYPES[frame], **({"content-encoding": encoding} if encoding else {})}
        whole = read(where, asked, [packed], headers)
        for at in range(1, len(packed)):
            assert read(where, asked, [packed[:at], packed[at:]], headers) == whole
