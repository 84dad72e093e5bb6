"""Google's embeddings: stated by the newer models, by Vertex AI vector by vector, and counted from the input where nothing is said."""

import json
from typing import Any

from tollkeeper.core.call import Endpoint
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import JSON, read

BATCH = endpoint_for("gemini", "h", "POST", "/v1beta/models/gemini-embedding-2:batchEmbedContents")
VERTEX = "/v1/projects/p/locations/us-central1/publishers/google/models/"
PREDICT = endpoint_for("vertex", "us-central1-aiplatform.googleapis.com", "POST", VERTEX + "text-embedding-005:predict")
EMBED = endpoint_for("vertex", "us-central1-aiplatform.googleapis.com", "POST", VERTEX + "gemini-embedding-2:embedContent")
MULTIMODAL = endpoint_for("vertex", "us-central1-aiplatform.googleapis.com", "POST", VERTEX + "multimodalembedding@001:predict")


def reading_of(endpoint: Endpoint, body: dict[str, Any], ask_body: dict[str, Any] | None = None) -> Reading:
    ask = read_ask(endpoint, json.dumps(ask_body or {}).encode())
    return read(endpoint, json.dumps(body).encode(), JSON, ask=ask)


def test_stated_figures_are_taken_with_their_kinds() -> None:
    details = [{"modality": "TEXT", "tokenCount": 4}, {"modality": "IMAGE", "tokenCount": 6}]
    usage = {"promptTokenCount": 10, "promptTokenDetails": details}
    reading = reading_of(BATCH, {"embeddings": [{"values": [0.1]}], "usageMetadata": usage})
    assert reading.source is UsageSource.REPORTED
    assert reading.calls == (Usage(model="gemini-embedding-2", input_tokens=10, units={"image_input_tokens": 6}),)


def test_vertex_embed_content_is_read_alike() -> None:
    reading = reading_of(EMBED, {"embedding": {"values": [1]}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}})
    assert reading.calls == (Usage(model="gemini-embedding-2", input_tokens=3),)
    only_total = reading_of(EMBED, {"embedding": {}, "usageMetadata": {"total_token_count": 8}})
    assert only_total.calls[0].input_tokens == 8


def test_an_answer_that_states_nothing_is_counted_from_what_was_asked() -> None:
    requests = [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "zwei"}]}, "taskType": "RETRIEVAL_QUERY"}]
    body = json.dumps({"requests": requests}).encode()
    assert prompt_text(BATCH, body) == "zwei"
    assert read_ask(BATCH, body).input_bytes == 4
    reading = reading_of(BATCH, {"embeddings": [{"values": [0.1, 0.2]}]})
    assert (reading.source, reading.calls) == (UsageSource.COUNTED, ())


def test_predictions_state_tokens_one_by_one_and_characters_together() -> None:
    one = {"embeddings": {"statistics": {"token_count": 2, "truncated": False}, "values": [0.5]}}
    reading = reading_of(PREDICT, {"metadata": {"billableCharacterCount": 10}, "predictions": [one, one]})
    expected = Usage(model="text-embedding-005", input_tokens=4, units={"input_characters": 10})
    assert (reading.calls, reading.source) == ((expected,), UsageSource.REPORTED)


def test_a_large_answer_is_skimmed_to_the_same_figures() -> None:
    one = {"embeddings": {"statistics": {"token_count": 7, "truncated": False}, "values": [0.123456] * 3000}}
    predictions = {"metadata": {"billableCharacterCount": 99}, "predictions": [one] * 5}
    (call,) = reading_of(PREDICT, predictions).calls
    assert (call.input_tokens, call.units) == (35, {"input_characters": 99})
    vectors = {"embeddings": [{"values": [0.5] * 3072}] * 9, "usageMetadata": {"promptTokenCount": 44}}
    assert reading_of(BATCH, vectors).calls[0].input_tokens == 44


def test_the_multimodal_model_is_counted_by_picture_second_and_character() -> None:
    ask = {
        "instances": [
            {"text": "a cat on a wall", "image": {"bytesBase64Encoded": "AAAA"}},
            {"video": {"gcsUri": "gs://b/v.mp4", "videoSegmentConfig": {"startOffsetSec": 10, "endOffsetSec": 30}}},
        ]
    }
    asked = read_ask(MULTIMODAL, json.dumps(ask).encode())
    assert dict(asked.units) == {"input_images": 1, "input_characters": 11, "input_video_seconds": 20}
    segments = [{"startOffsetSec": 10, "endOffsetSec": 20}, {"startOffsetSec": 20, "endOffsetSec": 30}]
    answer = {"predictions": [{"textEmbedding": [0.1], "imageEmbedding": [0.2]}, {"videoEmbeddings": segments}]}
    reading = reading_of(MULTIMODAL, answer, ask)
    assert reading.source is UsageSource.COUNTED
    assert dict(reading.calls[0].units) == {"input_images": 1, "input_video_seconds": 20, "input_characters": 11}


def test_an_error_is_named_and_bills_nothing() -> None:
    body = json.dumps({"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}).encode()
    reading = read(BATCH, body, JSON, status=404)
    assert (reading.source, reading.error) == (UsageSource.NONE, "NOT_FOUND")
