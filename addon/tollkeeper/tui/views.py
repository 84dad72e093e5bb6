"""The six screens: which widgets each is made of, and how a snapshot is put into them."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from tollkeeper.core.money import format_usd
from tollkeeper.report.outlook import most_pressing

from . import columns, overview
from .agents import tree_of
from .columns import Context
from .figures import fit
from .filtering import Filter
from .layout import NAMES, NOTHING_YET, budget_rows, open_rows
from .rows import Rows
from .snapshot import DIMENSIONS, Snapshot


class View(Vertical):
    """One screen. ``draw`` is called with every new snapshot while it is in sight."""

    DEFAULT_CSS = "View { height: 1fr; } View Static { height: auto; }"

    def __init__(self, name: str) -> None:
        super().__init__(id=name)

    def draw(self, context: Context, only: Filter) -> None:
        """Put the snapshot into the widgets."""
        raise NotImplementedError

    def draw_time(self, context: Context, only: Filter) -> None:
        """Nothing is new but the time: draw what shows it."""

    def lists(self) -> Iterator[Rows]:
        """The lists, the main one first."""
        yield from self.query(Rows)


class OverviewView(View):
    """Budgets, the present, what is in flight, the feed."""

    def compose(self) -> Iterator[Widget]:
        """Top to bottom."""
        yield Static(id="bars", markup=False)
        yield Static(id="now", markup=False)
        yield Rows(columns.OPEN, lambda call: call.call_id, empty="", id="open")
        yield Rows(columns.CALLS, lambda row: row.seq, empty=NOTHING_YET, id="feed")

    def draw(self, context: Context, only: Filter) -> None:
        """Heights follow the window: the feed gets what is left."""
        width, height = self.app.size.width, self.app.size.height
        shown = context.shown
        bars = overview.budget_lines(shown, context.look, width - 1, budget_rows(height))
        self.query_one("#bars", Static).update(bars)
        self.query_one("#now", Static).update(overview.now_lines(shown, context.look, width - 1))
        flying = self.query_one("#open", Rows)
        calls = only.keep(shown.open_calls)
        flying.display = bool(calls)
        flying.styles.height = open_rows(height, len(calls)) + 1
        flying.show(calls, context)
        self.query_one("#feed", Rows).show(only.keep(shown.calls), context)

    def draw_time(self, context: Context, only: Filter) -> None:
        """The ages of calls in flight."""
        self.query_one("#open", Rows).show(only.keep(context.shown.open_calls), context)

    def lists(self) -> Iterator[Rows]:
        """The feed first."""
        yield self.query_one("#feed", Rows)
        yield self.query_one("#open", Rows)


class CallsView(View):
    """Every call known, newest first."""

    def compose(self) -> Iterator[Widget]:
        """One list."""
        yield Static(id="calls-title", markup=False)
        yield Rows(columns.CALLS, lambda row: row.seq, empty=NOTHING_YET, id="all-calls")

    def draw(self, context: Context, only: Filter) -> None:
        """With how many pass the filter."""
        kept = only.keep(context.shown.calls)
        self.query_one("#calls-title", Static).update(
            _title("calls", f"{len(kept):,} of the newest {len(context.shown.calls):,}", self.app.size.width)
        )
        self.query_one("#all-calls", Rows).show(kept, context)


class BreakdownView(View):
    """Groups by one dimension, dearest first."""

    def compose(self) -> Iterator[Widget]:
        """A line that names the dimension, and the list."""
        yield Static(id="by", markup=False)
        yield Rows(columns.GROUPS, lambda group: group.keys, empty="no calls in this period", id="groups")

    def draw(self, context: Context, only: Filter) -> None:
        """The tree of agents is set in by depth."""
        shown = context.shown
        names = " ".join(f"[{name}]" if name == shown.dimension else name for name in DIMENSIONS)
        names = names if self.app.size.width >= 90 else shown.dimension
        period = overview.PERIOD_WORDS[shown.period]
        self.query_one("#by", Static).update(_title(f"{period} by", f"{names}  (tab)", self.app.size.width))
        groups: Sequence[Any] = shown.groups or ()
        groups = tree_of(groups) if shown.dimension == "agents" else groups
        rows = self.query_one("#groups", Rows)
        rows.show(only.keep(groups), context)


class BudgetsView(View):
    """Every budget, the most pressing first."""

    def compose(self) -> Iterator[Widget]:
        """One list."""
        yield Rows(columns.BUDGETS, lambda line: line.limit.bucket.key + line.budget.name, empty="no budgets", id="budget-rows")

    def draw(self, context: Context, only: Filter) -> None:
        """As the overview, but all of them."""
        lines = most_pressing(context.shown.budgets)
        self.query_one("#budget-rows", Rows).show(only.keep(lines), context)


class DecisionsView(View):
    """Refusals and rewrites, and what they saved."""

    def compose(self) -> Iterator[Widget]:
        """A sum, and the list."""
        yield Static(id="saved", markup=False)
        yield Rows(columns.DECIDED, lambda row: row.seq, empty="nothing was refused or rewritten in this period", id="decided")

    def draw(self, context: Context, only: Filter) -> None:
        """The sum is over all of them, filtered or not."""
        self.query_one("#saved", Static).update(_title("decisions", saved_line(context.shown), self.app.size.width))
        self.query_one("#decided", Rows).show(only.keep(context.shown.decided or ()), context)


class GapsView(View):
    """Plans, gaps, proxies: text that scrolls."""

    def compose(self) -> Iterator[Widget]:
        """One page."""
        with VerticalScroll(id="gaps-scroll"):
            yield Static(id="gaps-page", markup=False)

    def draw(self, context: Context, only: Filter) -> None:
        """Nothing to filter here."""
        from .gaps_page import page

        self.query_one("#gaps-page", Static).update(page(context.shown, context.look))


VIEWS: dict[str, type[View]] = dict(
    zip(NAMES, (OverviewView, CallsView, BreakdownView, BudgetsView, DecisionsView, GapsView), strict=True)
)


def saved_line(shown: Snapshot) -> str:
    """``3 refused, ≤ $0.60 not spent · 12 rewritten, ~$0.84 saved``: what the decisions of the period came to."""
    if shown.decided is None:
        return "… reading the ledger"
    refused = [row for row in shown.decided if row.kind == "refuse"]
    rewritten = [row for row in shown.decided if row.verdict == "rewrite" and row.kind != "refuse"]
    would = [row for row in shown.decided if row.verdict == "allow" and row.would != "allow"]
    held = format_usd(sum(row.hold_nanousd * (1 + row.repeats) for row in refused))
    times = sum(1 + row.repeats for row in refused)
    parts = [f"{times:,} refused, ≤ {held} not spent" if refused else "nothing refused"]
    known = [shown.saved[row.call_id] for row in rewritten if row.call_id in shown.saved]
    saved = f"~{format_usd(sum(known))} saved" if known else "– saved"
    unknown = f" ({len(rewritten) - len(known)} not known)" if known and len(known) < len(rewritten) else ""
    parts.append(f"{len(rewritten):,} rewritten, {saved}{unknown}" if rewritten else "nothing rewritten")
    if would:
        parts.append(f"observing: {len(would):,} would have been stopped or moved")
    return f"{overview.PERIOD_WORDS[shown.period]}: " + " · ".join(parts)


def _title(name: str, rest: str, width: int) -> Text:
    text = Text(no_wrap=True, end="")
    text.append(f"{name}  ", style="bold")
    text.append(fit(rest, max(0, width - len(name) - 3)))
    return text
