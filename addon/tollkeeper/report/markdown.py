"""A report as GitHub-flavoured Markdown: job summaries, comments on pull requests. Charts are Mermaid, drawn by GitHub and GitLab."""

import re
from collections.abc import Sequence
from decimal import Decimal

from tollkeeper.core.money import to_usd
from tollkeeper.ledger.rows import Group, Report

from . import cells
from .figures import columns_of
from .notes import notes

MARKER = "<!-- tollkeeper -->"
"""The first line, by which a comment is found again and updated."""
CHART_ROWS = 12

_SPECIAL = re.compile(r"([\\*_\[\]<>|~&])")


def report_markdown(report: Report, title: str = "AI spend") -> str:
    """The total in one line, the table, a chart of days or of the dearest, and what stands under every report."""
    total = report.total
    calls = f"{cells.count(total.calls)} call{'' if total.calls == 1 else 's'}"
    lines = [MARKER, f"### {escaped(title)}: {cells.cost(total)} · {calls}", ""]
    lines += _table(report)
    lines += _chart(report)
    lines += ["", *(f"> {escaped(line)}  " for line in notes(report))]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is Markdown, HTML or the end of a cell: names come from clients."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()).replace("`", "'")).replace("@", "@\u200b")


def _table(report: Report) -> list[str]:
    columns = columns_of(report.total, compact=True)
    heads = [*report.by, *(column.title for column in columns)]
    rows = [_row([escaped(head) for head in heads]), _row([*(["---"] * len(report.by)), *(["--:"] * len(columns))])]
    rows += [
        _row([*(escaped(cells.name(key)) for key in group.keys), *(column.cell(group) for column in columns)])
        for group in report.groups
    ]
    if len(report.groups) > 1:
        total = [f"**{column.cell(report.total)}**" for column in columns]
        rows.append(_row(["**total**", *([""] * (len(report.by) - 1)), *total] if report.by else total))
    return rows


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _chart(report: Report) -> list[str]:
    """Bars of the known costs, where there are two or more of them and one name for each."""
    shown = [group for group in report.groups if group.cost_nanousd][: CHART_ROWS if report.by and report.by[0] != "day" else 31]
    if len(report.by) != 1 or len(shown) < 2:
        return []
    names = ", ".join(f'"{_plain(group)}"' for group in shown)
    figures = ", ".join(_number(group) for group in shown)
    return ["", "```mermaid", "xychart-beta", f"  x-axis [{names}]", '  y-axis "USD"', f"  bar [{figures}]", "```"]


def _plain(group: Group) -> str:
    return re.sub(r"[^\w .:/@+-]", "?", cells.name(group.keys[0]))[:40]


def _number(group: Group) -> str:
    return str(to_usd(group.cost_nanousd or 0).quantize(Decimal("0.0001")))
