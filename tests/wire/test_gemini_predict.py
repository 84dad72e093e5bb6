"""Pictures, songs and films by ``predict``: counted in the answer, or as they were asked for, and billed once."""

import json
from typing import Any

import pytest

from tollkeeper.core.call import Endpoint, Metering
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import JSON, read

VERTEX = "/v1/projects/p/locations/us-central1/publishers/google/models/"
GEMINI = "/v1beta/models/"


def on_vertex(path: str) -> Endpoint:
    return endpoint_for("vertex", "us-central1-aiplatform.googleapis.com", "POST", VERTEX + path)


def on_gemini(path: str) -> Endpoint:
    return endpoint_for("gemini", "generativelanguage.googleapis.com", "POST", GEMINI + path)


IMAGEN = on_vertex("imagen-4.0-generate-001:predict")
VEO = on_gemini("veo-3.1-generate-preview:predictLongRunning")


def exchange(endpoint: Endpoint, asked: dict[str, Any], answer: dict[str, Any]) -> Reading:
    ask = read_ask(endpoint, json.dumps(asked).encode())
    return read(endpoint, json.dumps(answer).encode(), JSON, ask=ask)


def test_pictures_are_counted_in_the_answer_and_filtered_ones_are_not_billed() -> None:
    asked = {"instances": [{"prompt": "ein Hund"}], "parameters": {"sampleCount": 4}}
    made = [{"bytesBase64Encoded": "A" * 5000, "mimeType": "image/png"}, {"gcsUri": "gs://b/x.png"}, {"raiFilteredReason": "no"}]
    reading = exchange(IMAGEN, asked, {"predictions": made})
    assert (reading.source, reading.calls[0].model) == (UsageSource.COUNTED, "imagen-4.0-generate-001")
    assert dict(reading.calls[0].units) == {"output_images": 2}
    nothing = exchange(IMAGEN, asked, {"predictions": []})
    assert dict(nothing.calls[0].units) == {}


@pytest.mark.parametrize(
    ("parameters", "units"),
    [
        ({}, {"output_images": 4}),
        ({"sampleCount": "2"}, {"output_images": 2}),
        ({"sampleCount": 10**30}, {"output_images": 64}),
        ({"sampleCount": -1}, {"output_images": 4}),
        ({"mode": "upscale", "upscaleConfig": {"upscaleFactor": "x2"}}, {"upscaled_images": 1}),
    ],
)
def test_what_a_request_for_pictures_asks_for(parameters: dict[str, Any], units: dict[str, int]) -> None:
    body = json.dumps({"instances": [{"prompt": "x"}], "parameters": parameters}).encode()
    assert dict(read_ask(IMAGEN, body).units) == units


def test_only_words_are_the_prompt() -> None:
    body = {"instances": [{"prompt": "ein Hund", "negativePrompt": "Katze", "image": {"bytesBase64Encoded": "QUJD"}}]}
    text = prompt_text(IMAGEN, json.dumps(body).encode())
    assert "ein Hund" in text
    assert "Katze" in text
    assert "QUJD" not in text


@pytest.mark.parametrize(
    ("parameters", "seconds", "terms"),
    [
        ({}, 8, {}),
        ({"durationSeconds": 4, "resolution": "720p", "sampleCount": 2}, 8, {}),
        ({"durationSeconds": "6", "resolution": "1080p"}, 6, {"video_size": "1080p"}),
        ({"duration_seconds": 8, "resolution": "4K", "generate_audio": False}, 8, {"video_size": "4k", "video_sound": "off"}),
        ({"durationSeconds": 10**40}, 3600, {}),
        ({"durationSeconds": 999_999}, 3600, {}),
        ({"durationSeconds": True, "sampleCount": [1]}, 8, {}),
    ],
)
def test_a_film_is_billed_when_it_is_asked_for_by_its_seconds_and_size(
    parameters: dict[str, Any], seconds: int, terms: dict[str, str]
) -> None:
    asked = {"instances": [{"prompt": "a wave"}], "parameters": parameters}
    reading = exchange(VEO, asked, {"name": "models/veo-3.1-generate-preview/operations/op1"})
    assert (reading.source, reading.response_id, reading.is_repeatable) == (UsageSource.COUNTED, "op1", True)
    assert (dict(reading.calls[0].units), dict(reading.terms)) == ({"video_seconds": seconds}, terms)


def test_an_extended_film_is_seven_seconds_longer() -> None:
    asked = {"instances": [{"prompt": "on", "video": {"uri": "x"}}]}
    assert dict(exchange(VEO, asked, {"name": "operations/op2"}).calls[0].units) == {"video_seconds": 7}


def test_polling_a_film_is_free_on_both_apis() -> None:
    polls = (
        ("vertex", "POST", VERTEX + "veo-3.1-generate-001:fetchPredictOperation"),
        ("vertex", "GET", "/v1/projects/p/locations/l/publishers/google/models/veo-3.1-generate-001/operations/op1"),
        ("gemini", "GET", GEMINI + "veo-3.1-generate-preview/operations/op1"),
        ("gemini", "GET", "/v1beta/operations/op1"),
        ("gemini", "GET", "/download/v1beta/files/film:download"),
    )
    kinds = [endpoint_for(provider, "h", method, path) for provider, method, path in polls]
    assert [kind.metering for kind in kinds[:4]] == [Metering.FREE] * 4


def test_a_film_that_is_refused_at_once_bills_nothing() -> None:
    reading = exchange(
        VEO, {"instances": [{"prompt": "x"}]}, {"error": {"code": 3, "status": "INVALID_ARGUMENT", "message": "secret"}}
    )
    assert (reading.source, reading.calls, reading.error) == (UsageSource.NONE, (), "INVALID_ARGUMENT")


def test_songs_and_captions_are_counted_too() -> None:
    lyria = exchange(
        on_vertex("lyria-002:predict"),
        {"instances": [{"prompt": "a march"}], "parameters": {"sample_count": 2}},
        {"predictions": [{"audioContent": "UklG"}, {"bytesBase64Encoded": "UklG"}]},
    )
    assert dict(lyria.calls[0].units) == {"audio_clips": 2}
    captions = exchange(on_vertex("imagetext@001:predict"), {"instances": [{"image": {}}]}, {"predictions": ["a cat", "a dog"]})
    assert dict(captions.calls[0].units) == {"input_images": 1}


def test_any_piece_of_an_answer_cut_short_never_raises() -> None:
    body = json.dumps({"predictions": [{"bytesBase64Encoded": "A" * 3000}]}).encode()
    ask = read_ask(IMAGEN, b'{"instances":[{"prompt":"x"}]}')
    for end in range(0, len(body), 97):
        reading = read(IMAGEN, body[:end], JSON, ask=ask, cut=True)
        assert all(0 <= number <= 64 for call in reading.calls for number in call.units.values())
