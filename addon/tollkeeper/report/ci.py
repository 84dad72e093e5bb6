"""What a CI job says at its end: one summary as a value, and its forms — Markdown, JSON, JUnit, annotations — and the exit code."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from tollkeeper.core.money import format_usd, format_usd_exact
from tollkeeper.ledger.rows import CallRow, Group, Report

from . import cells
from .machine import group_object, moment, money
from .markdown import MARKER, escaped

SCHEMA = "tollkeeper.ci/1"
MAX_SHOWN = 10
MAX_BASELINES = 200
MIN_CACHE_INPUT_TOKENS = 1024
"""Below this no provider caches a prompt: its absence is no miss (docs of OpenAI and Anthropic: 1,024 tokens at least)."""


class Finding(StrEnum):
    """What a job may fail on."""

    OVER = "over"
    REFUSED = "refused"
    UNPRICED = "unpriced"
    UNMETERED = "unmetered"


EXIT_CODES = {Finding.OVER: 20, Finding.REFUSED: 21, Finding.UNPRICED: 22, Finding.UNMETERED: 23}
"""Of `ci finish`, by the first finding in this order that it was asked to fail on."""


@dataclass(frozen=True, slots=True)
class Step:
    """A named stretch of the job and what was called in it."""

    name: str
    total: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One job, or one run of several. ``base_nanousd``: what runs of the base branch cost, for the median."""

    job: Mapping[str, str]
    by_model: Report
    steps: tuple[Step, ...] = ()
    refusals: tuple[CallRow, ...] = ()
    base_nanousd: tuple[int, ...] = ()
    cache_misses: int = 0
    """Calls with a prompt long enough to be cached, of which nothing was read from a cache."""
    refused_connections: int = 0
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def total(self) -> Group:
        """All calls."""
        return self.by_model.total

    @property
    def median_nanousd(self) -> int | None:
        """Of the base branch; None when nothing is known of it."""
        return int(median(self.base_nanousd)) if self.base_nanousd else None

    @property
    def cost_nanousd(self) -> int:
        """What counts: known costs, ceilings for what has no price."""
        return self.total.exposure_nanousd


def findings(summary: Summary, allowed_nanousd: int | None = None) -> dict[Finding, str]:
    """What is wrong, in words. ``allowed_nanousd``: the most this run may cost, whatever the policy says."""
    total, found = summary.total, dict[Finding, str]()
    over = [row for row in summary.refusals if row.budget]
    if allowed_nanousd is not None and summary.cost_nanousd > allowed_nanousd:
        found[Finding.OVER] = (
            f"this run cost {format_usd(summary.cost_nanousd)}, more than the {format_usd(allowed_nanousd)} allowed"
        )
    elif over:
        names = ", ".join(sorted({row.budget for row in over}))
        found[Finding.OVER] = f"{len(over)} call{_s(len(over))} found no room in a budget ({names})"
    if total.refused or summary.refused_connections:
        words = [f"{total.refused} call{_s(total.refused)} refused"] if total.refused else []
        if summary.refused_connections:
            words.append(f"{summary.refused_connections} connection{_s(summary.refused_connections)} stopped at the sidecar")
        found[Finding.REFUSED] = " and ".join(words)
    if total.unpriced_calls:
        names = ", ".join(dict.fromkeys(gap.model for gap in summary.by_model.unpriced[:5]))
        found[Finding.UNPRICED] = (
            f"{total.unpriced_calls} call{_s(total.unpriced_calls)} to models without a known price ({names})"
        )
    unmetered = sum(gap.calls for gap in summary.by_model.unmetered)
    if unmetered or total.crashed:
        found[Finding.UNMETERED] = f"{unmetered + total.crashed} call{_s(unmetered + total.crashed)} could not be metered"
    return found


def exit_code(found: Mapping[Finding, str], fail_on: Iterable[Finding]) -> int:
    """0, or the code of the first finding that was asked for."""
    wanted = set(fail_on)
    return next((EXIT_CODES[finding] for finding in Finding if finding in found and finding in wanted), 0)


