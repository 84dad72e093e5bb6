"""Starting and finding proxy processes, for ``run``, ``start``, ``stop`` and ``status``."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tollkeeper.core.errors import GateError, SetupError
from tollkeeper.core.paths import Home, home
from tollkeeper.gate.environment import ACTIVE, PROXIES, environment_before
from tollkeeper.ledger.process import is_dead
from tollkeeper.proxy.settings import Settings

PROXY_COMMAND = [sys.executable, "-O", "-m", "tollkeeper.proxy"]
"""mitmproxy checks every field of every message and the type of every event unless Python is told to optimise: 20 % of its CPU."""
START_SECONDS = 30.0
POLL_SECONDS = 0.02
MAX_ERROR_BYTES = 4_096


def made_home() -> Home:
    """The state folder, made when it is not there. Raises ``SetupError`` when it cannot be made or written."""
    own = home()
    try:
        own.make()
        if not os.access(own.root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")
    except OSError as error:
        raise SetupError(
            f"the state folder {own.root} cannot be used ({error.strerror}): make it a folder that you may write, "
            "or choose another with TOLLKEEPER_HOME"
        ) from error
    return own


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback to listen on."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def chained(chosen: str | None) -> tuple[str, str]:
    """(URL, NO_PROXY) of the proxy to go through: as chosen, else what this shell used before us. Raises ``ConfigError``."""
    from tollkeeper.proxy.chain import parse_upstream, upstream_of

    url, no_proxy = upstream_of(environment_before(os.environ), chosen)
    if url:
        parse_upstream(url, no_proxy)
    return url, no_proxy


def read_state(path: Path | None = None) -> dict[str, Any] | None:
    """What a running proxy wrote of itself, None when there is none or its process is gone."""
    path = path or home().state
    try:
        state = json.loads(path.read_text())
        pid, _, _ = int(state["pid"]), str(state["host"]), int(state["port"])
        if pid <= 0:  # kill(2): a whole group
            return None
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # After a crash or a reboot the pid may be somebody else's by now: `stop` must not end that.
    return None if is_dead(str(state.get("process", ""))) else dict(state)


def state_in(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Where this environment's own proxy listens and the password it is given, as in its state; None when the proxy is not ours.

    ``tollkeeper run`` gives each command a password of its own, and without a standing proxy a proxy of its own.
    """
    if not environ.get(ACTIVE):
        return None
    found = next((environ[name] for name in PROXIES if environ.get(name)), "")
    try:
        parts = urllib.parse.urlsplit(found)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or not host or not port:
        return None
    user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    return {"host": host, "port": port, "proxy_user": user, "proxy_password": password}


def ask_status(state: dict[str, Any]) -> dict[str, Any] | None:
    """The counters of a running proxy, from its own port; None when it does not answer within 2 s."""
    try:
        return dict(json.loads(ask_page(state, "/status") or ""))
    except ValueError:
        return None


def ask_page(state: dict[str, Any], path: str) -> str | None:
    """A page of a running proxy, from its own port; None when it does not answer within 2 s, or not with 200."""
    found = ask_answer(state, path)
    return found[1] if found is not None and found[0] == 200 else None


def ask_answer(state: dict[str, Any], path: str) -> tuple[int, str] | None:
    """Status and text of a page of a running proxy; None when it does not answer within 2 s."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        url = f"http://{_bracketed(state['host'])}:{state['port']}{path}"
        request = urllib.request.Request(url, headers=_credential_header(state))
        with opener.open(request, timeout=2) as answer:
            return int(answer.status), str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code), error.read(MAX_ERROR_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return None


def _credential_header(state: dict[str, Any]) -> dict[str, str]:
    if not state.get("proxy_user"):
        return {}
    import base64

    pair = f"{state['proxy_user']}:{state['proxy_password']}".encode()
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair).decode()}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def proxy_url(state: dict[str, Any]) -> str:
    """What goes into HTTPS_PROXY, with the password where one is asked for."""
    password = f"{state['proxy_user']}:{state['proxy_password']}@" if state.get("proxy_user") else ""
    return f"http://{password}{_bracketed(state['host'])}:{state['port']}"


def spawn(settings: Settings, *, log: Path | None, user: int | None = None) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a proxy process and wait until it serves. ``log``: where its narration goes, None for our own stderr.

    ``user``: whom it runs as, for root only; its groups are left behind too.

    Raises ``GateError`` when it ends or does not serve within 30 s, with what it said last.
    """
    error_output: Any = None
    if log is not None:
        try:
            error_output = os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        except OSError as error:
            raise SetupError(f"the log {log} cannot be written ({error.strerror}): move it away, or make it writable") from error
    process = subprocess.Popen(
        PROXY_COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=error_output,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if log is not None:
        error_output.close()
    assert process.stdin is not None  # noqa: S101 — asked for above
    process.stdin.write(settings.to_json().encode())
    process.stdin.close()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GateError(f"the proxy ended while starting (exit code {process.returncode}){_last_words(log)}")
        state = read_state(settings.state_path)
        if state is not None and state["pid"] == process.pid:
            return process, state
        time.sleep(POLL_SECONDS)
    process.kill()
    raise GateError(f"the proxy did not serve within {START_SECONDS:.0f} s{_last_words(log)}")


def become(settings: Settings) -> None:
    """Turn this process into the proxy, its settings waiting on standard input. Does not return."""
    reader, writer = os.pipe()
    os.write(writer, settings.to_json().encode())
    os.close(writer)
    os.dup2(reader, 0)
    os.execv(PROXY_COMMAND[0], PROXY_COMMAND)  # noqa: S606 — our own interpreter


def _last_words(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].removeprefix('tollkeeper: ')}" if lines else ""
