"""WebSockets through the real proxy over real TLS: the official SDKs, the frames untouched, each turn on the bill, budgets that hold."""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate

from e2e.harness import RunningProxy
from e2e.prices import cost_nanousd, tokens_billed, tokens_of
from e2e.sdk import TEXT, run_client
from e2e.ws import Connection, connected
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

HEAD = 'schema = 1\nmode = "enforce"\n'
TINY = HEAD + '[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'
ASK = {"type": "response.create", "model": "gpt-5-mini", "input": "What does this call cost?"}
REALTIME_NANOUSD = 197 * 4_000 + 13 * 32_000 + 90 * 400 + 20 * 16_000 + 20 * 64_000
"""210 + 90 cached in, 40 out, of which 13 heard and 20 spoken: gpt-realtime's list price of text, audio and cache."""

SESSIONS = {"openai_sockets": ("sync", "async"), "genai_live": ("async",)}
CASES = {"openai_sockets": {"responses-1", "responses-2", "realtime", "live"}, "genai_live": {"live"}}


@contextlib.contextmanager
def socket(
    proxy: RunningProxy, path: str = "/v1/responses", host: str = "api.openai.com", *, deflate: bool = True, **script: Any
) -> Iterator[Connection]:
    """A WebSocket through the proxy, steered by ``script``."""
    headers = {f"x-fake-{name.replace('_', '-')}": str(value) for name, value in script.items()}
    with connected(proxy, f"wss://{host}{path}", headers, deflate=deflate) as connection:
        yield connection


