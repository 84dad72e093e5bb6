"""A provider that refuses inside a good answer is recorded by the class of its refusal, and billed as it says."""

import json
from typing import Any

import pytest

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.routes import endpoint_for
from wire.samples import CHAT, GENERATE, JSON, MESSAGES, RESPONSES, read, sse

USED = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
INOUT = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
CONVERSE = endpoint_for("bedrock", "bedrock-runtime.us-east-1.amazonaws.com", "POST", "/model/amazon.nova-pro-v1%3A0/converse")


def gemini(candidate: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, **more}


@pytest.mark.parametrize(
    ("endpoint", "answer", "refusal"),
    [
        (CHAT, {"choices": [{"finish_reason": "content_filter", "message": {}}], "usage": USED}, "content_filter"),
        (CHAT, {"choices": [{"finish_reason": "stop", "message": {"refusal": "I'm sorry"}}], "usage": USED}, "refusal"),
        (CHAT, {"choices": [{"finish_reason": "stop", "message": {"refusal": None}}], "usage": USED}, None),
        (MESSAGES, {"id": "m", "stop_reason": "refusal", "usage": INOUT}, "refusal"),
        (MESSAGES, {"id": "m", "stop_reason": "end_turn", "usage": INOUT}, None),
        (GENERATE, gemini({"finishReason": "SAFETY"}), "SAFETY"),
        (GENERATE, gemini({"finishReason": "MAX_TOKENS"}), None),
        (
            GENERATE,
            {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}},
            "PROHIBITED_CONTENT",
        ),
        (
            RESPONSES,
            {"id": "r", "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}], "usage": INOUT},
            "refusal",
        ),
        (
            RESPONSES,
            {"id": "r", "incomplete_details": {"reason": "content_filter"}, "output": [], "usage": INOUT},
            "content_filter",
        ),
        (RESPONSES, {"id": "r", "incomplete_details": {"reason": "max_output_tokens"}, "output": [], "usage": INOUT}, None),
        (
            CONVERSE,
            {"stopReason": "guardrail_intervened", "usage": {"inputTokens": 9, "outputTokens": 4}},
            "guardrail_intervened",
        ),
        (CONVERSE, {"stopReason": "end_turn", "usage": {"inputTokens": 9, "outputTokens": 4}}, None),
    ],
)
def test_its_class_is_kept_and_the_stated_usage_is_billed(
    endpoint: Endpoint, answer: dict[str, Any], refusal: str | None
) -> None:
    found = read(endpoint, json.dumps(answer).encode(), JSON, ask=Ask(model="m"))
    assert (found.refusal, found.source, found.error) == (refusal, UsageSource.REPORTED, None)
    assert found.calls[0].input_tokens == 9


@pytest.mark.parametrize(
    ("endpoint", "stream", "refusal"),
    [
        (
            CHAT,
            sse({"choices": [{"delta": {"refusal": "I'm"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}, "[DONE]"),
            "refusal",
        ),
        (CHAT, sse({"choices": [{"delta": {"refusal": None, "content": "a"}}]}, "[DONE]"), None),
        (MESSAGES, sse({"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 1}}), "refusal"),
        (
            RESPONSES,
            sse({"type": "response.refusal.delta", "delta": "no"}, {"type": "response.refusal.done", "refusal": "no"}),
            "refusal",
        ),
    ],
)
def test_a_stream_says_it_too_and_its_words_are_not_kept(endpoint: Endpoint, stream: bytes, refusal: str | None) -> None:
    first = sse({"type": "x", "choices": []})
    found = read(endpoint, first + stream)
    assert found.refusal == refusal
    assert "I'm" not in repr(found)
