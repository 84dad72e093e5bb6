"""People are told once for each bucket, window and threshold: after the commit, again until it works, and not again after a restart."""

import asyncio
import contextlib
import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.roads import ADA, NOON, PROJECT, MakeRoad, run
from tollkeeper.core.entry import Outcome
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.money import format_usd
from tollkeeper.ledger.alerts import ANOMALY, THRESHOLD, USED_UP, Alert, anomalies, claim, finish, put
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.policy.alerting import AlertRule, Reason, Way, alert_as_json, alert_in_words
from tollkeeper.policy.document import parse_policy
from tollkeeper.proxy import alert_send
from tollkeeper.proxy.alerts import Alerts, look_ahead, tell
from tollkeeper.proxy.road import Road
from tollkeeper.wire.routes import endpoint_for

MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")
BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}).encode()
DAY = 'schema = 1\nmode = "enforce"\n[budget.day]\namount = "0.002 USD"\nwindow = "day"\nwarn_at = [60]\n'


SESSION = {"principal": "ada", "session": "s1", "spent": 5 * 10**9, "usual": 10**9, "unit": "usd"}


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is sent; answers with ``status``."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Tests print nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def policy_for(server: Receiver, more: str = "") -> str:
    return DAY + f'[alert.team]\nto = "webhook"\nurl = "http://127.0.0.1:{server.server_port}/hook"\n{more}'


def ask(road: Road) -> Any:
    return run(road.admit(MESSAGES, "/v1/messages", BODY, ADA, PROJECT))


def told(road: Road) -> int:
    return tell(road.stages, road.stages.policy.alerts)


