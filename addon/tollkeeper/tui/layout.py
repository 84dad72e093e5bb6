"""What the screens are called and how the first one is divided: for Textual's widgets, and for the first frame drawn without them."""

from rich.text import Text

from .columns import Column
from .figures import fit
from .look import Look

NAMES = ("overview", "calls", "breakdown", "budgets", "decisions", "gaps")
NOTHING_YET = "nothing metered yet: `tollkeeper run -- CMD`, or see it work offline with `tollkeeper demo`"
KEYS = "j/k move  enter details  / filter  s sort  tab by  [ ] period  space pause  t theme  ? help  q quit"
THEMES = ("textual-dark", "textual-light", "ansi-dark")
SMALL = 30
"""Fewer lines than this are a small window: shorter lists, one warning."""


def warning_lines(height: int) -> int:
    """How many warnings stand on top."""
    return 1 if height < SMALL else 3


def budget_rows(height: int) -> int:
    """How many budgets the overview shows."""
    return 4 if height < SMALL else 6 if height < 50 else 12


def open_rows(height: int, calls: int) -> int:
    """How many calls in flight the overview shows."""
    return min(calls, 3 if height < SMALL else 6)


def titles_of(fitted: list[tuple[Column, int]], look: Look | None, sort: tuple[Column, bool] | None = None) -> Text:
    """The line of titles; the one sorted by has an arrow."""
    line = Text(no_wrap=True, end="")
    for column, width in fitted:
        title = column.title
        if sort is not None and sort[0] is column:
            arrow = "▼" if sort[1] else "▲"
            title += ("v" if sort[1] else "^") if look is not None and look.ascii_only else arrow
        title = fit(title, width)
        line.append(title.rjust(width) if column.right else title.ljust(width))
        line.append(" ")
    return line
