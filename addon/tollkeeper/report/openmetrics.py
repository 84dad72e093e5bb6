"""The OpenMetrics text format: for GitLab's metrics reports, node_exporter's text files and ``export prometheus``.

https://prometheus.io/docs/specs/om/open_metrics_spec/. Labels are bounded: the dearest of each are named, the rest are ``other``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tollkeeper.core.money import format_usd_exact
from tollkeeper.ledger.rows import Group, Report, Tokens

from .fold import add
from .outlook import BudgetLine, names_of

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
MAX_VALUES = 50
"""Values of one label; a series is kept for ever by whoever scrapes it."""
OTHER = "other"
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")
TOKEN_KINDS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


@dataclass(slots=True)
class Family:
    """A metric: its name without ``_total``, what it is, its samples as (labels, value)."""

    name: str
    kind: str
    help: str
    unit: str = ""
    samples: list[tuple[Mapping[str, str], str]] = field(default_factory=list)

    def lines(self) -> Iterable[str]:
        """Its text."""
        yield f"# TYPE {self.name} {self.kind}"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}"
        yield f"# HELP {self.name} {self.help}"
        suffix = "_total" if self.kind == "counter" else ""
        for labels, value in self.samples:
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{suffix}{{{shown}}} {value}" if shown else f"{self.name}{suffix} {value}"


def report_openmetrics(report: Report, budgets: Iterable[BudgetLine] = (), most: int = MAX_VALUES) -> str:
    """The figures of a report, its keys as labels."""
    names = [name.replace("-", "_") for name in report.by]
    groups = bounded(report.groups, most)
    cost = Family("tollkeeper_cost_usd", "counter", "What is known to be owed.", "usd")
    exposure = Family(
        "tollkeeper_exposure_usd", "counter", "What counts against budgets: known costs, and ceilings where none is known.", "usd"
    )
    calls = Family("tollkeeper_calls", "counter", "Calls by how they were met.")
    tokens = Family("tollkeeper_tokens", "counter", "Tokens by kind; reasoning is a part of output.", "tokens")
    unpriced = Family("tollkeeper_unpriced_calls", "counter", "Calls whose cost is not known.", "calls")
    unmetered = Family("tollkeeper_unmetered_calls", "counter", "Calls whose usage could not be read.", "calls")
    for group in groups:
        labels = dict(zip(names, group.keys, strict=True))
        if group.cost_nanousd is not None:
            cost.samples.append((labels, format_usd_exact(group.cost_nanousd)))
        exposure.samples.append((labels, format_usd_exact(group.exposure_nanousd)))
        other = group.calls - group.refused - group.rewritten
        for decision, count in (("allow", other), ("rewrite", group.rewritten), ("refuse", group.refused)):
            calls.samples.append(({**labels, "decision": decision}, str(count)))
        for kind, count in _kinds(group.tokens):
            tokens.samples.append(({**labels, "kind": kind}, str(count)))
        unpriced.samples.append((labels, str(group.unpriced_calls)))
        unmetered.samples.append((labels, str(group.unmetered)))
    held = Family(
        "tollkeeper_held_usd", "gauge", "Held for calls under way.", "usd", [({}, format_usd_exact(report.open_nanousd))]
    )
    inflight = Family("tollkeeper_calls_in_flight", "gauge", "Calls under way.", "", [({}, str(report.open_calls))])
    families = [cost, exposure, calls, tokens, unpriced, unmetered, held, inflight, *_budgets(budgets, most)]
    return "".join(f"{line}\n" for family in families for line in family.lines()) + "# EOF\n"


def bounded(groups: Sequence[Group], most: int) -> list[Group]:
    """Groups with at most ``most`` values for each key: the dearest keep their names, the rest share ``other``."""
    if not groups or not groups[0].keys:
        return list(groups)
    kept: list[set[str]] = []
    for place in range(len(groups[0].keys)):
        sums: dict[str, int] = {}
        for group in groups:
            sums[group.keys[place]] = sums.get(group.keys[place], 0) + group.exposure_nanousd
        kept.append(set(sorted(sums, key=lambda name: (-sums[name], name))[:most]))
    found: dict[tuple[str, ...], Group] = {}
    for group in groups:
        keys = tuple(key if key in names else OTHER for key, names in zip(group.keys, kept, strict=True))
        renamed = add(Group(keys=keys), group)
        found[keys] = add(found[keys], renamed) if keys in found else renamed
    return list(found.values())


def _budgets(budgets: Iterable[BudgetLine], most: int) -> list[Family]:
    amount = Family("tollkeeper_budget_amount_usd", "gauge", "The amount of a budget in its present window.", "usd")
    used = Family("tollkeeper_budget_used_usd", "gauge", "Spent and held in that window.", "usd")
    for line in list(budgets)[:most]:
        if line.standing is not None:
            labels = _labels(line)
            amount.samples.append((labels, format_usd_exact(line.standing.amount_nanousd)))
            used.samples.append((labels, format_usd_exact(line.used_nanousd)))
    return [amount, used] if amount.samples else []


def _labels(line: BudgetLine) -> dict[str, str]:
    """``who`` is for people and may be the same for two; with what the budget is divided by no series is there twice."""
    labels = {"budget": line.budget.name, "who": names_of(line.divided_by)}
    for field_name, value in line.divided_by:
        name = _NO_LABEL.sub("_", field_name)
        while name in labels:
            name += "_"
        labels[name] = value
    return labels


def _kinds(tokens: Tokens) -> Iterable[tuple[str, int]]:
    return ((kind, getattr(tokens, f"{kind}_tokens")) for kind in TOKEN_KINDS)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
