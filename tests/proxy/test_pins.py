"""A conversation that a policy has moved: it may go on, stays where its turn began, and is known again after a restart."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.roads import ADA, NOON, PROJECT, MakeRoad, run
from tollkeeper.core.call import Attribution, Call, Endpoint
from tollkeeper.core.entry import Outcome
from tollkeeper.core.principal import Principal
from tollkeeper.policy.document import parse_policy
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.pins import LIFETIME_US, MAX_PINS, Pins
from tollkeeper.proxy.road import Road
from tollkeeper.wire.routes import endpoint_for

MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")
RESPONSES = endpoint_for("openai", "api.openai.com", "POST", "/v1/responses")
CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
GEMINI = endpoint_for("gemini", "generativelanguage.googleapis.com", "POST", "/v1beta/models/gemini-2.5-pro:generateContent")
POLICY = """
schema = 1
mode = "enforce"
[budget.dear]
amount = "{amount} USD"
window = "day"
model = ["claude-opus-4-5", "gpt-5", "gpt-4o", "gemini-2.5-pro"]
on_exceed = {{ downgrade = ["claude-haiku-4-5", "gpt-5-mini", "gpt-4o-mini", "gemini-2.5-flash"] }}
"""
SPENT, ROOM = POLICY.format(amount="0.000001"), POLICY.format(amount="50")
ASK = {"role": "user", "content": "write a parser"}
CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "ls", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a.py"}]}
SAID, MORE = {"role": "assistant", "content": "done"}, {"role": "user", "content": "now test it"}


def asked(road: Road, endpoint: Endpoint, body: dict[str, Any], *, settle: bool = True) -> Passage:
    """One request over the road, and the end of it."""

    async def scenario() -> Passage:
        passage = await road.admit(endpoint, endpoint.path, json.dumps(body).encode(), ADA, PROJECT)
        if settle and passage.refusal is None:
            await road.settle(passage, Outcome.ABORTED, cut=True, sent=False)
        return passage

    return run(scenario())


def served(road: Road, *turns: dict[str, Any], model: str = "claude-opus-4-5") -> str | None:
    """The model that a conversation with Claude is served by; None when it is refused."""
    passage = asked(road, MESSAGES, {"model": model, "max_tokens": 50, "messages": list(turns)})
    return None if passage.refusal else (passage.served or passage.call).model


def set_policy(road: Road, text: str) -> None:
    """What a reload does."""
    road.stages.policy = parse_policy(text, "policy.toml")


def test_a_turn_stays_with_the_model_it_began_with_and_the_next_one_is_free_again(make_road: MakeRoad) -> None:
    road = make_road(SPENT)
    assert served(road, ASK) == "claude-haiku-4-5"
    set_policy(road, ROOM)
    assert served(road, ASK, CALLED, RESULT) == "claude-haiku-4-5", "room has come back in the middle of a turn"
    told = {"role": "system", "content": "the date"}
    assert served(road, ASK, CALLED, RESULT, told) == "claude-haiku-4-5", "an instruction at the end is nobody's turn"
    assert served(road, ASK, CALLED, RESULT, SAID, MORE) == "claude-opus-4-5"
    set_policy(road, SPENT)
    following = (ASK, CALLED, RESULT, SAID, MORE, CALLED, RESULT)
    assert served(road, *following) is None, "it is a conversation with the dear model now"
    assert served(road, ASK) == "claude-haiku-4-5", "begun anew"
    assert served(road, *following) == "claude-haiku-4-5"


def test_a_call_that_stays_says_why(make_road: MakeRoad) -> None:
    road = make_road(SPENT)
    served(road, ASK)
    set_policy(road, ROOM)
    passage = asked(road, MESSAGES, {"model": "claude-opus-4-5", "max_tokens": 50, "messages": [ASK, CALLED, RESULT]})
    decision = passage.decision
    assert (decision.rule, decision.model_asked, decision.model) == ("pinned", "claude-opus-4-5", "claude-haiku-4-5")
    assert decision.reason == "its turn began with that model"


def test_nothing_stays_where_a_policy_only_watches(make_road: MakeRoad) -> None:
    road = make_road(SPENT)
    served(road, ASK)
    set_policy(road, SPENT.replace("enforce", "observe"))
    assert served(road, ASK, CALLED, RESULT) == "claude-opus-4-5"


def test_a_restart_and_another_process_go_on_with_a_moved_conversation(make_road: MakeRoad, tmp_path: Path) -> None:
    beside = make_road(SPENT)
    assert served(beside, ASK, CALLED, RESULT) is None
    road = make_road(SPENT)
    assert served(road, ASK) == "claude-haiku-4-5"
    assert served(beside, ASK, CALLED, RESULT) == "claude-haiku-4-5", "a process that runs beside"
    restarted = make_road(ROOM)
    assert served(restarted, ASK, CALLED, RESULT) == "claude-haiku-4-5"
    assert served(restarted, ASK, CALLED, RESULT, SAID, MORE) == "claude-opus-4-5"
    set_policy(road, SPENT)
    assert served(road, ASK, CALLED, RESULT) is None, "and the others hear that it went back"
    file = tmp_path / "ledger.db.pins"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"parser" not in file.read_bytes(), "a digest, no text"


def test_a_policy_that_moves_nothing_makes_no_file(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(ROOM)
    assert served(road, ASK, SAID, MORE) == "claude-opus-4-5"
    assert not (tmp_path / "ledger.db.pins").exists()


def test_a_file_that_cannot_be_used_harms_nothing(make_road: MakeRoad, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ledger.db.pins").write_bytes(b"no database at all, and longer than the head of one" * 40)
    road = make_road(SPENT)
    assert served(road, ASK) == "claude-haiku-4-5"
    assert served(road, ASK, CALLED, RESULT) == "claude-haiku-4-5", "remembered by this process"
    assert len([record for record in caplog.records if "ledger.db.pins" in record.message]) == 1


def test_what_the_provider_keeps_goes_on_with_the_model_that_made_it(make_road: MakeRoad) -> None:
    """Codex on a WebSocket: a first request that only warms up, then each names the response before it."""
    road = make_road(SPENT)
    first = {"model": "gpt-5", "input": [ASK], "generate": False}
    passage = asked(road, RESPONSES, first, settle=False)
    assert passage.decision.model == "gpt-5-mini"
    answer = {"id": "resp_1", "object": "response", "model": "gpt-5-mini", "status": "completed", "output": []}
    answer["usage"] = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}

    async def answered() -> None:
        road.listen(passage, 200, {"content-type": "application/json"})
        assert passage.meter is not None
        passage.meter.feed(json.dumps(answer).encode())
        await road.settle(passage, Outcome.OK, cut=False)

    run(answered())
    following = {"model": "gpt-5", "input": [{"type": "message", **MORE}], "previous_response_id": "resp_1"}
    passage = asked(road, RESPONSES, following)
    assert passage.refusal is None, passage.message
    assert json.loads(passage.outgoing or b"{}") == {**following, "model": "gpt-5-mini"}
    stranger = asked(road, RESPONSES, {**following, "previous_response_id": "resp_2"})
    assert stranger.refusal is not None, "a history of the dear model is not moved"
    set_policy(road, ROOM)
    result = {"type": "function_call_output", "call_id": "c", "output": "1"}
    assert asked(road, RESPONSES, {**following, "input": [result]}).decision.model == "gpt-5-mini"
    assert asked(road, RESPONSES, following).decision.model == "gpt-5"


def test_codex_s_tools_in_its_input_are_no_answer_of_a_model(make_road: MakeRoad) -> None:
    tools = {"type": "additional_tools", "id": "i", "role": "developer", "tools": [{"type": "custom", "name": "exec"}]}
    begun = {"model": "gpt-5", "input": [tools, {"type": "message", **ASK}]}
    assert asked(make_road(SPENT), RESPONSES, begun).decision.model == "gpt-5-mini"


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "1"}
GEMINI_ASK = {"role": "user", "parts": [{"text": "go"}]}
GEMINI_CALL = {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}
GEMINI_RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
TOLD = [{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "1"}]
MID_TURN = [
    (CHAT, {"model": "gpt-4o", "messages": [ASK]}, "messages", TOLD),
    (RESPONSES, {"model": "gpt-5", "input": "go"}, "input", [{"role": "user", "content": "go"}, CALL, OUTPUT]),
    (GEMINI, {"contents": [GEMINI_ASK]}, "contents", [GEMINI_CALL, GEMINI_RESULT]),
]


@pytest.mark.parametrize(("endpoint", "body", "key", "more"), MID_TURN, ids=["chat", "responses", "gemini"])
def test_the_middle_of_a_turn_is_told_in_every_dialect(
    endpoint: Endpoint, body: dict[str, Any], key: str, more: list[dict[str, Any]], make_road: MakeRoad
) -> None:
    road = make_road(SPENT)
    cheap = asked(road, endpoint, body).decision
    assert cheap.model_asked is not None
    set_policy(road, ROOM)
    history = [*body[key], *more] if isinstance(body[key], list) else more
    assert asked(road, endpoint, {**body, key: history}).decision.model == cheap.model
    assert asked(road, endpoint, {**body, key: [*history, ASK]}).decision.model == cheap.model_asked


def test_a_conversation_is_known_again_however_its_client_writes_it() -> None:
    def said(*turns: dict[str, Any]) -> bytes:
        return json.dumps({"messages": list(turns)}).encode()

    pins = Pins()
    folder, marked = (
        {"role": "user", "content": "in /src"},
        {"type": "text", "text": "go", "cache_control": {"type": "ephemeral"}},
    )
    told = {"role": "developer", "type": "additional_tools", "tools": []}
    pins.note(call(), said(told, folder, {"role": "user", "content": [marked]}), "small", NOON)
    for again in (
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "user", "content": "go", "id": "msg_2"},
    ):
        assert pins.of(call(), said({"role": "system", "content": "noon"}, folder, again, SAID, MORE), NOON) is not None
    assert pins.of(call(), said(folder, {"role": "user", "content": "stop"}, SAID, MORE), NOON) is None, (
        "another one in that folder"
    )


def call(subject: str = "ada") -> Call:
    return Call(id="c", started_at=NOON, endpoint=MESSAGES, principal=Principal(subject=subject), attribution=Attribution())


def test_pins_are_bounded_in_number_and_time(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "ledger.db")
    body = json.dumps({"messages": [ASK]}).encode()
    pins.note(call(), body, "small", NOON)
    assert pins.of(call(), body, NOON + LIFETIME_US - 1) is not None
    assert pins.of(call(), body, NOON + LIFETIME_US) is None
    assert pins.of(call("bo"), body, NOON) is None
    for number in range(200):
        pins.note(call(str(number)), body, "small", NOON + LIFETIME_US + number)
    assert Pins(tmp_path / "ledger.db").of(call(), body, NOON) is None, "old rows have gone from the file"
    memory = Pins()
    memory.note(call(), body, "small", NOON)
    for number in range(MAX_PINS):
        memory.note(call(str(number)), body, "small", NOON)
    assert memory.of(call(), body, NOON) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'{"messages": 5}', b'{"messages": [5]}', b'{"input": [[]]}'])
def test_a_body_that_is_no_conversation_has_no_pin(body: bytes) -> None:
    pins = Pins()
    pins.note(call(), json.dumps({"messages": [ASK]}).encode(), "small", NOON)
    pins.note(call(), body, "small", NOON)
    assert pins.of(call(), body, NOON) is None
