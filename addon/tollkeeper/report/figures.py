"""The columns of figures that every table of a report shows, for terminals, Markdown and HTML alike."""

from collections.abc import Callable
from dataclasses import dataclass

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import Group

from . import cells


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures: its title, its cell, when it is worth showing, and whether it stays when space is short."""

    title: str
    cell: Callable[[Group], str]
    shown: Callable[[Group], bool] = lambda _: True
    compact: bool = True


_COLUMNS = (
    Column("calls", lambda group: cells.count(group.calls)),
    Column("refused", lambda group: cells.count(group.refused), lambda total: total.refused > 0, compact=False),
    Column("rewritten", lambda group: cells.count(group.rewritten), lambda total: total.rewritten > 0, compact=False),
    Column("would refuse", lambda group: cells.count(group.would_refuse), lambda total: total.would_refuse > 0, compact=False),
    Column("input", lambda group: cells.tokens(group.tokens.input_tokens, group)),
    Column(
        "cache read",
        lambda group: cells.tokens(group.tokens.cache_read_tokens, group),
        lambda total: total.tokens.cache_read_tokens > 0,
    ),
    Column(
        "cache write",
        lambda group: cells.tokens(group.tokens.cache_write_5m_tokens + group.tokens.cache_write_1h_tokens, group),
        lambda total: total.tokens.cache_write_5m_tokens + total.tokens.cache_write_1h_tokens > 0,
        compact=False,
    ),
    Column("output", lambda group: cells.tokens(group.tokens.output_tokens, group)),
    Column(
        "reasoning",
        lambda group: cells.tokens(group.tokens.reasoning_tokens, group),
        lambda total: total.tokens.reasoning_tokens > 0,
        compact=False,
    ),
    Column(
        "list",
        lambda group: format_usd(group.list_cost_nanousd),
        lambda total: total.list_cost_nanousd != total.cost_nanousd,
        compact=False,
    ),
    Column(
        "unknown cost",
        lambda group: f"{group.unpriced_calls} ≤ {format_usd(group.unpriced_exposure_nanousd)}" if group.unpriced_calls else "",
        lambda total: total.unpriced_calls > 0,
        compact=False,
    ),
    Column("cost", cells.cost),
)


def columns_of(total: Group, *, compact: bool = False) -> list[Column]:
    """The columns worth showing for a report with that total; with ``compact``, those that always stay."""
    return [column for column in _COLUMNS if column.shown(total) and (column.compact or not compact)]
