"""A report as one HTML file: charts, tables, notes. No script, no font, nothing fetched; readable on a phone, in light and dark."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from html import escape

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.money import NANO_PER_USD, format_usd
from tollkeeper.ledger.rows import Group, Report

from . import cells, charts
from .charts import Point
from .figures import columns_of
from .notes import notes
from .outlook import BudgetLine, Health
from .overview import BurnDown, Overview
from .page import FOOT, HEAD
from .period import format_moment, zone_of

NAMED = 10
"""Bars of a chart; the rest are one bar."""
MAX_ROWS = 2_000
"""Rows of the main table; CSV has them all."""
SIGNS = {Health.OK: "✓ ok", Health.HEADING_OVER: "~ heading over", Health.NEAR: "! near", Health.USED_UP: "✗ used up"}


def report_html(overview: Overview, title: str, at: int) -> str:
    """The whole page; ``at`` is when it was made, UTC microseconds."""
    report = overview.report
    made = format_moment(at, zone_of(report.zone))
    parts = [
        HEAD.format(title=escape(title), style=charts.STYLE),
        f"<header><h1>{escape(title)}</h1><p>{escape(_period(report))} · made {escape(made)}</p></header><main>",
        _cards(report.total),
        _warnings(report),
        _budgets(overview.budgets, at),
        '<div class="grid">',
        *_charts(overview),
        "</div>",
        _section("by " + ", ".join(report.by or ("everything",)), _table(report)),
        f"</main><footer><h2>About these figures</h2>{_list(notes(report))}{FOOT}</footer></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _cards(total: Group) -> str:
    used = total.tokens
    cached = cells.share(used.cache_read_tokens, used.total_input_tokens)
    facts = (
        ("cost", cells.cost(total)),
        ("counted against budgets", format_usd(total.exposure_nanousd)),
        ("calls", cells.count(total.calls)),
        ("tokens in", cells.tokens(used.total_input_tokens, total)),
        ("tokens out", cells.tokens(used.output_tokens, total)),
        ("read from cache", cached if used.total_input_tokens else cells.UNKNOWN),
        ("refused", cells.count(total.refused)),
        ("sent to a cheaper model", cells.count(total.rewritten)),
    )
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="cards">{shown}</dl>'


def _warnings(report: Report) -> str:
    said = [line.removeprefix("! ") for line in notes(report) if line.startswith("!")]
    if not said:
        return ""
    return f'<section class="warn" aria-labelledby="gaps"><h2 id="gaps">! What is missing from these figures</h2>{_list(said)}</section>'


def _budgets(budgets: Sequence[BudgetLine], at: int) -> str:
    if not budgets:
        return ""
    rows = []
    for line in budgets[:50]:
        standing = line.standing
        if standing is None:
            continue
        used = 100 * line.used_nanousd // max(1, standing.amount_nanousd)
        resets = "–" if standing.resets_at is None else format_moment(standing.resets_at, zone_of(standing.zone))
        projected = format_usd(line.projected_nanousd)
        name = f"{line.budget.name} {line.who}".strip()
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(standing.window)}</td>'
            f"<td class=n>{escape(format_usd(standing.spent_nanousd))}</td><td class=n>{escape(format_usd(standing.held_nanousd))}</td>"
            f"<td class=n>{escape(format_usd(standing.amount_nanousd))}</td>"
            f'<td><meter min="0" max="100" value="{min(100, used)}" aria-label="{used} % used">{used} %</meter> {used} %</td>'
            f"<td>{SIGNS[line.health]}{'' if line.acts else ' (only watched)'}</td>"
            f"<td class=n>{escape(projected)}</td><td>{escape(resets)}</td></tr>"
        )
    heads = ("budget", "window", "spent", "held", "amount", "used", "state", "at this pace", "resets")
    now = f"as of {to_datetime(at):%Y-%m-%d %H:%M} UTC"
    return _section(f"Budgets, {now}", _wrapped("budgets", heads, rows))


def _charts(overview: Overview) -> list[str]:
    days, cached = _all_days(overview.days), _cached(overview.days)
    found = [
        _figure("Spend over time", charts.columns("Spend by day", days, _axis), overview.days),
        _figure("By team", charts.bars("Spend by team", _dearest(overview.teams)), overview.teams),
        _figure("By person", charts.bars("Spend by person", _dearest(overview.people)), overview.people),
        _figure("By model", charts.bars("Spend by model", _dearest(overview.models)), overview.models),
        _figure("Cache hit share", charts.lines("Input read from cache, by day", cached, _percent, 100), _cache_table(cached)),
        _heat(overview),
    ]
    return [*found, *(_burn_down(one) for one in overview.burn_downs)]


def pictures_of(overview: Overview) -> dict[str, str]:
    """The main charts as SVG files of their own, by name."""
    found = {
        "spend-by-day.svg": charts.columns("Spend by day", _all_days(overview.days), _axis),
        "spend-by-team.svg": charts.bars("Spend by team", _dearest(overview.teams)),
        "spend-by-model.svg": charts.bars("Spend by model", _dearest(overview.models)),
    }
    return {name: charts.standalone(chart) for name, chart in found.items()}


def _figure(title: str, chart: str, shown: Report | str) -> str:
    """A chart, and the same in a table: made from a report, or given."""
    table = shown if isinstance(shown, str) else _table(shown, most=100)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{chart}<details><summary>as a table</summary>{table}</details></figure>"
    )


def _cache_table(cached: Iterable[Point]) -> str:
    rows = [f'<tr><th scope="row">{escape(one.name)}</th><td class=n>{escape(one.shown)}</td></tr>' for one in cached]
    return _wrapped("read from cache, by day", ("day", "read from cache"), rows, numbers=1)


def _all_days(report: Report) -> list[Point]:
    """One point for each day of the range, quiet ones included, so that time runs evenly."""
    known = {group.keys[0]: group for group in report.groups}
    if not known:
        return []
    day, last = date.fromisoformat(min(known)), date.fromisoformat(max(known))
    points: list[Point] = []
    while day <= last and len(points) < 1_000:
        group = known.get(day.isoformat())
        shown = cells.cost(group) if group else "no calls"
        points.append(Point(day.isoformat()[5:], group.cost_nanousd if group else 0, shown))
        day += timedelta(days=1)
    return points


def _dearest(report: Report) -> list[Point]:
    points = [Point(cells.name(" ".join(group.keys)), group.cost_nanousd, cells.cost(group)) for group in report.groups[:NAMED]]
    rest = report.groups[NAMED:]
    if rest:
        points.append(Point(f"{len(rest)} more", sum(group.cost_nanousd or 0 for group in rest), _sum_in_words(rest)))
    return points


def _sum_in_words(groups: Iterable[Group]) -> str:
    return format_usd(sum(group.cost_nanousd or 0 for group in groups))


def _cached(report: Report) -> list[Point]:
    points: list[Point] = []
    for group in report.groups:
        whole, cached = group.tokens.total_input_tokens, group.tokens.cache_read_tokens
        points.append(
            Point(
                group.keys[0][5:],
                100 * cached // whole if whole else None,
                cells.share(cached, whole) if whole else cells.UNKNOWN,
            )
        )
    return points


def _heat(overview: Overview) -> str:
    """Hour of the day against day of the week: when the money goes."""
    sums: dict[tuple[int, int], int] = {}
    for group in overview.hours.groups:
        when = datetime.fromisoformat(group.keys[0])
        key = (when.weekday(), when.hour)
        sums[key] = sums.get(key, 0) + (group.cost_nanousd or 0)
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    grid = [
        [Point(f"{name} {hour:02}:00", sums.get((day, hour)), format_usd(sums.get((day, hour), 0))) for hour in range(24)]
        for day, name in enumerate(names)
    ]
    heads = [str(hour) if hour % 3 == 0 else "" for hour in range(24)]
    chart = charts.heat("Spend by day of the week and hour", names, heads, grid)
    rows = [
        f'<tr><th scope="row">{name}</th><td class=n>{format_usd(sum(point.value or 0 for point in row))}</td>'
        f"<td>{escape(max(row, key=lambda point: point.value or 0).name)}</td></tr>"
        for name, row in zip(names, grid, strict=True)
    ]
    table = _wrapped("by day of the week", ("day", "spend", "dearest hour"), rows)
    return _figure("When it is spent", chart, table)


def _burn_down(one: BurnDown) -> str:
    limit = one.line.limit
    zone = zone_of(limit.zone)
    first = to_datetime(limit.bucket.start_at).astimezone(zone).date()
    end = to_datetime(limit.resets_at or 0).astimezone(zone).date()
    known = {group.keys[0]: group.exposure_nanousd for group in one.days.groups}
    last = date.fromisoformat(max(known)) if known else first
    points: list[Point] = []
    total, day = 0, first
    while day <= last:
        total += known.get(day.isoformat(), 0)
        points.append(Point(day.isoformat()[5:], total, f"{format_usd(total)} used"))
        day += timedelta(days=1)
    amount = one.line.standing.amount_nanousd if one.line.standing else limit.amount_nanousd
    chart = charts.burn_down(f"Budget {one.line.budget.name}: what is left", points, amount, max(0, (end - last).days - 1), _axis)
    return _figure(f"Budget “{one.line.budget.name}”, what is left (dashed: spent evenly)", chart, one.days)


def _table(report: Report, most: int = MAX_ROWS) -> str:
    columns = columns_of(report.total)
    columns = [columns[-1], *columns[:-1]]  # the cost first: a phone shows little more than that
    heads = (*report.by, *(column.title for column in columns))
    rows = []
    for group in report.groups[:most]:
        names = "".join(f'<th scope="row">{escape(cells.name(key))}</th>' for key in group.keys)
        rows.append(f"<tr>{names}{''.join(f'<td class=n>{escape(column.cell(group))}</td>' for column in columns)}</tr>")
    if len(report.groups) > most:
        rows.append(f'<tr><td colspan="{len(heads)}">{len(report.groups) - most:,} more rows: use --format csv</td></tr>')
    total = "".join(f"<td class=n>{escape(column.cell(report.total))}</td>" for column in columns)
    names = '<th scope="row">total</th>' + "<td></td>" * (len(report.by) - 1) if report.by else ""
    return _wrapped("by " + ", ".join(report.by), heads, rows, f"<tfoot><tr>{names}{total}</tr></tfoot>", len(columns))


def _wrapped(name: str, heads: Iterable[str], rows: Iterable[str], foot: str = "", numbers: int = 0) -> str:
    """A table that scrolls by itself where it is too wide, by keyboard as well; its last ``numbers`` columns hold figures."""
    titles = list(heads)
    head = "".join(
        f'<th scope="col"{" class=n" if place >= len(titles) - numbers else ""}>{escape(title)}</th>'
        for place, title in enumerate(titles)
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(name, quote=True)}" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>{foot}</table></div>"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _period(report: Report) -> str:
    return notes(report)[0].partition(" · ")[0]


def _axis(nanousd: int) -> str:
    """Short dollars for an axis: ``$1.2k``, ``$40``, ``$0.05``."""
    dollars = nanousd / NANO_PER_USD
    if dollars >= 10_000:
        return f"${dollars / 1000:.0f}k"
    if dollars >= 1_000:
        return f"${dollars / 1000:.1f}k"
    return f"${dollars:.0f}" if dollars >= 10 or dollars == 0 else f"${dollars:.2f}"


def _percent(value: int) -> str:
    return f"{value} %"
