"""Ends, good and bad: SIGTERM drains, SIGKILL loses nothing that was acknowledged; `run` and plain mitmdump work."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.harness import ADDON, TOLLKEEPER, LedgerView, RunningProxy, base_environment, proxy_environment, wait_for
from e2e.prices import assert_entry_equals_bill
from e2e.raw import SHAPES, Caller, read
from e2e.sdk import CLIENTS
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

ROUNDS = 3


def test_a_stop_lets_an_open_stream_end(start: Callable[..., RunningProxy], provider: FakeProvider) -> None:
    proxy = start()
    with Caller(provider, proxy.bundle, proxy.port).opened(SHAPES["messages-stream"], chunks=20, delay_ms=40) as response:
        first = response.read1(100)
        os.kill(proxy.process.pid, signal.SIGTERM)
        rest = read(response)
    assert rest.whole
    assert b"message_stop" in first + rest.body
    assert proxy.process.wait(60) == 0
    (billed,) = provider.bills.billed()
    assert_entry_equals_bill(proxy.ledger.of(billed.id), billed)
    assert not proxy.ledger.holds()
    assert not (proxy.home / "proxy.json").exists()


def test_a_stop_takes_no_new_connections_while_it_drains(start: Callable[..., RunningProxy], provider: FakeProvider) -> None:
    proxy = start()
    caller = Caller(provider, proxy.bundle, proxy.port)
    with caller.opened(SHAPES["messages-stream"], chunks=10, delay_ms=80) as response:
        response.read1(100)
        os.kill(proxy.process.pid, signal.SIGTERM)

        def is_closed() -> bool:
            try:
                caller.connect("api.openai.com").close()
            except OSError:
                return True
            return False

        wait_for(is_closed, "the listener is closed")
        assert read(response).whole


def test_a_stop_that_is_asked_for_again_goes_on_waiting_and_nothing_stays_held(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(arguments=["--drain-seconds", "300"])
    command = [*TOLLKEEPER, "stop", "--timeout-seconds", "1.5"]
    with Caller(provider, proxy.bundle, proxy.port).opened(SHAPES["messages-stream"], chunks=6_000, delay_ms=50) as response:
        response.read1(100)
        for _ in range(2):
            asked = subprocess.run(
                command, env=proxy_environment(proxy.home, provider), capture_output=True, text=True, timeout=120, check=False
            )
            assert "again goes on waiting" in asked.stderr, asked
        assert response.read1(100)
        assert proxy.process.poll() is None
    assert proxy.process.wait(120) == 0
    assert not proxy.ledger.holds()


def test_a_stream_that_outlasts_the_drain_is_settled_as_partial(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start(arguments=["--drain-seconds", "0.5"])
    caller = Caller(provider, proxy.bundle, proxy.port)
    with caller.opened(SHAPES["messages-stream"], chunks=400, delay_ms=50, input_tokens=900) as response:
        response.read1(100)
        os.kill(proxy.process.pid, signal.SIGTERM)
        read(response)
    assert proxy.process.wait(60) == 0
    (entry,) = proxy.ledger.ended()
    assert entry["usage_source"] in {"partial", "counted"}
    assert entry["exposure_nanousd"] > 900 * 1000
    assert not proxy.ledger.holds()


def test_nothing_acknowledged_is_lost_and_nothing_stays_held_after_a_kill(
    start: Callable[..., RunningProxy], provider: FakeProvider, tmp_path: Path
) -> None:
    home = tmp_path / "killed"
    chance = random.Random(7)
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        proxy = start(home=home)
        acknowledged |= _call_until_killed(proxy, provider, after_s=chance.uniform(0.1, 0.5))
    proxy = start(home=home)
    entries = proxy.ledger.entries()
    assert len(acknowledged) > 10 * ROUNDS / 2
    assert acknowledged <= {entry["response_id"] for entry in entries}
    assert not proxy.ledger.holds(), "the holds of dead processes are settled when the next one starts"
    held = {entry["call_id"]: entry for entry in entries if entry["kind"] == "hold"}
    closed = [entry for entry in entries if entry["kind"] in {"settle", "void", "expire"}]
    assert {entry["call_id"] for entry in closed} >= set(held)
    left_open = [entry for entry in closed if entry["outcome"] == "crashed"]
    assert left_open, "at least one call was under way when its proxy was killed"
    assert all(entry["exposure_nanousd"] == held[entry["call_id"]]["hold_nanousd"] for entry in left_open)
    verified = subprocess.run(
        [*TOLLKEEPER, "ledger", "verify"], env=proxy_environment(home, provider), capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr


def _call_until_killed(proxy: RunningProxy, provider: FakeProvider, *, after_s: float) -> set[str]:
    """Stream answers on a few connections until the proxy dies; the ids of those whose end was seen."""
    seen: set[str] = set()
    caller = Caller(provider, proxy.bundle, proxy.port)

    def work() -> None:
        while proxy.process.poll() is None:
            try:
                answer = caller.call(SHAPES["messages-stream"], chunks=5, delay_ms=4)
            except (OSError, ValueError):
                return
            if answer.whole and b"message_stop" in answer.body:
                seen.add(json.loads(answer.body.split(b"data: ", 1)[1].split(b"\n", 1)[0])["message"]["id"])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(seen) >= 6, "the first answers")
    with caller.opened(SHAPES["messages-stream"], chunks=2000, delay_ms=50) as response:  # one that is under way for certain
        response.read1(100)
        time.sleep(after_s)
        proxy.kill()
    for thread in threads:
        thread.join()
    return seen


def test_plain_mitmdump_meters_with_the_same_addon(provider: FakeProvider, tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "mitmdump.log"
    command = [str(Path(sys.executable).with_name("mitmdump")), "-s", str(ADDON / "tollkeeper_addon.py"), "-p", "0"]
    environment = proxy_environment(home, provider)
    environment.pop("PYTHONPATH")
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        bundle = home / "ca" / "bundle.pem"
        listening = re.compile(r"listening at 127\.0\.0\.1:(\d+)")  # the addon moves it there
        port = wait_for(lambda: bundle.exists() and listening.search(log.read_text()), "mitmdump says where it serves")[1]
        caller = Caller(provider, bundle, int(port))
        for name in ("chat", "chat-stream", "messages-stream"):
            assert caller.call(SHAPES[name], input_tokens=41).whole
        ledger = LedgerView(home / "ledger.db")
        for billed in provider.bills.billed():
            assert_entry_equals_bill(ledger.of(billed.id), billed)
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert not ledger.holds()


def test_run_meters_one_command_and_gives_back_its_exit_code(provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = f"import runpy, sys; sys.path.insert(0, {str(CLIENTS)!r}); sys.argv[1:] = ['sync']\n"
    script += f"runpy.run_path({str(CLIENTS / 'anthropic_calls.py')!r}); sys.exit(7)"
    command = [*TOLLKEEPER, "run", "--project", "e2e", "--", sys.executable, "-c", script]
    environment = proxy_environment(home, provider)
    # The child must trust what `run` gives it, so the provider's CA reaches the proxy alone through its own variable.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["error"] for result in results] == [None, None, None]
    summary = [line for line in done.stderr.splitlines() if line.startswith("tollkeeper: ")]
    assert len(summary) == 4, "one line before, three after"
    ledger = LedgerView(home / "ledger.db")
    billed = provider.bills.billed()
    assert len(billed) == 3
    for call in billed:
        entry = ledger.of(call.id)
        assert_entry_equals_bill(entry, call)
        assert entry["project"] == "e2e"
    assert not ledger.holds()
    assert not list(home.glob("run-*")), "the run's own folder is gone"


def test_a_second_start_in_the_same_home_is_refused_with_the_address(
    start: Callable[..., RunningProxy], provider: FakeProvider
) -> None:
    proxy = start()
    command = [*TOLLKEEPER, "start", "--foreground", "--port", "0"]
    again = subprocess.run(
        command, env=proxy_environment(proxy.home, provider), capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode != 0
    assert str(proxy.port) in again.stderr


@pytest.mark.parametrize(("verb", "code"), [(("run", "--", "true"), 125), (("start", "--port", "0"), 3)])
def test_a_state_folder_that_cannot_be_used_is_said_in_one_line(verb: tuple[str, ...], code: int, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    environment = {**base_environment(), "TOLLKEEPER_HOME": str(tmp_path / "home")}
    done = subprocess.run([*TOLLKEEPER, *verb], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code
    assert "choose another with TOLLKEEPER_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_whose_path_holds_raw_bytes_is_recorded_like_any_other(proxied: Caller, observing: RunningProxy) -> None:
    before = len(observing.ledger.ended())
    connection = proxied.connect("api.openai.com")
    connection.sock.sendall(b"GET /v1/odd/\xff HTTP/1.1\r\nhost: api.openai.com\r\nconnection: close\r\n\r\n")
    connection.sock.recv(4096)
    connection.close()
    assert observing.ledger.since(before)["usage_source"] == "unmetered"


def test_run_says_when_its_proxy_is_gone_and_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    home = tmp_path / "home"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = home / f"run-{dead.pid}-x"
    left.mkdir(parents=True)
    script = (
        "import json, os, pathlib, signal, sys\n"
        "(state,) = pathlib.Path(os.environ['TOLLKEEPER_HOME']).glob('run-*/proxy.json')\n"
        "os.kill(json.loads(state.read_text())['pid'], signal.SIGKILL)\n"
        "sys.exit(4)"
    )
    environment = {**base_environment(), "TOLLKEEPER_HOME": str(home)}
    command = [*TOLLKEEPER, "run", "--", sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stderr
    assert not left.exists()
    assert "the proxy broke down (exit code -9)" in done.stderr
