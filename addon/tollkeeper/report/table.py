"""A report as a table for a terminal. Below 100 columns it keeps to what fits."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from tollkeeper.core.clock import system_clock
from tollkeeper.ledger.rows import Report

from . import cells
from .figures import Column, columns_of
from .notes import notes
from .period import zone_of
from .plans import plan_lines

COMPACT_BELOW = 100
MEASURE_WIDTH = 10_000
NAME_WIDTH = 20
"""Of a name this much is kept together before a column of figures that every report has would go."""
WHOLE_NAME_WIDTH = 40
"""And this much before one that wide terminals have besides: clients choose names, of up to 512 letters, and longer ones are folded."""
LEAVES_LAST = ("input", "output", "calls", "cost")
PIPE_WIDTH = 120
"""Columns when the output is no terminal."""


def console_for(stream: IO[str], width: int | None = None) -> Console:
    """A console that shows text as it is: names come from clients, so nothing in them is markup."""
    if width is None and not stream.isatty() and "COLUMNS" not in os.environ:
        width = PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def print_report(report: Report, stream: IO[str], width: int | None = None, now: int | None = None) -> None:
    """The table, its total, the plans, and the notes under it. ``now`` is UTC microseconds, this moment unless it is said."""
    console = console_for(stream, width)
    console.print(fitting_table(report, console))
    for line in plan_lines(report.plan_windows, system_clock() if now is None else now, zone_of(report.zone)):
        console.print(line, style="dim", soft_wrap=True)
    for line in notes(report):
        console.print(line, style="bold" if line.startswith("!") else "dim", soft_wrap=True)


def fitting_table(report: Report, console: Console) -> Table:
    """The fullest table that fits: columns that may go do so, the last first, before any name of usual length is broken.

    Of what is left when it is still too wide, the cost stays longest: names are broken only where ``NAME_WIDTH`` of them is there.
    A name of unusual length is folded instead: it takes no figures from the other rows.
    """
    columns = columns_of(report.total)
    optional = [column for column in columns if not column.compact]
    if console.width < COMPACT_BELOW:
        columns = [column for column in columns if column.compact]
        optional = []
    unbounded = console.options.update(width=MEASURE_WIDTH)
    whole, usual = _cut_to(report, WHOLE_NAME_WIDTH), _cut_to(report, NAME_WIDTH)
    while optional and console.measure(table_of(whole, columns), options=unbounded).maximum > console.width:
        columns.remove(optional.pop())
    leaving = sorted(columns, key=lambda column: LEAVES_LAST.index(column.title) if column.title in LEAVES_LAST else -1)
    while len(columns) > 1 and console.measure(table_of(usual, columns), options=unbounded).minimum > console.width:
        columns.remove(leaving.pop(0))
    is_narrow = console.measure(table_of(usual, columns), options=unbounded).minimum > console.width
    return table_of(report, columns, name_width=1 if is_narrow else NAME_WIDTH)


def _cut_to(report: Report, width: int) -> Report:
    """The report to measure: a name is as wide as that at most."""
    groups = (
        replace(group, keys=tuple(set_cell_size(name, min(cell_len(name), width)) for name in group.keys))
        for group in report.groups
    )
    return replace(report, groups=tuple(groups))


def table_of(report: Report, columns: Sequence[Column], *, name_width: int = NAME_WIDTH) -> Table:
    """The rows of a report, figures to the right; names are broken where they are longer than ``name_width``, if they must be."""
    several = len(report.groups) > 1
    table = Table(box=box.SIMPLE_HEAD, show_footer=several, pad_edge=False, footer_style="bold")
    for index, key in enumerate(report.by):
        longest = max((cell_len(cells.name(group.keys[index])) for group in report.groups), default=1)
        whole = key in {"day", "hour"}
        table.add_column(
            key, footer="total" if not index else "", overflow="fold", no_wrap=whole, min_width=min(longest, name_width)
        )
    for column in columns:
        table.add_column(column.title, footer=column.cell(report.total), justify="right", no_wrap=True)
    for group in report.groups:
        table.add_row(*map(cells.name, group.keys), *(column.cell(group) for column in columns))
    return table
