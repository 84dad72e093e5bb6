"""Refusals in the provider's own shape."""

import json

import pytest

from tollkeeper.wire.refuse import refusal
from tollkeeper.wire.routes import endpoint_for
from wire.samples import ALL, CHAT, GENERATE, MESSAGES

BUDGET = "Budget “team” is used up: $5.00 of $5.00"


@pytest.mark.parametrize(
    "endpoint",
    [*ALL, endpoint_for("bedrock", "h", "POST", "/model/m/converse"), endpoint_for("x", "h", "POST", "/y")],
    ids=lambda e: e.provider,
)
def test_every_refusal_is_a_400_that_no_client_tries_again(endpoint: object) -> None:
    reply = refusal(endpoint, BUDGET)  # type: ignore[arg-type]
    assert (reply.status, reply.headers["x-should-retry"], reply.headers["content-type"]) == (400, "false", "application/json")
    assert "retry-after" not in reply.headers
    assert BUDGET in json.dumps(json.loads(reply.body), ensure_ascii=False)


def test_each_provider_gets_its_own_shape() -> None:
    assert json.loads(refusal(CHAT, "m").body) == {
        "error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None}
    }
    assert json.loads(refusal(MESSAGES, "m").body)["error"] == {"type": "invalid_request_error", "message": "m"}
    assert json.loads(refusal(GENERATE, "m").body)["error"] == {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}
    bedrock = refusal(endpoint_for("bedrock", "h", "POST", "/model/m/converse"), "m")
    assert (json.loads(bedrock.body), bedrock.headers["x-amzn-errortype"]) == ({"message": "m"}, "ValidationException")
    azure_claude = refusal(endpoint_for("azure", "h", "POST", "/anthropic/v1/messages"), "m")
    assert json.loads(azure_claude.body)["type"] == "error"
    openrouter = json.loads(refusal(endpoint_for("openrouter", "h", "POST", "/api/v1/chat/completions"), "m").body)
    assert openrouter["error"]["code"] == 400


def test_no_message_wakes_the_clients_own_text() -> None:
    assert b"credit balance is too low" not in refusal(MESSAGES, "Your credit balance is too low").body.lower()
