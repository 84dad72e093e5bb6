"""One call on the whole road, as plain values: no mitmproxy, no network, a clock that stands still."""

import asyncio
import json
from pathlib import Path
from typing import Any

from proxy.roads import ADA, NOON, PROJECT, MakeRoad, entries, run
from tollkeeper.core.call import Metering
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.road import Road
from tollkeeper.wire.routes import endpoint_for

CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")

TIGHT = """
schema = 1
mode = "{mode}"
[budget.tiny]
amount = "0.0001 USD"
window = "day"
share = "pool"
on_exceed = {action}
"""

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
}


def chat(**more: Any) -> bytes:
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], **more}).encode()


async def admit(road: Road, body: bytes, endpoint: Any = CHAT) -> Passage:
    return await road.admit(endpoint, endpoint.path, body, ADA, PROJECT)


def hear(passage: Passage, pieces: list[bytes]) -> bytes:
    """Pass an answer through the tap, as mitmproxy does; what the client got."""
    tap = passage.tap(lambda: NOON)
    return b"".join(b"".join(tap(piece)) for piece in [*pieces, b""])


def test_a_call_is_held_heard_priced_and_settled_to_the_nano_dollar(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat())
        road.listen(passage, 200, {"content-type": "application/json"})
        body = json.dumps(ANSWER).encode()
        assert hear(passage, [body[:50], body[50:]]) == body
        await road.settle(passage, Outcome.OK, cut=False)

    run(scenario())
    hold, settle = entries(tmp_path / "ledger.db")
    assert (hold["kind"], settle["kind"]) == ("hold", "settle")
    # gpt-4o-mini: $0.15 and $0.60 per million tokens.
    assert settle["cost_nanousd"] == 1000 * 150 + 500 * 600
    assert hold["hold_nanousd"] >= settle["cost_nanousd"]
    assert (settle["subject"], settle["project"], settle["session"]) == ("ada", "billing", "s1")


def test_a_call_is_settled_once_however_often_it_ends(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat())
        road.listen(passage, 200, {"content-type": "application/json"})
        hear(passage, [json.dumps(ANSWER).encode()])
        await road.settle(passage, Outcome.OK, cut=False)
        await road.settle(passage, Outcome.ABORTED, cut=True)

    run(scenario())
    assert [entry["kind"] for entry in entries(tmp_path / "ledger.db")] == ["hold", "settle"]


def test_what_is_being_settled_at_the_end_is_in_the_ledger_before_it_closes(make_road: MakeRoad, tmp_path: Path) -> None:
    """A client that left: what was seen of its answer is counted in a thread, and the process may be told to end meanwhile."""
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat(stream=True))
        road.listen(passage, 200, {"content-type": "text/event-stream"})
        hear(
            passage,
            [b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'],
        )
        settling = asyncio.create_task(road.settle(passage, Outcome.ABORTED, cut=True))
        await asyncio.sleep(0)
        await road.close()
        await settling

    run(scenario())
    assert [entry["kind"] for entry in entries(tmp_path / "ledger.db")] == ["hold", "settle"]


def test_a_spent_budget_refuses_in_the_provider_s_shape_and_nothing_is_held(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(TIGHT.format(mode="enforce", action='"refuse"'))
    passage = run(admit(road, chat()))
    assert passage.decision.verdict is Verdict.REFUSE
    assert passage.refusal is not None
    assert passage.refusal.status == 400
    error = json.loads(passage.refusal.body)["error"]
    assert error["type"] == "invalid_request_error"
    assert "tiny" in error["message"]
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["budget"], entry["rule"]) == ("refuse", "tiny", "budget.tiny")


def test_a_model_without_a_price_is_refused_when_the_policy_says_so_and_that_is_on_record(
    make_road: MakeRoad, tmp_path: Path
) -> None:
    road = make_road('schema = 1\nmode = "enforce"\nunknown_model = "refuse"\n')
    passage = run(admit(road, chat(model="gpt-of-my-own")))
    assert passage.refusal is not None
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["rule"]) == ("refuse", "unknown_model")


def test_an_observed_model_without_a_price_goes_on_and_the_refusal_it_would_have_met_is_on_record(
    make_road: MakeRoad, tmp_path: Path
) -> None:
    road = make_road('schema = 1\nmode = "observe"\nunknown_model = "refuse"\n')
    assert run(admit(road, chat(model="gpt-of-my-own"))).refusal is None
    hold = entries(tmp_path / "ledger.db")[0]
    assert (hold["verdict"], hold["would"], hold["rule"]) == ("allow", "refuse", "unknown_model")


