"""``tollkeeper top``: one window on a running ledger. Reading is done in threads; nothing here changes money or policy."""

import asyncio
import gc
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rich.text import Text
from textual.app import App, ComposeResult, SystemCommand
from textual.containers import Vertical
from textual.driver import Driver
from textual.screen import Screen
from textual.theme import ThemeProvider
from textual.widgets import Input, Static

from tollkeeper.core.errors import TollkeeperError
from tollkeeper.ledger.rows import CallRow, Group, OpenCall
from tollkeeper.report.outlook import BudgetLine
from tollkeeper.report.period import zone_of

from . import overview, palette
from .bindings import BINDINGS
from .columns import Context
from .drilling import filter_of
from .feed import Feed
from .figures import fit
from .filtering import Filter, parse
from .layout import KEYS, NAMES, THEMES, warning_lines
from .look import Look, themed
from .rows import Rows
from .snapshot import DIMENSIONS, Snapshot
from .views import VIEWS, View

TICK_S = 0.5
ASK_EVERY_TICKS = 4
"""The proxies are asked every two seconds: each answer costs them a request."""
MINUTE_US = 60_000_000


class TopApp(App[None]):
    """The screen. ``first`` is the first snapshot, where it has been read already."""

    TITLE = "tollkeeper top"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS = BINDINGS
    CSS = """
    #head, #tabs, #foot { height: 1; background: $panel; }
    #banner { height: auto; }
    #filter { height: 1; border: none; padding: 0 1; }
    #views { height: 1fr; }
    #open { margin-top: 1; }
    #now { margin-top: 1; }
    #feed { margin-top: 1; }
    """

    def __init__(
        self,
        feed: Feed,
        *,
        first: Snapshot | None = None,
        theme: str = THEMES[0],
        ascii_only: bool = False,
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver_class)
        self.feed, self._first, self._ascii = feed, first, ascii_only
        self.shown = feed.shown
        self.view = NAMES[0]
        self.only = Filter()
        self.paused = False
        self._is_leaving = False
        self._tick_count = 0
        self._changing_view = asyncio.Lock()
        self._wanted = (self.shown.period, self.shown.dimension)
        self.look = Look(ascii_only=ascii_only)
        self.theme = theme

    # -- the window ------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Two lines on top, warnings, one of the screens, the filter, one line of keys."""
        yield Static(id="head", markup=False)
        yield Static(self._tabs(), id="tabs")
        yield Static(id="banner", markup=False)
        with Vertical(id="views"):
            yield VIEWS[self.view](self.view)
        yield Static(id="foot", markup=False)

    def on_mount(self) -> None:
        """Show what is known at once; read the rest behind it."""
        self.theme_changed_signal.subscribe(self, lambda _theme: self._retheme())
        self.shown = self._first or self.feed.first()
        self._retheme()
        self._current().query_one("#feed", Rows).focus()
        # Reading the rest competes with drawing for the interpreter: the first frame goes first.
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        gc.freeze()  # all that was imported stays: looking through it again and again is most of an idle screen's work
        gc.enable()
        with suppress(NotImplementedError, RuntimeError, ValueError):  # no such thing on this system, or in this thread
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)  # so that the terminal is given back as it was
        self.set_interval(TICK_S, self._tick)
        self._read(self.feed.ask)
        self._read(self.feed.sums)
        self._read(self.feed.load)

    def on_resize(self) -> None:
        """Other columns may fit."""
        self.call_later(self.draw)  # Textual takes the new size over only after this

    def draw(self) -> None:
        """Put the snapshot on the screen. Only the screen in sight is drawn."""
        if not self._is_up:
            return
        base, width = self.screen_stack[0], self.size.width
        context = self.context
        base.query_one("#head", Static).update(overview.header(self.shown, self.look, width))
        base.query_one("#tabs", Static).update(self._tabs())
        banner = base.query_one("#banner", Static)
        warned = overview.banner(self.shown, width, warning_lines(self.size.height))
        banner.display = bool(warned.plain) and self.view != "gaps"  # that screen begins with them
        banner.update(warned)
        base.query_one("#foot", Static).update(self._foot())
        self._current().draw(context, self.only)

    @property
    def context(self) -> Context:
        """What cells are drawn with."""
        return Context(self.shown, self.look, zone_of(self.shown.zone))

    @property
    def _is_up(self) -> bool:
        """Whether there is a screen to draw on: figures may still come while it is taken down."""
        return (
            self.is_running
            and not self._is_leaving
            and bool(self.screen_stack)
            and bool(self.screen_stack[0].query(f"#{self.view}"))
        )

    def _current(self) -> View:
        return self.screen_stack[0].query_one(f"#{self.view}", View)

    def _tabs(self) -> str:
        names = [
            f"[@click=app.view('{name}')]{'[bold reverse]' if name == self.view else ''} {number} {name} "
            f"{'[/]' if name == self.view else ''}[/]"
            for number, name in enumerate(NAMES, 1)
        ]
        return "".join(names)

    def _foot(self) -> Text:
        dot = f" {self.look.sign('·')} "
        if self.only.problem:
            return Text(fit(f" ! {self.only.problem}", self.size.width), style="bold reverse", no_wrap=True)
        state = [f"filter {self.only.text} (esc)"] if self.only.text else []
        if self.paused:
            state.append("PAUSED (space)")
        return Text(fit(" " + dot.join([*state, KEYS]), self.size.width), no_wrap=True)

    def _retheme(self) -> None:
        """Signs in colours that can be read on the theme's background."""
        self.look = themed(self.theme_variables, ascii_only=self._ascii)
        self.draw()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._tick_count += 1
        if self.paused:
            return
        if self._tick_count % ASK_EVERY_TICKS == 0 and not self._is_reading("ask"):
            self._read(self.feed.ask)
        if not self._is_reading("poll") and self.feed.has_news():
            self._read(self.feed.poll)
        elif self.shown.open_calls and self._tick_count % 2 == 0:
            self._take(self.shown)

    def _read(self, step: Callable[[], Snapshot | None]) -> None:
        """Take a step in a thread and show what it gives."""

        def read() -> None:
            shown = step()
            if shown is not None:
                self.call_from_thread(self._take, shown)

        self.run_worker(read, thread=True, group=getattr(step, "__name__", "read"))

    def _is_reading(self, name: str) -> bool:
        return any(worker.group == name and not worker.is_finished for worker in self.workers)

    def _take(self, shown: Snapshot) -> None:
        if self.paused or not self._is_up or (shown.period, shown.dimension) != self._wanted:
            return
        old, self.shown = self.shown, replace(shown, at=self.feed.clock())
        if replace(old, at=0) != replace(shown, at=0) or old.at // MINUTE_US != self.shown.at // MINUTE_US:
            self.draw()
        elif shown.open_calls:
            self._current().draw_time(self.context, self.only)
        if self.view == "decisions" and self.shown.decided is None:
            self._read(self.feed.decide)

    # -- keys ------------------------------------------------------------------------------------------------------

    async def action_view(self, name: str) -> None:
        """Another screen; made when it is first looked at."""
        views = self.screen_stack[0].query_one("#views")
        async with self._changing_view:  # keys, clicks and the palette come from different queues
            if not views.query(f"#{name}"):
                made = VIEWS[name](name)
                made.display = False
                await views.mount(made)
            self.view = name  # only now: a snapshot that comes meanwhile is drawn into the screen that is there
        for view in views.children:
            view.display = view.id == name
        if name == "decisions" and self.shown.decided is None:
            self._read(self.feed.decide)
        self.draw()
        focus = next(self._current().lists(), None)
        (focus or self._current().query("VerticalScroll").first()).focus()

    async def action_turn(self, by: int) -> None:
        """The next screen, or the one before."""
        await self.action_view(NAMES[(NAMES.index(self.view) + by) % len(NAMES)])

    def action_period(self, by: int) -> None:
        """A longer or shorter period; figures are ``…`` until they are read."""
        periods = self.feed.periods
        index = periods.index(self.shown.period) + by
        if 0 <= index < len(periods):
            self._choose(period=periods[index])

    def action_dimension(self, by: int) -> None:
        """In the breakdown another dimension, elsewhere the next list."""
        if len(self.screen_stack) > 1:
            return
        if self.view == "breakdown":
            names = tuple(DIMENSIONS)
            self._choose(dimension=names[(names.index(self.shown.dimension) + by) % len(names)])
        else:
            self.screen.focus_next() if by > 0 else self.screen.focus_previous()

    def _choose(self, *, period: str | None = None, dimension: str | None = None) -> None:
        chosen = replace(self.shown, period=period or self.shown.period, dimension=dimension or self.shown.dimension, groups=None)
        self.shown = replace(chosen, total=None, decided=None) if period else chosen
        self._wanted = wanted = (self.shown.period, self.shown.dimension)
        self.draw()

        def choose() -> Snapshot | None:
            """Whoever pressed on meanwhile wants something else."""
            return self.feed.choose(period=wanted[0], dimension=wanted[1]) if wanted == self._wanted else None

        self._read(choose)

    async def action_filter(self) -> None:
        """Open the filter line, with the filter that holds."""
        if not self.query("#filter"):
            line = Input(self.only.text, id="filter", placeholder="model:opus cost>0.5 who:ada -tool:codex words", compact=True)
            await self.mount(line, before="#foot")
            line.focus()

    async def action_clear(self) -> None:
        """Close the filter line and show everything again."""
        self.only = Filter()
        await self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Every letter filters."""
        self.only = parse(event.value)
        self.draw()

    async def on_input_submitted(self) -> None:
        """Keep the filter, go back to the list."""
        await self._close_filter()

    async def _close_filter(self) -> None:
        await self.query("#filter").remove()
        self._back_to_list()

    def _back_to_list(self) -> None:
        if (focus := next(self._current().lists(), None)) is not None:
            focus.focus()
        self.draw()

    def _list(self) -> Rows | None:
        return self.focused if isinstance(self.focused, Rows) else next(self._current().lists(), None)

    def action_sort(self) -> None:
        """Sort by the next column."""
        if (rows := self._list()) is not None:
            rows.sort_by_next()

    def action_turn_sort(self) -> None:
        """Sort the other way round."""
        if (rows := self._list()) is not None:
            rows.turn_sort()

    def action_pause(self) -> None:
        """Hold still, or go on with what came meanwhile."""
        self.paused = not self.paused
        if not self.paused:
            self._read(self.feed.poll)
        self.draw()

    def action_copy(self) -> None:
        """The id of the call under the cursor."""
        item = self._list() and self._list().item  # type: ignore[union-attr]
        if isinstance(item, CallRow | OpenCall):
            self.copy_to_clipboard(item.call_id)
            self.notify(f"copied {item.call_id}")

    def action_theme(self) -> None:
        """The next theme."""
        index = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(index + 1) % len(THEMES)]

    def action_reload(self) -> None:
        """Read everything again."""
        self._read(self.feed.load)

    def action_keys(self) -> None:
        """The keys."""
        from .dialogs import Over, keys_page

        self.push_screen(Over(keys_page(self.look), title="keys"))

    async def on_rows_chosen(self, message: Rows.Chosen) -> None:
        """Enter on a call, a group or a budget."""
        from .dialogs import Over, budget_page

        item = message.item
        if isinstance(item, CallRow | OpenCall):
            self._open_call(item.call_id)
        elif isinstance(item, BudgetLine):
            zone = zone_of(self.shown.zone)
            self.push_screen(Over(budget_page(item, self.look, zone), title=f"budget {item.budget.name}"))
        elif isinstance(item, Group):
            self.only = filter_of(self.shown.dimension, item)
            await self.action_view("calls")

    def _open_call(self, call_id: str) -> None:
        from .dialogs import Over

        def read() -> None:
            try:
                detail = self.feed.detail(call_id)
            except TollkeeperError as error:
                self.call_from_thread(self.notify, str(error), severity="error")
                return
            if detail is not None:
                from rich.console import Group as Stack

                from tollkeeper.report.calls import detail_parts

                parts = detail_parts(detail)
                self.call_from_thread(self.push_screen, Over(Stack(*parts[1:]), title=f"call {call_id}", copied=call_id))

        self.run_worker(read, thread=True, group="detail", exclusive=True)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every screen, period and dimension by name, besides Textual's own."""
        yield from super().get_system_commands(screen)
        yield from palette.commands(self)

    def action_command_palette(self) -> None:
        """Open the palette, once."""
        if not isinstance(self.screen, palette.Palette):
            self.push_screen(palette.Palette(id="--command-palette"))

    def search_themes(self) -> None:
        """The palette's list of themes."""
        self.push_screen(palette.Palette(providers=[ThemeProvider], placeholder="Search for themes…"))

    def exit(self, *arguments: Any, **options: Any) -> None:
        """End. Keys that were pressed after the one that ended it do nothing: their widgets may be gone."""
        self._is_leaving = True
        super().exit(*arguments, **options)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does what it stands for."""
        return not self._is_leaving and super().check_action(action, parameters)

    def choose_period(self, period: str) -> None:
        """Count the calls of that time."""
        self._choose(period=period)

    async def break_down(self, dimension: str) -> None:
        """Show the breakdown by it."""
        await self.action_view("breakdown")
        self._choose(dimension=dimension)
