"""A request moved to another model says only what that model takes, and every other byte stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Endpoint
from tollkeeper.core.errors import WireError
from tollkeeper.wire.plans import windows_in
from tollkeeper.wire.repair.abilities import abilities_of
from tollkeeper.wire.repair.draft import Draft, without
from tollkeeper.wire.repair.effort import WORDS, budget_for, rank, within, word_for
from tollkeeper.wire.repair.rewrite import Change, Rewritten, betas_of, rewrite
from tollkeeper.wire.routes import endpoint_for
from tollkeeper.wire.steer import steered
from tollkeeper.wire.warn import client_warning

CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
RESPONSES = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")
MISTRAL = endpoint_for("mistral", "api.mistral.ai", "POST", "/v1/chat/completions")


def gemini(model: str) -> Endpoint:
    return endpoint_for("gemini", "generativelanguage.googleapis.com", "POST", f"/v1beta/models/{model}:generateContent")


def sent(endpoint: Endpoint, body: dict[str, Any], change: Change, **headers: str) -> tuple[dict[str, Any], Rewritten]:
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    done = rewrite(endpoint, endpoint.path, fields, json.dumps(body).encode(), change)
    return json.loads(done.body), done


ASKED = [{"role": "user", "content": "hi"}]


def test_a_reasoning_model_gets_no_temperature_and_the_new_name_of_the_cap() -> None:
    body = {"model": "gpt-4o", "temperature": 0.2, "top_p": 1, "max_tokens": 300, "messages": ASKED}
    said, done = sent(CHAT, body, Change(model="gpt-5-mini"))
    assert said == {"model": "gpt-5-mini", "messages": ASKED, "max_completion_tokens": 300}
    assert "temperature dropped" in done.notes
    assert "max_tokens -> max_completion_tokens" in done.notes


def test_a_plain_model_is_asked_for_no_reasoning() -> None:
    body = {"model": "gpt-5", "reasoning_effort": "high", "verbosity": "low", "messages": ASKED, "max_completion_tokens": 90}
    said, _ = sent(CHAT, body, Change(model="gpt-4o-mini"))
    assert said == {"model": "gpt-4o-mini", "messages": ASKED, "max_completion_tokens": 90}


@pytest.mark.parametrize(
    ("asked", "model", "effort"),
    [
        ("minimal", "gpt-5.1", "none"),
        ("xhigh", "gpt-5-mini", "high"),
        ("none", "gpt-5-mini", "minimal"),
        ("max", "gpt-5.2", "xhigh"),
        ("low", "gpt-5-pro", "high"),
        ("minimal", "o4-mini", "low"),
    ],
)
def test_effort_is_said_in_a_word_the_target_takes(asked: str, model: str, effort: str) -> None:
    said, _ = sent(RESPONSES, {"model": "x", "input": "hi", "reasoning": {"effort": asked}}, Change(model=model))
    assert said["reasoning"]["effort"] == effort


def test_a_response_for_a_plain_model_asks_for_no_encrypted_reasoning() -> None:
    include = ["reasoning.encrypted_content", "web_search_call.action.sources"]
    body = {"model": "gpt-5", "input": "hi", "reasoning": {"effort": "low", "summary": "auto"}, "include": include}
    body["text"] = {"verbosity": "low"}
    said, _ = sent(RESPONSES, body, Change(model="gpt-4.1-mini"))
    assert said == {"model": "gpt-4.1-mini", "input": "hi", "include": ["web_search_call.action.sources"]}


@pytest.mark.parametrize("key", ["previous_response_id", "conversation"])
def test_a_history_that_the_provider_keeps_cannot_be_moved(key: str) -> None:
    with pytest.raises(WireError, match=key):
        sent(RESPONSES, {"model": "gpt-5", "input": "hi", key: "resp_1"}, Change(model="gpt-5-mini"))


def test_models_that_might_answer_instead_go_with_the_old_model() -> None:
    body = {"model": "openai/gpt-5", "models": ["anthropic/claude-opus-5"], "messages": ASKED}
    endpoint = endpoint_for("openrouter", "openrouter.ai", "POST", "/api/v1/chat/completions")
    said, done = sent(endpoint, body, Change(model="openai/gpt-5-nano"))
    assert said == {"model": "openai/gpt-5-nano", "messages": ASKED}
    assert "models dropped" in done.notes


def test_a_host_with_the_old_cap_is_told_the_old_name() -> None:
    said, _ = sent(MISTRAL, {"model": "a", "max_completion_tokens": 5, "messages": ASKED}, Change(model="mistral-small-latest"))
    assert said == {"model": "mistral-small-latest", "max_tokens": 5, "messages": ASKED}


def test_claude_that_thinks_by_budget_gets_a_budget_below_the_cap() -> None:
    body = {"model": "claude-opus-4-8", "max_tokens": 6_000, "thinking": {"type": "adaptive"}, "messages": ASKED}
    body["output_config"] = {"effort": "xhigh"}
    said, done = sent(MESSAGES, body, Change(model="claude-haiku-4-5"), anthropic_beta="effort-2025-11-24,files-api-2025-04-14")
    assert said["thinking"] == {"type": "enabled", "budget_tokens": 3_000}
    assert "output_config" not in said
    assert betas_of(done.fields) == ("files-api-2025-04-14",)


def test_claude_that_thinks_adaptively_gets_no_budget_and_no_temperature() -> None:
    body = {"model": "claude-opus-4-1", "max_tokens": 9_000, "temperature": 1, "messages": ASKED}
    body["thinking"] = {"type": "enabled", "budget_tokens": 2_000}
    said, _ = sent(MESSAGES, body, Change(model="claude-sonnet-5"))
    assert said["thinking"] == {"type": "adaptive"}
    assert said["output_config"] == {"effort": "medium"}
    assert "temperature" not in said


def test_a_beta_goes_together_with_the_field_it_allows() -> None:
    body = {"model": "claude-opus-4-6", "max_tokens": 100, "speed": "fast", "messages": ASKED}
    body["context_management"] = {"edits": [{"type": "compact_20260112"}]}
    body["tools"] = [{"type": "web_search_20260209", "name": "web_search"}]
    betas = "fast-mode-2026-02-01, compact-2026-01-12, context-1m-2025-08-07"
    said, done = sent(MESSAGES, body, Change(model="claude-haiku-4-5"), anthropic_beta=betas, x_api_key="k")
    assert set(said) == {"model", "max_tokens", "messages", "tools"}
    assert said["tools"][0]["type"] == "web_search_20250305"
    assert done.fields == ((b"x-api-key", b"k"),)


def test_an_instruction_amid_the_conversation_is_a_reminder_for_models_older_than_its_role() -> None:
    said_last = {
        "role": "system",
        "content": [{"type": "text", "text": "Be {brief}.", "cache_control": {"type": "ephemeral"}}],
        "clear_at": 1,
    }
    messages = [*ASKED, {"role": "system", "content": "Plan."}, {"role": "assistant", "content": "1.50"}, *ASKED, said_last]
    body = {"model": "claude-opus-5-5", "max_tokens": 9, "temperature": 0.50, "messages": messages}
    betas = "mid-conversation-system-clear-at-2026-08-21, interleaved-thinking-2025-05-14"
    for target in ("claude-haiku-4-5", "claude-opus-4-7", "claude-sonnet-4-6"):
        said, done = sent(MESSAGES, body, Change(model=target), anthropic_beta=betas)
        assert [turn["role"] for turn in said["messages"]] == ["user", "user", "assistant", "user", "user"]
        assert said["messages"][1]["content"] == "<system-reminder>\nPlan.\n</system-reminder>"
        (block,) = said["messages"][-1]["content"]
        assert block["text"] == "<system-reminder>\nBe {brief}.\n</system-reminder>"
        assert block["cache_control"] == {"type": "ephemeral"}
        assert betas_of(done.fields) == ("interleaved-thinking-2025-05-14",)
        assert "messages: role system -> user" in done.notes
    for target in ("claude-opus-4-8", "claude-sonnet-5", "claude-opus-5"):
        said, done = sent(MESSAGES, body, Change(model=target), anthropic_beta=betas)
        assert said["messages"] == messages
        assert len(betas_of(done.fields)) == 2


def test_an_answer_begun_by_the_client_is_not_moved_to_a_model_that_refuses_it() -> None:
    body = {"model": "claude-opus-4-5", "max_tokens": 9, "messages": [*ASKED, {"role": "assistant", "content": "{"}]}
    with pytest.raises(WireError, match="prefill"):
        sent(MESSAGES, body, Change(model="claude-sonnet-5"))


def test_a_cap_above_what_the_target_can_answer_is_lowered() -> None:
    body = {"model": "claude-opus-4-8", "max_tokens": 128_000, "messages": ASKED}
    said, done = sent(MESSAGES, body, Change(model="claude-haiku-4-5", most_output_tokens=64_000))
    assert said["max_tokens"] == 64_000
    assert "max_output_tokens 128000 -> 64000" in done.notes


def test_thinking_is_left_out_where_the_clamp_leaves_no_room_for_it() -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 9_000, "messages": ASKED}
    body["thinking"] = {"type": "enabled", "budget_tokens": 4_000}
    said, _ = sent(MESSAGES, body, Change(max_output_tokens=1_024))
    assert "thinking" not in said
    assert said["max_tokens"] == 1_024
    said, _ = sent(MESSAGES, body, Change(max_output_tokens=4_000))
    assert said["thinking"]["budget_tokens"] == 2_000


def test_thoughts_signed_for_another_model_are_taken_out_of_a_conversation_that_moves() -> None:
    turns = [
        *ASKED,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "a", "name": "n", "input": {"x": 1.5}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
    ]
    body = {"model": "claude-opus-4-5", "max_tokens": 9_000, "thinking": {"type": "enabled", "budget_tokens": 2_000}}
    said, _ = sent(MESSAGES, body | {"messages": turns}, Change(model="claude-haiku-4-5", forgets=True))
    assert [block["type"] for block in said["messages"][1]["content"]] == ["tool_use"]
    assert said["messages"][1]["content"][0]["input"] == {"x": 1.5}
    assert "thinking" not in said


def test_encrypted_reasoning_is_taken_out_of_a_conversation_that_moves() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "r", "encrypted_content": "x"},
        {"role": "assistant", "id": "m"},
    ]
    said, _ = sent(RESPONSES, {"model": "gpt-5", "input": items}, Change(model="gpt-5-mini", forgets=True))
    assert said["input"] == [{"role": "user", "content": "hi"}, {"role": "assistant"}]


@pytest.mark.parametrize(
    ("model", "thinking", "expected"),
    [
        ("gemini-2.5-flash", {"thinkingLevel": "high"}, {"thinkingBudget": 24_576}),
        ("gemini-2.5-flash-lite", {"thinkingBudget": 100}, {"thinkingBudget": 512}),
        (
            "gemini-3-flash-preview",
            {"thinkingBudget": 1_000, "includeThoughts": True},
            {"thinkingLevel": "low", "includeThoughts": True},
        ),
        ("gemini-2.5-flash", {"thinkingBudget": -1}, {"thinkingBudget": -1}),
    ],
)
def test_gemini_is_told_how_much_to_think_in_its_own_way(model: str, thinking: dict[str, Any], expected: dict[str, Any]) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"thinkingConfig": thinking}}
    said, done = sent(gemini("gemini-3-pro-preview"), body, Change(model=model))
    assert said["generationConfig"]["thinkingConfig"] == expected
    assert done.path.endswith(f"/{model}:generateContent")


def test_a_prompt_cache_of_gemini_is_bound_to_its_model() -> None:
    with pytest.raises(WireError, match="cache"):
        sent(gemini("gemini-2.5-pro"), {"contents": [], "cachedContent": "cachedContents/1"}, Change(model="gemini-2.5-flash"))


@pytest.mark.parametrize(
    ("endpoint", "body", "path", "expected"),
    [
        (CHAT, {"model": "gpt-5", "reasoning_effort": "high"}, ("reasoning_effort",), "low"),
        (CHAT, {"model": "gpt-5"}, ("reasoning_effort",), "low"),
        (RESPONSES, {"model": "gpt-5.2", "reasoning": {"effort": "xhigh"}}, ("reasoning", "effort"), "low"),
        (MESSAGES, {"model": "claude-sonnet-5", "output_config": {"effort": "max"}}, ("output_config", "effort"), "low"),
        (
            MESSAGES,
            {"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 9_000}},
            ("thinking", "budget_tokens"),
            1_024,
        ),
    ],
)
def test_effort_is_lowered_in_place(endpoint: Endpoint, body: dict[str, Any], path: tuple[str, ...], expected: object) -> None:
    value: Any = sent(endpoint, body, Change(effort="low"))[0]
    for key in path:
        value = value[key]
    assert value == expected


def test_a_change_that_needs_no_repair_keeps_every_other_byte() -> None:
    body = b'{ "messages" : [{"role":"user","content":"caf\\u00e9 1.50e3"}] ,\n "model":"gpt-4o" , "temperature": 0.70 }'
    done = rewrite(CHAT, CHAT.path, (), body, Change(model="gpt-4o-mini"))
    assert done.body == body.replace(b'"gpt-4o"', b'"gpt-4o-mini"')
    assert done.notes == ()


def test_an_unknown_model_gets_its_parameters_as_they_are() -> None:
    body = {"model": "gpt-5", "temperature": 0.5, "reasoning_effort": "high", "messages": ASKED}
    said, done = sent(CHAT, body, Change(model="my-own-model"))
    assert said == body | {"model": "my-own-model"}
    assert done.notes == ()


@pytest.mark.parametrize(
    "model",
    ["claude-sonnet-4-5-20250929", "anthropic/claude-haiku-4.5", "openai/gpt-5-mini", "ft:gpt-4o-mini:org", "gpt-35-turbo"],
)
def test_a_models_row_is_found_under_its_many_names(model: str) -> None:
    assert abilities_of(model).efforts is not None


STEERED = [
    (CHAT, {"messages": [{"role": "tool", "content": "1"}]}, "messages", {"role": "user", "content": "low"}),
    (MESSAGES, {"messages": ASKED}, "messages", {"role": "user", "content": "low"}),
    (RESPONSES, {"input": [{"type": "function_call_output", "output": "1"}]}, "input", {"role": "user", "content": "low"}),
    (
        gemini("gemini-2.5-flash"),
        {"contents": [{"role": "user", "parts": []}]},
        "contents",
        {"role": "user", "parts": [{"text": "low"}]},
    ),
]


@pytest.mark.parametrize(("endpoint", "body", "key", "expected"), STEERED)
def test_steering_is_one_message_at_the_very_end(endpoint: Endpoint, body: dict[str, Any], key: str, expected: object) -> None:
    text = json.dumps({"model": "m", "system": "s", **body, "x": 1.50}, indent=1).encode()
    said = steered(endpoint, text, "low")
    assert said is not None
    assert json.loads(said)[key] == [*body[key], expected]
    assert json.loads(said)["system"] == "s"
    before = text[: text.index(b"}", text.index(key.encode()))]
    assert said.startswith(before), "what the provider has cached stays as it was"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "x"},
        {"messages": [*ASKED, {"role": "assistant", "content": "{"}]},
        {"messages": [{"role": "system", "content": "s"}]},
        {"messages": [*ASKED, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]},
        {},
    ],
)
def test_nothing_is_steered_where_there_is_no_place_for_it(body: dict[str, Any]) -> None:
    assert steered(MESSAGES, json.dumps(body).encode(), "low") is None


@pytest.mark.parametrize("indent", [None, 1])
def test_steering_stands_before_an_instruction_that_ends_the_conversation(indent: int | None) -> None:
    told = {"role": "system", "content": [{"type": "text", "text": 'a, "[b]"', "cache_control": {"type": "ephemeral"}}]}
    text = json.dumps({"messages": [*ASKED, told], "model": "m"}, indent=indent).encode()
    said = steered(MESSAGES, text, "low")
    assert said is not None
    assert json.loads(said) == {"messages": [*ASKED, {"role": "user", "content": "low"}, told], "model": "m"}
    assert steered(CHAT, text, "low") is None, (
        "OpenAI's system messages may stand anywhere: what ends with one is no turn of the user"
    )


def test_claude_code_is_warned_in_its_own_words_unless_its_provider_does() -> None:
    said = client_warning(MESSAGES, "claude-code", {"x": "y"}, 92, 1_795_348_800_000_000)
    assert windows_in(said)
    assert said["anthropic-ratelimit-unified-status"] == "allowed_warning"
    assert said["anthropic-ratelimit-unified-7d-utilization"] == "0.92"
    assert client_warning(MESSAGES, "claude-code", {"anthropic-ratelimit-unified-status": "allowed"}, 92, None) == {}
    assert client_warning(MESSAGES, "python-requests/2", {}, 92, None) == {}
    assert client_warning(CHAT, "claude-code", {}, 92, None) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(OBJECTS, st.sampled_from([None, 1]), st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_a_dropped_path_is_gone_and_all_else_is_there(document: dict[str, Any], indent: int | None, path: list[str]) -> None:
    text = json.dumps(document, indent=indent)
    expected = json.loads(text)
    holder: Any = expected
    for key in path[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        holder.pop(path[-1], None)
    assert json.loads(without(text, path)) == expected


@given(
    OBJECTS,
    st.lists(st.tuples(st.sampled_from(["put", "drop", "rename"]), st.sampled_from("abcde"), st.integers(0, 3)), max_size=6),
)
def test_a_draft_changes_as_a_dictionary_does(document: dict[str, Any], steps: list[tuple[str, str, int]]) -> None:
    draft, expected = Draft(json.dumps(document).encode()), dict(document)
    for step, key, value in steps:
        if step == "put":
            draft.put(value, key)
            expected[key] = value
        elif step == "drop":
            assert draft.drop(key) is (key in expected)
            expected.pop(key, None)
        else:
            draft.rename(key, "z")
            if key in expected:
                expected.setdefault("z", expected.pop(key))
    assert json.loads(draft.body()) == expected
    assert {key: draft.get(key) for key in expected} == expected


@given(st.sampled_from(WORDS), st.sets(st.sampled_from(WORDS), min_size=1))
def test_an_effort_within_a_set_is_never_more_than_asked_unless_the_least_is(word: str, taken: set[str]) -> None:
    found = within(word, tuple(taken))
    assert found in taken
    assert rank(found) <= rank(word) or found == min(taken, key=rank)


def test_budgets_and_words_stand_for_each_other() -> None:
    assert [word_for(budget_for(word)) for word in ("none", "low", "medium", "high", "max")] == [
        "none",
        "low",
        "medium",
        "high",
        "max",
    ]
