"""The order of a run: all competitors stay up, rounds go A B C, A B C, and ratios are taken within a round."""

import asyncio
import os
import ssl
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .competitors import STARTERS, Provider, Proxy, start_provider
from .load import Client, drive, open_clients
from .processes import DRIVER_CORE
from .workloads import WORKLOADS, Measured, Workload, measure

MEMORY_CONNECTIONS = 16


@dataclass(slots=True)
class Results:
    """``rounds[workload][competitor]`` holds one ``Measured`` a round."""

    rounds: dict[str, dict[str, list[Measured]]] = field(default_factory=dict)
    start_s: dict[str, list[float]] = field(default_factory=dict)
    rss_mb: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def median(self, workload: str, competitor: str, figure: str) -> float:
        """The median over the rounds."""
        return statistics.median(getattr(one, figure) for one in self.rounds[workload][competitor])

    def ratio(self, workload: str, competitor: str, figure: str) -> float:
        """Ours over ``competitor``: the median of the ratios within each round, so that a busy moment hits both."""
        pairs = zip(self.rounds[workload]["ours"], self.rounds[workload][competitor], strict=True)
        return statistics.median(getattr(ours, figure) / max(getattr(other, figure), 1e-9) for ours, other in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. ``memory_answers`` is the length of the soak that must stay flat."""

    competitors: tuple[str, ...]
    names: tuple[str, ...]
    rounds: int
    seconds: float
    starts: int
    memory_answers: int


def run(plan: Plan, folder: Path) -> Results:
    """Everything, with a line on stderr for each step."""
    os.sched_setaffinity(0, {DRIVER_CORE})
    results = Results()
    provider = start_provider(folder)
    proxies: dict[str, Proxy] = {}
    try:
        if "start" in plan.names:
            _measure_starts(plan, folder, provider, results)
        proxies = {name: STARTERS[name](folder, provider) for name in plan.competitors}
        if "memory" in plan.names:
            for name in plan.competitors:
                results.rss_mb[name] = asyncio.run(_soak(proxies[name], plan.memory_answers if name == "ours" else 2_000))
                _say(f"memory     {name:7} " + ", ".join(f"{answers}: {rss:.0f} MB" for answers, rss in results.rss_mb[name]))
        for workload in WORKLOADS:
            if workload.name in plan.names:
                _measure_rounds(workload, plan, proxies, provider, results)
    finally:
        for proxy in proxies.values():
            proxy.child.stop()
        provider.child.stop()
    return results


def _measure_rounds(workload: Workload, plan: Plan, proxies: dict[str, Proxy], provider: Provider, results: Results) -> None:
    found: dict[str, list[Measured]] = {name: [] for name in ("direct", *proxies)}
    results.rounds[workload.name] = found
    found["direct"].append(asyncio.run(measure(workload, None, provider, seconds=min(2.0, plan.seconds))))
    order = list(proxies)
    for number in range(plan.rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            found[name].append(asyncio.run(measure(workload, proxies[name], provider, seconds=plan.seconds)))
    for name, rounds in found.items():
        best = ", ".join(f"{one.per_second:.0f}/s p50 {one.first_p50_ms:.1f} p99 {one.first_p99_ms:.1f}" for one in rounds)
        _say(f"{workload.name:11} {name:7} {best}; driver {max(one.driver_busy for one in rounds):.0%}")


def _measure_starts(plan: Plan, folder: Path, provider: Provider, results: Results) -> None:
    request = next(workload for workload in WORKLOADS if workload.name == "json")
    for _ in range(plan.starts):
        for name in plan.competitors:
            began = time.perf_counter()
            proxy = STARTERS[name](folder, provider)
            try:
                asyncio.run(_first_answer(proxy, request))
                results.start_s.setdefault(name, []).append(time.perf_counter() - began)
            finally:
                proxy.child.stop()
    for name, seconds in results.start_s.items():
        _say(f"start       {name:7} " + ", ".join(f"{one:.2f} s" for one in seconds))


async def _first_answer(proxy: Proxy, workload: Workload) -> None:
    client = await Client.open(proxy.port, workload.host, ssl.create_default_context(cafile=str(proxy.ca)))
    await client.exchange(workload.request)
    await client.close()


async def _soak(proxy: Proxy, answers: int) -> list[tuple[int, float]]:
    """Resident memory after 2,000 answers and then at every quarter of the rest."""
    workload = WORKLOADS[0]
    clients = await open_clients(MEMORY_CONNECTIONS, proxy.port, workload.host, proxy.ca)
    seen: list[tuple[int, float]] = []
    done = 0
    for target in (2_000, *(answers * quarter // 4 for quarter in (1, 2, 3, 4))):
        if target > done:
            await drive(clients, workload.request, total=target - done)
            done = target
            seen.append((done, proxy.child.rss_mb()))
    for client in clients:
        await client.close()
    return seen


_say: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
