"""A WebSocket on the road, as plain values: every turn is held for, settled, refused or rewritten as a call of its own."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from proxy.roads import ADA, NOON, PROJECT, MakeRoad, run
from proxy.test_road import entries
from tollkeeper.core.call import Attribution
from tollkeeper.core.entry import Outcome
from tollkeeper.core.principal import Assurance
from tollkeeper.identity.answers import Proof
from tollkeeper.identity.channels import Resolution
from tollkeeper.identity.desk import Desk
from tollkeeper.proxy.door import Door
from tollkeeper.proxy.hooks import PASSAGE, SOCKET, Hooks
from tollkeeper.proxy.road import Road
from tollkeeper.proxy.socket_layer import OUTBOX
from tollkeeper.proxy.sockets import CUT_OFF, STOPPING, Socket, open_socket
from tollkeeper.wire.routes import endpoint_for

PATHS = {
    "responses": ("openai", "api.openai.com", "/v1/responses"),
    "codex": ("chatgpt", "chatgpt.com", "/backend-api/codex/responses"),
    "realtime": ("openai", "api.openai.com", "/v1/realtime"),
}
ENFORCE = 'schema = 1\nmode = "enforce"\n[budget.tiny]\namount = "{amount} USD"\nwindow = "day"\n'
ASK = {"type": "response.create", "model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 500}
VAD = {"type": "session.created", "session": {"model": "gpt-realtime", "turn_detection": {"type": "server_vad"}}}
COST = 1_000 * 150 + 500 * 600


def answer(identity: str = "resp_1", lane: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    head = {"id": identity, "model": "gpt-4o-mini"}
    usage = {"input_tokens": 1_000, "output_tokens": 500, "total_tokens": 1_500}
    return [
        {"type": "response.created", "response": {**head, "usage": None}} | (lane or {}),
        {"type": "response.output_text.delta", "delta": "hello"} | (lane or {}),
        {"type": "response.completed", "response": {**head, "usage": usage}} | (lane or {}),
    ]


def spoken(identity: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    return [
        {"type": "response.created", "response": {"id": identity}},
        {"type": "response.done", "response": {"id": identity, "status": "completed", "usage": usage}},
    ]


async def opened(
    road: Road,
    kind: str = "responses",
    *,
    attribution: Attribution = PROJECT,
    is_bound: bool = False,
    who: Resolution | None = None,
) -> Socket:
    provider, host, path = PATHS[kind]
    endpoint = endpoint_for(provider, host, "WEBSOCKET", path)
    handshake = await road.admit(endpoint, path, b"", ADA, attribution, handshake=True)
    socket = open_socket(road, handshake, "gpt-realtime", {"x-codex-primary-used-percent": "12"}, is_bound=is_bound, who=who)
    assert socket is not None
    return socket


async def say(socket: Socket, *frames: dict[str, Any], client: bool = False) -> list[Any]:
    return [await socket.frame(json.dumps(frame).encode(), from_client=client) for frame in frames]


def test_each_turn_of_a_socket_is_held_for_and_settled_as_a_call_of_its_own(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        for number in (1, 2):
            await say(socket, ASK, client=True)
            assert socket.is_busy
            assert [passage.held for passage in socket.passages] == [True]
            await say(socket, *answer(f"resp_{number}"))
            assert not socket.is_busy
        await socket.end(Outcome.OK)

    run(talk(make_road()))
    rows = entries(tmp_path / "ledger.db")
    assert [row["kind"] for row in rows] == ["hold", "settle", "hold", "settle"]
    settled = [row for row in rows if row["kind"] == "settle"]
    assert {row["call_id"] for row in settled} == {row["call_id"] for row in rows if row["kind"] == "hold"}
    assert [row["response_id"] for row in settled] == ["resp_1", "resp_2"]
    assert {(row["cost_nanousd"], row["usage_source"], row["outcome"], row["project"]) for row in settled} == {
        (COST, "reported", "ok", "billing")
    }


def test_frames_that_begin_no_turn_go_through_untouched(make_road: MakeRoad) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        for content in (b"no JSON", b'{"type": "response.steer"}', b"[1]", b"\xff\x00", b""):
            for side in (True, False):
                verdict = await socket.frame(content, from_client=side)
                assert verdict.content is content
                assert not verdict.speaks
        await socket.end(Outcome.OK)

    run(talk(make_road()))


def test_a_turn_without_room_is_not_sent_on_and_the_client_is_told(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        (verdict,) = await say(socket, ASK, client=True)
        assert verdict.content is None
        assert not verdict.ends_session
        frame = json.loads(verdict.to_client)
        assert (frame["type"], frame["status"]) == ("error", 400)
        assert 'budget "tiny"' in frame["error"]["message"]
        await socket.end(Outcome.OK)

    road = make_road(ENFORCE.format(amount="0.0000001"))
    run(talk(road))
    assert [row["kind"] for row in entries(tmp_path / "ledger.db")] == ["refuse"]
    assert road.stages.counters.refused == 1


@pytest.mark.parametrize(
    ("policy", "verdicts"), [("", ["allow", "allow"]), ('schema = 1\nmode = "enforce"\n', ["allow", "refuse"])]
)
def test_a_turn_after_the_end_of_the_token_that_opened_the_session_is_nobodys(
    policy: str, verdicts: list[str], make_road: MakeRoad, tmp_path: Path
) -> None:
    now = NOON
    proof = Proof(principal=replace(ADA, assurance=Assurance.VERIFIED, channel="header"), expires_at=NOON // 1_000_000 + 60)

    async def talk(road: Road) -> Any:
        nonlocal now
        road.stages.desk = Desk(clock=lambda: now)
        who = Resolution(principal=proof.principal, proof=proof)
        socket = await opened(road, who=who)
        for number, after_s in enumerate((80, 91)):  # clocks may differ by 30 s
            now = NOON + after_s * 1_000_000
            (verdict,) = await say(socket, ASK, client=True)
            if verdict.content is not None:
                await say(socket, *answer(f"resp_{number}"))
        await socket.end(Outcome.OK)
        return verdict

    road = make_road(policy)
    verdict = run(talk(road))
    if policy:
        assert "the token that began this has ended" in json.loads(verdict.to_client)["error"]["message"]
    rows = [row for row in entries(tmp_path / "ledger.db") if row["kind"] in {"settle", "refuse"}]
    assert [(row["subject"], row["verdict"], row["would"]) for row in rows] == [
        ("ada", verdicts[0], "allow"),
        ("anonymous", verdicts[1], "refuse"),
    ]
    assert road.stages.counters.identity_refusals == 1


def test_a_burst_of_turns_on_one_socket_cannot_overspend(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> list[bool]:
        socket = await opened(road)
        lanes = [{"stream_id": f"lane{number}"} for number in range(12)]
        verdicts = await say(socket, *(ASK | lane for lane in lanes), client=True)
        went = [lane for lane, verdict in zip(lanes, verdicts, strict=True) if verdict.content is not None]
        for lane in went:
            await say(socket, *answer(f"resp_{lane['stream_id']}", lane))
        await socket.end(Outcome.OK)
        return [verdict.content is not None for verdict in verdicts]

    road = make_road(ENFORCE.format(amount="0.0015"))
    went = run(talk(road))
    assert 0 < sum(went) < 12
    rows = entries(tmp_path / "ledger.db")
    assert sum(row["exposure_nanousd"] for row in rows) == sum(went) * COST <= 1_500_000


def test_a_fresh_turn_is_moved_to_the_model_that_the_budget_offers_and_billed_at_it(make_road: MakeRoad, tmp_path: Path) -> None:
    policy = ENFORCE.format(amount="0.0000001") + 'model = "gpt-4o"\non_exceed = { rewrite = ["gpt-4o-mini"] }\n'
    raw = b'{ "type":"response.create", "model" : "gpt-4o", "input":"hi" }'

    async def talk(road: Road) -> None:
        socket = await opened(road)
        verdict = await socket.frame(raw, from_client=True)
        assert verdict.content == raw.replace(b'"gpt-4o"', b'"gpt-4o-mini"')
        await say(socket, *answer())
        going_on = raw.replace(b'"input"', b'"previous_response_id":"resp_0","input"')
        verdict = await socket.frame(going_on, from_client=True)
        assert verdict.content is None, "a conversation that goes on is never moved"
        moved = raw.replace(b'"input"', b'"previous_response_id":"resp_1","input"')
        verdict = await socket.frame(moved, from_client=True)
        assert verdict.content == moved.replace(b'"gpt-4o"', b'"gpt-4o-mini"'), "but one that was moved goes on where it is"
        await say(socket, *answer())
        bound = await opened(road, is_bound=True)
        assert (await bound.frame(raw, from_client=True)).content is None, "nor is what nobody may change"
        await socket.end(Outcome.OK)
        await bound.end(Outcome.OK)

    run(talk(make_road(policy)))
    settled = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert [(row["verdict"], row["cost_nanousd"]) for row in settled] == [("rewrite", COST)] * 2


def test_a_socket_that_dies_settles_its_turns_as_partial(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        await say(socket, ASK | {"input": "what does a call cost " * 50}, client=True)
        await say(socket, *answer()[:2])
        await socket.end(Outcome.ABORTED)
        await socket.end(Outcome.OK)

    run(talk(make_road()))
    (settled,) = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert (settled["usage_source"], settled["outcome"], settled["cost_source"]) == ("partial", "aborted", "estimated")
    assert settled["cost_nanousd"] > 200 * 150, "its question is counted from the frame that asked it"


def test_after_its_end_a_socket_lets_nothing_through(make_road: MakeRoad) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        await socket.end(Outcome.CUT)
        assert (await say(socket, ASK, client=True)) == [STOPPING]
        assert (await say(socket, *answer()[:1])) == [STOPPING]

    run(talk(make_road()))


def test_a_session_without_a_turn_is_recorded_by_itself(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        await (await opened(road)).end(Outcome.OK)
        unreadable = await opened(road)
        await unreadable.frame(b"\x00\x01", from_client=False)
        await unreadable.end(Outcome.OK)

    run(talk(make_road()))
    rows = entries(tmp_path / "ledger.db")
    assert [(row["kind"], row["usage_source"], row["flags"]) for row in rows] == [
        ("void", "none", '["no-turns","no-hold"]'),
        ("settle", "unmetered", '["frames-unreadable","no-hold"]'),
    ]


def test_voice_activity_is_held_for_in_advance_and_what_is_left_over_costs_nothing(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road, "realtime")
        await say(socket, VAD)
        assert not socket.is_busy, "nothing has begun"
        await say(socket, *spoken("r1"), *spoken("r2"))
        transcript = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i1"}
        await say(socket, transcript | {"usage": {"type": "duration", "seconds": 60}})
        await socket.end(Outcome.ABORTED)

    run(talk(make_road()))
    rows = entries(tmp_path / "ledger.db")
    assert [row["kind"] for row in rows] == ["hold", "settle", "hold", "settle", "hold", "settle", "void"]
    spent = [(row["response_id"], row["cost_nanousd"]) for row in rows if row["kind"] == "settle"]
    assert spent == [("r1", 560_000), ("r2", 560_000), ("i1", 6_000_000)], "a minute of whisper-1 is $0.006"
    assert rows[-1]["flags"] == '["turn-unused"]'


def test_when_the_hold_for_the_next_spoken_turn_is_refused_the_session_ends(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road, "realtime")
        (first,) = await say(socket, VAD)
        assert not first.speaks
        *_, last = await say(socket, *spoken("r1"))
        assert last.content is not None, "what has been said is heard"
        assert last.ends_session
        assert 'budget "tiny"' in last.reason
        assert json.loads(last.to_client)["error"]["message"] == last.reason
        await socket.end(Outcome.CUT)

    run(talk(make_road(ENFORCE.format(amount="0.2652"))))
    assert [row["kind"] for row in entries(tmp_path / "ledger.db")] == ["hold", "settle", "refuse"]


def test_a_response_that_began_by_itself_without_room_is_cancelled_and_what_it_used_is_recorded(
    make_road: MakeRoad, tmp_path: Path
) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road, "realtime")
        begun, done = spoken("r9")
        (verdict,) = await say(socket, begun)
        assert json.loads(verdict.to_server) == {"type": "response.cancel", "response_id": "r9"}
        await say(socket, done)
        await socket.end(Outcome.OK)

    run(talk(make_road(ENFORCE.format(amount="0.0000001"))))
    rows = entries(tmp_path / "ledger.db")
    assert [(row["kind"], row["cost_nanousd"]) for row in rows] == [("refuse", 0), ("settle", 560_000)]


def test_a_ledger_that_cannot_record_refuses_the_turn_under_a_closed_policy(make_road: MakeRoad) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        await road.stages.ledger.close()
        (verdict,) = await say(socket, ASK, client=True)
        assert verdict.content is None
        assert "cannot record" in json.loads(verdict.to_client)["error"]["message"]

    run(talk(make_road(ENFORCE.format(amount="5"))))


def test_an_observing_policy_refuses_nothing_and_says_what_would_have_been(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        (verdict,) = await say(socket, ASK, client=True)
        assert not verdict.speaks
        await say(socket, *answer())
        await socket.end(Outcome.OK)

    run(talk(make_road(ENFORCE.format(amount="0.0000001").replace("enforce", "observe"))))
    (settled,) = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert (settled["verdict"], settled["would"]) == ("allow", "refuse")


def test_a_turn_says_of_itself_who_asks_and_a_plan_is_told_apart(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> Road:
        socket = await opened(
            road, "codex", attribution=Attribution(project="billing", client="codex", client_session="s-upgrade")
        )
        await say(socket, ASK | {"model": "gpt-5-codex", "client_metadata": {"session_id": "s-frame"}}, client=True)
        await say(socket, *answer())
        await socket.end(Outcome.OK)
        return road

    road = run(talk(make_road()))
    (settled,) = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert (settled["client"], settled["project"], settled["client_session"]) == ("codex", "billing", "s-frame")
    assert settled["plan"] == "chatgpt"
    assert road.stages.counters.calls == 2


def test_counting_what_nobody_stated_holds_up_no_frame(make_road: MakeRoad, tmp_path: Path) -> None:
    async def talk(road: Road) -> None:
        socket = await opened(road)
        await say(socket, ASK, client=True)
        begun, said, ended = answer()
        ended["response"].pop("usage")
        await say(socket, begun, said, ended)
        assert socket.is_busy, "it is counted beside the stream"
        await socket.end(Outcome.OK)
        assert not socket.is_busy

    run(talk(make_road()))
    (settled,) = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert (settled["usage_source"], settled["outcome"]) == ("counted", "ok")


@pytest.mark.parametrize("verdict", [CUT_OFF, STOPPING])
def test_what_we_say_last_fits_into_a_close_frame_and_ends_the_session(verdict: Any) -> None:
    assert verdict.ends_session
    assert verdict.speaks
    assert len(verdict.reason.encode()) <= 123


def test_the_first_frame_after_a_question_is_the_first_byte_of_its_answer(make_road: MakeRoad, tmp_path: Path) -> None:
    moments = iter(range(NOON, NOON + 10**12, 250_000))

    async def talk(road: Road) -> None:
        road.stages.clock = lambda: next(moments)
        socket = await opened(road)
        await say(socket, ASK, client=True)
        await say(socket, *answer())
        await asyncio.gather(socket.end(Outcome.OK))

    run(talk(make_road()))
    (settled,) = [row for row in entries(tmp_path / "ledger.db") if row["kind"] == "settle"]
    assert 0 < settled["first_byte_ms"] < settled["duration_ms"]


class _BrokenReader:
    """A session reader with a fault in it."""

    def client(self, payload: Any) -> None:
        raise ZeroDivisionError("a secret prompt")

    server = client

    def take_turns(self) -> tuple[()]:
        return ()

    finish = take_turns


@pytest.mark.parametrize(("on_fault", "goes"), [("open", True), ("closed", False)])
def test_a_fault_in_reading_a_frame_becomes_what_the_policy_says(
    make_road: MakeRoad, on_fault: str, goes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    road = make_road(f'schema = 1\nmode = "enforce"\non_fault = "{on_fault}"\n')
    hooks = Hooks(road.stages, Door(road.stages, credentials={}), drain_seconds=0, status=dict)
    flow = tflow.twebsocketflow(messages=False)

    async def talk() -> WebSocketMessage:
        socket = await opened(road)
        socket.reader = _BrokenReader()  # type: ignore[assignment]
        flow.metadata |= {PASSAGE: socket.handshake, SOCKET: socket}
        message = WebSocketMessage(Opcode.TEXT, True, json.dumps(ASK).encode())
        flow.websocket.messages.append(message)
        await hooks.websocket_message(flow)
        assert flow.websocket.messages == [], "mitmproxy would keep it for the life of the socket"
        return message

    message = run(talk())
    assert message.dropped is not goes
    assert (flow.metadata.get(OUTBOX) is CUT_OFF) is not goes
    assert road.stages.counters.faults == 1
    assert "secret" not in caplog.text
