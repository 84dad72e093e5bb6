"""Whom a call says it comes from: taken from the wire as it is, never guessed, never a secret."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Attribution, Metering
from tollkeeper.wire.attribution import MAX_TAGS, MAX_VALUE_CHARS, attribute, claims_in
from tollkeeper.wire.clients import client_of
from tollkeeper.wire.request import read_request
from tollkeeper.wire.routes import endpoint_for

BASE = Attribution(project="billing", client="x/1", session="run-1")
UUID, OTHER = "0b1b5f7c-3f2a-4d57-9d1e-2a8f00000001", "0b1b5f7c-3f2a-4d57-9d1e-2a8f00000002"
DEVICE = "ab" * 32

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["metadata", "user_id", "user", "safety_identifier", "system", "client_metadata", "labels", "requestMetadata", "request",
     "user_prompt_id", "project", "prompt_cache_key", "session_id", "text"]
)  # fmt: skip


def said(headers: dict[str, str], body: Any = None) -> dict[str, Any]:
    """What was added to the base."""
    found = attribute(BASE, claims_in([(name.encode(), value.encode()) for name, value in headers.items()]), body)
    assert (found.project, found.client, found.session) == (BASE.project, BASE.client, BASE.session)
    return {name: value for name in Attribution.__slots__ if (value := getattr(found, name)) != getattr(BASE, name)}


def test_claude_code_names_its_session_agent_and_parent() -> None:
    headers = {
        "X-Claude-Code-Session-Id": UUID,
        "x-claude-code-agent-id": "agent-7",
        "x-claude-code-parent-agent-id": "agent-1",
        "x-app": "cli",
    }
    block = "x-anthropic-billing-header: cc_version=2.1.0; cc_entrypoint=sdk-py; cc_is_subagent=true; cch=0a1b2;"
    body = {"system": [{"type": "text", "text": block}], "metadata": {"user_id": f"user_{DEVICE}_account_{OTHER}_session_{UUID}"}}
    assert said(headers, body) == {
        "client_session": UUID,
        "agent": "agent-7",
        "parent_agent": "agent-1",
        "agent_class": "subagent",
        "account": OTHER,
        "end_user": DEVICE,
        "tags": (("entrypoint", "sdk-py"),),
    }


@pytest.mark.parametrize(
    "user_id",
    [
        f"user_{DEVICE}_account_{OTHER}_session_{UUID}",
        json.dumps({"device_id": DEVICE, "account_uuid": OTHER, "session_id": UUID}),
    ],
)
def test_both_forms_of_claude_codes_user_id_say_the_same(user_id: str) -> None:
    found = said({}, {"metadata": {"user_id": user_id}})
    assert found == {"client_session": UUID, "account": OTHER, "end_user": DEVICE}


def test_a_user_id_without_an_account_leaves_the_account_empty() -> None:
    assert said({}, {"metadata": {"user_id": f"user_{DEVICE}_account__session_{UUID}"}}) == {
        "client_session": UUID,
        "end_user": DEVICE,
    }


def test_any_other_anthropic_user_id_is_the_end_user_as_it_stands() -> None:
    assert said({}, {"metadata": {"user_id": "customer-42"}}) == {"end_user": "customer-42"}


def test_codex_names_session_thread_parent_and_side_job() -> None:
    headers = {
        "originator": "codex_cli_rs",
        "session-id": UUID,
        "thread-id": OTHER,
        "x-codex-parent-thread-id": UUID,
        "x-openai-subagent": "review",
        "chatgpt-account-id": "acct-1",
        "x-codex-turn-metadata": json.dumps({"turn_id": "turn-9", "sandbox": "none"}),
    }
    assert said(headers, {"prompt_cache_key": "ignored: the header says it"}) == {
        "client_session": UUID,
        "agent": OTHER,
        "parent_agent": UUID,
        "agent_class": "review",
        "account": "acct-1",
        "interaction": "turn-9",
    }
    by_body = {"client_metadata": {"session_id": UUID, "x-codex-turn-metadata": json.dumps({"turn_id": "t", "thread_id": OTHER})}}
    assert said({}, by_body) == {"client_session": UUID, "agent": OTHER, "interaction": "t"}


def test_a_cache_key_is_a_conversation_with_codex_only() -> None:
    assert said({"originator": "codex_exec"}, {"prompt_cache_key": UUID}) == {"client_session": UUID}
    assert said({}, {"prompt_cache_key": "system-prompt-v3"}) == {}


def test_copilot_opencode_code_assist_and_sdk_programs() -> None:
    assert said({"x-initiator": "agent", "x-interaction-id": UUID, "vscode-sessionid": "s", "x-agent-task-id": "t"}) == {
        "initiator": "agent",
        "interaction": UUID,
        "client_session": "s",
        "agent": "t",
    }
    assert said({"x-opencode-project": "p", "x-opencode-session": "s", "x-opencode-request": "r"}) == {
        "client_project": "p",
        "client_session": "s",
        "interaction": "r",
    }
    assert said({}, {"project": "gcp-1", "user_prompt_id": "u1", "request": {"session_id": "s1", "contents": []}}) == {
        "client_project": "gcp-1",
        "interaction": "u1",
        "client_session": "s1",
    }
    assert said({"OpenAI-Project": "proj_1", "openai-organization": "org-1"}, {"user": "u", "safety_identifier": "hash-1"}) == {
        "client_project": "proj_1",
        "account": "org-1",
        "end_user": "hash-1",
    }


def test_labels_of_gateways_and_clouds_become_tags() -> None:
    assert said({"cf-aig-metadata": '{"team":"brand","user":7,"test":true}'})["tags"] == (
        ("team", "brand"),
        ("test", "true"),
        ("user", "7"),
    )
    assert said({"x-portkey-metadata": '{"env":"prod"}', "Helicone-Property-App": "kiosk", "helicone-session-id": "s"}) == {
        "tags": (("app", "kiosk"), ("env", "prod")),
        "client_session": "s",
    }
    assert said({}, {"labels": {"cost-centre": "12"}})["tags"] == (("cost-centre", "12"),)
    assert said({}, {"requestMetadata": {"tenant": "t1"}})["tags"] == (("tenant", "t1"),)
    assert said({}, {"metadata": {"run": "nightly"}})["tags"] == (("run", "nightly"),)


def test_tags_are_few_short_and_plain() -> None:
    many = {f"k{number}": "v" for number in range(100)}
    assert len(said({}, {"labels": many})["tags"]) == MAX_TAGS
    assert (
        said({}, {"metadata": {"prompt": "Write me a poem about the sea, please!", "long": "x" * 65, "bad key": "v", "n": None}})
        == {}
    )


def test_a_plain_sdk_call_says_nothing_and_costs_no_new_value() -> None:
    fields = [(b"host", b"api.openai.com"), (b"authorization", b"Bearer sk-proj-0123456789"), (b"user-agent", b"OpenAI/Python 2")]
    assert attribute(BASE, claims_in(fields), {"model": "gpt-5", "messages": []}) is BASE


@pytest.mark.parametrize(
    "secret",
    ["sk-ant-oat01-abcdefghijk", "sk-proj-0123456789abcdef", "Bearer abcdefghijkl", "eyJhbGciOiJIUzI1NiJ9.e30.x", "ghp_0123456789ab",
     "AKIAIOSFODNN7EXAMPLE", "xoxb-123456789012-abc", "AIzaSyA0123456789"],
)  # fmt: skip
def test_what_looks_like_a_credential_is_never_kept(secret: str) -> None:
    assert said({"session-id": secret, "cf-aig-metadata": json.dumps({"k": secret})}, {"user": secret}) == {}


def test_ids_that_are_too_long_are_dropped_not_cut() -> None:
    assert said({"session-id": "x" * (MAX_VALUE_CHARS + 1)}, {"user": "y" * 10_000}) == {}


def test_a_body_is_read_once_for_what_it_asks_and_whom_it_names() -> None:
    endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], "user": "u1"}).encode()
    found, ask, attribution = read_request(endpoint, body, BASE, {})
    assert (found.metering, ask.model, attribution.end_user) == (Metering.METERED, "gpt-5", "u1")
    _, ask, attribution = read_request(endpoint, b"\xff not json", BASE, {})
    assert (ask.model, attribution) == (None, BASE)


@given(
    body=st.dictionaries(KEYS, JSON, max_size=6),
    headers=st.dictionaries(st.sampled_from(["cf-aig-metadata", "session-id", "x-codex-turn-metadata"]), st.text(max_size=40)),
)
def test_no_shape_raises_and_every_value_is_short_and_printable(body: dict[str, Any], headers: dict[str, str]) -> None:
    fields = [(name.encode(), value.encode("utf-8", "replace")) for name, value in headers.items()]
    found = attribute(BASE, claims_in(fields), body)
    for name in Attribution.__slots__:
        value = getattr(found, name)
        for one in (text for pair in value for text in pair) if name == "tags" else (value,):
            assert isinstance(one, str)
            assert len(one) <= MAX_VALUE_CHARS
            assert one == "" or (one.isprintable() and one.isascii())
    assert len(found.tags) <= MAX_TAGS


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=60)), max_size=20))
def test_no_header_bytes_raise(fields: list[tuple[bytes, bytes]]) -> None:
    assert isinstance(attribute(BASE, claims_in(fields)), Attribution)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("claude-cli/2.1.330 (external, cli)", "claude-code"),
        ("codex_exec/0.169.0 (Debian 12; x86_64) dumb", "codex"),
        ("codex_cli_rs/0.99", "codex"),
        ("codex-tui/0.169.0", "codex"),
        ("GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64; terminal)", "gemini-cli"),
        ("opencode/1.18.33 ai-sdk/provider-utils/4.0", "opencode"),
        ("OpenAI/Python 3.54.0", "OpenAI/Python"),
        ("curl/v8", "curl"),
        ("claude-climber/1", "claude-climber"),
        ("", ""),
        ("evil\x1b[2J", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_a_client_is_called_what_people_call_it_whatever_its_version(user_agent: str, name: str) -> None:
    """As recorded of each client; a rule that names one, and an amount for each, must outlive its releases."""
    assert client_of(user_agent) == name
    assert client_of(name) == name, "it may be named so itself"
