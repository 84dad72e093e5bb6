"""The time of a decision with 1,000 budgets and 10,000 model rules in the document: planning, the ledger's transaction, deciding.

    nice -n 10 taskset -c 0 python -m scripts.benchmarks.decisions [CALLS]

Callers are drawn from 2,000 principals in 400 groups and 300 projects, so that new kinds of calls keep coming; the price is flat.
"""

import gc
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.clock import system_clock
from tollkeeper.core.decision import Decision
from tollkeeper.core.entry import Kind
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.ledger.journal import Journal
from tollkeeper.ledger.ledger import prepare
from tollkeeper.policy.candidates import Pen
from tollkeeper.policy.decide import decide
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.matching import matcher_of
from tollkeeper.policy.model import Policy
from tollkeeper.policy.plan import plan_with

BUDGETS, RULES, PEOPLE, GROUPS, PROJECTS = 1_000, 10_000, 2_000, 400, 300
MODELS = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5", "gpt-5", "gpt-5-mini")
WHOLE = Endpoint(
    provider="anthropic",
    host="api.anthropic.com",
    path="/v1/messages",
    operation="chat",
    metering=Metering.METERED,
    dialect="any",
)


@dataclass(frozen=True)
class Flat:
    """A price that asks for no work."""

    worst_nanousd: int
    known: bool = True


def document() -> str:
    """A document of that size, with rules of every kind."""
    lines = ['mode = "enforce"']
    for number in range(BUDGETS):
        window = ("day", "month", "rolling 24h", "week")[number % 4]
        lines += [f"[budget.b{number}]", f'amount = "{50 + number} USD"', f'window = "{window}"']
        scopes = (
            [f'principal = "person-{number}@*"', 'share = "pool"'],
            [f'group = "team-{number % GROUPS}"', 'share = "each"', 'per = "principal"'],
            [f'project = "project-{number % PROJECTS}"', 'model = "*opus*"'],
            [f'principal = ["person-{number}@example.com"]'],
        )
        lines += scopes[number % len(scopes)] if number >= 4 else ['share = "each"', 'per = "principal"', 'model = "*opus*"']
    for number in range(RULES - 1):
        scopes = (f'principal = "person-{number}@example.com"', f'group = "team-{number}"', f'project = "project-{number}*"')
        lines += [f"[model.m{number}]", scopes[number % 3], 'deny = ["*-banned"]']
    lines += ["[model.when]", 'when = \'"team-7" in groups && model.startsWith("gpt")\'', 'deny = "x"']
    return "\n".join(lines)


def callers(count: int) -> list[Call]:
    """Calls as they might come, a third of them by somebody seen before."""
    chance = random.Random(7)
    at = system_clock()
    found = []
    for _ in range(count):
        number = int(PEOPLE * chance.random() ** 2)
        principal = Principal(
            subject=f"person-{number}@example.com",
            assurance=Assurance.VERIFIED,
            groups=frozenset({f"team-{number % GROUPS}", f"team-{number % 7}", "staff"}),
        )
        where = Attribution(project=f"project-{chance.randrange(PROJECTS)}", client="claude-code")
        ask = Ask(model=chance.choice(MODELS), max_output_tokens=32_000, input_bytes=4_000)
        found.append(Call(id=new_id(at), started_at=at, endpoint=WHOLE, ask=ask, principal=principal, attribution=where))
    return found


def measure(policy: Policy, calls: list[Call]) -> tuple[list[float], list[float]]:
    """Milliseconds of each decision, by the clock and of this thread alone: plan, check and hold in an open transaction, decide.

    The commit is the ledger's own figure.
    """
    pen = Pen(quote=lambda _: Flat(800_000), capped=lambda _, cap: Flat(min(cap, 32_000) * 25), expected=lambda _: 1_500)
    matcher_of(policy)
    gc.collect()
    gc.freeze()  # as the runner does once everything is loaded: else one collection walks all rules (150 ms)
    times, own = [], []
    with tempfile.TemporaryDirectory() as folder:
        connection = prepare(Path(folder) / "ledger.db")
        journal = Journal(connection, system_clock)
        for call in calls:
            at = system_clock()
            asked = replace(call, id=new_id(at), started_at=at)
            connection.execute("BEGIN IMMEDIATE")
            journal.refresh()
            started, began = time.perf_counter(), time.thread_time()
            planned = plan_with(policy, asked, pen, at)
            if not isinstance(planned, Decision):
                decide(planned, journal.admit(planned), policy)
            times.append((time.perf_counter() - started) * 1_000)
            own.append((time.thread_time() - began) * 1_000)
            journal.close_hold(asked.id, Kind.SETTLE, {"exposure_nanousd": 40_000})
            journal.flush()
            connection.execute("COMMIT")
        connection.close()
    return sorted(times), sorted(own)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    text = document()
    started = time.perf_counter()
    policy = parse_policy(text, "bench.toml")
    print(f"document: {len(text):,} bytes, {len(policy.budgets):,} budgets, {len(policy.models):,} rules,", end=" ")
    print(f"read in {time.perf_counter() - started:.2f} s")
    for name, times in zip(("by the clock", "of the thread"), measure(policy, callers(count)), strict=True):
        figures = ", ".join(f"p{share} {times[min(count - 1, count * share // 100)]:.3f} ms" for share in (50, 90, 99))
        print(f"{count:,} decisions {name}: {figures}, most {times[-1]:.3f} ms")


if __name__ == "__main__":
    main()
