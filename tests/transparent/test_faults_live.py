"""Faults around a proxy that goes on: provider down, issuer's keys out of reach, a clock that jumps, a policy that changes."""

import contextlib
import http.client
import json
import socket
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.harness import ADDON, RunningProxy, dead_port, running_proxy, wait_for
from e2e.identities import ISSUER, KeyServer, running_keys, token
from e2e.raw import SHAPES, Caller, Shape
from tollkeeper.cli.demo_provider import HOSTS, FakeProvider
from tollkeeper.ledger.verify import verify

DAY_SECONDS = 86_400
POLICY = """schema = 1
mode = "enforce"
on_fault = "closed"
[budget.few]
amount = "2 requests"
window = "day"
model = ["gpt-5-mini"]
"""
DOWN = Shape(name="down", host="api.x.ai", path="/v1/chat/completions", body=SHAPES["chat"].body)
SHIFTED_CLOCK = textwrap.dedent("""
    import os, time
    real_ns, path = time.time_ns, os.environ["SHIFTED_CLOCK"]
    def time_ns():
        with open(path) as file:
            return real_ns() + int(file.read() or 0) * 1_000_000_000
    time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9
""")
"""A clock that a test moves while the process runs."""


@dataclass
class Faulty:
    """A proxy among faults."""

    proxy: RunningProxy
    caller: Caller
    keys: KeyServer
    clock: Path

    def set_clock(self, seconds: float) -> None:
        """Move the proxy's clock that far from the true one, at once."""
        other = self.clock.with_suffix(".new")
        other.write_text(str(int(seconds)))
        other.replace(self.clock)

    def status(self) -> dict[str, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/status")
            return dict(json.loads(connection.getresponse().read()))

    def write_policy(self, text: str) -> None:
        """Write the document, and wait until it is in force or told to be wrong."""
        before = self.status()
        (self.proxy.home / "policy.toml").write_text(text)
        told = ("policy_digest", "policy_error")
        wait_for(lambda: any(self.status()[name] != before[name] for name in told), "the document was read")

    def tunnel(self, host: str, port: int) -> bytes:
        """The first line of the answer to a CONNECT."""
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=60) as connection:
            connection.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            return connection.recv(4096).split(b"\r\n")[0]


@pytest.fixture(scope="module")
def faulty(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("faulty")
    clock, home = folder / "clock", folder / "home"
    clock.write_text("0")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    home.mkdir(mode=0o700)
    pins = [f"{host}:443=127.0.0.1:{shared_provider.port}" for host in HOSTS]
    with running_keys() as keys, dead_port() as down:
        extra = {
            "SHIFTED_CLOCK": str(clock),
            "PYTHONPATH": f"{folder / 'site'}:{ADDON}",
            "TOLLKEEPER_RESOLVE": ",".join([*pins, f"{DOWN.host}:443=127.0.0.1:{down}"]),
        }
        keys.down = True
        (home / "identity.toml").write_text(keys.document())
        with running_proxy(home, shared_provider, policy=POLICY, extra=extra) as proxy:
            yield Faulty(proxy, Caller(shared_provider, proxy.bundle, proxy.port), keys, clock)
        assert verify(home / "ledger.db").problem == ""


def test_a_provider_that_is_down_is_an_error_that_costs_nothing(faulty: Faulty) -> None:
    answer = faulty.caller.call(DOWN)
    assert answer.status == 502
    assert "could not reach the provider" in answer.json()["error"]["message"]
    (entry,) = faulty.proxy.ledger.wait(lambda view: view.entries("void"), "the call is closed")
    assert (entry["host"], entry["cost_nanousd"]) == (DOWN.host, 0)
    assert faulty.caller.call(SHAPES["chat"]).status == 200


def test_keys_out_of_reach_refuse_who_cannot_be_proved_and_nobody_else(faulty: Faulty) -> None:
    answer = faulty.caller.call(SHAPES["chat"], {"x-tollkeeper-token": token("ada")})
    assert answer.status == 400
    assert "okta" in answer.body.decode()
    (entry,) = faulty.proxy.ledger.wait(lambda view: view.entries("refuse"), "the refusal is recorded")
    assert entry["rule"] == "identity"
    assert faulty.caller.call(SHAPES["chat"]).status == 200, "who shows nothing is who the policy says"
    faulty.keys.down = False
    answer = wait_for(
        lambda: (found := faulty.caller.call(SHAPES["chat"], {"x-tollkeeper-token": token("ada")})).status == 200 and found,
        "the keys are asked for again",
    )
    settled = faulty.proxy.ledger.of(answer.json()["id"])
    assert (settled["subject"], settled["issuer"]) == ("ada", ISSUER)


def test_a_clock_that_jumps_gives_a_new_day_its_room_and_an_old_one_none_again(faulty: Faulty) -> None:
    def ask() -> int:
        return faulty.caller.call(SHAPES["responses"]).status

    noon = 1.5 * DAY_SECONDS - time.time() % DAY_SECONDS
    faulty.set_clock(noon)
    assert [ask(), ask(), ask()] == [200, 200, 400]
    faulty.set_clock(noon + DAY_SECONDS)
    assert [ask(), ask(), ask()] == [200, 200, 400]
    faulty.set_clock(noon)
    assert ask() == 400, "set back by a day, the clock is not believed: that day was used up"
    faulty.set_clock(noon + 2 * DAY_SECONDS)
    assert ask() == 200
    faulty.set_clock(noon + 2 * DAY_SECONDS - 1800)
    assert faulty.caller.call(SHAPES["chat"]).status == 200, "half an hour back, every call is still recorded"
    faulty.proxy.ledger.wait(lambda view: not view.holds(), "every call is settled")


def test_what_else_may_leave_is_the_policys_to_say_also_while_the_proxy_runs(faulty: Faulty) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        port = listener.getsockname()[1]
        assert b" 200 " in faulty.tunnel("localhost", port)
        faulty.write_policy(POLICY + '[egress]\nothers = "refuse"\n')
        assert b" 403 " in faulty.tunnel("localhost", port)
        assert faulty.caller.call(SHAPES["chat"]).status == 200, "AI hosts are not others"
        faulty.write_policy(POLICY + '[egress]\nothers = "refused"\n')
        assert 'others = "refused" is not possible' in str(faulty.status()["policy_error"])
        assert b" 403 " in faulty.tunnel("localhost", port), "a wrong document changes nothing"
        faulty.write_policy(POLICY + f'[egress]\nothers = "refuse"\nallow = ["localhost:{port}"]\n')
        assert b" 200 " in faulty.tunnel("localhost", port)
        assert faulty.status()["others"] == "refuse"
    assert "egress.others: tunnel -> refuse" in faulty.proxy.said()
