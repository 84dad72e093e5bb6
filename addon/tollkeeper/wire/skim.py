"""What a large answer of embeddings states, without reading a million fractions."""

import json
import re

from .counts import Json

_TOKEN_COUNT = re.compile(rb'"token_count"\s*:\s*(\d{1,12})')
_STATED = (b'"meta"', b'"prompt_eval_count"', b'"input_token_count"', b'"providerMetadata"', b'"id"', b'"request_id"')
"""Where else embeddings state what they took: Cohere, Ollama, watsonx, Vercel."""


def skim(body: bytes) -> dict[str, Json]:
    """Model and usage of a large answer of embeddings, as far as its bytes name them: it holds no text they could hide in."""
    found: dict[str, Json] = {}
    decoder = json.JSONDecoder(parse_float=str)
    if counts := _TOKEN_COUNT.findall(body):  # Vertex AI states them vector by vector
        found["token_counts"] = [int(one) for one in counts]
    for key in (b'"usage"', b'"model"', b'"inputTextTokenCount"', b'"usageMetadata"', b'"metadata"', *_STATED):
        at = body.rfind(key)
        if at < 0:
            continue
        tail = body[at + len(key) : at + len(key) + 16_384].decode("utf-8", "replace").lstrip()
        try:
            found[key.strip(b'"').decode()] = decoder.raw_decode(tail[1:].lstrip())[0]
        except (ValueError, RecursionError):
            continue
    return found
