"""Who is calling, through the real proxy over real TLS: by environment variables alone, and never mixed up."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.harness import ROOT, TOLLKEEPER, LedgerView, RunningProxy, proxy_environment, running_proxy, wait_for
from e2e.identities import GITHUB, ISSUER, KeyServer, Through, handle_for, job_token, running_keys, token
from e2e.raw import SHAPES, Answer, Caller, send
from e2e.sdk import run_client
from e2e.ws import connected
from identity.npm import or_skip
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.core.clock import system_clock
from tollkeeper.identity.handles import HandleBook, Login

pytestmark = pytest.mark.e2e

UID = os.getuid()
CURL = ["curl", "-sS", "--fail", "https://api.openai.com/v1/chat/completions", "-H", "content-type: application/json"]
CURL += ["-H", "authorization: Bearer sk-test", "-d", '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}']
FETCH = """
fetch("https://api.openai.com/v1/chat/completions", {method: "POST", headers: {authorization: "Bearer sk-test"},
  body: JSON.stringify({model: "gpt-4o-mini", messages: []})}).then(r => r.text()).then(t => process.stdout.write(t))
"""
NODE: Any = {"capture_output": True, "text": True, "timeout": 60}
VARIABLES = {"openai_calls": "OPENAI_CUSTOM_HEADERS", "anthropic_calls": "ANTHROPIC_CUSTOM_HEADERS"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[KeyServer]:
    with running_keys() as server:
        yield server


@pytest.fixture(scope="module")
def knowing(issuer: KeyServer, shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """A proxy without a policy that believes the issuer."""
    home = tmp_path_factory.mktemp("knowing") / "home"
    home.mkdir(mode=0o700)
    (home / "identity.toml").write_text(issuer.document())
    with running_proxy(home, shared_provider) as proxy:
        yield proxy


@pytest.fixture
def start_knowing(issuer: KeyServer, provider: FakeProvider, tmp_path: Path) -> Iterator[Callable[[str], RunningProxy]]:
    """Starts a proxy of the test's own, with a policy."""
    with contextlib.ExitStack() as stack:

        def begin(policy: str) -> RunningProxy:
            home = tmp_path / "home"
            home.mkdir(mode=0o700)
            (home / "identity.toml").write_text(issuer.document())
            return stack.enter_context(running_proxy(home, provider, policy=policy))

        yield begin


def who_made(proxy: RunningProxy, answer_id: str) -> tuple[str, str, str, str]:
    entry = proxy.ledger.of(answer_id)
    return entry["subject"], entry["issuer"], entry["channel"], entry["assurance"]


@pytest.mark.parametrize("script", ["openai_calls", "anthropic_calls", "genai_calls"])
def test_an_sdk_is_somebody_by_the_password_in_its_proxy_variable(
    script: str, knowing: RunningProxy, provider: FakeProvider
) -> None:
    caller = Through(knowing, handle_for(knowing.home, "ada", uid=UID))
    results = run_client(script, caller)
    assert {result["error"] for result in results.values()} == {None}
    found = {who_made(knowing, result["id"]) for result in results.values()}
    assert found == {("ada", ISSUER, "handle", "verified")}
    assert {knowing.ledger.of(result["id"])["groups"] for result in results.values()} == {",research,"}
    assert not any(seen.identity_headers for seen in provider.bills.seen())


@pytest.mark.parametrize("script", VARIABLES)
def test_an_sdk_is_somebody_by_a_token_in_its_headers_variable(
    script: str, knowing: RunningProxy, provider: FakeProvider
) -> None:
    shown = token("bo")
    results = run_client(script, Through(knowing, extra={VARIABLES[script]: f"X-Tollkeeper-Token: {shown}"}))
    assert {result["error"] for result in results.values()} == {None}
    assert {who_made(knowing, result["id"]) for result in results.values()} == {("bo", ISSUER, "header", "verified")}
    assert shown not in str([seen.headers for seen in provider.bills.seen()])


@pytest.mark.parametrize("way", ["program", "password"])
def test_googles_sdk_is_somebody_by_a_token_from_its_program_or_in_its_proxy_variable(way: str, knowing: RunningProxy) -> None:
    shown = token("gil")
    through = Through(knowing, extra={"WHO": shown}) if way == "program" else Through(knowing, Login("jwt", shown))
    results = run_client("genai_calls", through)
    assert {result["error"] for result in results.values()} == {None}
    channel = "header" if way == "program" else "proxy-password"
    assert {who_made(knowing, result["id"]) for result in results.values()} == {("gil", ISSUER, channel, "verified")}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("way", ["handle", "token"])
