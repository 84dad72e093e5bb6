"""A report as an SVG picture of its table: sharp at any size, small in a repository, with no font fetched from elsewhere."""

import io

from rich.console import Console

from tollkeeper.ledger.rows import Report

from .notes import notes
from .period import zone_of
from .plans import plan_lines
from .table import fitting_table

WIDTH = 110

_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
line-height: {line_height}px; font-variant-east-asian: full-width;}}
.{unique_id}-title {{font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif;}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def report_svg(report: Report, title: str, now: int, width: int = WIDTH) -> str:
    """The table with its notes, as a terminal of ``width`` columns shows it."""
    console = Console(
        record=True, width=width, file=io.StringIO(), markup=False, highlight=False, emoji=False, force_terminal=True
    )
    console.print(fitting_table(report, console))
    for line in (*plan_lines(report.plan_windows, now, zone_of(report.zone)), *notes(report)):
        console.print(line, style="bold" if line.startswith("!") else "dim")
    return console.export_svg(title=title, code_format=_FORMAT, unique_id="tollkeeper")
