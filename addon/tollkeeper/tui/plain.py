"""The overview as text, once: for pipes, dumb terminals and ``--once``."""

from typing import IO

from rich.text import Text

from tollkeeper.report.period import zone_of
from tollkeeper.report.table import console_for

from . import overview
from .columns import CALLS, OPEN, Context, fitting, row_of
from .look import Look
from .snapshot import Snapshot

LAST_CALLS = 10


def print_once(shown: Snapshot, stream: IO[str], *, ascii_only: bool = False, width: int | None = None) -> None:
    """Warnings, budgets, the present, what is in flight, the last calls."""
    console, look = console_for(stream, width), Look(ascii_only=ascii_only)
    wide = console.width
    console.print(overview.header(shown, look, wide), soft_wrap=True)
    for line in overview.warnings(shown):
        console.print(Text(f"! {line}", style="bold"), soft_wrap=True)
    console.print(overview.budget_lines(shown, look, wide - 1, 50), soft_wrap=True)
    console.print(overview.now_lines(shown, look, wide - 1), soft_wrap=True)
    context = Context(shown, look, zone_of(shown.zone))
    for columns, items in ((OPEN, shown.open_calls), (CALLS, shown.calls[:LAST_CALLS])):
        fitted = fitting(columns, wide - 1, items, context)
        for item in items:
            console.print(row_of(item, fitted, context), soft_wrap=True)