def ask(connection: Connection, frame: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """One turn, to its last frame."""
    connection.send(json.dumps(frame or ASK))
    return hear(connection)


def hear(connection: Connection) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["type"] not in {"response.completed", "response.done", "error"}:
        frames.append(json.loads(connection.recv()))
    return frames


def new_entries(proxy: RunningProxy, before: int, count: int) -> list[dict[str, Any]]:
    """The calls that ended after the first ``before``, once there are ``count``."""
    proxy.ledger.wait(lambda view: len(view.ended()) >= before + count, f"{count} more calls are settled")
    return proxy.ledger.ended()[before:]


@pytest.mark.parametrize("script", SESSIONS)
def test_an_sdk_holds_its_session_and_the_ledger_equals_the_bill(
    script: str, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.ended())
    results = run_client(script, observing, how=SESSIONS[script])
    assert set(results) == CASES[script]
    assert {name: result["error"] for name, result in results.items() if result["error"]} == {}
    assert {result["text"] for name, result in results.items() if name != "live" or script == "genai_live"} == {TEXT}
    billed = provider.bills.billed()
    entries = [entry for entry in new_entries(observing, before, len(billed)) if entry["kind"] == "settle"]
    costs = {
        "gpt-realtime": REALTIME_NANOUSD,
        "gpt-live-1": 62 * 3_000_000_000 // 3_600 + 1,
        "gemini-live-2.5-flash": 210 * 500 + 40 * 2_000,
    }
    for call in billed:
        entry = next(entry for entry in entries if entry["response_id"] == call.id or entry["model_billed"] == call.model)
        entries.remove(entry)
        assert tokens_of(entry) == tokens_billed(call)
        assert (entry["usage_source"], entry["model_billed"]) == ("reported", call.model)
        assert entry["cost_nanousd"] == (costs.get(call.model) or cost_nanousd(call))
    assert [entry["model_billed"] for entry in entries] == (["gpt-live-1"] if script == "openai_sockets" else [])
    assert {entry["cost_nanousd"] for entry in entries} <= {costs["gpt-live-1"]}
    observing.ledger.wait(lambda view: not view.holds(), "nothing is held any more")


@pytest.mark.parametrize("script", SESSIONS)
def test_a_refusal_stops_an_sdk_on_its_open_socket_and_is_shown_in_full(
    script: str, start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(policy=TINY)
    results = run_client(script, proxy, how=SESSIONS[script])
    assert set(results) == CASES[script]
    for name, result in results.items():
        assert result["status"] == 400, (name, result)
        for words in ("Blocked by tollkeeper", "tiny", "Ask ada.", "resets"):
            assert words in result["message"], (name, result)
    assert not provider.bills.billed()
    refused = proxy.ledger.entries("refuse")
    assert {entry["budget"] for entry in refused} == {"tiny"}
    assert len(refused) == len(results), "one try each"
    assert not proxy.ledger.holds()


def test_the_frames_reach_both_sides_as_they_were_sent(observing: RunningProxy, provider: FakeProvider) -> None:
    odd = '{ "type" : "response.create", "model":"gpt-5-mini","input":"h\\u00e9llo ✓", "x": 1.50 }'
    for deflate in (True, False):
        with socket(observing, deflate=deflate, input_tokens=1_000, output_tokens=3) as connection:
            agreed = [type(extension) for extension in connection.extensions]
            assert agreed == ([PerMessageDeflate] if deflate else [])
            connection.send(odd)
            frames = hear(connection)
        assert "".join(frame.get("delta", "") for frame in frames) == TEXT
        assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
        assert frames[-1]["response"]["usage"]["input_tokens"] == 1_000
    assert [call.input_tokens for call in provider.bills.billed()] == [1_000, 1_000]


def test_fragmented_and_large_messages_pass_whole(observing: RunningProxy, provider: FakeProvider) -> None:
    text = "the cost of a call " * 60_000
    with socket(observing, split=7, text_bytes=400_000, chunks=4, output_tokens=9) as connection:
        connection.send(iter([json.dumps(ASK | {"input": text})[at : at + 100_000] for at in range(0, 1_200_000, 100_000)]))
        frames = hear(connection)
    assert len("".join(frame.get("delta", "") for frame in frames)) == 400_000
    (billed,) = provider.bills.billed()
    assert observing.ledger.of(billed.id)["cost_nanousd"] == cost_nanousd(billed)
    assert billed.input_tokens > 250_000, "it arrived in one piece"


def test_turns_in_several_lanes_are_settled_each_by_itself(observing: RunningProxy, provider: FakeProvider) -> None:
    with socket(observing, input_tokens=10, output_tokens=2) as connection:
        for lane in ("a", "b", "c"):
            assert {frame["stream_id"] for frame in ask(connection, ASK | {"stream_id": lane})} == {lane}
    for billed in provider.bills.billed():
        assert observing.ledger.of(billed.id)["cost_nanousd"] == cost_nanousd(billed)
    assert len(provider.bills.billed()) == 3


def test_a_socket_can_go_on_after_a_turn_was_refused(start: Callable[..., RunningProxy], provider: FakeProvider) -> None:
    proxy = start(policy=HEAD + '[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-4o"\n')
    with socket(proxy, input_tokens=10, output_tokens=2) as connection:
        refused = ask(connection, ASK | {"model": "gpt-4o"})
        assert (len(refused), refused[0]["type"], refused[0]["status"]) == (1, "error", 400)
        assert ask(connection)[-1]["type"] == "response.completed"
    assert [call.model for call in provider.bills.billed()] == ["gpt-5-mini"]


def test_a_budget_moves_a_fresh_turn_to_a_cheaper_model(start: Callable[..., RunningProxy], provider: FakeProvider) -> None:
    policy = '[budget.dear]\namount = "0.000001 USD"\nwindow = "day"\nmodel = "gpt-5"\non_exceed = { rewrite = ["gpt-5-mini"] }\n'
    proxy = start(policy=HEAD + policy)
    with socket(proxy, input_tokens=10, output_tokens=2) as connection:
        assert ask(connection, ASK | {"model": "gpt-5", "input": "x" * 10_000})[-1]["response"]["model"] == "gpt-5-mini"
    (billed,) = provider.bills.billed()
    entry = proxy.ledger.of(billed.id)
    assert (billed.model, entry["verdict"], entry["cost_nanousd"]) == ("gpt-5-mini", "rewrite", cost_nanousd(billed))


def test_a_spoken_session_is_held_for_in_advance_and_ends_cleanly_when_its_budget_does(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(policy=HEAD + '[budget.voice]\namount = "0.27 USD"\nwindow = "day"\nmessage = "Ask ada."\n')
    sound = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4_800)).decode()})
    heard: list[dict[str, Any]] = [{"type": ""}]
    with socket(proxy, "/v1/realtime?model=gpt-realtime", input_tokens=210, output_tokens=40, cache_read_tokens=90) as connection:
        for _ in range(2):  # two turns fit beside a hold for the next
            connection.send(sound)
            heard += hear(connection)
            assert heard[-1]["type"] == "response.done"
        heard.append(json.loads(connection.recv()))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "Blocked by tollkeeper" in closed.value.rcvd.reason
    assert "Ask ada." in heard[-1]["error"]["message"]
    billed = provider.bills.billed()
    assert billed
    proxy.ledger.wait(lambda view: not view.holds(), "nothing is held any more")
    settled = proxy.ledger.entries("settle")
    assert [entry["cost_nanousd"] for entry in settled] == [REALTIME_NANOUSD] * len(billed)
    assert len(billed) == 2
    assert len(proxy.ledger.entries("refuse")) == 1


