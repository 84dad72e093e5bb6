"""Pictures: tokens where the answer states them, else the pictures that came, by the size and quality asked for."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.usage import MAX_COUNT, Reading, UsageSource
from tollkeeper.wire.framing.elide import KEPT_BYTES, StringElider
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.junk import documents
from wire.samples import JSON, SSE, pieces, read, some_splits, sse
from wire.test_multipart import form

GENERATE = endpoint_for("openai", "api.openai.com", "POST", "/v1/images/generations")
EDIT = endpoint_for("openai", "api.openai.com", "POST", "/v1/images/edits")
AZURE = endpoint_for(
    "azure", "h.openai.azure.com", "POST", "/openai/deployments/dall-e-3/images/generations?api-version=2024-10-21"
)
XAI = endpoint_for("xai", "api.x.ai", "POST", "/v1/images/generations")
VENICE = endpoint_for("venice", "api.venice.ai", "POST", "/api/v1/image/generate")
DEEPINFRA = endpoint_for("deepinfra", "api.deepinfra.com", "POST", "/v1/openai/images/generations")

USAGE = {
    "input_tokens": 1060,
    "input_tokens_details": {"image_tokens": 1040, "text_tokens": 20, "cached_tokens": 0},
    "output_tokens": 4200,
    "output_tokens_details": {"image_tokens": 4160, "text_tokens": 40},
    "total_tokens": 5260,
}
PICTURE = "iVBORw0KGgo" * 20_000


def ask(endpoint: Any, **members: Any) -> Any:
    return read_ask(endpoint, json.dumps(members).encode())


def answer(endpoint: Any, payload: Any, **asked: Any) -> Reading:
    return read(endpoint, json.dumps(payload).encode(), JSON, ask=ask(endpoint, **asked))


def done(usage: Any = USAGE, kind: str = "image_generation.completed") -> dict[str, Any]:
    return {"type": kind, "b64_json": PICTURE, "size": "1024x1024", "quality": "high", "usage": usage}


STREAM = sse(
    {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0, "size": "1024x1024"},
    done(),
    named=True,
)


def test_stated_tokens_are_the_bill() -> None:
    payload = {"created": 1, "data": [{"b64_json": PICTURE}], "size": "1024x1024", "quality": "high", "usage": USAGE}
    reading = answer(GENERATE, payload, model="gpt-image-1.5", prompt="a cat", size="1024x1024")
    (usage,) = reading.calls
    assert reading.source is UsageSource.REPORTED
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("gpt-image-1.5", 1060, 4200)
    assert usage.units == {"image_input_tokens": 1040, "image_output_tokens": 4160}
    assert reading.terms == {}
    assert "iVBOR" not in repr(reading)


def test_an_output_that_is_not_told_apart_is_all_picture() -> None:
    usage = {"input_tokens": 10, "output_tokens": 272, "total_tokens": 282, "input_tokens_details": {"text_tokens": 10}}
    (read_usage,) = answer(GENERATE, {"data": [{}], "usage": usage}, model="gpt-image-1").calls
    assert read_usage.units == {"image_output_tokens": 272}


def test_dall_e_states_nothing_and_is_counted_by_picture_size_and_quality() -> None:
    reading = answer(GENERATE, {"created": 1, "data": [{"url": "u"}, {"url": "u"}]}, model="dall-e-2", n=3, size="256x256")
    assert reading.source is UsageSource.COUNTED
    assert reading.calls[0].units == {"output_images": 2, "output_pixels": 2 * 256 * 256}
    assert reading.terms == {"image_size": "256x256"}
    asked = ask(AZURE, prompt="a cat", quality="hd", size="1792x1024")
    assert (asked.units["output_images"], asked.terms) == (1, {"image_size": "1792x1024", "image_quality": "hd"})


def test_what_dall_e_is_not_told_is_what_it_takes_by_default() -> None:
    assert ask(GENERATE, model="dall-e-3").terms == {"image_size": "1024x1024", "image_quality": "standard"}
    assert ask(GENERATE, model="dall-e-2", quality="standard").terms == {"image_size": "1024x1024"}


def test_xai_states_its_cost_in_ticks() -> None:
    reading = answer(
        XAI, {"data": [{"url": "u"}], "usage": {"cost_in_usd_ticks": 200_000_000}}, model="grok-imagine-image", resolution="2k"
    )
    assert (reading.source, reading.provider_cost_usd) == (UsageSource.REPORTED, Decimal("0.02"))
    assert (reading.calls[0].units, reading.terms) == ({"output_images": 1}, {"image_size": "2k"})


def test_hosts_of_open_models_are_counted_by_picture_and_pixel() -> None:
    reading = answer(VENICE, {"id": "i", "images": ["aGk=", "aGk="]}, model="venice-sd35", width=512, height=256, variants=2)
    assert reading.calls[0].units == {"output_images": 2, "output_pixels": 2 * 512 * 256}
    stated = answer(DEEPINFRA, {"images": ["x"], "inference_status": {"cost": 0.0005}}, model="flux-schnell")
    assert (stated.provider_cost_usd, stated.source) == (Decimal("0.0005"), UsageSource.REPORTED)


def test_a_picture_served_as_such_is_one_picture() -> None:
    reading = read(
        GENERATE, b"\x89PNG" + b"\0" * 9000, {"content-type": "image/png"}, ask=ask(GENERATE, model="flux", size="512x512")
    )
    assert reading.calls[0].units == {"output_images": 1, "output_pixels": 512 * 512}


def test_fireworks_names_the_model_in_the_path() -> None:
    path = "/inference/v1/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image"
    endpoint = endpoint_for("fireworks", "api.fireworks.ai", "POST", path)
    reading = read(
        endpoint, b"\xff\xd8\xff" + b"\0" * 900, {"content-type": "image/jpeg"}, ask=read_ask(endpoint, b'{"prompt": "a cat"}')
    )
    assert (endpoint.model_in_path, reading.calls[0].model) == ("accounts/fireworks/models/flux-1-schnell-fp8",) * 2
    assert reading.calls[0].units == {"output_images": 1}


def test_a_response_that_may_draw_is_held_for_a_picture() -> None:
    responses = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
    assert ask(responses, model="gpt-5", input="x", tools=[{"type": "image_generation"}]).units == {"output_images": 1}
    assert ask(responses, model="gpt-5", input="x", tools=[{"type": "web_search"}, None]).units == {}


def test_a_form_is_read_as_its_json_would_be() -> None:
    body = form(
        ("model", b"gpt-image-1"),
        ("image[]", b"\x89PNG", "a.png"),
        ("image[]", b"\x89PNG", "b.png"),
        ("mask", b"\x89PNG", "m.png"),
        ("prompt", b"a hat"),
        ("n", b"2"),
        ("size", b"1024x1024"),
        ("quality", b"medium"),
        ("stream", b"true"),
        ("partial_images", b"2"),
    )
    asked = read_ask(EDIT, body)
    assert (asked.model, asked.streamed, asked.choices, asked.media_parts, asked.input_bytes) == ("gpt-image-1", True, 2, 3, 5)
    assert asked.units == {"image_output_tokens": 2 * (1056 + 2 * 100 + 600)}
    assert prompt_text(EDIT, body) == "a hat"


@pytest.mark.parametrize("quality", ["low", "medium", "high", None, "auto"])
@pytest.mark.parametrize(
    ("size", "tokens"), [("1024x1024", (272, 1056, 4160)), ("1024x1536", (408, 1584, 6240)), ("auto", (408, 1584, 6240))]
)
def test_a_bound_on_tokens_covers_what_the_guide_lists(quality: str | None, size: str, tokens: tuple[int, int, int]) -> None:
    listed = tokens[{"low": 0, "medium": 1}.get(quality or "", 2)]
    assert listed <= ask(GENERATE, model="gpt-image-1", quality=quality, size=size).units["image_output_tokens"] <= listed + 1_000


def test_a_stream_is_billed_by_its_finished_pictures() -> None:
    reading = read(GENERATE, STREAM, SSE, ask=ask(GENERATE, model="gpt-image-1", stream=True))
    assert (reading.source, reading.complete, reading.calls[0].output_tokens) == (UsageSource.REPORTED, True, 4200)
    two = sse(done(kind="image_edit.completed"), done(kind="image_edit.completed"))
    reading = read(EDIT, two, SSE, ask=ask(EDIT, model="gpt-image-1", stream=True, n=2))
    assert (reading.calls[0].output_tokens, reading.calls[0].units["image_output_tokens"]) == (8400, 8320)


def test_any_split_gives_the_same_reading_and_keeps_no_picture() -> None:
    asked = ask(GENERATE, model="gpt-image-1", stream=True)
    small = STREAM.replace(PICTURE.encode(), b"A" * 3000)
    whole = read(GENERATE, small, SSE, ask=asked)
    for at in some_splits(small, 5):
        assert read(GENERATE, small, SSE, ask=asked, at=at) == whole


def test_a_stream_cut_anywhere_is_charged_as_asked_or_as_stated() -> None:
    asked = ask(GENERATE, model="gpt-image-1", stream=True, quality="low", size="1024x1024")
    small = STREAM.replace(PICTURE.encode(), b"AAAA")
    for end in range(len(small)):
        reading = read(GENERATE, small[:end], SSE, ask=asked, cut=True)
        assert reading.source in {UsageSource.PARTIAL, UsageSource.REPORTED}
        assert reading.calls[0].output_tokens in {872, 4200}


def test_an_error_inside_a_good_answer_bills_nothing() -> None:
    reading = answer(GENERATE, {"error": {"type": "image_generation_user_error", "message": "no"}}, model="gpt-image-1")
    assert (reading.source, reading.error, reading.calls) == (UsageSource.NONE, "image_generation_user_error", ())
    stream = sse({"type": "error", "error": {"type": "server_error", "code": "moderation_blocked"}})
    assert read(GENERATE, stream, SSE, ask=ask(GENERATE, model="gpt-image-1", stream=True)).error == "server_error"


@given(documents(("usage", "data", "images", "size", "quality", "error", "inference_status", "type", "model")))
@settings(max_examples=150, deadline=None)
def test_no_shape_of_answer_or_request_breaks_the_reading(payload: dict[str, Any]) -> None:
    raw = json.dumps(payload).encode()
    for endpoint in (GENERATE, EDIT, XAI):
        for found in (read(endpoint, raw, JSON), read(endpoint, sse(payload, {**payload, "type": "x.completed"}), SSE)):
            counts = [n for call in found.calls for n in (call.input_tokens, call.output_tokens, *call.units.values())]
            assert all(0 <= one <= 200 * MAX_COUNT for one in counts)
        asked = read_ask(endpoint, raw)
        assert all(0 < count <= MAX_COUNT for count in asked.units.values())


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.text(max_size=60), st.integers(), st.lists(st.text(max_size=30), max_size=3)),
        max_size=5,
    ),
    st.booleans(),
    st.lists(st.integers(0, 600), max_size=6),
)
def test_long_strings_are_cut_alike_for_any_split_and_the_rest_stays(
    value: dict[str, Any], ascii_only: bool, at: list[int]
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    whole = StringElider(20).feed(raw)
    elider = StringElider(20)
    assert b"".join(elider.feed(piece) for piece in pieces(raw, at)) == whole
    kept = json.loads(whole.decode("utf-8", "surrogatepass"))
    for key, one in value.items():
        if len(key.encode("utf-8", "surrogatepass")) <= 3 and isinstance(one, int):
            assert kept[key] == one


def test_a_picture_of_any_size_costs_no_memory_and_hides_no_figure() -> None:
    raw = json.dumps({"data": [{"b64_json": "A" * 3_000_000}], "usage": {"output_tokens": 7}}).encode()
    elider = StringElider()
    kept = b"".join(elider.feed(raw[start : start + 65_536]) for start in range(0, len(raw), 65_536))
    assert len(kept) < KEPT_BYTES + 200
    assert json.loads(kept)["usage"] == {"output_tokens": 7}
