"""Every form of a report by its name: what ``--format`` takes, and what the ending of a file's name means."""

from pathlib import PurePath
from typing import Final

from tollkeeper.ledger.rows import Group, Report

FORMATS: Final = (
    "table", "json", "jsonl", "csv", "tsv", "markdown", "html", "svg", "focus", "parquet", "openmetrics",
)  # fmt: skip
BINARY: Final = frozenset({"parquet"})
ENDINGS: Final = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".md": "markdown", ".html": "html",
    ".htm": "html", ".svg": "svg", ".parquet": "parquet", ".prom": "openmetrics", ".txt": "table",
}  # fmt: skip

ALIASES: Final = {
    "person": "principal", "who": "principal", "tool": "client", "group": "team", "groups": "team", "parent": "parent-agent",
    "agent-tree": "parent-agent", "end-user": "user",
}  # fmt: skip
"""Other words for what calls can be grouped by."""


def format_of(path: str) -> str | None:
    """The format that the ending of a file's name means."""
    return ENDINGS.get(PurePath(path).suffix.lower())


def fold_rest(report: Report, most: int) -> Report:
    """The ``most`` dearest groups, and one row ``N more`` for the rest: the total stays."""
    from dataclasses import replace

    from .fold import add

    if not report.by or len(report.groups) <= most + 1:
        return report
    ranked = sorted(report.groups, key=lambda group: (-group.exposure_nanousd, -group.calls, group.keys))
    kept = {group.keys for group in ranked[:most]}
    rest = Group(keys=(f"{len(ranked) - most} more", *([""] * (len(report.by) - 1))))
    for group in ranked[most:]:
        rest = add(rest, group)
    return replace(report, groups=(*(group for group in report.groups if group.keys in kept), rest))
