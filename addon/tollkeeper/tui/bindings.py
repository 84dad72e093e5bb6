"""Which key does what. The words for people are in ``dialogs.KEYS``."""

from textual.binding import Binding, BindingType

from .layout import NAMES

BINDINGS: list[BindingType] = [
    *(Binding(str(number), f"view('{name}')", name, show=False) for number, name in enumerate(NAMES, 1)),
    Binding("right,l", "turn(1)", "next screen", show=False),
    Binding("left,h", "turn(-1)", "screen before", show=False),
    Binding("right_square_bracket", "period(1)", "longer", show=False),
    Binding("left_square_bracket", "period(-1)", "shorter", show=False),
    Binding("tab", "dimension(1)", "next dimension", show=False, priority=True),
    Binding("shift+tab", "dimension(-1)", "dimension before", show=False, priority=True),
    Binding("slash", "filter", "filter", show=False),
    Binding("escape", "clear", "clear the filter", show=False),
    Binding("s", "sort", "sort", show=False),
    Binding("S", "turn_sort", "other way", show=False),
    Binding("space", "pause", "pause", show=False),
    Binding("y", "copy", "copy the id", show=False),
    Binding("t", "theme", "theme", show=False),
    Binding("r", "reload", "reload", show=False),
    Binding("question_mark", "keys", "help", show=False),
    Binding("q,ctrl+c", "quit", "quit", show=False),
]