def test_a_threshold_and_the_end_of_a_budget_are_told_once_each(make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with receiver() as server:
        road = make_road(policy_for(server, 'secret = "env:HOOK_SECRET"\n'))
        verdicts = [ask(road).decision.verdict for _ in range(6)]
        assert "refuse" in verdicts
        assert told(road) == 2
        assert told(road) == 0
        assert [ask(road).decision.verdict for _ in range(3)] == ["refuse"] * 3
        assert told(road) == 0
    kinds = [json.loads(body)["kind"] for _, body in server.got]
    assert sorted(kinds) == [THRESHOLD, USED_UP]
    for headers, body in server.got:
        time_part, _, digest = headers[alert_send.SIGNATURE].partition(",")
        assert headers[alert_send.SIGNATURE] == alert_send.signature("s3cret", int(time_part.removeprefix("t=")), body)
        assert digest.startswith("v1=")
        assert b"s3cret" not in body
        assert json.loads(body)["text"].startswith("Budget day ")


def test_each_of_two_budgets_in_one_bucket_is_told_of_its_own_threshold(make_road: MakeRoad) -> None:
    """A soft amount below a hard one: the same calls count in both, so their bucket is one."""
    soft = '[budget.soft]\namount = "0.0015 USD"\nwindow = "day"\nmode = "warn"\nwarn_at = [60]\n'
    with receiver() as server:
        road = make_road(policy_for(server, 'on = "threshold"\n' + soft))
        while ask(road).decision.verdict != "refuse":
            pass
        told(road)
    said = [json.loads(body) for _, body in server.got]
    assert {(one["budget"], one["percent"]) for one in said} == {("soft", 60), ("day", 60)}
    assert len({one["id"] for one in said}) == len(said), "a receiver that drops repetitions gets each"


def test_a_budget_that_refused_one_large_call_is_not_told_as_used_up_until_it_is(make_road: MakeRoad) -> None:
    watching = '[budget.watch]\namount = "0.00001 USD"\nwindow = "day"\nmode = "observe"\nmodel = "*haiku*"\n'
    large = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi" * 9_000}]})
    with receiver() as server:
        road = make_road(policy_for(server, 'on = "used-up"\n' + watching))
        refused = run(road.admit(MESSAGES, "/v1/messages", large.encode(), ADA, PROJECT))
        assert refused.decision.verdict == "refuse"
        assert told(road) == 0, "all of it is left"
        while ask(road).decision.verdict != "refuse":
            pass
        assert told(road) == 1
    (body,) = [json.loads(body) for _, body in server.got]
    assert (body["budget"], body["kind"]) == ("day", USED_UP), "a budget that only watches refuses nothing"
    left = body["amount"] - body["spent"] - body["held"]
    assert 0 < left < body["amount"] // 2
    assert f"Budget day has {format_usd(left)} left of $0.0020" in body["text"]
    assert "calls are refused that may cost more" in body["text"]


def test_a_budget_that_refuses_half_used_is_told_again_when_hardly_anything_is_left(make_road: MakeRoad) -> None:
    """The first of the two is no reason to say nothing when smaller calls have used the rest."""
    small = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with receiver() as server:
        road = make_road(policy_for(server, 'on = "used-up"\n'))
        for body in (BODY, small):
            while run(road.admit(MESSAGES, "/v1/messages", body, ADA, PROJECT)).decision.verdict != "refuse":
                pass
            told(road)
    assert [json.loads(body)["percent"] for _, body in server.got] == [50, 100]


def test_what_could_not_be_told_is_told_later_and_a_restart_tells_nothing_again(make_road: MakeRoad, tmp_path: Path) -> None:
    with receiver() as server:
        road = make_road(policy_for(server))
        while ask(road).decision.verdict != "refuse":
            pass
        server.status = 500
        assert told(road) == 0
        tried = len(server.got)
        assert tried == 2
        server.status = 200
        road.stages.ledger.close_now()
        now = [NOON + 20_000_000]
        with closing(_Reopened(tmp_path / "ledger.db", now)) as again:
            road.stages.ledger = again.ledger
            assert told(road) == 2
            now[0] += 3_600_000_000
            assert told(road) == 0
        assert len(server.got) == tried + 2
    assert len({json.loads(body)["id"] for _, body in server.got}) == 2


class _Reopened:
    """The same ledger, opened by another process at a later time."""

    def __init__(self, path: Path, now: list[int]) -> None:
        self.ledger = Ledger.open(path, lambda: now[0])

    def close(self) -> None:
        self.ledger.close_now()


def test_two_processes_never_claim_the_same_alert(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    alert = Alert(bucket="day", window_at=1, kind=THRESHOLD, percent=80, at=NOON, facts={"budget": "day"})
    with closing(_Reopened(path, [NOON])) as one, closing(_Reopened(path, [NOON])) as two:
        for ledger in (one.ledger, two.ledger):
            ledger.do(lambda journal: put(journal.connection, alert))
        assert [found.id for found in one.ledger.do(claim)] == [alert.id]
        assert two.ledger.do(claim) == []
        one.ledger.do(lambda journal: finish(alert, ("team",), ("team",), journal))
        assert one.ledger.do(claim) == []


def test_a_slow_sender_of_many_alerts_leaves_the_others_to_whoever_is_free(
    make_road: MakeRoad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel may take ten seconds for each: nobody may hold a claim on what it has not begun to send."""
    channels = "".join(f'[alert.c{number}]\nto = "webhook"\nurl = "https://example.com/{number}"\n' for number in range(8))
    road, other = make_road(DAY + channels), make_road(DAY + channels)
    now = [NOON]
    waiting = [Alert(bucket=f"b{n}", window_at=1, kind=ANOMALY, percent=0, at=NOON, facts=SESSION) for n in range(9)]
    with closing(_Reopened(tmp_path / "ledger.db", now)) as one, closing(_Reopened(tmp_path / "ledger.db", now)) as two:
        road.stages.ledger, other.stages.ledger = one.ledger, two.ledger
        one.ledger.do(lambda journal: [put(journal.connection, alert) for alert in waiting])
        sent: list[tuple[str, str]] = []
        nested = [False]

        def slowly(rule: AlertRule, payload: dict[str, Any]) -> None:
            sent.append((rule.name, payload["id"]))
            if nested[0]:
                return
            now[0] += 9_000_000
            nested[0] = True
            told(other)
            nested[0] = False

        monkeypatch.setattr("tollkeeper.proxy.alerts.send", slowly)
        told(road)
    assert len(sent) == len(set(sent)) == len(waiting) * 8


def test_a_budget_that_heads_over_its_amount_is_told_with_the_day_it_crosses(make_road: MakeRoad) -> None:
    with receiver() as server:
        road = make_road(policy_for(server).replace("0.002 USD", "0.0025 USD").replace("[60]", "[99]"))
        road.stages.clock = lambda: NOON
        spend(road, 300)
        assert look_ahead(road.stages) == 1
        assert look_ahead(road.stages) == 1
        assert told(road) == 1
    (body,) = [json.loads(body) for _, body in server.got]
    assert body["kind"] == "projection"
    assert "it crosses on Sun 22 Nov" in body["text"]


def test_a_session_is_unusual_at_more_than_twice_what_its_owners_others_cost(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()
    for number in range(22):
        spend(road, 500_000 if number == 21 else 200_000 + number, f"s{number}")
    (found,) = anomalies(tmp_path / "ledger.db", NOON, 3_600_000_000)
    assert (found.kind, found.facts["session"], found.facts["principal"]) == (ANOMALY, "s21", "ada")
    words = alert_in_words(ANOMALY, 0, found.facts, NOON)
    assert words.startswith("Session s21 of ada has cost $2.50; 95% of their others stay below $1.00")
    assert anomalies(tmp_path / "ledger.db", NOON + 7_200_000_000, 3_600_000_000) == [], "it is over"


def spend(road: Road, output_tokens: int, session: str = "s1") -> None:
    """One call that costs 5,000 nano-dollars a token."""
    passage = run(road.admit(MESSAGES, "/v1/messages", BODY, ADA, replace(PROJECT, session=session)))
    road.listen(passage, 200, {"content-type": "application/json"})
    usage = {"input_tokens": 0, "output_tokens": output_tokens}
    answer = {"type": "message", "id": f"m-{passage.call.id}", "model": "claude-haiku-4-5", "usage": usage}
    assert passage.meter is not None
    passage.meter.feed(json.dumps(answer).encode())
    run(road.settle(passage, Outcome.OK, cut=False))


def test_a_channel_is_told_only_what_it_asks_for() -> None:
    text = DAY + '[alert.a]\nto = "desktop"\non = "used-up"\nbudget = ["day", "month*"]\n'
    (rule,) = parse_policy(text, "policy.toml").alerts
    assert rule.wants("used-up", "day")
    assert rule.wants("used-up", "month-2")
    assert not rule.wants("threshold", "day")
    assert not rule.wants("used-up", "week")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('to = "pager"', "webhook"),
        ('to = "webhook"', "no address"),
        ('to = "webhook"\nurl = "http://example.com/x"', "https://host/path"),
        ('to = "webhook"\nurl = "https://example.com"\nsecret = "hunter2"', "where the secret is kept"),
        ('to = "command"', "list of a program"),
        ('to = "command"\ncommand = "rm -rf /"', "list of a program"),
        ('to = "desktop"\non = "everything"', "known: anomaly"),
        ('to = "desktop"\nurll = "x"', 'did you mean "url"'),
    ],
)
def test_a_channel_that_cannot_work_is_refused_with_its_line(table: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.toml:\d+") as raised:
        parse_policy(f"[alert.a]\n{table}\n", "policy.toml")
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_command_gets_the_json_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "told"
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    rule = AlertRule(name="c", way=Way.COMMAND, command=(sys.executable, "-c", program, str(out), "; rm -rf $HOME"))
    alert_send.send(rule, {"text": "hello"})
    assert json.loads(out.read_text()) == {"text": "hello"}
    failing = AlertRule(name="c", way=Way.COMMAND, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(OSError, match="exit code 3"):
        alert_send.send(failing, {"text": "x"})


def test_slack_is_told_in_its_own_shape_and_an_address_is_never_repeated_in_an_error() -> None:
    with receiver() as server:
        rule = AlertRule(name="s", way=Way.SLACK, url=f"http://127.0.0.1:{server.server_port}/services/T0/SECRET")
        alert_send.send(rule, {"text": "hello", "kind": "threshold"})
        assert json.loads(server.got[0][1]) == {"text": "hello"}
        server.status = 404
        with pytest.raises(OSError, match="it answered 404") as raised:
            alert_send.send(rule, {"text": "hello"})
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 " + b"x" * 70_000])
def test_an_answer_that_is_no_http_is_a_try_that_failed(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while b"}" not in connection.recv(65536):
                    pass
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        rule = AlertRule(name="w", way=Way.WEBHOOK, url=f"http://127.0.0.1:{server.getsockname()[1]}/hook/SECRET")
        with pytest.raises(OSError, match="it could not be reached") as raised:
            alert_send.send(rule, {"text": "hello"})
        thread.join()
    assert "SECRET" not in str(raised.value)


def test_a_fault_at_one_look_does_not_end_the_looking(make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch) -> None:
    road, looked = make_road(DAY + '[alert.me]\nto = "desktop"\n'), threading.Semaphore(0)

    def broken(*_arguments: Any) -> int:
        looked.release()
        raise ZeroDivisionError("of a channel")

    monkeypatch.setattr("tollkeeper.proxy.alerts.tell", broken)

    async def looks() -> None:
        alerts = Alerts(road.stages, look_seconds=0)
        alerts.running()
        for _ in range(3):
            assert await asyncio.to_thread(looked.acquire, timeout=60)
        await alerts.done()

    run(looks())
    assert road.stages.counters.faults >= 2


def test_the_notification_of_a_system_is_an_argument_list() -> None:
    assert alert_send.desktop_command("a; b", "darwin")[-1] == "a; b"


def test_every_kind_has_its_words() -> None:
    budget = {"budget": "day", "unit": "usd", "amount": 50 * 10**9, "spent": 46 * 10**9, "held": 10**8, "window": "day"}
    facts = budget | {"resets_at": NOON + 3_600_000_000, "zone": "UTC", "crosses_at": NOON + 60_000_000}
    said = {kind: alert_in_words(kind, 80, facts, NOON) for kind in Reason if kind is not Reason.ANOMALY}
    assert said[Reason.THRESHOLD] == (
        "Budget day is at 92% of $50.00 ($46.00 spent, $0.1000 held); it resets on Sun 22 Nov 13:00 UTC (in 1 h)."
    )
    assert "calls are refused" in said[Reason.USED_UP]
    assert "crosses on Sun 22 Nov 12:01 UTC" in said[Reason.PROJECTION]
    shown = alert_as_json("x", "threshold", 80, NOON, facts, NOON)
    assert (shown["resets_at"], shown["spent"]) == ("2026-11-22T13:00:00Z", 46 * 10**9)
