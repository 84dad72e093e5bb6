"""``tollkeeper demo``: the whole road offline. A real proxy, real TLS, real budgets; only the provider is ours."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tollkeeper.core.errors import GateError
from tollkeeper.core.money import format_usd
from tollkeeper.ledger.queries import tail
from tollkeeper.ledger.rows import CallRow

from .trial import ANSWER_SECONDS, ANTHROPIC, GEMINI, OPENAI, call_through, trial_proxy

POLICY = """\
schema = 1
mode = "enforce"

[budget.all]                       # everything together
amount = "0.024 USD"
window = "day"

[budget.best-models]               # when this is used up, the cheaper model of the same provider answers
amount = "0.02 USD"
window = "day"
model = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"]
on_exceed = { rewrite = ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"] }
"""

QUESTION = "Summarise this agreement for somebody who has one minute. " + (
    "The keeper of a turnpike takes the toll of every cart, writes it in the book, and lets no cart pass that cannot pay. " * 30
)
OUTCOMES = frozenset({"metered", "downgraded", "refused"})
MAX_CALLS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call of the demo."""

    provider: str
    model: str
    host: str
    path: str
    body: Mapping[str, Any]
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the client saw."""

    status: int
    body: bytes

    def message(self) -> str:
        """The provider-shaped error's text."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return ""
        document = document[0] if isinstance(document, list) and document else document
        return str(document.get("error", {}).get("message", "")) if isinstance(document, dict) else ""


@click.command()
def command() -> None:
    """See it work offline, with no API key: metered, downgraded and refused calls, then the report."""
    from .demo_provider import background_provider

    _say("Tollkeeper demo: a real proxy with real TLS in front of a fake provider. Nothing leaves this machine.")
    with tempfile.TemporaryDirectory(prefix="tollkeeper-demo-") as folder, background_provider() as provider:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "policy.toml").write_text(POLICY)
        with trial_proxy(home, provider) as port:
            _say("Its policy: $0.024 a day for everything; of that, $0.02 for the best models, then a cheaper one answers.\n")
            seen = _walk(home, port)
        _print_report(home / "ledger.db")
    if missing := OUTCOMES - seen:
        raise GateError(
            f"the demo did not show every outcome (missing: {', '.join(sorted(missing))}); `tollkeeper doctor` may know"
        )
    _say("\nThe folder of this demo is gone. Your own tools next: tollkeeper run -- CMD")


def asks() -> Iterator[Ask]:
    """The calls, in order: the best models until their budget is used up, then on until nothing is left."""
    chat = {"messages": [{"role": "user", "content": QUESTION}], "max_completion_tokens": 400, "stream": True}
    messages = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 400, "stream": True}
    contents = {"contents": [{"parts": [{"text": QUESTION}]}], "generationConfig": {"maxOutputTokens": 300}}
    gemini = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    while True:
        yield Ask(
            provider="OpenAI",
            model="gpt-4o",
            host=OPENAI,
            path="/v1/chat/completions",
            body={"model": "gpt-4o", **chat},
            output_tokens=350,
        )
        yield Ask(
            provider="Anthropic",
            model="claude-sonnet-4-5",
            host=ANTHROPIC,
            path="/v1/messages",
            body={"model": "claude-sonnet-4-5", **messages},
            output_tokens=380,
        )
        yield Ask(provider="Google", model="gemini-2.5-pro", host=GEMINI, path=gemini, body=contents, output_tokens=280)


def _walk(home: Path, port: int) -> set[str]:
    """Make the calls and tell each, until one is refused; the outcomes that were seen."""
    outcomes: set[str] = set()
    for number, ask in enumerate(asks(), start=1):
        reply = _call(ask, port, home / "ca" / "bundle.pem")
        outcome = _tell(number, ask, reply, _row(home / "ledger.db", number))
        outcomes.add(outcome)
        if outcome == "refused" or number == MAX_CALLS:
            break
    return outcomes


def _call(ask: Ask, port: int, bundle: Path) -> Reply:
    """One HTTPS call through the proxy, as any client makes it."""
    steering = {"x-fake-chunks": "20", "x-fake-output-tokens": str(ask.output_tokens), "x-fake-delay-ms": "5"}
    status, body = call_through(port, bundle, ask.host, ask.path, ask.body, steering)
    return Reply(status=status, body=body)


def _row(ledger: Path, count: int) -> CallRow:
    """The ledger's row of the call just made, the ``count``-th."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        rows = tail(ledger, last=count) if ledger.exists() else []
        if len(rows) == count:
            return rows[-1]
        time.sleep(0.01)
    raise GateError(f"call {count} of the demo did not reach the ledger within {ANSWER_SECONDS:.0f} s")


def _tell(number: int, ask: Ask, reply: Reply, row: CallRow) -> str:
    """One line for a call, and the message below a refusal; gives the outcome."""
    outcome = "refused" if row.kind == "refuse" else "downgraded" if row.verdict == "rewrite" else "metered"
    head = f"{number:>2}  {ask.provider:<10} {ask.model:<18} HTTP {reply.status}"
    if outcome == "refused":
        _say(f"{head}  refused: this is what the client is told:\n      {reply.message()}")
        return outcome
    word = f"downgraded to {row.model}" if outcome == "downgraded" else "metered"
    used = f"in {row.tokens.total_input_tokens:>5,}  out {row.tokens.output_tokens:>4,}  {format_usd(row.cost_nanousd):>8}"
    _say(f"{head}  {word:<30} {used}")
    return outcome


def _print_report(ledger: Path) -> None:
    from tollkeeper.ledger.queries import report
    from tollkeeper.report.table import print_report

    _say("\n$ tollkeeper report --by provider --by model")
    print_report(report(ledger, by=("provider", "model")), sys.stdout)


def _say(text: str) -> None:
    click.echo(text, err=True)
