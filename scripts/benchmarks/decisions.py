"""The time of a decision with 1,000 budgets and 10,000 model rules in the document: planning, the ledger's transaction, deciding.

    nice -n 10 taskset -c 0 python -m scripts.benchmarks.decisions [CALLS]
    nice -n 10 taskset -c 0 python -m scripts.benchmarks.decisions [CALLS] --rows 10000000

Callers are drawn from 2,000 principals in 400 groups and 300 projects, so that new kinds of calls keep coming; the price is flat. With
``--rows`` the same calls are decided on a new ledger and on one of so many entries (8 GB for 10 million, three minutes to make), a
hundred of them here and a hundred there, so that a busy machine slows both down alike; every window is opened before.
Exit code 1 when a promise is broken: 2 ms for 99 of 100 decisions, and with many rows the same within 10 %.
"""

import argparse
import contextlib
import gc
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
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
TURN = 100
"""Calls decided on one ledger before it is the other's turn."""
SPAN_US = 180 * 86_400_000_000
MOST_MS, MOST_RATIO = 2.0, 1.10
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


class Bench:
    """One ledger, and the calls decided on it."""

    def __init__(self, policy: Policy, path: Path) -> None:
        self.policy = policy
        self.connection = prepare(path)
        self.journal = Journal(self.connection, system_clock)
        self.times: list[float] = []
        self.own: list[float] = []

    def run(self, calls: list[Call]) -> None:
        """Decide about each call and settle it. A decision: plan, check and hold in an open transaction, decide; its commit is not in it.

        Adds the milliseconds of each decision by the clock to ``times``, and of this thread alone to ``own``.
        """
        for call in calls:
            at = system_clock()
            asked = replace(call, id=new_id(at), started_at=at)
            self.connection.execute("BEGIN IMMEDIATE")
            self.journal.refresh()
            started, began = time.perf_counter(), time.thread_time()
            planned = plan_with(self.policy, asked, PEN, at)
            if not isinstance(planned, Decision):
                decide(planned, self.journal.admit(planned), self.policy)
            self.times.append((time.perf_counter() - started) * 1_000)
            self.own.append((time.thread_time() - began) * 1_000)
            self.journal.close_hold(asked.id, Kind.SETTLE, {"exposure_nanousd": 40_000})
            self.journal.flush()
            self.connection.execute("COMMIT")

    def forget(self) -> None:
        """Drop the figures so far."""
        self.times.clear()
        self.own.clear()

    def p99(self, times: list[float]) -> float:
        """In milliseconds."""
        return sorted(times)[len(times) * 99 // 100]

    def figures(self) -> str:
        """What is printed of it."""
        found = []
        for name, times in (("by the clock", sorted(self.times)), ("of the thread", sorted(self.own))):
            shares = ", ".join(f"p{share} {times[len(times) * share // 100]:.3f} ms" for share in (50, 90, 99))
            found.append(f"{len(times):,} decisions {name}: {shares}, most {times[-1]:.3f} ms")
        return "\n".join(found)


PEN = Pen(quote=lambda _: Flat(800_000), capped=lambda _, cap: Flat(min(cap, 32_000) * 25), expected=lambda _: 1_500)


def grow(path: Path, rows: int) -> None:
    """Copy the entries of a ledger into the past until there are ``rows``, evenly over 180 days; its balances are summed anew.

    The copies have no place in the chain of hashes: no decision reads it but for its end.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-400000; PRAGMA temp_store=MEMORY;"
        )
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('entry')")]
        (base,) = connection.execute("SELECT max(seq) FROM entry").fetchone()
        copies = max(0, -(-rows // base) - 1)
        shifted = {"seq": "seq + :seq", "call_id": "call_id || :copy"} | {
            name: f"{name} + :us" for name in ("at", "counted_at", "started_at")
        }
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'entry' AND type = 'index' AND sql <> ''"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        # The copies come first in time and last in the chain: whoever asks for the newest entry finds the one of the newest copy.
        values = ", ".join(shifted.get(name, name) for name in columns)
        copy = f"INSERT INTO entry ({', '.join(columns)}) SELECT {values} FROM entry WHERE seq <= {base}"
        for number in range(1, copies + 1):
            connection.execute(
                copy, {"seq": base * number, "copy": f"-{number}", "us": (number - copies - 1) * SPAN_US // (copies + 1)}
            )
        for _, statement in indexes:
            connection.execute(statement)
        for table in ("hold", "bucket", "balance"):
            connection.execute(f"DELETE FROM {table}")


@contextlib.contextmanager
def ledgers(policy: Policy, calls: list[Call], rows: int) -> Iterator[list[Bench]]:
    """A new ledger, and with ``rows`` one of so many entries; every window that the calls ask for is open."""
    with tempfile.TemporaryDirectory() as folder:
        small = Bench(policy, Path(folder) / "ledger.db")
        found = [small]
        if rows:
            path = Path(folder) / "large.db"
            seed = Bench(policy, path)
            seed.run(calls[:5_000])
            seed.connection.close()
            started = time.perf_counter()
            grow(path, rows)
            print(
                f"made {rows:,} entries ({path.stat().st_size / 1e9:.1f} GB) in {time.perf_counter() - started:.0f} s", flush=True
            )
            found.append(Bench(policy, path))
            for bench in found:
                bench.run(calls)
            print(
                f"opening windows on the large ledger: a call took {found[1].times and max(found[1].times):.0f} ms at most",
                flush=True,
            )
            for bench in found:
                bench.forget()
        yield found
        for bench in found:
            bench.connection.close()


def main() -> int:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calls", nargs="?", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=0, help="compare with a ledger of so many entries")
    options = parser.parse_args()
    return run(options.calls, options.rows)


def run(count: int, rows: int) -> int:
    """Decide so many calls, and print the figures; with ``rows`` on a ledger of so many entries besides. 1 when a promise is broken."""
    text = document()
    started = time.perf_counter()
    policy = parse_policy(text, "bench.toml")
    print(f"document: {len(text):,} bytes, {len(policy.budgets):,} budgets, {len(policy.models):,} rules,", end=" ")
    print(f"read in {time.perf_counter() - started:.2f} s", flush=True)
    matcher_of(policy)
    calls = callers(count)
    gc.collect()
    gc.freeze()  # as the runner does once everything is loaded: else one collection walks all rules (150 ms)
    with ledgers(policy, calls, rows) as benches:
        for start in range(0, len(calls), TURN):
            for bench in benches:
                bench.run(calls[start : start + TURN])
        for name, bench in zip(("new ledger", f"{rows:,} entries"), benches, strict=False):
            print(f"{name}:\n{bench.figures()}")
        own = [bench.p99(bench.own) for bench in benches]
    if len(own) == 2:
        print(f"p99 of the thread, large to new: {own[1] / own[0]:.2f}")
    return 0 if own[0] <= MOST_MS and own[-1] <= own[0] * MOST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
