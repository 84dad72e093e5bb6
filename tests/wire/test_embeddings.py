"""Embeddings: text or tokens in, vectors of any size out; the stated tokens are the bill."""

import base64
import json
from typing import Any

import pytest

from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.request import prompt_text, read_ask
from tollkeeper.wire.routes import endpoint_for
from wire.samples import JSON, read

EMBED = endpoint_for("openai", "api.openai.com", "POST", "/v1/embeddings")
AZURE = endpoint_for("azure", "h", "POST", "/openai/deployments/embed/embeddings?api-version=2024-06-01")


def answer(embedding: Any, inputs: int = 1) -> bytes:
    rows = [{"object": "embedding", "index": index, "embedding": embedding} for index in range(inputs)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return json.dumps({"object": "list", "data": rows, "model": "text-embedding-3-small", "usage": usage}).encode()


@pytest.mark.parametrize(
    "embedding", [[0.0023, -0.01], base64.b64encode(b"\0" * 6144).decode(), base64.b64encode(b"\0" * 600_000).decode()]
)
@pytest.mark.parametrize("endpoint", [EMBED, AZURE])
def test_the_stated_tokens_are_the_bill_however_the_vectors_come(endpoint: Any, embedding: Any) -> None:
    reading = read(endpoint, answer(embedding, 3), JSON, ask=read_ask(endpoint, b'{"input": "hi"}'))
    assert (reading.source, reading.calls[0].input_tokens, reading.calls[0].output_tokens) == (UsageSource.REPORTED, 8, 0)
    assert reading.calls[0].model == "text-embedding-3-small"


@pytest.mark.parametrize("tokens", [list(range(500)), [list(range(250)), list(range(250))]])
def test_tokens_sent_as_such_count_as_text_of_their_number(tokens: Any) -> None:
    body = json.dumps({"model": "text-embedding-3-small", "input": tokens, "encoding_format": "base64"}).encode()
    assert read_ask(EMBED, body).input_bytes == 2000
    assert prompt_text(EMBED, body).count("a") == 500
    assert read_ask(EMBED, b'{"input": [true, null, 1.5, "abc"]}').input_bytes == 3
