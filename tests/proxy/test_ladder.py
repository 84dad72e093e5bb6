"""The ladder on the road as plain values: keys, other places, what a caller may ask about itself, and what agents are told."""

import base64
import http.server
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.roads import ADA, PROJECT, MakeRoad, run
from tollkeeper.cli import mcp
from tollkeeper.core.decision import Verdict
from tollkeeper.core.errors import ConfigError, WireError
from tollkeeper.core.principal import ANONYMOUS
from tollkeeper.identity.answers import Refused, Why
from tollkeeper.identity.channels import Resolution
from tollkeeper.proxy.budget_page import budget_answer, budget_page, is_budget_page
from tollkeeper.proxy.vault import key_at
from tollkeeper.wire.destinations import SITES, destination, needs_key, readdressed
from tollkeeper.wire.routes import endpoint_for

CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
MESSAGES = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")


def body(**more: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def test_a_key_is_read_where_it_is_kept_and_never_repeated() -> None:
    assert key_at("env:K", {"K": " sk-1 \n"}) == "sk-1"
    for place, environment in (
        ("env:K", {}),
        ("env:K", {"K": "two\nlines"}),
        ("sk-pasted-here", {}),
        ("env:K", {"K": "x" * 5_000}),
    ):
        with pytest.raises(ConfigError) as raised:
            key_at(place, environment)
        assert "lines" not in str(raised.value)
        assert "sk-pasted" not in str(raised.value)


@pytest.mark.parametrize("provider", sorted(SITES))
def test_every_place_that_a_call_can_be_sent_to_is_one_whose_usage_is_read(provider: str) -> None:
    site = SITES[provider]
    for dialect, path in site.paths.items():
        found = endpoint_for(provider, site.host, "POST", path.format(model="m", method="generateContent"))
        assert (found.dialect, found.metering) == (dialect, "metered"), path


def test_no_key_cookie_or_setting_of_one_provider_reaches_another() -> None:
    to = destination(CHAT, CHAT.path, "llama-3.3-70b", "groq", "")
    fields = (
        (b"Host", b"api.openai.com"),
        (b"Authorization", b"Bearer sk-old"),
        (b"OpenAI-Organization", b"org"),
        (b"Cookie", b"a=b"),
        (b"content-type", b"application/json"),
    )
    assert readdressed(fields, to, "gsk-new") == (
        (b"Host", b"api.groq.com"),
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer gsk-new"),
    )
    assert to.path == "/openai/v1/chat/completions"


def test_a_gemini_call_keeps_its_method_and_its_query_elsewhere() -> None:
    path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    vertex = endpoint_for(
        "vertex", "aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/global/publishers/google" + path[7:]
    )
    to = destination(vertex, path, "gemini-2.5-flash", "gemini", "")
    assert to.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert to.key_header == b"x-goog-api-key"


def test_a_place_that_does_not_speak_the_dialect_is_told_with_those_that_do() -> None:
    with pytest.raises(WireError, match="groq is not known to speak anthropic-messages") as raised:
        destination(MESSAGES, MESSAGES.path, "m", "groq", "")
    assert "openrouter" in str(raised.value)


def test_the_clients_own_key_goes_to_its_own_providers_own_host_only() -> None:
    assert not needs_key(CHAT, "", "")
    assert not needs_key(CHAT, "openai", "api.openai.com:443")
    assert needs_key(CHAT, "openai", "eu.api.openai.com")
    assert needs_key(CHAT, "groq", "")


def test_a_host_of_ones_own_gets_the_same_path_and_its_own_port() -> None:
    to = destination(CHAT, "/v1/chat/completions?x=1", "m", "", "llm.example.com:8443")
    assert (to.host, to.port, to.path) == ("llm.example.com", 8443, "/v1/chat/completions?x=1")


RULES = 'schema = 1\nmode = "enforce"\n[model.interns]\nallow = "gpt-4o*"\n'


@pytest.mark.parametrize(("others", "verdict"), [(["gpt-4o-mini"], Verdict.ALLOW), (["gpt-4o-mini", "o3-pro"], Verdict.REFUSE)])
def test_a_model_that_may_answer_instead_must_be_allowed_too(others: list[str], verdict: Verdict, make_road: MakeRoad) -> None:
    road = make_road(RULES)
    passage = run(road.admit(CHAT, CHAT.path, body(models=others), ADA, PROJECT))
    assert passage.decision.verdict is verdict
    assert ("o3-pro" in passage.message) is (verdict is Verdict.REFUSE)


@pytest.mark.parametrize(
    "more", [{"fallbacks": [{"model": "claude-opus-5"}]}, {"tools": [{"type": "advisor_20260301", "model": "claude-opus-5"}]}]
)
def test_anthropics_fallbacks_and_advisors_are_models_that_may_answer_too(more: dict[str, Any], make_road: MakeRoad) -> None:
    road = make_road(RULES.replace("gpt-4o*", "*haiku*"))
    asked = json.dumps(
        {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    ).encode()
    passage = run(road.admit(MESSAGES, MESSAGES.path, asked, ADA, PROJECT))
    assert passage.decision.verdict is Verdict.REFUSE


MOVING = """
schema = 1
mode = "enforce"
[budget.dear]
amount = "0.000001 USD"
window = "day"
model = "claude-opus-4-5"
on_exceed = { downgrade = ["claude-haiku-4-5"] }
"""


def conversation(*turns: str) -> bytes:
    messages = [{"role": role, "content": text} for role, _, text in (turn.partition(":") for turn in turns)]
    return json.dumps({"model": "claude-opus-4-5", "max_tokens": 50, "messages": messages}).encode()


def test_a_conversation_that_was_moved_when_it_began_goes_on_with_the_cheaper_model(make_road: MakeRoad) -> None:
    road = make_road(MOVING)

    def verdict(asked: bytes, who: Any = ADA) -> Verdict:
        return Verdict(run(road.admit(MESSAGES, MESSAGES.path, asked, who, PROJECT)).decision.verdict)

    second = conversation("user:write a parser", "assistant:ok", "user:go on")
    assert verdict(second) is Verdict.REFUSE
    assert verdict(conversation("user:write a parser")) is Verdict.REWRITE
    assert verdict(second) is Verdict.REWRITE
    assert verdict(conversation("user:write a parser", "assistant:ok", "user:go on", "assistant:1", "user:2")) is Verdict.REWRITE
    assert verdict(conversation("user:something else", "assistant:ok", "user:go on")) is Verdict.REFUSE
    assert verdict(second, replace(ADA, subject="bo")) is Verdict.REFUSE


MINE = """
schema = 1
mode = "enforce"
[budget.person]
amount = "5 USD"
window = "day"
share = "each"
per = "principal"
[budget.opus]
amount = "1 USD"
window = "day"
model = "*opus*"
[budget.bot]
amount = "2 USD"
window = "day"
principal = "bot"
"""


def test_a_caller_is_told_its_own_budgets_with_the_figures_that_enforcement_goes_by(make_road: MakeRoad) -> None:
    road = make_road(MINE)
    passage = run(road.admit(CHAT, CHAT.path, body(max_tokens=100), ADA, PROJECT))
    page = run(budget_page(road.stages, ADA, PROJECT, "/v1/budget"))
    assert [one["rule"] for one in page["budgets"]] == ["budget.person", "budget.opus"]
    person, opus = page["budgets"]
    assert person["held"] == passage.decision.hold_nanousd > 0
    assert person["left"] == person["amount"] - person["held"]
    assert opus["covers_only"] == {"model": ["*opus*"]}
    assert "resets Mon 23 Nov 00:00 UTC" in person["text"]
    only = run(budget_page(road.stages, ADA, PROJECT, "/v1/budget?model=gpt-4o"))
    assert [one["rule"] for one in only["budgets"]] == ["budget.person"]
    assert json.loads(json.dumps(page)) == page


def test_the_page_is_told_from_the_status_page() -> None:
    assert is_budget_page("/v1/budget?model=x")
    assert is_budget_page("/v1/budget/")
    assert not is_budget_page("/status")


def test_a_caller_whose_calls_are_refused_is_told_so_and_not_what_others_have_left(make_road: MakeRoad) -> None:
    broken = Resolution(principal=ANONYMOUS, refusal=Refused(why=Why.SIGNATURE, reason="its signature is wrong"))
    road = make_road(MINE)
    answer = run(budget_answer(road.stages, broken, PROJECT, "/v1/budget"))
    assert (answer.status_code, "its signature is wrong" in (answer.text or "")) == (401, True)
    assert "budgets" not in (answer.text or "")
    known = run(budget_answer(road.stages, Resolution(principal=ADA), PROJECT, "/v1/budget"))
    assert (known.status_code, known.json()["principal"]) == (200, "ada")
    watching = make_road(MINE.replace("enforce", "observe"))
    assert run(budget_answer(watching.stages, broken, PROJECT, "/v1/budget")).status_code == 200, "such a call goes through"


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers with the proxy password it was shown, or as a proxy that does not believe it."""

    def do_GET(self) -> None:
        shown = self.headers.get("proxy-authorization", "")
        status = 200 if shown else 401
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"shown": shown} if shown else {"error": {"message": "who are you?"}}).encode())

    def log_message(self, *_arguments: Any) -> None:
        """Tests print nothing."""


def test_the_tool_asks_the_proxy_of_its_own_environment_with_its_own_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command under `tollkeeper run` may have a proxy of its own, of which no state file tells."""
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            place = f"127.0.0.1:{server.server_port}"
            ours = {"TOLLKEEPER_ACTIVE": "1", "HTTPS_PROXY": f"http://handle:s%3Aecret@{place}"}
            text, failed = mcp.look_at_proxy("", ours)
            assert (base64.b64decode(json.loads(text)["shown"].removeprefix("Basic ")), failed) == (b"handle:s:ecret", False)
            assert mcp.look_at_proxy("", {"TOLLKEEPER_ACTIVE": "1", "HTTPS_PROXY": f"http://{place}"}) == ("who are you?", True)
            somebodys = {"HTTPS_PROXY": f"http://me:secret@{place}"}
            assert mcp.look_at_proxy("", somebodys) == ("tollkeeper is not running; start it with `tollkeeper start`", True)
        finally:
            server.shutdown()
            thread.join()


def test_an_agent_asks_for_its_budgets_over_mcp() -> None:
    asked = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "budget", "arguments": {"model": "gpt-5"}}},
        {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "rm"}},
        {"jsonrpc": "2.0", "id": 5, "method": "resources/list"},
    ]
    sink = io.StringIO()
    mcp.serve(io.StringIO("\n".join([*map(json.dumps, asked), "{", ""])), sink, lambda model: (f'{{"model": "{model}"}}', False))
    answers = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [answer.get("id") for answer in answers] == [1, 2, 3, 4, 5, None]
    assert answers[0]["result"]["protocolVersion"] == "2025-06-18"
    assert answers[1]["result"]["tools"][0]["name"] == "budget"
    assert answers[2]["result"]["content"][0]["text"] == '{"model": "gpt-5"}'
    assert [answer["error"]["code"] for answer in answers[3:]] == [-32602, -32601, -32700]
