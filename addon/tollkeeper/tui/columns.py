"""What each list shows: columns by name, how wide they must be, which go first when room is short, and what they sort by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from rich.text import Text

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import CallRow, Group, OpenCall
from tollkeeper.report import cells
from tollkeeper.report.outlook import BudgetLine

from .figures import amount, call_tokens, cell, clock_time, lasting, short_count, unit_of, until
from .look import HEALTH_SIGNS, Look, budget_bar, call_sign, health_style, plain_bar, sign_style
from .snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Context:
    """What a cell may want to know besides its item."""

    shown: Snapshot
    look: Look
    zone: tzinfo


type Cell = Callable[[Any, Context, int], Text]
type SortKey = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` is the least, or what its cells need when ``measured``; ``grows`` shares out what is left. Lower ``rank`` stays longer.

    ``sort`` None: cannot be sorted by.
    """

    title: str
    width: int
    cell: Cell
    rank: int = 0
    grows: int = 0
    right: bool = False
    sort: SortKey | None = None
    descending: bool = True
    measured: bool = False


MEASURED_ITEMS = 200
"""How many rows are looked at for the width of a measured column."""


def fitting(
    columns: Sequence[Column], width: int, items: Sequence[Any] = (), context: Context | None = None
) -> list[tuple[Column, int]]:
    """The columns that fit, one blank between, and the width of each; what is left goes to those that grow."""
    needs = [_need(column, items, context) for column in columns]
    kept = sorted(range(len(columns)), key=lambda index: (columns[index].rank, index))
    while len(kept) > 1 and sum(needs[index] + 1 for index in kept) - 1 > width:
        kept.pop()
    left = max(0, width - sum(needs[index] + 1 for index in kept) + 1)
    shares = sum(columns[index].grows for index in kept)
    return [(columns[index], needs[index] + (left * columns[index].grows // shares if shares else 0)) for index in sorted(kept)]


def _need(column: Column, items: Sequence[Any], context: Context | None) -> int:
    if not column.measured or context is None:
        return column.width
    return max(column.width, *(column.cell(item, context, column.width).cell_len for item in items[:MEASURED_ITEMS]), 0)


def row_of(item: Any, fitted: Sequence[tuple[Column, int]], context: Context) -> Text:
    """One line: every cell cut or filled to its width, one blank after each."""
    line = Text(no_wrap=True, end="")
    for column, width in fitted:
        found = column.cell(item, context, width)
        found.truncate(width, overflow="ellipsis")
        blanks = " " * max(0, width - found.cell_len)
        line.append_text(Text.assemble(blanks, found, " ") if column.right else Text.assemble(found, blanks, " "))
    return line


def _text(read: Callable[[Any], str], style: str = "") -> Cell:
    return lambda item, _context, _width: cell(read(item), style)


def _sign(row: CallRow, context: Context, _width: int) -> Text:
    sign, _ = call_sign(row)
    return cell(context.look.sign(sign), sign_style(sign, context.look))


def _note(row: CallRow, context: Context, _width: int) -> Text:
    sign, word = call_sign(row)
    return cell(word if row.kind != "refuse" else row.budget or row.rule, sign_style(sign, context.look))


def _cost(row: CallRow, context: Context, _width: int) -> Text:
    if row.kind == "refuse":
        return cell("blocked", context.look.bad)
    return cell(cells.call_cost(row))


def _known(number: int | None) -> int:
    return -1 if number is None else number


def _model(row: CallRow, context: Context, width: int) -> Text:
    if row.verdict == "rewrite" and width >= 32:
        return _moved(row, context, width)
    return cell(row.model or row.operation or cells.UNKNOWN)


_WHEN = Column(
    "time", 8, lambda row, context, _: cell(clock_time(row.at, context.zone, context.shown.at)), sort=lambda row: row.seq
)
_WHO = Column("who", 14, _text(lambda row: row.principal), grows=2, sort=lambda row: row.principal, descending=False)
_PROJECT = Column(
    "project", 10, _text(lambda row: row.project or cells.UNKNOWN), 4, 1, sort=lambda row: row.project, descending=False
)
_MODEL = Column("model", 17, _model, 1, 3, sort=lambda row: row.model, descending=False)
_MONEY = Column("cost", 9, _cost, right=True, sort=lambda row: _known(row.cost_nanousd))

CALLS = (
    Column("", 1, _sign),
    _WHEN,
    _WHO,
    Column("tool", 11, _text(lambda row: row.client or cells.UNKNOWN), 5, 1, sort=lambda row: row.client, descending=False),
    _PROJECT,
    _MODEL,
    Column("in", 7, lambda row, *_: cell(call_tokens(row.tokens.total_input_tokens, row)), 2, right=True,
           sort=lambda row: row.tokens.total_input_tokens),
    Column("cached", 7, lambda row, *_: cell(call_tokens(row.tokens.cache_read_tokens, row)), 6, right=True,
           sort=lambda row: row.tokens.cache_read_tokens),
    Column("out", 7, lambda row, *_: cell(call_tokens(row.tokens.output_tokens, row)), 2, right=True,
           sort=lambda row: row.tokens.output_tokens),
    Column("took", 7, lambda row, *_: cell(cells.UNKNOWN if row.duration_ms is None else lasting(row.duration_ms * 1000)), 7,
           right=True, sort=lambda row: _known(row.duration_ms)),
    _MONEY,
    Column("note", 11, _note, 3, 1),
    Column("call", 8, _text(lambda row: row.call_id[-8:], "dim"), 8),
)  # fmt: skip


def _saved(row: CallRow, context: Context, _width: int) -> Text:
    if row.kind == "refuse":
        return cell(f"≤ {format_usd(row.hold_nanousd)}" if row.hold_nanousd else cells.UNKNOWN)
    saved = context.shown.saved.get(row.call_id)
    return cell(cells.UNKNOWN if saved is None else f"~{format_usd(saved)}")


def _moved(row: CallRow, context: Context, _width: int) -> Text:
    if row.model_requested == row.model or row.kind == "refuse":
        return cell(row.model or row.model_requested or cells.UNKNOWN)
    return Text.assemble(row.model_requested, f" {context.look.sign('→')} ", row.model)


def _verdict(row: CallRow, context: Context, _width: int) -> Text:
    sign, word = call_sign(row)
    if row.kind != "refuse" and row.verdict == "allow":
        sign, word = "!", f"would {row.would}"
    return cell(f"{context.look.sign(sign)} {word}", sign_style(sign, context.look))


DECIDED = (
    _WHEN,
    Column("decision", 15, _verdict, sort=lambda row: row.would),
    _WHO,
    _PROJECT,
    Column("model", 20, _moved, 1, 4, sort=lambda row: row.model_requested, descending=False),
    Column("rule", 14, _text(lambda row: row.rule or row.budget or cells.UNKNOWN), 2, 1, sort=lambda row: row.rule, descending=False),
    Column("cost", 9, _cost, 3, right=True, sort=lambda row: _known(row.cost_nanousd)),
    Column("not spent", 10, _saved, right=True),
)  # fmt: skip


def _progress(call: OpenCall, context: Context) -> dict[str, Any]:
    """What a proxy says of a running call, if it says anything: nothing is made up from the hold."""
    for proxy in context.shown.proxies or ():
        for one in proxy.get("open_calls") or ():
            if isinstance(one, dict) and one.get("call_id") == call.call_id:
                return one
    return {}


def _flying(call: OpenCall, context: Context, _width: int) -> Text:
    """``!`` when nobody has renewed the hold in time: the process that made it is gone, or the call hangs."""
    if call.expires_at <= context.shown.at:
        return cell("!", context.look.warn)
    return cell(context.look.sign("▸"), context.look.accent)


def _so_far(call: OpenCall, context: Context, _width: int) -> Text:
    cost = _progress(call, context).get("cost_nanousd")
    return cell(f"~{format_usd(cost)}" if isinstance(cost, int) else cells.UNKNOWN)


def _rate(call: OpenCall, context: Context, _width: int) -> Text:
    tokens, age_us = _progress(call, context).get("output_tokens"), context.shown.at - call.started_at
    if not isinstance(tokens, int) or age_us <= 0:
        return cell(cells.UNKNOWN)
    return cell(f"~{tokens * 1_000_000 // age_us}/s")


OPEN = (
    Column("", 1, _flying),
    Column("age", 8, lambda call, context, _: cell(lasting(context.shown.at - call.started_at)), right=True,
           sort=lambda call: call.started_at),
    Column("in flight", 10, _text(lambda call: call.principal), grows=2),
    Column("tool", 9, _text(lambda call: call.client or cells.UNKNOWN), 5, 1),
    Column("project", 9, _text(lambda call: call.project or cells.UNKNOWN), 4, 1),
    Column("model", 14, _text(lambda call: call.model or call.operation or cells.UNKNOWN), 1, 3),
    Column("tokens/s", 8, _rate, 3, right=True),
    Column("so far", 9, _so_far, 2, right=True),
    Column("held", 9, lambda call, *_: cell(f"≤{format_usd(call.hold_nanousd)}"), right=True, sort=lambda call: call.hold_nanousd),
)  # fmt: skip


def _names(group: Group, context: Context, _width: int) -> Text:
    if context.shown.dimension != "agents":
        return cell(" · ".join(cells.name(key) for key in group.keys))
    from .agents import label

    return cell(label(group.keys, context.look))


def _share(group: Group, context: Context, width: int) -> Text:
    total = context.shown.total
    whole = total.exposure_nanousd if total else 0
    percent = cells.share(group.exposure_nanousd, whole)
    return Text.assemble(plain_bar(group.exposure_nanousd, whole, max(1, width - 6), context.look), f" {percent:>5}")


def _cache(group: Group) -> str:
    whole = group.tokens.total_input_tokens
    return cells.share(group.tokens.cache_read_tokens, whole) if whole else cells.UNKNOWN


GROUPS = (
    Column("name", 16, _names, grows=3, sort=lambda group: group.keys, descending=False),
    Column("calls", 7, _text(lambda group: cells.count(group.calls)), 1, right=True, sort=lambda group: group.calls),
    Column("refused", 7, _text(lambda group: cells.count(group.refused) if group.refused else ""), 5, right=True,
           sort=lambda group: group.refused),
    Column("rewritten", 9, _text(lambda group: cells.count(group.rewritten) if group.rewritten else ""), 6, right=True,
           sort=lambda group: group.rewritten),
    Column("in", 8, _text(lambda group: short_tokens(group.tokens.total_input_tokens, group)), 3, right=True,
           sort=lambda group: group.tokens.total_input_tokens),
    Column("cached", 6, _text(_cache), 4, right=True),
    Column("out", 8, _text(lambda group: short_tokens(group.tokens.output_tokens, group)), 3, right=True,
           sort=lambda group: group.tokens.output_tokens),
    Column("unknown cost", 14, _text(lambda group: f"{group.unpriced_calls} ≤ {format_usd(group.unpriced_exposure_nanousd)}"
                                     if group.unpriced_calls else ""), 7, right=True, sort=lambda group: group.unpriced_calls),
    Column("list", 10, _text(lambda group: format_usd(group.list_cost_nanousd)), 8, right=True,
           sort=lambda group: _known(group.list_cost_nanousd)),
    Column("cost", 13, _text(cells.cost), right=True, sort=lambda group: group.exposure_nanousd),
    Column("share", 14, _share, 2, 1),
)  # fmt: skip


def short_tokens(number: int, group: Group) -> str:
    """A token count of a group, shortened, with the same signs as in a report."""
    whole = cells.tokens(number, group)
    return whole if whole == cells.UNKNOWN else ("~" if whole.startswith("~") else "") + short_count(number)


def _budget_name(line: BudgetLine, context: Context, _width: int) -> Text:
    sign = context.look.sign(HEALTH_SIGNS[line.health])
    style = health_style(line.health, context.look)
    return Text.assemble((f"{sign} ", style), line.budget.name, (f" {line.who}" if line.who else "", context.look.dim))


def _of(line: BudgetLine, _context: Context, _width: int) -> Text:
    unit, standing = unit_of(line), line.standing
    return cell(f"{amount(unit, standing.spent_nanousd if standing else None)} of {amount(unit, line.amount_nanousd)}")


def _then(line: BudgetLine, context: Context, _width: int) -> Text:
    if line.crosses_at is not None:
        return cell(f"crosses {until(line.crosses_at, context.zone, context.shown.at)}", context.look.warn)
    return cell(amount(unit_of(line), line.projected_nanousd))


def _used_share(line: BudgetLine) -> int:
    return line.used_nanousd * 10_000 // max(1, line.amount_nanousd)


BUDGETS = (
    Column("budget", 20, _budget_name, grows=1, sort=lambda line: (line.budget.name, line.who), descending=False),
    Column("", 8, lambda line, context, width: budget_bar(line, width, context.look), 1, grows=1),
    Column("used", 5, _text(lambda line: cells.share(min(line.used_nanousd, line.amount_nanousd), max(1, line.amount_nanousd))), 4,
           right=True, sort=_used_share),
    Column("spent", 15, _of, right=True, measured=True, sort=lambda line: line.standing.spent_nanousd if line.standing else 0),
    Column("held", 5, _text(lambda line: amount(unit_of(line), line.standing.held_nanousd if line.standing else None)), 3,
           right=True, measured=True, sort=lambda line: line.standing.held_nanousd if line.standing else 0),
    Column("heading for", 11, _then, 2, right=True, measured=True, sort=lambda line: _known(line.projected_nanousd)),
    Column("window", 8, _text(lambda line: line.limit.window), 7, measured=True),
    Column("resets", 9, lambda line, context, _: cell(until(line.limit.resets_at, context.zone, context.shown.at)), 2, right=True,
           sort=lambda line: _known(line.limit.resets_at)),
    Column("acts", 8, _text(lambda line: "enforces" if line.acts else "watches"), 5),
)  # fmt: skip