def test_transcriptions_are_billed_besides_at_their_own_model(observing: RunningProxy, provider: FakeProvider) -> None:
    update = {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}}
    before = len(observing.ledger.ended())
    with socket(observing, "/v1/realtime?model=gpt-realtime", input_tokens=210, output_tokens=40) as connection:
        connection.send(json.dumps(update))
        connection.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}))
        hear(connection)
        assert "transcription.completed" in json.loads(connection.recv())["type"]
    entries = {entry["model_billed"]: entry for entry in new_entries(observing, before, 3)}
    assert entries["gpt-4o-transcribe"]["cost_nanousd"] == 13 * 6_000 + 7 * 10_000
    assert entries["gpt-4o-transcribe"]["response_id"] in {call.id for call in provider.bills.billed()}
    assert "gpt-realtime" in entries


def test_a_provider_that_breaks_off_leaves_a_partial_turn(observing: RunningProxy, provider: FakeProvider) -> None:
    before = len(observing.ledger.ended())
    with socket(observing, cut="before-usage", chunks=10) as connection, pytest.raises(ConnectionClosed):
        ask(connection)
    (entry,) = new_entries(observing, before, 1)
    assert (entry["usage_source"], entry["outcome"], entry["cost_source"]) == ("partial", "cut", "estimated")
    (line,) = entry["lines"]
    assert line["output_tokens"] == 10
    assert line["input_tokens"] > 0


def test_a_client_that_leaves_in_mid_turn_is_charged_for_what_it_heard(observing: RunningProxy, provider: FakeProvider) -> None:
    before = len(observing.ledger.ended())
    with socket(observing, chunks=200, delay_ms=20) as connection:
        connection.send(json.dumps(ASK))
        while json.loads(connection.recv())["type"] != "response.output_text.delta":
            pass
    (entry,) = new_entries(observing, before, 1)
    assert (entry["usage_source"], entry["outcome"]) == ("partial", "aborted")
    assert 0 < entry["lines"][0]["output_tokens"] < 200


def test_an_upgrade_that_the_provider_refuses_is_an_error_without_a_cost(observing: RunningProxy, provider: FakeProvider) -> None:
    before = len(observing.ledger.ended())
    with pytest.raises(InvalidStatus) as refused, socket(observing, status=401):
        pass
    assert refused.value.response.status_code == 401
    (entry,) = new_entries(observing, before, 1)
    assert (entry["kind"], entry["outcome"], entry["status"], entry["cost_nanousd"]) == ("void", "error", 401, 0)


@pytest.mark.parametrize(
    ("policy", "path"),
    [(HEAD + 'websockets = "refuse"\n', "/v1/responses"), (HEAD, "/v1/some/other/socket")],
    ids=["the policy says so", "nothing reads it"],
)
def test_an_upgrade_is_answered_with_426(
    policy: str, path: str, start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(policy=policy)
    with pytest.raises(InvalidStatus) as refused, socket(proxy, path):
        pass
    assert refused.value.response.status_code == 426
    assert not provider.bills.seen()


def test_a_stop_waits_for_the_turn_under_way_but_not_for_an_idle_socket(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(arguments=["--drain-seconds", "300"])
    with socket(proxy), socket(proxy, chunks=40, delay_ms=25) as busy:
        busy.send(json.dumps(ASK))
        json.loads(busy.recv())
        stopping = threading.Thread(target=proxy.stop)
        stopping.start()
        assert hear(busy)[-1]["type"] == "response.completed"
        stopping.join(150)
    assert proxy.process.returncode == 0
    (billed,) = provider.bills.billed()
    assert proxy.ledger.by_response()[billed.id]["cost_nanousd"] == cost_nanousd(billed)
    assert not proxy.ledger.holds()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_long_session_leaves_nothing_behind_in_memory(observing: RunningProxy) -> None:
    def resident_kb() -> int:
        status = Path(f"/proc/{observing.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    with socket(observing, deflate=False, text_bytes=2_000_000, chunks=100, output_tokens=9) as connection:
        ask(connection)
        before = resident_kb()
        for _ in range(20):
            ask(connection)
    grown = resident_kb() - before
    assert grown < 20_000, f"40 MB of frames went past and {grown} kB stayed"


def test_no_key_and_no_text_of_a_session_is_kept(observing: RunningProxy, provider: FakeProvider) -> None:
    secret = "sk-very-secret-key"
    path = f"/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key={secret}"
    before = len(observing.ledger.ended())
    with socket(observing, path, "generativelanguage.googleapis.com", text="whispered words") as connection:
        connection.send(json.dumps({"setup": {"model": "models/gemini-live-2.5-flash"}}))
        connection.recv()
        question = {"turns": [{"role": "user", "parts": [{"text": "an unspeakable question"}]}], "turnComplete": True}
        connection.send(json.dumps({"clientContent": question}))
        while "turnComplete" not in json.loads(connection.recv()).get("serverContent", {}):
            pass
    new_entries(observing, before, 1)
    kept = (
        b"".join(file.read_bytes() for file in observing.home.iterdir() if file.name.startswith("ledger"))
        + observing.said().encode()
    )
    for words in (secret, "unspeakable", "whispered"):
        assert words.encode() not in kept
