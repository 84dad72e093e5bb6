"""Claude Code, Codex and Gemini CLI themselves, unchanged, through the proxy: metered, refused at once, warned, moved and continued.

They are half a gigabyte, so they are not installed by the tests:

    npm install --prefix FOLDER --ignore-scripts @anthropic-ai/claude-code@2.1.330 @openai/codex@0.169.0 @google/gemini-cli@0.61.0
    TOLLKEEPER_REAL_CLIENTS=FOLDER make test ARGS="-k real_clients"

They reach the fake provider only; the other hosts that they ask for are sent there too, where no certificate fits them.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.harness import RunningProxy
from tollkeeper.cli.demo_provider import HOSTS, FakeProvider

pytestmark = pytest.mark.e2e

FOLDER = os.environ.get("TOLLKEEPER_REAL_CLIENTS", "")
OTHERS = ("chatgpt.com", "ab.chatgpt.com", "api.github.com", "github.com", "play.googleapis.com", "registry.npmjs.org")
SECONDS = 120

type Start = Callable[..., RunningProxy]


@dataclass(frozen=True)
class Client:
    """``program`` is below ``node_modules``; ``tries`` is how many requests one refused prompt takes, by its own design."""

    program: str
    prompt: tuple[str, ...]
    again: tuple[str, ...]
    tries: int
    moved_to: str


CLIENTS = {
    "claude-code": Client(
        "@anthropic-ai/claude-code-*/claude", ("-p", "Say hi"), ("-c", "-p", "Once more"), 1, "claude-haiku-4-5"
    ),
    "codex": Client(
        "@openai/codex-*/vendor/*/bin/codex",
        ("exec", "--skip-git-repo-check", "Say hi"),
        ("exec", "resume", "--last", "--skip-git-repo-check", "Once more"),
        2,  # the first only warms the connection up
        "gpt-4o-mini",
    ),
    "gemini-cli": Client(
        "@google/gemini-cli/bundle/gemini.js",
        ("-m", "gemini-2.5-flash", "-p", "Say hi"),  # a model by name: without one it asks another which to take
        ("-m", "gemini-2.5-flash", "--resume", "latest", "-p", "Once more"),
        1,
        "gemini-2.5-flash-lite",
    ),
}
TINY = '[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'
DEAR = """
[budget.dear]
amount = "0.000001 USD"
window = "day"
model = ["claude-opus*", "claude-sonnet*", "claude-fable*", "gpt-5*", "gpt-6*", "gemini-2.5-flash"]
on_exceed = { downgrade = ["claude-haiku-4-5", "gpt-4o-mini", "gemini-2.5-flash-lite"] }
"""


@dataclass(frozen=True)
class Seat:
    """A client at a proxy, in a home and a folder of its own."""

    client: Client
    proxy: RunningProxy
    place: Path

    def run(self, arguments: tuple[str, ...]) -> tuple[int, str]:
        """Its exit code, and all that it said."""
        (program,) = sorted(Path(FOLDER, "node_modules").glob(self.client.program))[:1]
        home, work = self.place / "home", self.place / "work"
        for folder in (home / ".codex", work):
            folder.mkdir(parents=True, exist_ok=True)
        keys = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CODEX_API_KEY", "GEMINI_API_KEY"), "sk-test")
        quiet = {
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        }
        environment = {**self.proxy.client_environment(), **keys, **quiet, "HOME": str(home), "CODEX_HOME": str(home / ".codex")}
        command = [str(program), *arguments] if program.suffix != ".js" else ["node", str(program), *arguments]
        done = subprocess.run(
            command,
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def asked(self, *kinds: str) -> list[dict[str, Any]]:
        """What the ledger has of calls to a model."""
        return [entry for entry in self.proxy.ledger.entries(*kinds) if entry["model_requested"]]


@pytest.fixture(params=CLIENTS)
def seat(request: pytest.FixtureRequest, start: Start, provider: FakeProvider, tmp_path: Path) -> Callable[[str], Seat]:
    client = CLIENTS[request.param]
    if not FOLDER:
        pytest.skip(
            f"NOT TESTED: {request.param} itself; TOLLKEEPER_REAL_CLIENTS names no folder to find it in (see {Path(__file__).name})"
        )
    if not sorted(Path(FOLDER, "node_modules").glob(client.program)):
        pytest.skip(f"NOT TESTED: {request.param} is not installed in {FOLDER}")

    def sit(policy: str) -> Seat:
        pins = ",".join(f"{host}:443=127.0.0.1:{provider.port}" for host in (*HOSTS, *OTHERS))
        return Seat(client, start(policy=policy, extra={"TOLLKEEPER_RESOLVE": pins}), tmp_path)

    return sit


def test_a_prompt_is_answered_and_metered(seat: Callable[[str], Seat], provider: FakeProvider) -> None:
    at = seat("")
    code, said = at.run(at.client.prompt)
    assert (code, "the cost of a call" in said) == (0, True), said[-2000:]
    bills = {bill.id for bill in provider.bills.billed()}
    settled = at.asked("settle")
    assert {entry["response_id"] for entry in settled} == bills
    assert all(entry["usage_source"] == "reported" for entry in settled)
    assert not at.asked("void", "expire")


@pytest.mark.parametrize("style", ["error", "message"])
def test_a_refusal_ends_the_prompt_at_once_and_is_shown(style: str, seat: Callable[[str], Seat], provider: FakeProvider) -> None:
    at = seat(f'schema = 1\nmode = "enforce"\nrefusal = "{style}"\n{TINY}')
    _, said = at.run(at.client.prompt)
    for words in ("Blocked by tollkeeper", "tiny", "resets on", "Ask ada."):
        assert words in said, said[-3000:]
    assert len(at.asked("refuse")) == at.client.tries, "no try besides"
    assert not at.asked("hold", "settle")
    assert not provider.bills.billed()


def test_a_warning_reaches_the_model_and_harms_no_client(seat: Callable[[str], Seat], provider: FakeProvider) -> None:
    soft = '[budget.soft]\namount = "0.000001 USD"\nwindow = "day"\non_exceed = "warn"\n'
    at = seat(f'schema = 1\nmode = "enforce"\nsteering = true\n{soft}')
    code, said = at.run(at.client.prompt)
    assert (code, "the cost of a call" in said) == (0, True), said[-2000:]
    assert at.asked("settle")
    assert all("budget.soft" in entry["actions"] for entry in at.asked("settle"))
    bodies = [seen.body for seen in provider.bills.seen() if seen.method == "POST" and seen.body[:1] == b"{"]
    assert all(b"[tollkeeper: budget soft" in body for body in bodies if b"Say hi" in body)


def test_a_moved_conversation_is_served_and_goes_on_in_the_next_prompt(
    seat: Callable[[str], Seat], provider: FakeProvider
) -> None:
    at = seat(f'schema = 1\nmode = "enforce"\n{DEAR}')
    for arguments in (at.client.prompt, at.client.again):
        before = len(provider.bills.billed())
        code, said = at.run(arguments)
        assert (code, "the cost of a call" in said) == (0, True), said[-3000:]
        assert {bill.model for bill in provider.bills.billed()[before:]} == {at.client.moved_to}
    assert not at.asked("refuse")
    for seen in provider.bills.seen():
        if seen.path.startswith("/v1/messages") and seen.body:
            roles = {turn["role"] for turn in json.loads(seen.body)["messages"]}
            assert "system" not in roles, "claude-haiku-4-5 takes no instruction amid a conversation"
