"""A real proxy in front of the bundled fake provider, with a home of its own: for the demo, and for the doctor's proof of a block."""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollkeeper.proxy.settings import Settings

from .process import spawn

if TYPE_CHECKING:
    from .demo_provider import FakeProvider

OPENAI, ANTHROPIC, GEMINI = "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"
HOSTS = (OPENAI, ANTHROPIC, GEMINI)
ANSWER_SECONDS = 10.0

BLOCK_ALL = 'schema = 1\nmode = "enforce"\n\n[budget.trial]\namount = "0 USD"\nwindow = "day"\n'


@contextlib.contextmanager
def trial_proxy(home: Path, provider: "FakeProvider") -> Iterator[int]:
    """A proxy with the state folder ``home`` whose calls go to ``provider``; gives its port, and ends it."""
    trusted = home.parent / "provider-ca.pem"
    trusted.write_bytes(provider.authority.root_pem)
    settings = Settings(port=0, drain_seconds=2.0, parent=os.getpid())
    chosen = {
        "TOLLKEEPER_HOME": str(home),
        "TOLLKEEPER_RESOLVE": ",".join(f"{host}:443=127.0.0.1:{provider.port}" for host in HOSTS),
        "SSL_CERT_FILE": str(trusted),
    }
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        process, state = spawn(settings, log=home / "proxy.log")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    try:
        yield int(state["port"])
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def call_through(
    port: int, bundle: Path, host: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[int, bytes]:
    """One HTTPS call through the proxy on ``port``, as any client makes it: status and answer."""
    context = ssl.create_default_context(cafile=str(bundle))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=ANSWER_SECONDS)
    connection.set_tunnel(host, 443)
    common = {"content-type": "application/json", "authorization": "Bearer trial", "x-api-key": "trial"}
    try:
        connection.request("POST", path, json.dumps(body), {**common, **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def prove_block() -> tuple[bool, str]:
    """Whether a call over a budget is stopped before it leaves, and in words what happened: a real proxy, a real call, no provider."""
    from .demo_provider import background_provider

    with tempfile.TemporaryDirectory(prefix="tollkeeper-doctor-") as folder, background_provider() as provider:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "policy.toml").write_text(BLOCK_ALL)
        with trial_proxy(home, provider) as port:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 16}
            status, answer = call_through(port, home / "ca" / "bundle.pem", OPENAI, "/v1/chat/completions", body, {})
        reached = len(provider.bills.seen())
    blocked = 400 <= status < 500 and b"Blocked by tollkeeper" in answer and reached == 0
    went = "nothing reached the provider" if reached == 0 else f"{reached} call(s) reached the provider"
    return blocked, f"a call over a budget of $0 was answered with HTTP {status}; {went}"
