"""The three proxies that are compared, each a process of its own behind the same fake provider."""

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from .processes import DRIVER_CORE, PROXY_CORE, Child, spawn, wait_until

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")

POLICY = """\
schema = 1
mode = "enforce"

[budget.roomy]
amount = "1000000 USD"
window = "day"
"""
"""Every call is held, counted and settled; the amount is never reached."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The running fake provider."""

    child: Child
    port: int
    ca: Path


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running competitor: clients connect to ``port`` and trust ``ca``."""

    name: str
    child: Child
    port: int
    ca: Path


def start_provider(folder: Path) -> Provider:
    """The fake provider on the driver's core."""
    ca = folder / "provider-ca.pem"
    command = [sys.executable, "-m", "tollkeeper.cli.demo_provider", "--ca-out", str(ca), "--no-record"]
    child = spawn(command, log=folder / "provider.log", core=DRIVER_CORE, pipe=True, environment=_python_path())
    assert child.process.stdout is not None
    line = child.process.stdout.readline()
    if not line.strip().isdigit():
        raise RuntimeError(f"the fake provider did not start:\n{child.log.read_text()[-3000:]}")
    return Provider(child, int(line), ca)


def start_stock(folder: Path, provider: Provider) -> Proxy:
    """``mitmdump -q`` as it comes, with the three-line addon."""
    port, confdir = _free_port(), _folder(folder, "stock")
    mitmdump = Path(sys.executable).with_name("mitmdump")
    command = [str(mitmdump), "-q", "-s", str(HERE / "plain_addon.py"), "--listen-host", "127.0.0.1", "-p", str(port)]
    command += ["--set", f"confdir={confdir}", "--set", f"ssl_verify_upstream_trusted_ca={provider.ca}"]
    return _plain("stock", command, port, confdir, provider)


def start_bare(folder: Path, provider: Provider) -> Proxy:
    """An embedded master with four core addons and the three-line addon."""
    port, confdir = _free_port(), _folder(folder, "bare")
    command = [sys.executable, str(HERE / "bare_master.py"), str(port), str(confdir), str(provider.ca)]
    return _plain("bare", command, port, confdir, provider)


def start_ours(folder: Path, provider: Provider) -> Proxy:
    """Tollkeeper enforcing a roomy budget: holds, metering, pricing and ledger are all on."""
    home = _folder(folder, "ours")
    home.chmod(0o700)
    (home / "policy.toml").write_text(POLICY)
    environment = {
        **_python_path(),
        "TOLLKEEPER_HOME": str(home),
        "TOLLKEEPER_RESOLVE": ",".join(f"{host}:443=127.0.0.1:{provider.port}" for host in HOSTS),
        "SSL_CERT_FILE": str(provider.ca),
    }
    command = [sys.executable, "-c", "from tollkeeper.cli.main import main; main()", "start", "--foreground", "--port", "0"]
    child = spawn(command, log=folder / "ours.log", core=PROXY_CORE, environment=environment)
    state = home / "proxy.json"

    def listening():
        try:
            return json.loads(state.read_text())["port"]
        except (OSError, ValueError, KeyError):
            return None

    port = wait_until(listening, child=child, seconds=20)
    return Proxy("ours", child, port, home / "ca" / "bundle.pem")


STARTERS = {"ours": start_ours, "stock": start_stock, "bare": start_bare}


def _plain(name: str, command: list[str], port: int, confdir: Path, provider: Provider) -> Proxy:
    environment = {"BENCH_PROVIDER_PORT": str(provider.port), "PYTHONPATH": str(HERE)}
    child = spawn(command, log=confdir / "log", core=PROXY_CORE, environment=environment)
    ca = confdir / "mitmproxy-ca-cert.pem"
    wait_until(lambda: _listening(port) and ca.exists(), child=child, seconds=20)
    return Proxy(name, child, port, ca)


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT / "addon"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def _folder(parent: Path, name: str) -> Path:
    folder = parent / f"{name}-{len(list(parent.glob(name + '-*')))}"
    folder.mkdir()
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
