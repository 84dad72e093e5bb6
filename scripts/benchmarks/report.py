"""The table of a run, with targets and verdicts, and its place in docs/benchmarks.md."""

import datetime as dt
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from .suite import Plan, Results
from .workloads import WORKLOADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One target: ``value`` is compared with ``bound``, from above when ``at_least``."""

    what: str
    value: float
    bound: float
    at_least: bool
    detail: str
    unit: str = "×"

    @property
    def passed(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def row(self) -> str:
        sign = "≥" if self.at_least else "≤"
        bound, value = (f"{number:.2f}{self.unit}" if self.unit == "×" else f"{number:g} {self.unit}" for number in _short(self))
        return f"| {self.what} | {value} | {sign} {bound} | {'pass' if self.passed else '**fail**'} | {self.detail} |"


def targets(results: Results) -> list[Line]:
    """Every target that this run can judge."""
    lines: list[Line] = []
    for workload in WORKLOADS:
        found = results.rounds.get(workload.name, {})
        if "ours" not in found:
            continue
        if workload.live:
            lines += _live_lines(results, workload.name, workload.title, found)
            continue
        least = {"json": 1.25, "stream": 1.0, "chat-stream": 1.0, "large": 1.2}[workload.name]
        for rival, bound in (("stock", least), ("bare", 0.85 if workload.name == "json" else None)):
            if rival in found and bound is not None:
                ours, other = (results.median(workload.name, name, "per_second") for name in ("ours", rival))
                lines.append(
                    Line(
                        what=f"{workload.title}: answers/s against {rival}",
                        value=results.ratio(workload.name, rival, "per_second"),
                        bound=bound,
                        at_least=True,
                        detail=f"{ours:.0f} to {other:.0f}",
                    )
                )
    if "ours" in results.start_s:
        slowest = max(results.start_s["ours"])
        lines.append(Line(what="start to first answer", value=slowest, bound=3, at_least=False, detail="slowest", unit="s"))
    if "ours" in results.rss_mb:
        lines += _memory_lines(results.rss_mb["ours"])
    return lines


def _live_lines(results: Results, name: str, title: str, found: dict[str, list[object]]) -> list[Line]:
    lines = []
    for figure, label in (("first_p50_ms", "p50"), ("first_p99_ms", "p99")):
        if "stock" in found:
            ours, other = (results.median(name, rival, figure) for rival in ("ours", "stock"))
            ratio = results.ratio(name, "stock", figure)
            detail = f"{ours:.1f} ms to {other:.1f} ms"
            what = f"{title}: first event {label} against stock"
            lines.append(Line(what=what, value=ratio, bound=1.0, at_least=False, detail=detail))
    if "bare" in found:
        ours, other = (1000 * results.median(name, rival, "cpu_ms_per_event") for rival in ("ours", "bare"))
        ratio = results.ratio(name, "bare", "cpu_ms_per_event")
        detail = f"{ours:.0f} µs to {other:.0f} µs"
        lines.append(Line(what=f"{title}: CPU an event against bare", value=ratio, bound=1.1, at_least=False, detail=detail))
    return lines


def _memory_lines(seen: list[tuple[int, float]]) -> list[Line]:
    first, last = seen[0], seen[-1]
    detail = ", ".join(f"{answers}: {rss:.0f}" for answers, rss in seen)
    lines = [Line(what="memory after 2,000 calls", value=first[1], bound=120, at_least=False, detail=detail, unit="MB")]
    if last[0] >= 10 * first[0]:
        growth = last[1] - first[1]
        what = f"growth from 2,000 to {last[0]:,} calls"
        lines.append(Line(what=what, value=growth, bound=15, at_least=False, detail=detail, unit="MB"))
    return lines


def table(results: Results, plan: Plan) -> str:
    """The run as Markdown."""
    lines = targets(results)
    moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"## {moment}: {machine()}", ""]
    parts.append(f"{plan.rounds} interleaved rounds of {plan.seconds:g} s a workload; medians; a ratio is ours to the other.")
    if lines:
        parts += [
            "",
            "| target | measured | wanted | | ours to the other |",
            "|---|---|---|---|---|",
            *(line.row() for line in lines),
        ]
    parts += ["", "| workload | | answers/s | first byte p50 / p99 ms | CPU ms an answer | CPU µs an event | driver busy |"]
    parts.append("|---|---|---|---|---|---|---|")
    for workload in WORKLOADS:
        for name in results.rounds.get(workload.name, {}):
            parts.append(_figures(results, workload.name, name))
    for name, seconds in results.start_s.items():
        parts.append(f"| start to first answer | {name} | {min(seconds):.2f}–{max(seconds):.2f} s | | | | |")
    for name, seen in results.rss_mb.items():
        parts.append(f"| memory | {name} | " + ", ".join(f"{answers}: {rss:.0f} MB" for answers, rss in seen) + " | | | | |")
    return "\n".join(parts) + "\n"


def _figures(results: Results, workload: str, name: str) -> str:
    per_second, p50, p99, cpu, event, busy = (
        results.median(workload, name, figure)
        for figure in ("per_second", "first_p50_ms", "first_p99_ms", "cpu_ms_per_answer", "cpu_ms_per_event", "driver_busy")
    )
    events = f"{1000 * event:.0f}" if event else "–"
    cpu_text = "–" if name == "direct" else f"{cpu:.2f}"
    return f"| {workload} | {name} | {per_second:.0f} | {p50:.1f} / {p99:.1f} | {cpu_text} | {events} | {busy:.0%} |"


def append(document: Path, text: str) -> None:
    """Add a run at the end of the page."""
    with document.open("a") as file:
        file.write("\n" + text)


def machine() -> str:
    """Cores, processor and kernel; never a host name."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    system = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores, {model}, Linux {system}, Python {platform.python_version()}, load before {load:.1f}"


def _short(line: Line) -> tuple[float, float]:
    return (line.bound, line.value) if line.unit == "×" else (line.bound, round(line.value, 2 if line.unit == "s" else 0))
