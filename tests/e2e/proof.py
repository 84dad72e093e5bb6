"""Callers that all want the same dollar at once: real HTTP through real proxies, answers with a heavy tail.

Each caller asks again until it is told that nothing is under way any more and there is still no room: then what is left is what
nobody could use. Beside it, for comparison, a gate that looks at the balance before a call and adds its cost after it.
"""

import asyncio
import json
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from e2e.harness import START_SECONDS, LedgerView, RunningProxy, proxy_environment, wait_for
from e2e.prices import NANOUSD_PER_TOKEN, cost_nanousd
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.proxy.settings import Settings

AMOUNT_NANOUSD = 1_000_000_000
POLICY = """
schema = 1
mode = "enforce"
[budget.dollar]
amount = "1 USD"
window = "day"
share = "pool"
on_exceed = [{ clamp = { min_output_tokens = 64 } }, "refuse"]
"""
MODEL = "claude-haiku-4-5"
HOST = "api.anthropic.com"
MEDIAN_TOKENS, SIGMA, MOST_TOKENS = 150, 1.1, 4_096
"""Answers of a coding agent: the 95th percentile is six times the median, and one in a hundred is longer than thirteen times that."""
INPUT_TOKENS = 400
TYPICAL_NANOUSD = INPUT_TOKENS * NANOUSD_PER_TOKEN[MODEL]["input"] + MEDIAN_TOKENS * NANOUSD_PER_TOKEN[MODEL]["output"]
"""What the median call costs: nobody may be refused while this much is neither spent nor held."""
PAUSE_SECONDS = 0.05
STOP_SECONDS = 120.0


@dataclass(slots=True)
class Result:
    """What came of it."""

    processes: int
    callers: int
    served: int = 0
    refused: int = 0
    broken: int = 0
    billed_nanousd: int = 0
    counted_nanousd: int = 0
    left_held: int = 0
    clamped: int = 0
    seconds: float = 0.0
    last_words: list[str] = field(default_factory=list)
    rooms_nanousd: list[int] = field(default_factory=list)
    """What was neither spent nor held at each refusal that has an entry, worked out from the chain before it."""
    told_room_nanousd: int = 0
    """The most of it that a refused caller was told in its headers."""

    @property
    def usable_percent(self) -> float:
        """How much of the amount was used."""
        return 100 * self.counted_nanousd / AMOUNT_NANOUSD

    @property
    def most_room_nanousd(self) -> int:
        """The most that was left when somebody was refused, by the chain and by what callers were told."""
        return max(self.told_room_nanousd, *self.rooms_nanousd, 0)


@dataclass(slots=True)
class RecordAfter:
    """A gate as others build it: it looks at what was spent before a call, and adds what the call cost after it."""

    spent_nanousd: int = 0

    def has_room(self) -> bool:
        return self.spent_nanousd < AMOUNT_NANOUSD

    def record(self, body: bytes) -> None:
        usage = json.loads(body)["usage"]
        rates = NANOUSD_PER_TOKEN[MODEL]
        self.spent_nanousd += usage["input_tokens"] * rates["input"] + usage["output_tokens"] * rates["output"]


def run(
    folder: Path,
    provider: FakeProvider,
    *,
    callers: int,
    processes: int = 1,
    kill_after: int | None = None,
    record_after: RecordAfter | None = None,
) -> Result:
    """Let ``callers`` share a dollar over ``processes`` proxies on one ledger; the last one is killed after ``kill_after`` answers.

    With ``record_after`` that gate stands before the proxies, and they have no policy.
    """
    provider.bills.clear()
    result = Result(processes=processes, callers=callers)
    started = time.monotonic()
    with ExitStack() as stack:
        proxies: list[RunningProxy] = []
        for number in range(processes):
            proxy = _start(folder / "home", provider, number, "" if record_after else POLICY)
            stack.callback(
                proxy.kill if kill_after is not None and number == processes - 1 else partial(proxy.stop, STOP_SECONDS)
            )
            proxies.append(proxy)
        asyncio.run(_everybody(proxies, result, kill_after, record_after))
        proxies[0].ledger.wait(
            lambda view: len(view.entries("settle")) >= result.served,
            "every answer that a client has seen is settled",
            START_SECONDS,
        )
        result.billed_nanousd = sum(cost_nanousd(one) for one in provider.bills.billed())
        view = proxies[0].ledger
        held = sum(row["amount"] for row in view.holds())
        result.left_held = held
        entries = view.entries("settle", "expire", "void")
        result.counted_nanousd = sum(entry["exposure_nanousd"] or 0 for entry in entries) + held
        result.clamped = sum(entry["verdict"] == "rewrite" for entry in entries)
        if record_after is None:
            result.rooms_nanousd = list(rooms_at_refusals(_money(view)))
    result.seconds = time.monotonic() - started
    return result


