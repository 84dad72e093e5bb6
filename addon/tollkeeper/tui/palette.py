"""The command palette: what it offers besides Textual's own, and closing once however fast the keys come."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.app import SystemCommand
from textual.await_complete import AwaitComplete
from textual.command import CommandPalette
from textual.message import Message
from textual.widgets import Input, OptionList

from .layout import NAMES
from .overview import PERIOD_WORDS
from .snapshot import DIMENSIONS

if TYPE_CHECKING:
    from .app import TopApp


class Palette(CommandPalette):
    """Textual's, but keys that were pressed before it was gone do nothing: its own closes the screen below with the second one."""

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def _only_while_open(self, event: Message) -> None:
        if not self.is_active:
            event.stop()
            event.prevent_default()

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close it, if it is still there."""
        return super().dismiss(result) if self.is_active else AwaitComplete()


def commands(app: "TopApp") -> Iterator[SystemCommand]:
    """Each goes to the app's own queue: the palette is still closing when it is chosen."""
    for name in NAMES:
        yield SystemCommand(f"Screen: {name}", f"Show {name}", partial(app.call_later, app.action_view, name))
    for period in app.feed.periods:
        yield SystemCommand(f"Period: {PERIOD_WORDS[period]}", "Count calls of that time", partial(app.choose_period, period))
    for dimension in DIMENSIONS:
        yield SystemCommand(f"By {dimension}", "Break down by it", partial(app.call_later, app.break_down, dimension))
