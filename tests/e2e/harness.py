"""The real proxy process, as people start it, and a view of its ledger."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollkeeper.cli.demo_provider import HOSTS, FakeProvider
from tollkeeper.cli.process import ask_status, read_state
from tollkeeper.gate.ca import ROOT_CERTIFICATE
from tollkeeper.gate.environment import client_variables

ROOT = Path(__file__).resolve().parent.parent.parent
ADDON = ROOT / "addon"
START_SECONDS = 120.0
TOLLKEEPER = (sys.executable, "-c", "from tollkeeper.cli.main import main; main()")


def base_environment() -> dict[str, str]:
    """This process's environment without proxies, trust settings or a home; the checkout is on the path."""
    dropped = ("proxy", "cert", "ca_bundle", "tollkeeper", "xdg_data_home", "api_key", "base_url")
    kept = {name: value for name, value in os.environ.items() if not any(word in name.lower() for word in dropped)}
    return {**kept, "PYTHONPATH": str(ADDON)}


@dataclass(slots=True)
class RunningProxy:
    """A proxy process and its home."""

    process: subprocess.Popen[bytes]
    home: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bundle(self) -> Path:
        return self.home / "ca" / "bundle.pem"

    @property
    def ledger(self) -> "LedgerView":
        return LedgerView(self.home / "ledger.db")

    def client_environment(self) -> dict[str, str]:
        """What a client is given: exactly what `tollkeeper run` and `tollkeeper env` give it."""
        base = base_environment()
        return {**base, **client_variables(self.url, self.bundle, self.home / "ca" / ROOT_CERTIFICATE, base)}

    def stop(self, seconds: float = 120.0) -> int:
        """SIGTERM and the exit code; SIGKILL when the time is up."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the proxy did not end within {seconds} s:\n{self.said()[-3000:]}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def status(self) -> dict[str, Any]:
        """What the process says of itself: asked until it answers, since `tollkeeper status` gives up after 2 s."""
        state = read_state(self.home / "proxy.json")
        assert state is not None
        return dict(wait_for(lambda: ask_status(state), "the proxy tells its status", START_SECONDS))

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class LedgerView:
    """Reads the ledger file while the proxy writes it."""

    path: Path

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, parameters)]

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Entries in order, each with its priced ``lines``; of some kinds only, when named."""
        found = self.query("SELECT * FROM entry ORDER BY seq")
        lines = self.query("SELECT * FROM line ORDER BY entry_seq, position")
        by_entry: dict[int, list[dict[str, Any]]] = {}
        for line in lines:
            by_entry.setdefault(line["entry_seq"], []).append(line)
        return [entry | {"lines": by_entry.get(entry["seq"], [])} for entry in found if not kinds or entry["kind"] in kinds]

    def ended(self) -> list[dict[str, Any]]:
        """One entry for every call that is over."""
        return self.entries("settle", "void", "expire", "refuse")

    def of(self, response_id: str) -> dict[str, Any]:
        """The entry of one answer, once it is settled.

        A body with a content-length ends for its client with its last byte, a moment before the row is on disk; a chunked one ends after.
        """
        return dict(self.wait(lambda view: view.by_response().get(response_id), f"the answer {response_id} is settled"))

    def since(self, count: int) -> dict[str, Any]:
        """The one entry that ended after the first ``count``, once it is there."""
        self.wait(lambda view: len(view.ended()) > count, "the call is settled")
        (entry,) = self.ended()[count:]
        return entry

    def by_response(self) -> dict[str, dict[str, Any]]:
        """Settled entries by the provider's own id of the answer."""
        return {entry["response_id"]: entry for entry in self.ended() if entry["response_id"]}

    def holds(self) -> list[dict[str, Any]]:
        """Money still held."""
        return self.query("SELECT * FROM hold")

    def wait(self, condition: Callable[["LedgerView"], Any], what: str, seconds: float = 60.0) -> Any:
        """Poll until ``condition`` gives something true."""
        return wait_for(lambda: self.path.exists() and condition(self), what, seconds)


def wait_for(ready: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll until ``ready`` gives something true; fails naming ``what``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def proxy_environment(home: Path, provider: FakeProvider, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a proxy process whose upstreams are the fake provider."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    trusted = home.parent / f"{home.name}-provider-ca.pem"
    trusted.write_bytes(provider.authority.root_pem)
    return {
        **base_environment(),
        "TOLLKEEPER_HOME": str(home),
        "TOLLKEEPER_RESOLVE": ",".join(f"{host}:443=127.0.0.1:{provider.port}" for host in HOSTS),
        "SSL_CERT_FILE": str(trusted),
        **(extra or {}),
    }


def start_proxy(
    home: Path, provider: FakeProvider, *, policy: str = "", arguments: Sequence[str] = (), extra: Mapping[str, str] | None = None
) -> RunningProxy:
    """`tollkeeper start --foreground --port 0` in ``home``, once it serves."""
    environment = proxy_environment(home, provider, extra)
    if policy:
        (home / "policy.toml").write_text(policy)
    log = home.parent / f"{home.name}.log"
    with log.open("ab") as file:
        command = [*TOLLKEEPER, "start", "--foreground", "--port", "0", *arguments]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    state = home / "proxy.json"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = json.loads(state.read_text())
            if found["pid"] == process.pid:
                return RunningProxy(process, home, found["port"], log)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"the proxy did not start (exit code {process.returncode}):\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def running_proxy(home: Path, provider: FakeProvider, **options: Any) -> Iterator[RunningProxy]:
    """A started proxy that is stopped at the end, and must not have met a fault of its own."""
    proxy = start_proxy(home, provider, **options)
    try:
        yield proxy
    finally:
        if proxy.process.poll() is None:
            proxy.stop()
    faults = [line for line in proxy.said().splitlines() if "fault:" in line or "Traceback" in line]
    assert not faults, proxy.said()[-3000:]


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses connections: taken for the length of the block, so that nobody else can serve there."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def free_port() -> int:
    """A port nobody has now, for what cannot be told to choose; a moment later somebody may."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
