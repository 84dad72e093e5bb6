"""A report as a table for a terminal. Below 100 columns it keeps to what fits."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import Group, Report

from . import cells
from .notes import notes

COMPACT_BELOW = 100
MEASURE_WIDTH = 10_000
PIPE_WIDTH = 120
"""Columns when the output is no terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures: its title, its cell, when it is worth showing, and whether it stays when space is short."""

    title: str
    cell: Callable[[Group], str]
    shown: Callable[[Group], bool] = lambda _: True
    compact: bool = True


_COLUMNS = (
    Column("calls", lambda group: cells.count(group.calls)),
    Column("refused", lambda group: cells.count(group.refused), lambda total: total.refused > 0, compact=False),
    Column("rewritten", lambda group: cells.count(group.rewritten), lambda total: total.rewritten > 0, compact=False),
    Column("would refuse", lambda group: cells.count(group.would_refuse), lambda total: total.would_refuse > 0, compact=False),
    Column("input", lambda group: cells.tokens(group.tokens.input_tokens, group)),
    Column(
        "cache read",
        lambda group: cells.tokens(group.tokens.cache_read_tokens, group),
        lambda total: total.tokens.cache_read_tokens > 0,
    ),
    Column(
        "cache write",
        lambda group: cells.tokens(group.tokens.cache_write_5m_tokens + group.tokens.cache_write_1h_tokens, group),
        lambda total: total.tokens.cache_write_5m_tokens + total.tokens.cache_write_1h_tokens > 0,
        compact=False,
    ),
    Column("output", lambda group: cells.tokens(group.tokens.output_tokens, group)),
    Column(
        "reasoning",
        lambda group: cells.tokens(group.tokens.reasoning_tokens, group),
        lambda total: total.tokens.reasoning_tokens > 0,
        compact=False,
    ),
    Column(
        "list",
        lambda group: format_usd(group.list_cost_nanousd),
        lambda total: total.list_cost_nanousd != total.cost_nanousd,
        compact=False,
    ),
    Column(
        "unknown cost",
        lambda group: f"{group.unpriced_calls} ≤ {format_usd(group.unpriced_exposure_nanousd)}" if group.unpriced_calls else "",
        lambda total: total.unpriced_calls > 0,
        compact=False,
    ),
    Column("cost", cells.cost),
)


def console_for(stream: IO[str], width: int | None = None) -> Console:
    """A console that shows text as it is: names come from clients, so nothing in them is markup."""
    if width is None and not stream.isatty() and "COLUMNS" not in os.environ:
        width = PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def print_report(report: Report, stream: IO[str], width: int | None = None) -> None:
    """The table, its total, and the notes under it."""
    console = console_for(stream, width)
    console.print(fitting_table(report, console))
    for line in notes(report):
        console.print(line, style="bold" if line.startswith("!") else "dim", soft_wrap=True)


def fitting_table(report: Report, console: Console) -> Table:
    """The fullest table that fits: columns that may go do so, the last first, before any name is broken."""
    columns = [column for column in _COLUMNS if column.shown(report.total)]
    optional = [column for column in columns if not column.compact]
    if console.width < COMPACT_BELOW:
        columns = [column for column in columns if column.compact]
        optional = []
    unbounded = console.options.update(width=MEASURE_WIDTH)
    while True:
        table = table_of(report, columns)
        if not optional or console.measure(table, options=unbounded).maximum <= console.width:
            return table
        columns.remove(optional.pop())


def table_of(report: Report, columns: Sequence[Column]) -> Table:
    """The rows of a report, figures to the right."""
    several = len(report.groups) > 1
    table = Table(box=box.SIMPLE_HEAD, show_footer=several, pad_edge=False, footer_style="bold")
    for index, key in enumerate(report.by):
        table.add_column(key, footer="total" if index == 0 else "", overflow="fold", no_wrap=key in {"day", "hour"})
    for column in columns:
        table.add_column(column.title, footer=column.cell(report.total), justify="right", no_wrap=True)
    for group in report.groups:
        table.add_row(*map(cells.name, group.keys), *(column.cell(group) for column in columns))
    return table