def change_in_words(summary: Summary) -> str:
    """Against the base branch's median: ``+$0.12 (+40 %) against $0.30, the median of 7 runs of main``."""
    before = summary.median_nanousd
    if before is None:
        return "nothing is known of the base branch yet"
    change = summary.cost_nanousd - before
    sign = "+" if change > 0 else "−" if change < 0 else "±"
    percent = f" ({sign}{abs(change) * 100 / before:.0f} %)" if before else ""
    runs, branch = len(summary.base_nanousd), summary.job.get("base") or "the base branch"
    return (
        f"{sign}{format_usd(abs(change))}{percent} against {format_usd(before)}, the median of {runs} run{_s(runs)} of {branch}"
    )


def markdown(summary: Summary, found: Mapping[Finding, str]) -> str:
    """The job summary and the comment on a pull request. The marker on top is how a comment is found again."""
    total = summary.total
    mark = "❌" if found.keys() & {Finding.OVER, Finding.REFUSED} else "⚠️" if found else "✅"
    spent = f"{cells.cost(total)} · {cells.count(total.calls)} call{_s(total.calls)}" if total.calls else "no calls"
    lines = [MARKER, f"### {mark} AI spend: {escaped(spent)}", ""]
    lines += [f"{escaped(change_in_words(summary))}.", ""]
    lines += [f"> **{finding.value}**: {escaped(words)}  " for finding, words in found.items()]
    if found:
        lines.append("")
    if total.calls:
        lines += _table("model", [(group.keys[0], group) for group in summary.by_model.groups], total)
    if steps := [(step.name, step.total) for step in summary.steps if step.total.calls]:
        lines += ["", *_table("step", steps, None)]
    if summary.refusals:
        lines += ["", "<details><summary>Refused calls</summary>", ""]
        lines += [f"- {escaped(_refusal(row))}" for row in summary.refusals[:MAX_SHOWN]]
        if len(summary.refusals) > MAX_SHOWN:
            lines.append(f"- and {len(summary.refusals) - MAX_SHOWN} more")
        lines += ["", "</details>"]
    if summary.cache_misses:
        lines += [
            "",
            f"{summary.cache_misses} call{_s(summary.cache_misses)} with a long prompt read nothing from a prompt cache.",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: str, rows: Sequence[tuple[str, Group]], total: Group | None) -> list[str]:
    lines = [f"| {head} | calls | tokens in | cached | out | cost |", "| --- | --: | --: | --: | --: | --: |"]
    named = [(escaped(cells.name(name)), group) for name, group in rows[:MAX_SHOWN]]
    if total is not None and len(rows) > 1:
        named.append(("**total**", total))
    for name, group in named:
        used = group.tokens
        figures = (
            cells.count(group.calls),
            cells.tokens(used.total_input_tokens, group),
            cells.share(used.cache_read_tokens, used.total_input_tokens),
            cells.tokens(used.output_tokens, group),
            cells.cost(group),
        )
        lines.append(f"| {name} | {' | '.join(map(escaped, figures))} |")
    if len(rows) > MAX_SHOWN:
        lines.append(f"| {len(rows) - MAX_SHOWN} more | | | | | |")
    return lines


def _refusal(row: CallRow) -> str:
    why = f"budget {row.budget}" if row.budget else row.rule or row.reason or "policy"
    return f"{row.model or row.model_requested or row.operation}: {why}"