def test_curl_is_somebody_by_its_proxy_variable(way: str, knowing: RunningProxy) -> None:
    login = handle_for(knowing.home, "cy", uid=UID) if way == "handle" else Login("jwt", token("cy"))
    environment = Through(knowing, login).client_environment()
    done = subprocess.run(CURL, env=environment, capture_output=True, text=True, timeout=120, check=True)
    channel = "handle" if way == "handle" else "proxy-password"
    assert who_made(knowing, json.loads(done.stdout)["id"]) == ("cy", ISSUER, channel, "verified")


@pytest.fixture(scope="session")
def node_packages(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """undici, and a Node of today where this machine has none: from the registry, in a folder of the tests' own."""
    return or_skip(pytestconfig, "node", tmp_path_factory.mktemp, whole=not reads_proxies(shutil.which("node"))) / "node_modules"


def reads_proxies(node: str | None) -> bool:
    """Whether its ``fetch`` knows NODE_USE_ENV_PROXY: https://nodejs.org/api/cli.html#node_use_env_proxy1."""
    if node is None:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    return version >= (24, 0) or (22, 21) <= version < (23, 0)


def test_node_fetch_is_somebody_by_its_environment_alone(knowing: RunningProxy, node_packages: Path) -> None:
    node = next(map(str, node_packages.glob("node-linux-*/bin/node")), "node")
    if not reads_proxies(node):
        pytest.skip("NOT TESTED: the registry has no Node for this system whose fetch reads HTTPS_PROXY")
    login = handle_for(knowing.home, "dee", uid=UID)
    done = subprocess.run([node, "-e", FETCH], env=Through(knowing, login).client_environment(), check=True, **NODE)
    assert who_made(knowing, json.loads(done.stdout)["id"]) == ("dee", ISSUER, "handle", "verified")


def test_fetch_of_a_node_that_ignores_proxies_is_somebody_as_the_documentation_says(
    knowing: RunningProxy, node_packages: Path, tmp_path: Path
) -> None:
    """docs/identity.md, "Clients": a file of one line, named in NODE_OPTIONS."""
    (recipe,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "identity.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "node_modules").symlink_to(node_packages)
    (tmp_path / "proxy.mjs").write_text(recipe)
    options = {"NODE_OPTIONS": f"--import={tmp_path / 'proxy.mjs'}", "NODE_USE_ENV_PROXY": ""}
    environment = Through(knowing, handle_for(knowing.home, "dan", uid=UID), options).client_environment()
    done = subprocess.run(["node", "-e", FETCH], env=environment, check=True, **NODE)
    assert who_made(knowing, json.loads(done.stdout)["id"]) == ("dan", ISSUER, "handle", "verified")


def test_two_people_and_a_job_at_once_never_get_each_others_rows(knowing: RunningProxy) -> None:
    callers = {
        "ada": (handle_for(knowing.home, "ada", uid=UID), {}),
        "bo": (handle_for(knowing.home, "bo", uid=UID), {}),
        "github:acme/app": (None, {"cf-access-jwt-assertion": job_token()}),
    }

    async def run() -> list[tuple[str, str]]:
        clients = {name: _client(knowing, login, headers) for name, (login, headers) in callers.items()}
        try:
            names = [list(callers)[number % 3] for number in range(256)]
            return list(zip(names, await asyncio.gather(*(_ask(clients[name]) for name in names)), strict=True))
        finally:
            for client in clients.values():
                await client.aclose()

    made = asyncio.run(run())
    knowing.ledger.wait(lambda view: {number for _, number in made} <= view.by_response().keys(), "all 256 calls are settled")
    rows = knowing.ledger.by_response()
    assert [(name, rows[number]["subject"]) for name, number in made if rows[number]["subject"] != name] == []
    jobs = {(row["run"], row["branch"], row["project"]) for name, number in made if ":" in name for row in (rows[number],)}
    assert jobs == {("github:acme/app:77", "release", "acme/app")}
    assert {rows[number]["issuer"] for name, number in made if ":" in name} == {GITHUB}


def _client(proxy: RunningProxy, login: Any, headers: dict[str, str]) -> httpx.AsyncClient:
    auth = (login.user, login.password) if login is not None else None
    limits = httpx.Limits(max_connections=100)
    through = httpx.Proxy(proxy.url, auth=auth)
    return httpx.AsyncClient(proxy=through, verify=_trusting(proxy), headers=headers, limits=limits, timeout=60, trust_env=False)


def _trusting(proxy: RunningProxy) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(proxy.bundle))


async def _ask(client: httpx.AsyncClient) -> str:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    steer = {"authorization": "Bearer sk-test", "x-fake-first-delay-ms": "400"}
    answer = await client.post("https://api.openai.com/v1/chat/completions", json=body, headers=steer)
    return str(answer.raise_for_status().json()["id"])


def test_a_log_out_ends_an_open_websocket_at_its_next_turn(knowing: RunningProxy) -> None:
    login = handle_for(knowing.home, "flo", uid=UID)
    subjects = []
    with connected(knowing, "wss://api.openai.com/v1/responses", password=f"{login.user}:{login.password}") as socket:
        for turn in range(2):
            socket.send(json.dumps({"type": "response.create", "model": "gpt-5-mini", "input": "hi"}))
            while (frame := json.loads(socket.recv()))["type"] != "response.completed":
                continue
            entry = knowing.ledger.of(frame["response"]["id"])
            subjects.append((entry["subject"], entry["would"]))
            if not turn:
                book = HandleBook(knowing.home / "identity" / "handles.json", system_clock)
                assert book.remove(lambda handle: handle.user != login.user) == 1
    assert subjects == [("flo", "allow"), ("anonymous", "refuse")]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("null", 403),
        ("http://localhost:3000", 200),
        ("http://127.0.0.1:8080", 200),
        ("app://obsidian.md", 200),
    ],
)
def test_a_page_of_somebody_elses_site_cannot_call_in_the_name_of_whoever_looks_at_it(
    origin: str, status: int, knowing: RunningProxy, provider: FakeProvider
) -> None:
    """A browser lets any page send a plain POST to this machine, and is a process of its user."""
    headers = {"origin": origin, "content-type": "text/plain", "authorization": "Bearer sk-test"}
    body = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}'
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.post(f"{knowing.url}/openai/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == status
    assert len(provider.bills.seen()) == (status == 200)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_nobody_becomes_the_proxys_own_user_by_a_tunnel_through_the_proxy_to_itself(address: str, knowing: RunningProxy) -> None:
    """What the second connection comes from is the proxy, whose user every process of that user may stand for."""
    with socket.create_connection(("127.0.0.1", knowing.port), timeout=60) as wire:
        wire.sendall(f"CONNECT {address}:{knowing.port} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        wire.recv(4096)
        with contextlib.suppress(OSError):
            wire.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
            assert b"200" not in wire.recv(4096)


def test_calls_with_known_keys_go_on_while_the_keys_are_slow_or_gone(
    issuer: KeyServer, start_knowing: Callable[[str], RunningProxy], provider: FakeProvider
) -> None:
    proxy = start_knowing("")
    caller = Caller(provider, proxy.bundle, proxy.port)
    assert caller.call(SHAPES["chat"], {"x-tollkeeper-token": token("ada")}).status == 200
    waiting: list[http.client.HTTPSConnection] = []
    made: dict[int, Answer] = {}

    def doubted() -> list[dict[str, Any]]:
        return [entry for entry in proxy.ledger.ended() if entry["rule"] == "identity"]

    def is_answered_meanwhile() -> bool:
        """Once more where this machine is too busy for a call within the 5 s that a fetch is given."""
        asked = issuer.asked
        waiting.append(caller.connect("api.openai.com"))
        send(waiting[-1], SHAPES["chat"], {"x-tollkeeper-token": job_token()})  # of an issuer whose keys were never fetched
        wait_for(lambda: issuer.asked > asked, "the proxy asks for the keys")
        number = 1_000 + len(waiting)
        made[number] = caller.call(SHAPES["chat"], {"x-tollkeeper-token": token(f"person-{number}")})
        return len(doubted()) < len(waiting)

    issuer.slow_s = 30.0
    try:
        wait_for(is_answered_meanwhile, "an answer while the fetch hangs, which holds up nobody but the call that needs it", 120)
        for number in range(1, 20):
            made[number] = caller.call(SHAPES["chat"], {"x-tollkeeper-token": token(f"person-{number}")})
        for connection in waiting:
            assert connection.getresponse().status == 200, "while observing, the call goes on in the end"
        issuer.slow_s, issuer.down = 0.0, True
        made[99] = caller.call(SHAPES["chat"], {"x-tollkeeper-token": token("person-99")})
    finally:
        issuer.slow_s, issuer.down = 0.0, False
        for connection in waiting:
            connection.close()
    for number, answer in made.items():
        assert who_made(proxy, answer.json()["id"])[0] == f"person-{number}"
    said = [(entry["subject"], entry["would"], entry["verdict"]) for entry in doubted()]
    assert said == [("anonymous", "refuse", "allow")] * len(waiting)


ENFORCE = 'schema = 1\nmode = "enforce"\n'


def test_two_proofs_that_disagree_are_refused_and_recorded(
    start_knowing: Callable[[str], RunningProxy], provider: FakeProvider
) -> None:
    proxy = start_knowing(ENFORCE)
    environment = Through(
        proxy, handle_for(proxy.home, "ada", uid=UID), {"OPENAI_CUSTOM_HEADERS": f"Cf-Access-Token: {token('bo')}"}
    )
    results = run_client("openai_calls", environment, how=("sync",))
    assert {result["status"] for result in results.values()} == {400}
    assert all("prove different identities" in result["message"] for result in results.values())
    assert not provider.bills.seen(), "nothing may reach the provider"
    refused = proxy.ledger.entries("refuse")
    assert len(refused) == len(results), "one try each"
    assert {(entry["subject"], entry["rule"]) for entry in refused} == {("anonymous", "identity")}


def test_a_bad_token_is_refused_on_free_unmetered_and_large_requests_too(
    start_knowing: Callable[[str], RunningProxy], provider: FakeProvider
) -> None:
    proxy = start_knowing(ENFORCE)
    caller = Caller(provider, proxy.bundle, proxy.port)
    bad = {"x-tollkeeper-token": token("ada")[:-8], "x-api-key": "sk-test"}
    for method, path, body in (
        ("GET", "/v1/models", b""),
        ("POST", "/v1/odd/path", b"{}"),
        ("POST", "/v1/chat/completions", b'{"model":"gpt-4o-mini","messages":[]}'),
    ):
        connection = caller.connect("api.openai.com")
        connection.request(method, path, body, bad)
        answer = connection.getresponse()
        said = answer.read().decode()
        assert (answer.status, "signature" in said or "decoded" in said) == (400, True), (path, said)
        connection.close()
    assert not provider.bills.seen()
    proxy.ledger.wait(lambda view: len(view.entries("refuse")) == 3, "all three are recorded")


@pytest.mark.parametrize(
    ("word", "status", "subject"),
    [
        ("default", 200, None),
        ("open", 200, None),
        ("mark", 200, "anonymous"),
        ("refuse", 400, "anonymous"),
        ("closed", 400, "anonymous"),
    ],
)
def test_what_nothing_proves_is_booked_marked_or_refused_as_the_policy_says(
    word: str, status: int, subject: str | None, start_knowing: Callable[[str], RunningProxy], provider: FakeProvider
) -> None:
    from tollkeeper.identity.local import local_principal

    proxy = start_knowing(f'{ENFORCE}on_no_identity = "{word}"\n')
    caller = Caller(provider, proxy.bundle, proxy.port)
    answer = caller.call(SHAPES["messages"])
    assert answer.status == status
    entry = proxy.ledger.since(0)
    assert entry["subject"] == (subject or local_principal().subject)
    assert caller.call(SHAPES["messages"], {"cf-access-token": token("ada")}).status == 200, "a proof is enough for every word"


def test_run_is_the_job_that_its_token_proves(issuer: KeyServer, provider: FakeProvider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = proxy_environment(home, provider, {"TOLLKEEPER_ID_TOKEN": job_token("91")})
    (home / "identity.toml").write_text(issuer.document())
    done = subprocess.run(
        [*TOLLKEEPER, "run", "--", *CURL], env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    view = LedgerView(home / "ledger.db")
    entry = view.of(json.loads(done.stdout)["id"])
    assert (entry["subject"], entry["issuer"], entry["channel"], entry["assurance"]) == (
        "github:acme/app",
        GITHUB,
        "handle",
        "verified",
    )
    assert (entry["run"], entry["branch"]) == ("github:acme/app:91", "release")


def test_a_call_says_which_user_program_repository_and_branch_it_comes_from(knowing: RunningProxy, tmp_path: Path) -> None:
    import pwd

    git = tmp_path / "checkout" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/feature/x\n")
    (git / "config").write_text('[remote "origin"]\n\turl = git@github.com:acme/app.git\n')
    environment = Through(knowing).client_environment()

    def known() -> dict[str, Any] | None:
        """A call whose program was found: the look-up is given up after 50 ms, and no call waits for it."""
        done = subprocess.run(CURL, env=environment, capture_output=True, text=True, timeout=120, check=True, cwd=git.parent)
        entry = knowing.ledger.of(json.loads(done.stdout)["id"])
        return entry if entry["process"] else None

    entry = wait_for(known, "the program of a call is found")
    assert (entry["os_user"], entry["process"]) == (pwd.getpwuid(UID).pw_name, "curl")
    assert (entry["project"], entry["branch"]) == ("github.com/acme/app", "feature/x")
    assert (entry["channel"], entry["assurance"]) == ("peer", "local-login")


def test_env_gives_a_shell_a_password_that_stands_for_whoever_is_proved_there(knowing: RunningProxy, tmp_path: Path) -> None:
    environment = {
        **Through(knowing).client_environment(),
        "TOLLKEEPER_HOME": str(knowing.home),
        "TOLLKEEPER_ID_TOKEN": job_token("5"),
    }
    done = subprocess.run(
        [*TOLLKEEPER, "env", "--shell", "docker"], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    variables = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert variables["HTTPS_PROXY"].startswith("http://env-")
    made = subprocess.run(
        CURL, env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    )
    assert who_made(knowing, json.loads(made.stdout)["id"]) == ("github:acme/app", GITHUB, "handle", "verified")