def test_observing_lets_the_call_go_and_records_what_enforce_would_have_done(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(TIGHT.format(mode="observe", action='"refuse"'))
    passage = run(admit(road, chat()))
    assert passage.refusal is None
    hold = entries(tmp_path / "ledger.db")[0]
    assert (hold["kind"], hold["verdict"], hold["would"]) == ("hold", "allow", "refuse")


def test_a_rewrite_changes_the_model_alone_and_is_billed_as_the_model_that_served(make_road: MakeRoad, tmp_path: Path) -> None:
    policy = """
schema = 1
mode = "enforce"
[budget.dear]
amount = "0.01 USD"
window = "day"
share = "pool"
model = "claude-opus*"
on_exceed = { rewrite = "claude-haiku-4-5" }
"""
    road = make_road(policy)
    asked = {
        "model": "claude-opus-4-5",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": "hi"}],
        "x": [1, {"y": 2.50}],
    }
    body = json.dumps(asked, indent=1).encode()

    async def scenario() -> Passage:
        passage = await admit(road, body, MESSAGES)
        assert passage.outgoing == body.replace(b"claude-opus-4-5", b"claude-haiku-4-5")
        road.listen(passage, 200, {"content-type": "application/json"})
        answer = {"id": "m", "type": "message", "model": "claude-haiku-4-5", "usage": {"input_tokens": 100, "output_tokens": 10}}
        hear(passage, [json.dumps(answer).encode()])
        await road.settle(passage, Outcome.OK, cut=False)
        return passage

    assert run(scenario()).decision.verdict is Verdict.REWRITE
    settle = entries(tmp_path / "ledger.db")[-1]
    # claude-haiku-4-5: $1 and $5 per million tokens.
    assert settle["cost_nanousd"] == 100 * 1000 + 10 * 5000
    assert settle["model_requested"] == "claude-opus-4-5"


def test_a_chat_stream_is_asked_for_usage_and_the_client_does_not_see_the_answer_to_that(make_road: MakeRoad) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat(stream=True))
        assert json.loads(passage.outgoing or b"")["stream_options"] == {"include_usage": True}
        road.listen(passage, 200, {"content-type": "text/event-stream"})
        wanted = b'data: {"id":"c","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
        usage = b'{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}'
        extra = b'data: {"id":"c","model":"gpt-4o-mini","choices":[],"usage":' + usage + b"}\n\n"
        done = b"data: [DONE]\n\n"
        assert hear(passage, [wanted + extra[:30], extra[30:] + done]) == wanted + done
        await road.settle(passage, Outcome.OK, cut=False)

    run(scenario())


def test_a_stream_that_is_cut_is_charged_for_what_was_seen(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(
            road, json.dumps({"model": "claude-haiku-4-5", "max_tokens": 50, "stream": True}).encode(), MESSAGES
        )
        road.listen(passage, 200, {"content-type": "text/event-stream"})
        start = {
            "type": "message_start",
            "message": {"id": "m", "model": "claude-haiku-4-5", "usage": {"input_tokens": 40, "output_tokens": 1}},
        }
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "many words were seen " * 20}}
        pieces = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (start, delta)]
        hear(passage, pieces)
        await road.settle(passage, Outcome.ABORTED, cut=True)

    run(scenario())
    settle = entries(tmp_path / "ledger.db")[-1]
    assert (settle["outcome"], settle["usage_source"], settle["kind"]) == ("aborted", "partial", "settle")
    assert settle["cost_nanousd"] > 40 * 1000 + 80 * 5000


def test_a_call_that_never_left_costs_nothing_and_its_hold_is_voided(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat())
        await road.settle(passage, Outcome.CUT, cut=True, sent=False)

    run(scenario())
    assert [entry["kind"] for entry in entries(tmp_path / "ledger.db")] == ["hold", "void"]


def test_an_unknown_path_of_a_provider_is_recorded_as_unmetered_with_the_reason(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()
    endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/something/new")
    assert endpoint.metering is Metering.UNMETERED

    async def scenario() -> None:
        passage = await road.admit(endpoint, endpoint.path, b"", ADA, PROJECT)
        await road.settle(passage, Outcome.OK, cut=False)

    run(scenario())
    hold, entry = entries(tmp_path / "ledger.db")
    assert (hold["kind"], entry["kind"]) == ("hold", "settle")
    assert entry["usage_source"] == "unmetered"
    assert entry["unmetered"] == endpoint.reason


def test_a_budget_that_is_used_up_stops_what_cannot_be_metered_too(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road('mode = "enforce"\n[budget.none]\namount = "0 USD"\nwindow = "day"\n')
    endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/something/new")

    passage = run(road.admit(endpoint, endpoint.path, b"", ADA, PROJECT))

    assert passage.refusal is not None
    assert "none" in passage.refusal.body.decode()
    assert entries(tmp_path / "ledger.db")[-1]["kind"] == "refuse"


def test_a_refused_provider_answer_costs_nothing(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = await admit(road, chat())
        road.listen(passage, 429, {"content-type": "application/json"})
        hear(passage, [b'{"error":{"message":"slow down","type":"rate_limit_error"}}'])
        await road.settle(passage, Outcome.OK, cut=False)

    run(scenario())
    void = entries(tmp_path / "ledger.db")[-1]
    assert (void["kind"], void["outcome"], void["status"], void["cost_nanousd"]) == ("void", "error", 429, 0)
    assert "slow down" not in str(void)


def test_a_closed_ledger_lets_the_call_go_when_the_policy_is_open_and_counts_it(make_road: MakeRoad) -> None:
    road = make_road()
    road.stages.ledger.close_now()
    passage = run(admit(road, chat()))
    assert passage.refusal is None
    assert "ledger-unavailable" in passage.notes
    assert road.stages.counters.ledger_errors == 1


def test_a_call_that_a_fault_kept_from_being_read_still_stands_in_the_ledger(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()

    async def scenario() -> None:
        passage = road.unread(CHAT, ADA, PROJECT)
        road.listen(passage, 200, {"content-type": "application/json"})
        hear(passage, [json.dumps(ANSWER).encode()])
        await road.settle(passage, Outcome.OK, cut=False)

    run(scenario())
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["usage_source"], entry["subject"]) == ("unmetered", "ada")
    assert "failed while checking" in entry["reason"]


def test_a_group_that_the_policy_gives_is_budgeted_and_recorded(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(
        'schema = 1\nmode = "enforce"\n[groups]\nresearch = ["ada"]\n'
        '[model.research]\ngroup = "research"\ndeny = "gpt-*"\nmessage = "Research uses other models."\n'
    )

    async def check() -> None:
        body = b'{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}'
        endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
        passage = await road.admit(endpoint, "/v1/chat/completions", body, ADA, PROJECT)
        assert "Research uses other models." in passage.message

    run(check())
    (entry,) = entries(tmp_path / "ledger.db")
    assert entry["groups"] == ",research,"
