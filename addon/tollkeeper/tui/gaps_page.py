"""The sixth screen: how full the plans are, every gap by name, and what each proxy says of itself."""

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tollkeeper.core.money import format_usd
from tollkeeper.ledger.rows import Gap
from tollkeeper.report.cells import UNKNOWN
from tollkeeper.report.period import zone_of
from tollkeeper.report.plans import OLD_US, percent

from .figures import lasting, until
from .look import Look, plain_bar
from .overview import warnings
from .snapshot import Snapshot


def page(shown: Snapshot, look: Look) -> RenderableType:
    """All of it, one below the other."""
    parts: list[RenderableType] = [Text(f" ! {line}", style="bold reverse") for line in warnings(shown)]
    if not parts:
        parts.append(Text(f"{look.sign('✓')} no gaps: every call of the period was metered and priced", style=look.good))
    parts += [Text(), _plans(shown, look), Text(), _gaps(shown), Text(), _proxies(shown)]
    return Stack(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column in {"used", "calls", "counted as", "asks", "in flight", "refused", "rewritten", "unmetered", "tunnelled"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _plans(shown: Snapshot, look: Look) -> RenderableType:
    table = _table("plans", "plan", "person", "window", "", "used", "resets", "said")
    zone = zone_of(shown.zone)
    for window in shown.plan_windows:
        is_past = window.resets_at is not None and window.resets_at <= shown.at
        used = None if is_past or window.at < shown.at - OLD_US else window.used_ppm
        bar = Text(look.sign("·") * 20, style="dim") if used is None else plain_bar(used, 1_000_000, 20, look)
        resets = "has reset since" if is_past else until(window.resets_at, zone, shown.at)
        said = f"{lasting(shown.at - window.at)} ago"
        sign = f"! {window.status}" if window.status not in {"", "allowed"} else percent(used)
        table.add_row(window.plan, window.subject, window.name, bar, sign, resets, said)
    return table if shown.plan_windows else Text("plans: no subscription has said how much of it is used", style="dim")


def _gaps(shown: Snapshot) -> RenderableType:
    if shown.total is None:
        return Text("gaps: … reading the ledger", style="dim")
    if not shown.unpriced and not shown.unmetered:
        return Text("gaps: none", style="dim")
    table = _table("gaps", "what", "where", "why", "calls", "counted as", "do")
    for gap in shown.unpriced:
        units = f"no rate for {', '.join(gap.units[:3])}" if gap.units else "no known price"
        table.add_row(
            "no price", f"{gap.provider}/{gap.model or UNKNOWN}", units, *_counted(gap), "give it a price in prices.toml"
        )
    for gap in shown.unmetered:
        where = f"{gap.host} {gap.operation}{f' ({gap.model})' if gap.model else ''}".strip()
        table.add_row("not metered", where, gap.reason or UNKNOWN, *_counted(gap), "tollkeeper doctor")
    return table


def _counted(gap: Gap) -> tuple[str, str]:
    return f"{gap.calls:,}", format_usd(gap.exposure_nanousd)


def _proxies(shown: Snapshot) -> RenderableType:
    if not shown.proxies:
        return Text("proxies: none runs in the background; calls of `tollkeeper run` appear as they are made", style="dim")
    table = _table("proxies", "address", "mode", "calls", "in flight", "refused", "rewritten", "unmetered", "tunnelled", "policy")
    for proxy in shown.proxies or ():
        figures = (proxy.get(name) for name in ("calls", "inflight", "refused", "rewritten", "unmetered", "tunnelled"))
        table.add_row(
            f"{proxy.get('host', '?')}:{proxy.get('port', '?')}",
            str(proxy.get("mode", UNKNOWN)),
            *(f"{figure:,}" if isinstance(figure, int) else UNKNOWN for figure in figures),
            str(proxy.get("policy") or "built in"),
        )
    return table
