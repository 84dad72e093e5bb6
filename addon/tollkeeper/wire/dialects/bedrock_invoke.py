"""Bedrock's InvokeModel, with and without stream: the vendor's own body, with Amazon's counts around it.

The vendor's figures go first, because only they tell cache writes apart; Amazon's (headers, ``amazon-bedrock-invocationMetrics``) stand
in where the vendor states none. Reference: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.wire.counts import Json, member, name
from tollkeeper.wire.dialect import AnswerReader, Answers
from tollkeeper.wire.material import schema_text
from tollkeeper.wire.reading_asks import at_least_one, positive

from .anthropic_messages import AnthropicMessages
from .bedrock_answers import MAX_PICTURES, InvokeReader
from .bedrock_shapes import block_texts, weigh_blocks

_CAPS: tuple[tuple[str, ...], ...] = (
    ("max_tokens",),
    ("max_completion_tokens",),
    ("max_tokens_to_sample",),
    ("max_gen_len",),
    ("maxTokens",),
    ("textGenerationConfig", "maxTokenCount"),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
)
"""Where vendors keep the cap: Anthropic, Mistral, Cohere, Jamba, DeepSeek; OpenAI; Claude 2; Llama; Jurassic; Titan; Nova (twice)."""

_CAP_OF: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("amazon.titan", ("textGenerationConfig", "maxTokenCount")),
    ("amazon.nova", ("inferenceConfig", "maxTokens")),
    ("meta.", ("max_gen_len",)),
    ("ai21.j2", ("maxTokens",)),
    ("openai.", ("max_completion_tokens",)),
    ("anthropic.claude-v2", ("max_tokens_to_sample",)),
    ("anthropic.claude-instant", ("max_tokens_to_sample",)),
)
_CHOICES = ("n", "num_generations", "numResults")
_ANSWERED = frozenset({"assistant", "CHATBOT", "tool"})
_TOOLS = ("tools", "toolConfig", "response_format")
_APART = frozenset({*_TOOLS, "stop", "stop_sequences", "stopSequences", "seed"})


class BedrockInvoke:
    """The dialect ``bedrock-invoke``."""

    name = "bedrock-invoke"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. The tier and the latency are asked for in headers, which the answer repeats."""
        streamed = endpoint.path.lower().endswith("-stream")
        if _is_messages(body):
            ask = AnthropicMessages().read_ask(endpoint, body)
            return replace(ask, model=endpoint.model_in_path, streamed=streamed)
        material = weigh_blocks(({key: value for key, value in body.items() if key not in _APART},))
        tools = sum(len(schema_text(body.get(key)).encode("utf-8", "replace")) for key in _TOOLS)
        caps = [cap for path in _CAPS if (cap := positive(_at(body, path)))]
        return Ask(
            model=endpoint.model_in_path,
            streamed=streamed,
            max_output_tokens=min(caps, default=None),
            choices=max(at_least_one(body.get(key)) for key in _CHOICES),
            fresh=not _answered(body),
            input_bytes=material.text_bytes + tools,
            media_parts=material.media_parts,
            cache_write_ttl=material.cache_write_ttl,
            service_tier=name(body.get("service_tier")),
            units=_units(endpoint, body, material.media_parts),
            terms=_terms(endpoint, body),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        if _is_messages(body):
            yield from AnthropicMessages().prompt(endpoint, body)
            return
        yield from block_texts(({key: value for key, value in body.items() if key not in _APART},))
        for key in _TOOLS:
            yield schema_text(body.get(key))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. A body that names no cap is given its vendor's."""
        stated = next((path for path in _CAPS if _at(body, path) is not None), None)
        model = (endpoint.model_in_path or "").lower()
        return stated or next((path for vendor, path in _CAP_OF if vendor in model), ("max_tokens",))

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return InvokeReader(endpoint, ask, headers)


def _is_messages(body: Mapping[str, Json]) -> bool:
    return "anthropic_version" in body and isinstance(body.get("messages"), list)


def _at(body: Mapping[str, Json], path: tuple[str, ...]) -> Json:
    return body.get(path[0]) if len(path) == 1 else member(body, path[0]).get(path[1])


def _answered(body: Mapping[str, Json]) -> bool:
    for key in ("messages", "chat_history"):
        turns = body.get(key)
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, dict) and name(turn.get("role")) in _ANSWERED:
                return True
    return False


def _units(endpoint: Endpoint, body: Mapping[str, Json], pictures_in: int) -> dict[str, int]:
    if endpoint.operation == "image_generation":
        pictures = positive(member(body, "imageGenerationConfig").get("numberOfImages"))
        return {"output_images": min(pictures or 1, MAX_PICTURES)}
    if endpoint.operation == "rerank":
        return {"search_units": search_units(body)}
    if endpoint.operation == "embeddings" and pictures_in and "amazon." in (endpoint.model_in_path or "").lower():
        return {"input_images": min(pictures_in, MAX_PICTURES)}  # Amazon bills them apart; others in tokens
    return {}


def _terms(endpoint: Endpoint, body: Mapping[str, Json]) -> dict[str, str]:
    """Size and quality of a picture: Nova Canvas and Titan are priced by them (aws.amazon.com/bedrock/pricing), up to each size."""
    config = member(body, "imageGenerationConfig")
    if endpoint.operation != "image_generation" or "imageGenerationConfig" not in body:
        return {}
    terms = {"image_quality": "premium"} if config.get("quality") == "premium" else {}
    width, height = positive(config.get("width")) or 1024, positive(config.get("height")) or 1024
    pixels = width * height
    size = "512x512" if pixels <= 512 * 512 else "1024x1024" if pixels <= 1024 * 1024 else "2048x2048"
    return terms | {"image_size": size}


def search_units(body: Mapping[str, Json]) -> int:
    """Queries that a rerank is billed as: one for every 100 documents begun (aws.amazon.com/bedrock/pricing, Rerank)."""
    documents = body.get("documents")
    return max(1, -(-len(documents) // 100)) if isinstance(documents, list) else 1