def as_object(summary: Summary, found: Mapping[Finding, str]) -> dict[str, Any]:
    """The JSON artefact. A later run of another branch reads ``exposure_nanousd`` as one value of its baseline."""
    return {
        "schema": SCHEMA,
        "job": dict(summary.job),
        "started_at": moment(summary.started_at),
        "ended_at": moment(summary.ended_at),
        "total": group_object(summary.total),
        "by_model": [{"model": group.keys[0], **group_object(group)} for group in summary.by_model.groups],
        "by_step": [{"step": step.name, **group_object(step.total)} for step in summary.steps],
        "baseline": {
            "runs": len(summary.base_nanousd),
            **money("median", summary.median_nanousd),
            **money("change", None if summary.median_nanousd is None else summary.cost_nanousd - summary.median_nanousd),
        },
        "refused_connections": summary.refused_connections,
        "cache_misses": summary.cache_misses,
        "findings": {finding.value: words for finding, words in found.items()},
    }


def baseline_of(documents: Iterable[str], branch: str) -> tuple[int, ...]:
    """What runs of ``branch`` cost, from their JSON artefacts; what is no such artefact, or of another branch, is passed over."""
    found = []
    for text in documents:
        try:
            document = json.loads(text)
            if document["schema"] == SCHEMA and document["job"].get("branch") == branch:
                found.append(int(document["total"]["exposure_nanousd"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
    return tuple(value for value in found[-MAX_BASELINES:] if 0 <= value < 2**63)


def junit(summary: Summary, found: Mapping[Finding, str], fail_on: Iterable[Finding]) -> str:
    """A JUnit report: one test case for each kind of finding, so that every CI system shows it without a plug-in."""
    wanted = set(fail_on)
    failures = sum(finding in wanted for finding in found)
    seconds = 0.0
    if summary.started_at is not None and summary.ended_at is not None:
        seconds = (summary.ended_at - summary.started_at) / 1_000_000
    cases = []
    for finding in Finding:
        words = found.get(finding)
        body = ""
        if words is not None:
            body = (
                f"<failure message={quoteattr(_printable(words))}/>"
                if finding in wanted
                else f"<system-out>{escape(_printable(words))}</system-out>"
            )
        cases.append(f'    <testcase classname="tollkeeper" name="{finding.value}" time="0">{body}</testcase>')
    total = summary.total
    properties = {"cost_usd": format_usd_exact(summary.cost_nanousd), "calls": str(total.calls), "refused": str(total.refused)}
    listed = [f"      <property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in properties.items()]
    head = f'<testsuite name="tollkeeper" tests="{len(Finding)}" failures="{failures}" errors="0" time="{seconds:.3f}">'
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", f"  {head}", "    <properties>", *listed, "    </properties>", *cases,
         "  </testsuite>", "</testsuites>", ""]
    )  # fmt: skip


def annotations(platform: str, found: Mapping[Finding, str], fail_on: Iterable[Finding]) -> list[str]:
    """Lines that GitHub shows on the run and the pull request; elsewhere plain words.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    wanted = set(fail_on)
    lines = []
    for finding, words in found.items():
        level = "error" if finding in wanted else "warning"
        if platform == "github":
            data = _printable(words).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            lines.append(f"::{level} title=Tollkeeper ({finding.value})::{data}")
        else:
            lines.append(f"tollkeeper: {level}: {finding.value}: {_printable(words)}")
    return lines


def code_quality(found: Mapping[Finding, str], fail_on: Iterable[Finding]) -> list[dict[str, Any]]:
    """GitLab's code quality report, shown in the merge request (https://docs.gitlab.com/ci/testing/code_quality/)."""
    wanted = set(fail_on)
    return [
        {
            "description": f"Tollkeeper: {_printable(words)}",
            "check_name": f"tollkeeper-{finding.value}",
            "fingerprint": f"tollkeeper-{finding.value}",
            "severity": "major" if finding in wanted else "info",
            "location": {"path": ".gitlab-ci.yml", "lines": {"begin": 1}},
        }
        for finding, words in found.items()
    ]


def is_cache_miss(row: CallRow) -> bool:
    """Whether a long prompt went to a model that caches and nothing came from the cache."""
    used = row.tokens
    return row.kind == "settle" and used.total_input_tokens >= MIN_CACHE_INPUT_TOKENS and used.cache_read_tokens == 0


def _printable(words: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
