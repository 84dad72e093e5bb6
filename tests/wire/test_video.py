"""Film: billed when its making is asked for, by the second and size; where the cost is stated later, by the polls."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from tollkeeper.core.call import Metering
from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire.request import read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.junk import documents
from wire.samples import JSON, read
from wire.test_multipart import form

CREATE = endpoint_for("openai", "api.openai.com", "POST", "/v1/videos")
REMIX = endpoint_for("azure", "h", "POST", "/openai/v1/videos/video_1/remix")
EXTEND = endpoint_for("openai", "api.openai.com", "POST", "/v1/videos/extensions")
XAI = endpoint_for("xai", "api.x.ai", "POST", "/v1/videos/generations")
XAI_POLL = endpoint_for("xai", "api.x.ai", "GET", "/v1/videos/req-1")
TOGETHER_POLL = endpoint_for("together", "api.together.xyz", "GET", "/v2/videos/job-7")


def job(**more: Any) -> dict[str, Any]:
    return {
        "id": "video_1",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "seconds": "8",
        "size": "720x1280",
        **more,
    }


def made(endpoint: Any, payload: Any, **asked: Any) -> Reading:
    return read(endpoint, json.dumps(payload).encode(), JSON, ask=read_ask(endpoint, json.dumps(asked).encode()))


def test_a_clip_is_billed_when_it_is_asked_for() -> None:
    reading = made(CREATE, job(size="1280x720"), model="sora-2", prompt="a cat", seconds="8", size="1280x720")
    assert (reading.source, reading.response_id, reading.calls[0].model) == (UsageSource.COUNTED, "video_1", "sora-2")
    assert (dict(reading.calls[0].units), dict(reading.terms)) == ({"video_seconds": 8}, {"video_size": "1280x720"})


def test_what_is_not_said_is_what_the_model_makes() -> None:
    ask = read_ask(CREATE, b'{"model": "sora-2-pro", "prompt": "a cat"}')
    assert (dict(ask.units), dict(ask.terms), ask.units_measured) == ({"video_seconds": 4}, {"video_size": "720x1280"}, True)
    unknown = read_ask(CREATE, b'{"model": "kling", "prompt": "a cat"}')
    assert (dict(unknown.units), unknown.units_measured) == ({"video_seconds": 20}, False)


def test_a_form_with_a_picture_is_read_as_its_json_would_be() -> None:
    body = form(
        ("model", b"sora-2"),
        ("prompt", b"a cat"),
        ("seconds", b"12"),
        ("size", b"720x1280"),
        ("input_reference", b"\x89PNG", "a.png"),
    )
    ask = read_ask(CREATE, body)
    assert (ask.model, dict(ask.units), ask.input_bytes) == ("sora-2", {"video_seconds": 12}, 5)


def test_a_remix_tells_its_length_in_the_answer() -> None:
    reading = made(REMIX, job(remixed_from_video_id="video_0"), prompt="at night")
    assert (reading.calls[0].model, dict(reading.calls[0].units)) == ("sora-2", {"video_seconds": 8})


def test_an_extension_is_billed_for_what_it_adds_not_for_the_whole() -> None:
    reading = made(EXTEND, job(seconds="20"), video={"id": "video_0"}, prompt="on", seconds="8")
    assert reading.calls[0].units == {"video_seconds": 8}


@pytest.mark.parametrize(
    "payload", [job(status="failed", error={"code": "moderation_blocked", "message": "no"}), job(status="failed")]
)
def test_a_job_that_failed_at_once_is_not_billed(payload: dict[str, Any]) -> None:
    reading = made(CREATE, payload, model="sora-2")
    assert (reading.source, reading.calls, reading.error) == (UsageSource.NONE, (), reading.error)
    assert reading.error in {"moderation_blocked", "failed"}


def test_xai_is_held_for_until_a_poll_states_the_cost() -> None:
    started = made(
        XAI,
        {"request_id": "req-1"},
        model="grok-imagine-video",
        prompt="a cat",
        duration=10,
        resolution="720p",
        image={"url": "u"},
    )
    assert (started.source, started.response_id, started.calls) == (UsageSource.DEFERRED, "req-1", ())
    ask = read_ask(XAI, b'{"model": "grok-imagine-video", "duration": 10, "resolution": "720p", "image": {"url": "u"}}')
    assert (dict(ask.units), dict(ask.terms)) == ({"video_seconds": 10, "input_images": 1}, {"video_size": "720p"})
    waiting = made(XAI_POLL, {"status": "pending"})
    assert (waiting.source, waiting.calls, waiting.results_of) == (UsageSource.NONE, (), ())
    done = {
        "status": "done",
        "video": {"url": "u", "duration": 10},
        "model": "grok-imagine-video",
        "usage": {"cost_in_usd_ticks": 7_020_000_000},
    }
    ready = made(XAI_POLL, done)
    assert (ready.source, ready.provider_cost_usd, dict(ready.calls[0].units)) == (
        UsageSource.REPORTED,
        Decimal("0.702"),
        {"video_seconds": 10},
    )
    assert (ready.response_id, ready.results_of, ready.is_repeatable) == ("req-1", ("req-1",), True)


def test_a_failed_job_releases_what_was_held_for_it() -> None:
    reading = made(XAI_POLL, {"status": "failed", "error": {"code": "internal_error", "message": "no"}})
    assert (reading.source, reading.calls, reading.results_of) == (UsageSource.NONE, (), ("req-1",))


def test_together_states_the_cost_beside_the_film() -> None:
    reading = made(
        TOGETHER_POLL,
        {"id": "job-7", "model": "minimax/video-01", "status": "completed", "outputs": {"cost": 0.28, "video_url": "u"}},
    )
    assert (reading.provider_cost_usd, reading.results_of) == (Decimal("0.28"), ("job-7",))


def test_looking_at_a_film_again_is_free() -> None:
    for path in ("/v1/videos", "/v1/videos/video_1/content?variant=video"):
        assert endpoint_for("openai", "api.openai.com", "GET", path).metering is Metering.FREE
    poll = endpoint_for("openai", "api.openai.com", "GET", "/v1/videos/video_1")
    assert made(poll, job(status="completed")).source is UsageSource.NONE


@given(
    documents(("status", "error", "video", "outputs", "size", "resolution", "width", "height", "model", "id", "request_id", "n"))
)
@settings(max_examples=150, deadline=None)
def test_no_shape_of_answer_or_request_breaks_the_reading(payload: dict[str, Any]) -> None:
    raw = json.dumps(payload).encode()
    for endpoint in (CREATE, EXTEND, XAI, XAI_POLL, TOGETHER_POLL):
        asked = read_ask(endpoint, raw)
        found = read(endpoint, raw, JSON, ask=asked)
        assert all(0 < count <= MAX_COUNT for count in asked.units.values())
        assert all(0 < count <= MAX_COUNT for call in found.calls for count in call.units.values())


def test_an_answer_cut_anywhere_is_read_without_raising() -> None:
    raw = json.dumps(job()).encode()
    ask = read_ask(CREATE, b'{"model": "sora-2", "seconds": "4"}')
    for end in range(len(raw)):
        reading = read(CREATE, raw[:end], JSON, ask=ask, cut=True)
        assert (reading.source, dict(reading.calls[0].units)) == (UsageSource.PARTIAL, {"video_seconds": 4})
