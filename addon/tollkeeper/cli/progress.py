"""Progress of long work on stderr: a bar in a terminal, nothing in a pipe or a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

type Tell = Callable[[int, int], None]
"""Told what is done and how much there is in all (0: not known)."""

SHOWN_AFTER_S = 0.3
"""Work that is over sooner shows nothing."""


@contextmanager
def progress(what: str, *, beside_output: bool = False) -> Iterator[Tell]:
    """A function to tell about progress; it draws only where stderr is a terminal, and clears its line in the end.

    ``beside_output``: lines go to standard output meanwhile, so nothing is drawn where that is a terminal too.
    """
    if not sys.stderr.isatty() or (beside_output and sys.stdout.isatty()):
        yield _silent
        return
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    fields = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*fields, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task(what, total=None)
    began, drawn = time.monotonic(), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        bar.update(task, completed=done, total=total or None)
        if now - began < SHOWN_AFTER_S or now - drawn < 0.1:
            return
        if not bar.live.is_started:
            bar.start()
        bar.refresh()
        drawn = now

    try:
        yield tell
    finally:
        bar.stop()


def _silent(_done: int, _total: int) -> None:
    """Nobody looks."""
