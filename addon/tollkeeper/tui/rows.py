"""A list: draws only the lines in sight, so ten thousand rows cost what twenty do; keeps its place while rows come in above."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .columns import Column, Context, fitting, row_of
from .layout import titles_of

type Identify = Callable[[Any], object]


class Rows(ScrollView, can_focus=True):
    """Columns of items with a cursor. Sorting is the list's own; which items, in which order otherwise, is the owner's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("ctrl+d", "page(0.5)", "half a page down", show=False),
        Binding("ctrl+u", "page(-0.5)", "half a page up", show=False),
        Binding("home,g", "edge(False)", "top", show=False),
        Binding("end,G", "edge(True)", "bottom", show=False),
        Binding("enter", "choose", "details", show=False),
    ]
    DEFAULT_CSS = """
    Rows { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """

    class Chosen(Message):
        """Enter, or a click on the row the cursor is on."""

        def __init__(self, rows: "Rows", item: Any) -> None:
            super().__init__()
            self.rows, self.item = rows, item

    class Sorted(Message):
        """Another order was asked for."""

    def __init__(self, columns: Sequence[Column], identify: Identify, *, empty: str, **options: Any) -> None:
        super().__init__(**options)
        self.columns, self._identify, self._empty = tuple(columns), identify, empty
        self._given: Sequence[Any] = ()
        self.items: Sequence[Any] = ()
        self.cursor = 0
        self.sort: tuple[Column, bool] | None = None
        self._drawn: Context | None = None
        self._fitted: list[tuple[Column, int]] = []
        self._fitted_for = 0

    def show(self, items: Sequence[Any], context: Context) -> None:
        """Draw these. The cursor stays on its item; on the first row it stays on the first row."""
        kept = self._identify(self.items[self.cursor]) if 0 < self.cursor < len(self.items) else None
        self._given, self._drawn = items, context
        self.items = self._in_order(items)
        if kept is not None:
            found = next((index for index, item in enumerate(self.items) if self._identify(item) == kept), None)
            moved = 0 if found is None else found - self.cursor
            self.cursor = min(self.cursor, max(0, len(self.items) - 1)) if found is None else found
            if moved and self.scroll_offset.y:
                self.scroll_to(y=self.scroll_offset.y + moved, animate=False, force=True)
        self._measure()
        self.refresh()

    @property
    def item(self) -> Any | None:
        """What the cursor is on."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    def sort_by_next(self) -> None:
        """Sort by the next column that can be sorted by; after the last, as given."""
        sortable = [column for column, _ in self._fitted if column.sort is not None]
        if not sortable:
            return
        index = sortable.index(self.sort[0]) + 1 if self.sort is not None and self.sort[0] in sortable else 0
        self._sort((sortable[index], sortable[index].descending) if index < len(sortable) else None)

    def turn_sort(self) -> None:
        """The other way round."""
        if self.sort is not None:
            self._sort((self.sort[0], not self.sort[1]))

    def render_line(self, y: int) -> Strip:
        """The titles, then the rows in sight."""
        width = self._width
        if width != self._fitted_for:  # the bar for scrolling has come or gone
            self._measure()
        if y == 0:
            return self._strip(self._titles(), width, style=Style(bold=True, underline=True))
        index = self.scroll_offset.y + y - 1
        if self._drawn is None or index >= len(self.items):
            text = Text(self._empty, style="dim") if y == 1 and not self.items else Text()
            return self._strip(text, width)
        return self._strip(row_of(self.items[index], self._fitted, self._drawn), width, chosen=index == self.cursor)

    def on_resize(self, _event: events.Resize) -> None:
        """Other columns may fit now."""
        self._measure()

    def on_click(self, event: events.Click) -> None:
        """On a title: sort by it. On a row: go there; on the row of the cursor: open it."""
        event.stop()
        if event.y == 0:
            left = 0
            for column, width in self._fitted:
                if left <= event.x <= left + width and column.sort is not None:
                    again = self.sort is not None and self.sort[0] is column
                    self._sort((column, not self.sort[1] if again and self.sort else column.descending))
                left += width + 1
            return
        index = self.scroll_offset.y + event.y - 1
        if index < len(self.items):
            if index == self.cursor:
                self.action_choose()
            self._go(index)

    def action_move(self, by: int) -> None:
        """Up or down."""
        self._go(self.cursor + by)

    def action_page(self, pages: float) -> None:
        """By pages."""
        self._go(self.cursor + int(pages * max(2, self.size.height - 1)))

    def action_edge(self, is_end: bool) -> None:
        """To the first or the last row."""
        self._go(len(self.items) - 1 if is_end else 0)

    def action_choose(self) -> None:
        """Tell whoever listens."""
        if self.item is not None:
            self.post_message(self.Chosen(self, self.item))

    def _go(self, index: int) -> None:
        self.cursor = max(0, min(index, len(self.items) - 1))
        top, height = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)
        self.refresh()

    def _sort(self, sort: tuple[Column, bool] | None) -> None:
        self.sort = sort
        self.items = self._in_order(self._given)
        self.cursor = 0
        self.scroll_to(y=0, animate=False, force=True)
        self.refresh()
        self.post_message(self.Sorted())

    def _in_order(self, items: Sequence[Any]) -> Sequence[Any]:
        if self.sort is None or self.sort[0].sort is None:
            return items
        return sorted(items, key=self.sort[0].sort, reverse=self.sort[1])

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def _measure(self) -> None:
        self._fitted_for = self._width
        self._fitted = fitting(self.columns, max(1, self._fitted_for), self.items, self._drawn)
        self.virtual_size = Size(self._fitted_for, len(self.items) + 1)

    def _titles(self) -> Text:
        return titles_of(self._fitted, self._drawn.look if self._drawn else None, self.sort)

    def _strip(self, line: Text, width: int, *, style: Style | None = None, chosen: bool = False) -> Strip:
        base = self.rich_style
        if chosen and self.has_focus:
            # Reverse video, not a hue, marks the row: it is there on every terminal and with NO_COLOR.
            line, style = Text(line.plain, end=""), Style(reverse=True)
        strip = Strip(list(line.render(self.app.console)), line.cell_len).adjust_cell_length(width)
        return strip.apply_style(base if style is None else base + style)
