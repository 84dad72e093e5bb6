"""The first frame, drawn before Textual is there: importing that takes longer than reading the ledger. Textual then draws the same over it.

A test holds this frame to Textual's own, line by line, and its colours to the themes'.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from rich.console import Console
from rich.text import Text

from tollkeeper.report.period import zone_of

from . import overview
from .columns import CALLS, OPEN, Column, Context, fitting, row_of
from .figures import fit
from .layout import KEYS, NAMES, NOTHING_YET, budget_rows, open_rows, titles_of, warning_lines
from .look import Look
from .snapshot import Snapshot

ENTER, LEAVE = "\x1b[?1049h\x1b[2J\x1b[H\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The alternate screen, empty and without a cursor; and back."""

LOOKS = {
    "textual-dark": (Look("#8AD4A1", "bold #FFC473", "bold #D17E92", "#57A5E2"), "#E0E0E0 on #121212", "#E0E0E0 on #242F38"),
    "textual-light": (Look("#337E4A", "bold #A86D1C", "bold #7A273C", "#002D4F"), "#1F1F1F on #E0E0E0", "#1F1F1F on #D0D0D0"),
    "ansi-dark": (Look("green", "bold yellow", "bold red", "blue"), "", ""),
}
"""Of each theme: its colours for signs, its screen, its lines at top and bottom."""


def first_frame(shown: Snapshot, look: Look, width: int, height: int) -> list[Text]:
    """As many lines as the window has, none wider than it."""
    context = Context(shown, look, zone_of(shown.zone))
    head = [overview.header(shown, look, width), _tabs()]
    if (banner := overview.banner(shown, width, warning_lines(height))).plain:
        head += banner.split("\n")
    room = height - len(head) - 1
    body = [
        *overview.budget_lines(shown, look, width - 1, budget_rows(height)).split("\n"),
        Text(),
        *overview.now_lines(shown, look, width - 1).split("\n"),
        Text(),
    ]
    if flying := open_rows(height, len(shown.open_calls)):
        body += [*_list(OPEN, shown.open_calls[:flying], width - (len(shown.open_calls) > flying), context), Text()]
    left = max(0, room - len(body) - 1)
    if shown.calls:
        body += _list(CALLS, shown.calls[:left], width - (len(shown.calls) > left), context, chosen=0)
    else:
        body += [titles_of(fitting(CALLS, width), look), Text(NOTHING_YET, style="dim")]
    body = [*body[:room], *[Text()] * max(0, room - len(body))]
    return [*head, *body, Text(fit(f" {KEYS}", width))][:height]


def _tabs() -> Text:
    first, rest = "bold underline reverse", "underline"
    pieces = [Text(f" {number} {name} ", style=first if number == 1 else rest) for number, name in enumerate(NAMES, 1)]
    return Text.assemble(*pieces)


def _list(columns: tuple[Column, ...], items: tuple[object, ...], width: int, context: Context, chosen: int = -1) -> list[Text]:
    fitted = fitting(columns, max(1, width), items, context)
    lines = [titles_of(fitted, context.look)]
    lines[0].stylize("bold underline")
    for index, item in enumerate(items):
        line = row_of(item, fitted, context)
        lines.append(Text(line.plain, style="reverse") if index == chosen else line)
    return lines


def draw(shown: Snapshot, console: Console, theme: str, *, ascii_only: bool) -> None:
    """Put the frame on the screen, in the theme's colours."""
    look, plain, panel = LOOKS[theme]
    look = Look(look.good, look.warn, look.bad, look.accent, look.dim, ascii_only)
    lines = first_frame(shown, look, console.width, console.height)
    for index, line in enumerate(lines):
        line.truncate(console.width, pad=True)
        line.stylize_before(panel if index < 2 or index == len(lines) - 1 else plain)
    console.print(Text("\n").join(lines), soft_wrap=True, end="")


@contextmanager
def curtain(shown: Snapshot, theme: str, *, ascii_only: bool, stream: IO[str] | None = None) -> Iterator[None]:
    """The first frame stands while the block runs. An error in it gives the terminal back; else whoever is drawn over it must."""
    out = stream or sys.stdout
    console = Console(file=out, markup=False, highlight=False, emoji=False, legacy_windows=False)
    out.write(ENTER)
    try:
        draw(shown, console, theme, ascii_only=ascii_only)
        out.flush()
        yield
    except BaseException:
        with suppress(OSError):
            out.write(LEAVE)
            out.flush()
        raise
