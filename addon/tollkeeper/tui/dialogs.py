"""What lies over a screen: one call in full, one budget in words, the keys."""

from collections.abc import Sequence
from datetime import tzinfo
from typing import ClassVar

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tollkeeper.report.outlook import BudgetLine
from tollkeeper.report.period import format_moment

from .figures import amount_in_words, unit_of
from .look import Look, budget_bar

KEYS = (
    ("1 … 6", "overview, calls, breakdown, budgets, decisions, gaps and plans; also ← → or h l"),
    ("↑ ↓ or j k", "move; g and G to the ends, ctrl+d and ctrl+u by half pages; the mouse scrolls and clicks"),
    ("enter", "one call in full; of a breakdown, its calls; of a budget, what it says"),
    ("/", "filter: model:opus cost>0.5 who:ada -tool:codex words; esc clears it"),
    ("s and S", "sort by the next column; the other way round. A click on a title does the same"),
    ("tab", "breakdown: person, team, project, branch, tool, session, agents, model, provider; elsewhere: the next list"),
    ("[ and ]", "today, 7 days, this month, all time"),
    ("space", "hold the screen still, go on"),
    ("y", "copy the call's id"),
    ("t", "dark, light, the terminal's own colours"),
    ("r", "read everything again"),
    ("ctrl+p", "the command palette"),
    ("?", "this page"),
    ("q", "quit"),
)
SIGNS = (
    ("✓", "fine"),
    ("~", "estimated: some of the usage was counted by us"),
    ("!", "look here: an error, no price, not metered, or it would have been blocked"),
    ("»", "sent to another model, or with a smaller answer"),
    ("✗", "refused; of a budget: used up"),
    ("–", "not known; never 0"),
    ("█ ▒ ░ │", "of a budget: spent, held, free, and where it is heading"),
)


class Over(ModalScreen[None]):
    """A box with something to read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "leave", "close", show=False),
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
        Binding("y", "copy", "copy", show=False),
    ]
    DEFAULT_CSS = """
    Over { align: center middle; }
    Over VerticalScroll { width: 94%; max-width: 130; height: auto; max-height: 92%; border: solid $primary; padding: 0 1;
        background: $surface; }
    """

    def __init__(self, content: RenderableType, *, title: str, copied: str = "") -> None:
        super().__init__()
        self._content, self._title, self._copied = content, title, copied

    def compose(self) -> ComposeResult:
        """A title on the border, the rest scrolls."""
        box = VerticalScroll(Static(self._content, markup=False))
        box.border_title = self._title
        box.border_subtitle = "esc closes" + (" · y copies the id" if self._copied else "")
        yield box

    def action_leave(self) -> None:
        """Back to the screen; a second key that was pressed before it was gone does nothing."""
        if self.is_active:
            self.dismiss()

    def action_scroll(self, by: int) -> None:
        """By lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_copy(self) -> None:
        """The call's id into the clipboard, by the terminal (OSC 52)."""
        if self._copied:
            self.app.copy_to_clipboard(self._copied)
            self.notify(f"copied {self._copied}")


def keys_page(look: Look) -> RenderableType:
    """Keys and signs."""
    return Stack(_facts(KEYS), Text(), _facts([("".join(look.sign(letter) for letter in sign), word) for sign, word in SIGNS]))


def budget_page(line: BudgetLine, look: Look, zone: tzinfo) -> RenderableType:
    """A budget in words."""
    from zoneinfo import ZoneInfo

    unit, standing, where = unit_of(line), line.standing, zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")
    facts = [
        ("budget", line.budget.name),
        ("for", line.who or "everybody it covers, together"),
        ("amount", f"{amount_in_words(unit, line.amount_nanousd)} a {line.limit.window}"),
        ("spent", amount_in_words(unit, standing.spent_nanousd if standing else None)),
        ("held", f"{amount_in_words(unit, standing.held_nanousd if standing else None)} for calls in flight"),
        ("room", amount_in_words(unit, standing.room_nanousd if standing else None)),
        ("heading for", amount_in_words(unit, line.projected_nanousd)),
        ("crosses", "not in this window" if line.crosses_at is None else format_moment(line.crosses_at, where)),
        ("resets", "never at once" if line.limit.resets_at is None else format_moment(line.limit.resets_at, where)),
        ("acts", "a call without room is stopped" if line.acts else "only watches: nothing is blocked"),
        ("instead", ", ".join(line.budget.rewrite)),
        ("message", line.budget.message),
        ("counts under", line.limit.bucket.key),
    ]
    return Stack(budget_bar(line, 60, look), Text(), _facts([fact for fact in facts if fact[1]]))


def _facts(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
