"""Workers AI in tokens, neurons and media, and Cloudflare's gateway: as the provider behind it, by model name, or as a list of attempts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.core.call import Ask, Metering
from tollkeeper.core.usage import UsageSource
from tollkeeper.wire.request import prompt_text, read_ask
from wire.own_shapes import ACCOUNT, GATEWAY, ask_of, at, figures, only, whole
from wire.samples import CHAT_STREAM, GEMINI_ARRAY, MESSAGE_STREAM, RESPONSE_STREAM, read, some_splits, sse

LLAMA = "@cf/meta/llama-3.1-8b-instruct"
RUN = at("workers-ai", f"{ACCOUNT}/ai/run/{LLAMA}")
USAGE = {"prompt_tokens": 26, "completion_tokens": 63, "total_tokens": 89}
STREAM = sse({"response": "Hello", "p": "abc"}, {"response": " wörld", "p": "x"}, {"response": "", "usage": USAGE}, "[DONE]")
SSE = {"content-type": "text/event-stream"}


def envelope(result: Any) -> dict[str, Any]:
    """What wraps every answer of the API."""
    return {"result": result, "success": True, "errors": [], "messages": []}


def test_a_text_model_states_its_tokens_in_the_envelope() -> None:
    reading = whole(RUN, envelope({"response": "Hi", "usage": USAGE}), Ask(model=RUN.model_in_path))
    assert (reading.source, figures(reading), only(reading).model) == (UsageSource.REPORTED, (26, 0, 0, 63, 0), LLAMA)


def test_newer_models_answer_in_openai_s_shapes_inside_or_outside_the_envelope() -> None:
    chat = {"id": "c", "object": "chat.completion", "model": "kimi-k2.6", "choices": [{"finish_reason": "stop"}]}
    details = {"prompt_tokens_details": {"cached_tokens": 6}}
    assert figures(whole(RUN, envelope({**chat, "usage": {**USAGE, **details}})))[:2] == (20, 6)
    assert figures(whole(RUN, {**chat, "usage": USAGE}))[:4] == (26, 0, 0, 63)
    response = {"object": "response", "usage": {"input_tokens": 5, "output_tokens": 7}}
    assert figures(whole(RUN, envelope(response)))[:4] == (5, 0, 0, 7)


def test_any_split_of_a_stream_gives_the_same_figures() -> None:
    expected = read(RUN, STREAM)
    assert (expected.source, figures(expected)[:4]) == (UsageSource.REPORTED, (26, 0, 0, 63))
    for cuts in some_splits(STREAM, 9):
        assert read(RUN, STREAM, at=cuts) == expected


def test_a_cut_stream_keeps_its_text() -> None:
    for end in range(len(STREAM)):
        reading = read(RUN, STREAM[:end], cut=True)
        assert reading.source is UsageSource.PARTIAL or figures(reading)[:4] == (26, 0, 0, 63)
        assert "Hello wörld".startswith(reading.visible_output)


def test_neurons_in_the_answer_s_header_are_what_is_billed() -> None:
    reading = whole(RUN, envelope({"response": "Hi", "usage": USAGE}), headers={"cf-ai-neurons": "1.98"})
    assert reading.provider_cost_usd == Decimal("0.00002178")
    assert figures(reading)[0] == 26
    in_body = whole(RUN, envelope({"response": "Hi", "usage": {**USAGE, "neurons": 2.5}}))
    assert in_body.provider_cost_usd == Decimal("0.0000275")
    assert whole(RUN, envelope({"response": "Hi", "usage": USAGE}), headers={"cf-ai-neurons": "0.00"}).provider_cost_usd is None


def test_a_picture_is_billed_in_neurons_whether_it_comes_as_bytes_or_text() -> None:
    flux = at("workers-ai", f"{ACCOUNT}/ai/run/@cf/black-forest-labs/flux-1-schnell")
    ask = Ask(model=flux.model_in_path)
    picture = read(flux, b"\x89PNG\r\n\x1a\n" + b"\0" * 1000, {"content-type": "image/png", "cf-ai-neurons": "172.80"}, ask=ask)
    assert (only(picture).units, picture.provider_cost_usd) == ({"millineurons": 172_800}, Decimal("0.0019008"))
    assert only(whole(flux, envelope({"image": "aGk="}), ask)).units == {"output_images": 1}


def test_speech_recognition_states_how_long_it_listened() -> None:
    whisper = at("workers-ai", f"{ACCOUNT}/ai/run/@cf/openai/whisper-large-v3-turbo")
    heard = whole(whisper, envelope({"text": "hi", "transcription_info": {"language": "en", "duration": 5.48}}))
    assert only(heard).units == {"audio_input_seconds": 6}


def test_a_queued_batch_is_billed_when_its_answers_come_each_by_itself() -> None:
    queued = whole(RUN, envelope({"status": "queued", "request_id": "q-1", "model": LLAMA}))
    assert (queued.source, queued.response_id) == (UsageSource.DEFERRED, "q-1")
    parts = [{"id": 0, "result": {"response": "a", "usage": USAGE}}, {"id": 1, "result": {"usage": USAGE}}]
    done = whole(RUN, envelope({"responses": parts, "request_id": "q-1"}))
    assert ([call.input_tokens for call in done.calls], done.response_id, done.is_repeatable) == ([26, 26], "q-1", True)


def test_a_failure_inside_a_good_answer_is_named() -> None:
    failed = {"result": None, "success": False, "errors": [{"code": 7003, "message": "secret"}]}
    reading = whole(RUN, failed)
    assert (reading.source, reading.error) == (UsageSource.NONE, "7003")


def test_what_a_request_asks() -> None:
    ask = ask_of(RUN, {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 9, "stream": True})
    assert (ask.model, ask.streamed, ask.max_output_tokens, ask.input_bytes) == (LLAMA, True, 9, 3)
    unified = at("workers-ai", f"{ACCOUNT}/ai/run")
    told = ask_of(
        unified, {"model": "openai/gpt-4.1", "input": {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 512}}
    )
    assert (told.model, told.max_output_tokens, told.input_bytes) == ("openai/gpt-4.1", 512, 3)


@pytest.mark.parametrize(
    ("path", "metering", "dialect"),
    [
        (f"{ACCOUNT}/ai/v1/chat/completions", Metering.METERED, "openai-chat"),
        (f"{ACCOUNT}/ai/v1/responses", Metering.METERED, "openai-responses"),
        (f"{ACCOUNT}/ai/v1/messages", Metering.METERED, "anthropic-messages"),
        (f"{ACCOUNT}/ai/run/@cf/baai/bge-m3", Metering.METERED, "workers-ai"),
        (f"{ACCOUNT}/ai/tomarkdown", Metering.UNMETERED, None),
        (f"{ACCOUNT}/workers/scripts/x", Metering.FREE, None),
        ("/client/v4/zones", Metering.FREE, None),
    ],
)
def test_only_the_ai_part_of_the_control_plane_is_metered(path: str, metering: Metering, dialect: str | None) -> None:
    endpoint = at("workers-ai", path)
    assert (endpoint.metering, endpoint.dialect) == (metering, dialect)


@pytest.mark.parametrize(
    ("path", "provider", "dialect", "model"),
    [
        ("/openai/chat/completions", "openai", "openai-chat", None),
        ("/anthropic/v1/messages", "anthropic", "anthropic-messages", None),
        ("/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent", "gemini", "gemini-generate", "gemini-2.5-flash"),
        (f"/workers-ai/{LLAMA}", "workers-ai", "workers-ai", LLAMA),
        ("/workers-ai/v1/chat/completions", "workers-ai", "openai-chat", None),
        (
            "/aws-bedrock/bedrock-runtime/us-east-1/model/amazon.nova-lite-v1:0/converse",
            "bedrock",
            "bedrock-converse",
            "amazon.nova-lite-v1:0",
        ),
        ("/cohere/v1/chat", "cohere", "cohere", None),
        ("/replicate/predictions", "replicate", "replicate", None),
        ("/perplexity-ai/chat/completions", "perplexity", "openai-chat", None),
        ("/compat/chat/completions", "cloudflare-gateway", "openai-chat", None),
        ("", "cloudflare-gateway", "any-shape", None),
    ],
)
def test_a_gateway_s_path_is_read_as_the_provider_behind_it(path: str, provider: str, dialect: str, model: str | None) -> None:
    endpoint = at("cloudflare-gateway", GATEWAY + path)
    assert (endpoint.provider, endpoint.dialect, endpoint.model_in_path) == (provider, dialect, model)


UNIVERSAL = at("cloudflare-gateway", GATEWAY)
ATTEMPTS = [
    {
        "provider": "workers-ai",
        "endpoint": LLAMA,
        "headers": {"authorization": "x"},
        "query": {"messages": [{"content": "abcdef"}]},
    },
    {"provider": "openai", "endpoint": "chat/completions", "query": {"model": "gpt-4o-mini", "messages": [], "max_tokens": 99}},
    {"provider": "anthropic", "endpoint": "v1/messages", "query": {"model": "claude-haiku-4-5", "messages": [], "system": "s"}},
    {"provider": "google-ai-studio", "endpoint": "v1/models/gemini-2.5-flash:generateContent", "query": {"contents": []}},
]
ASK = ask_of(UNIVERSAL, ATTEMPTS)


def test_a_list_of_attempts_asks_the_first_and_names_who_may_answer_instead() -> None:
    assert ASK.model == f"workers-ai/{LLAMA}"
    assert ASK.fallback_models == ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "google-ai-studio/gemini-2.5-flash")
    assert (ASK.input_bytes, ASK.max_output_tokens) == (6, None)
    assert prompt_text(UNIVERSAL, json.dumps(ATTEMPTS).encode()) == "abcdef"


@pytest.mark.parametrize(
    ("step", "body", "headers", "model", "figure"),
    [
        ("0", json.dumps(envelope({"response": "x", "usage": USAGE})).encode(), {}, f"workers-ai/{LLAMA}", 26),
        ("0", STREAM, SSE, f"workers-ai/{LLAMA}", 26),
        ("1", CHAT_STREAM, SSE, "openai/gpt-4o-mini-2024-07-18", 60),
        ("1", RESPONSE_STREAM, SSE, "openai/gpt-5-mini", 35),
        ("2", MESSAGE_STREAM, SSE, "anthropic/claude-sonnet-4-5", 22_397),
        ("3", GEMINI_ARRAY, {}, "google-ai-studio/gemini-2.5-flash", 14),
    ],
)
def test_the_attempt_that_answered_is_the_one_that_is_billed(
    step: str, body: bytes, headers: dict[str, str], model: str, figure: int
) -> None:
    stated = {"content-type": "application/json", **headers, "cf-aig-step": step}
    expected = read(UNIVERSAL, body, stated, ask=ASK)
    assert (only(expected).model, only(expected).input_tokens, expected.source) == (model, figure, UsageSource.REPORTED)
    for cuts in some_splits(body, 4, 4):
        assert read(UNIVERSAL, body, stated, ask=ASK, at=cuts) == expected


@pytest.mark.parametrize("step", [None, "", "9", "-1", "x", "²", "99999"])
def test_without_a_usable_step_the_answer_says_its_own_model_and_is_flagged(step: str | None) -> None:
    stated = {**SSE, **({} if step is None else {"cf-aig-step": step})}
    reading = read(UNIVERSAL, CHAT_STREAM, stated, ask=ASK)
    assert only(reading).model == "gpt-4o-mini-2024-07-18"
    assert "attempt-unknown" in reading.flags


@pytest.mark.parametrize("endpoint", [UNIVERSAL, RUN, at("openai", "/v1/chat/completions")])
def test_a_cache_hit_costs_nothing(endpoint: Any) -> None:
    reading = read(endpoint, CHAT_STREAM, {**SSE, "cf-aig-cache-status": "HIT", "cf-aig-step": "0"}, ask=Ask(model="m"))
    assert (reading.source, reading.provider_cost_usd) == (UsageSource.NONE, None)
    assert "gateway-cache-hit" in reading.flags


@pytest.mark.parametrize(
    "body", [b"[]", b"[1]", b'[{"query": 1}]', b'[{"query": {}, "provider": 7, "endpoint": null}]', b'{"attempts": 3}', b"null"]
)
def test_odd_lists_of_attempts_never_raise(body: bytes) -> None:
    assert read_ask(UNIVERSAL, body).model is None
    assert prompt_text(UNIVERSAL, body) == ""
