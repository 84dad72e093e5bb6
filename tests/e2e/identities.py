"""An issuer on loopback, tokens of it, and ways to be somebody at a proxy by environment variables alone."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.harness import RunningProxy, base_environment
from identity.issuers import SigningKey, jwks, key
from tollkeeper.core.clock import system_clock
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.gate.ca import ROOT_CERTIFICATE
from tollkeeper.gate.environment import client_variables
from tollkeeper.identity.handles import HandleBook, Login, mint
from tollkeeper.identity.services import secret_digest

ISSUER, GITHUB = "https://login.example.com", "https://token.actions.githubusercontent.com"
SERVICE_ID, SERVICE_SECRET = f"{'0f' * 16}.access", "hush" * 16
ONE = key("one")
LIFE_S = 600


class KeyServer:
    """Serves the issuer's keys, unless it is told to be ``down``, or ``slow`` for so many seconds."""

    def __init__(self) -> None:
        self.keys: tuple[SigningKey, ...] = (ONE,)
        self.down, self.slow_s, self.asked, self.port = False, 0.0, 0, 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    def document(self, extra: str = "") -> str:
        """An identity.toml that believes this issuer, and GitHub's with the same keys."""
        return f"""{extra}
[issuer.okta]
kind = "oidc"
issuer = "{ISSUER}"
audience = "tollkeeper"
jwks_url = "{self.url}"
groups = "groups"

[issuer.github]
kind = "github-actions"
owner_id = "9919"
audience = "tollkeeper"
jwks_url = "{self.url}"

[service.nightly]
client_id = "{SERVICE_ID}"
secret_sha256 = "{secret_digest(SERVICE_SECRET)}"
"""


@contextlib.contextmanager
def running_keys() -> Iterator[KeyServer]:
    served = KeyServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked += 1
            if served.slow_s:
                served.closing.wait(served.slow_s)
            if served.down:
                self.connection.close()
                return
            body = jwks(*served.keys)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def token(subject: str = "ada", signed_by: SigningKey = ONE, **changed: Any) -> str:
    """A token of the issuer for a person."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "tollkeeper", "sub": subject, "iat": now - 5, "exp": now + LIFE_S, **changed}
    return signed_by.sign(claims)


def job_token(run_id: str = "77") -> str:
    """A token as GitHub gives it to a job."""
    job = {"repository": "acme/app", "repository_owner_id": "9919", "run_id": run_id, "ref": "refs/heads/release", "actor": "eve"}
    return token("repo:acme/app:ref:refs/heads/release", iss=GITHUB, **job)


def person(subject: str) -> Principal:
    return Principal(subject=subject, issuer=ISSUER, assurance=Assurance.VERIFIED, groups=frozenset({"research"}))


def handle_for(home: Path, subject: str, *, uid: int, life_s: int = LIFE_S) -> Login:
    """A proxy password that stands for a person, as the running proxy of ``home`` will know it."""
    login, handle = mint(person(subject), uid=uid, expires_at=int(time.time()) + life_s)
    HandleBook(home / "identity" / "handles.json", system_clock).add(handle)
    return login


@dataclass(frozen=True, slots=True)
class Through:
    """A proxy as one caller sees it: with a proxy password, or more variables."""

    proxy: RunningProxy
    login: Login | None = None
    extra: Mapping[str, str] | None = None

    @property
    def url(self) -> str:
        password = f"{self.login.user}:{self.login.password}@" if self.login is not None else ""
        return f"http://{password}127.0.0.1:{self.proxy.port}"

    def client_environment(self) -> dict[str, str]:
        """What `tollkeeper env` would print for this caller."""
        home, base = self.proxy.home, base_environment()
        return {
            **base,
            **client_variables(self.url, home / "ca" / "bundle.pem", home / "ca" / ROOT_CERTIFICATE, base),
            **(self.extra or {}),
        }