def _money(view: LedgerView) -> list[dict[str, Any]]:
    return view.query("SELECT kind, call_id, hold_nanousd, exposure_nanousd FROM entry ORDER BY seq")


def rooms_at_refusals(entries: Iterable[dict[str, Any]]) -> Iterable[int]:
    """What was neither spent nor held at each refusal: the chain of entries is replayed, nobody's balance is believed."""
    spent, held = 0, 0
    open_holds: dict[str, int] = {}
    for entry in entries:
        if entry["kind"] == "hold":
            open_holds[entry["call_id"]] = entry["hold_nanousd"]
            held += entry["hold_nanousd"]
        elif entry["kind"] == "refuse" and entry["call_id"] not in open_holds:
            yield AMOUNT_NANOUSD - spent - held
        else:
            held -= open_holds.pop(entry["call_id"], 0)
            spent += entry["exposure_nanousd"] or 0
            assert 0 <= spent + held <= AMOUNT_NANOUSD, f"{spent} spent and {held} held after {entry}"


def _start(home: Path, provider: FakeProvider, number: int, policy: str) -> RunningProxy:
    """One of several proxies on one home, and so on one ledger, as `tollkeeper run` starts them."""
    environment = proxy_environment(home, provider)
    (home / "policy.toml").write_text(policy)
    state, log = home / f"proxy-{number}.json", home / f"proxy-{number}.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "tollkeeper.proxy"]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file)
    assert process.stdin is not None
    process.stdin.write(Settings(port=0, state=str(state)).to_json().encode())
    process.stdin.close()
    wait_for(lambda: state.exists() or process.poll() is not None, f"proxy {number} serves", START_SECONDS)
    assert process.poll() is None, log.read_text()
    return RunningProxy(process, home, json.loads(state.read_text())["port"], log)


async def _everybody(
    proxies: Sequence[RunningProxy], result: Result, kill_after: int | None, record_after: RecordAfter | None
) -> None:
    contexts = [ssl.create_default_context(cafile=str(proxy.bundle)) for proxy in proxies]
    lengths = random.Random(20_261_122)
    gate = asyncio.Event()
    ready = asyncio.Semaphore(0)
    tasks = [
        asyncio.create_task(_caller(proxies, contexts, number, lengths.randrange(2**32), result, gate, ready, record_after))
        for number in range(result.callers)
    ]
    for _ in tasks:
        await ready.acquire()
    gate.set()
    if kill_after is not None:
        while result.served < kill_after and not all(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        proxies[-1].kill()
    await asyncio.gather(*tasks)


async def _caller(
    proxies: Sequence[RunningProxy],
    contexts: Sequence[ssl.SSLContext],
    number: int,
    seed: int,
    result: Result,
    gate: asyncio.Event,
    ready: asyncio.Semaphore,
    record_after: RecordAfter | None,
) -> None:
    lengths = random.Random(seed)
    which = number % len(proxies)
    streams = await _connect(proxies[which].port, contexts[which])
    ready.release()
    await gate.wait()
    while record_after is None or record_after.has_room():
        tokens = min(MOST_TOKENS, max(1, int(lengths.lognormvariate(0, SIGMA) * MEDIAN_TOKENS)))
        try:
            status, headers, body = await _ask(*streams, tokens)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            result.broken += 1
            await _close(streams[1])
            which = 0  # its proxy is gone: the next one serves it
            streams = await _connect(proxies[which].port, contexts[which])
            continue
        if status == 200:
            result.served += 1
            if record_after is not None:
                record_after.record(body)
            continue
        result.refused += 1
        spent, held, amount = (round(float(headers[f"x-tollkeeper-{name}-usd"]) * 1e9) for name in ("spent", "held", "amount"))
        result.told_room_nanousd = max(result.told_room_nanousd, amount - spent - held)
        if held == 0:
            result.last_words.append(headers.get("x-tollkeeper-reason", ""))
            break
        await asyncio.sleep(PAUSE_SECONDS * (0.5 + lengths.random()))
    result.refused += record_after is not None
    await _close(streams[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def _connect(port: int, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(context, server_hostname=HOST, ssl_handshake_timeout=120)
    return reader, writer


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"model": MODEL, "max_tokens": MOST_TOKENS, "messages": [{"role": "user", "content": "hi"}]}).encode()
    # A provider keeps to the cap it is given; the fake one bills what it is told, so it is told the smaller at most.
    head = (
        f"POST /v1/messages HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"x-fake-input-tokens: {INPUT_TOKENS}\r\nx-fake-output-tokens: {tokens}\r\nx-fake-capped: 1\r\nx-fake-first-delay-ms: 60\r\n\r\n"
    )
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if value}
    answer = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split(" ")[1]), headers, answer
