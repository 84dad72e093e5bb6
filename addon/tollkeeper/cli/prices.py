"""``tollkeeper prices``: the prices in force, what has none, and whether an overlay holds."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.clock import from_datetime, system_clock, to_datetime
from tollkeeper.core.errors import PriceError, SetupError
from tollkeeper.core.money import format_usd, format_usd_exact
from tollkeeper.core.paths import home
from tollkeeper.core.toml_lines import load_toml, nearest

if TYPE_CHECKING:
    from tollkeeper.pricing.book import PriceBook
    from tollkeeper.pricing.rates import Price

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_at_option = click.option(
    "--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="Prices of that moment (UTC), not of now."
)

GUESSED_PROVIDERS = (
    "openai", "anthropic", "gemini", "xai", "mistral", "cohere", "deepseek", "zai", "moonshot", "minimax", "perplexity", "voyage",
    "groq", "cerebras", "together", "fireworks", "copilot", "bedrock", "azure", "vertex", "workers-ai", "openrouter",
)  # fmt: skip
"""Where ``prices show`` looks for a model that was named without a provider: makers before resellers."""


@click.group()
def command() -> None:
    """Show the prices in force, list what has no price, check an overlay."""


@command.command(name="list")
@click.argument("pattern", default="")
@_at_option
@_json_option
def list_models(pattern: str, at: datetime | None, as_json: bool) -> None:
    """List models whose PROVIDER/MODEL contains PATTERN (or fits it, when it has a * in it)."""
    wanted = pattern.lower()
    rows = [
        {
            "provider": one.provider,
            "model": one.model,
            "input_usd_per_mtok": one.input_mtok,
            "output_usd_per_mtok": one.output_mtok,
            "tiered": one.tiered,
            "source": one.source,
        }
        for one in _book().models(_moment(at))
        if _fits(f"{one.provider}/{one.model}".lower(), wanted)
    ]
    columns = {"provider": "provider", "model": "model", "input_usd_per_mtok": "$/M in", "output_usd_per_mtok": "$/M out"}
    for row in rows if not as_json else ():
        for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
            row[key] = "–" if row[key] is None else f"{row[key]}{' +' if row['tiered'] else ''}"
    _emit(rows, columns, as_json=as_json)
    if not rows:
        click.echo(f'nothing in the price list is like "{pattern}"', err=True)


@command.command()
@click.argument("model")
@click.option("--provider", help="Whose price: openai, anthropic, gemini, vertex, openrouter, …")
@_at_option
@_json_option
def show(model: str, provider: str | None, at: datetime | None, as_json: bool) -> None:
    """Show every rate of MODEL, with its tiers, its source and since when it holds."""
    from tollkeeper.pricing.units import LINES

    order = {unit: index for index, unit in enumerate(LINES)}
    book, moment = _book(), _moment(at)
    name, price = _find(book, model, provider, moment)
    rates = [
        {
            "unit": unit,
            "usd": format(usd.normalize(), "f"),
            "per": per,
            "above": [{"total_input_tokens": above, "usd": format(tier.normalize(), "f")} for above, tier in tiers],
        }
        for unit, (usd, per, tiers) in sorted(price.raw.items(), key=lambda item: order.get(item[0], 99))
        if not price.rates[unit].coarse
    ]
    if as_json:
        about: dict[str, Any] = {
            "provider": name,
            "model": price.model,
            "at": to_datetime(moment).isoformat(),
            "source": price.source,
            "since": price.since,
            "kind": price.kind,
            "price_id": price.ref.id,
            "discount": str(price.discount),
            "multipliers": [{"name": label, "factor": str(factor)} for label, factor in price.multipliers],
            "flags": list(price.flags),
            "rates": rates,
        }
        click.echo(json.dumps(about, indent=2))
        return
    since = f", since {price.since}" if price.since else ""
    click.echo(f"{name}/{price.model}  ({price.source}{since}; prices of {to_datetime(moment):%Y-%m-%d %H:%M} UTC)")
    rows = [
        {
            "unit": rate["unit"],
            "rate": f"${rate['usd']} per {_per(int(str(rate['per'])))}",
            "tiers": "; ".join(
                f"${usd.normalize():f} above {above:,} input tokens" for above, usd in price.raw[str(rate["unit"])][2]
            ),
        }
        for rate in rates
    ]
    _emit(rows, {"unit": "unit", "rate": "rate", "tiers": "tiers"}, as_json=False)
    for label, factor in price.multipliers:
        click.echo(f"× {factor}  {label}")
    if price.discount != 1:
        click.echo(f"× {price.discount}  your discount")
    if price.kind == "free":
        click.echo("free")


@command.command()
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read (default: this user's).")
@_json_option
def unpriced(ledger_path: Path | None, as_json: bool) -> None:
    """List what was used without a known price, and the most it may have cost."""
    from tollkeeper.ledger.queries import unpriced as read_unpriced

    path = ledger_path or home().ledger
    if not path.exists():
        raise SetupError(f"{path}: there is no ledger yet; meter something first: tollkeeper run -- CMD")
    rows: list[dict[str, Any]] = [
        {
            "provider": row.provider,
            "model": row.model,
            "units": list(row.units),
            "calls": row.calls,
            "exposure_nanousd": row.exposure_nanousd,
            "exposure_usd": format_usd_exact(row.exposure_nanousd),
            "first_at": to_datetime(row.first_at).isoformat(),
            "last_at": to_datetime(row.last_at).isoformat(),
        }
        for row in read_unpriced(path)
    ]
    if not as_json:
        for row in rows:
            row["units"] = ", ".join(row["units"]) or "–"
            row["exposure_usd"] = f"≤ {format_usd(row['exposure_nanousd'])}"
    columns = {
        "provider": "provider",
        "model": "model",
        "units": "no price for",
        "calls": "calls",
        "exposure_usd": "counted as",
        "last_at": "last seen",
    }
    _emit(rows, columns, as_json=as_json)
    if rows and not as_json:
        click.echo(f"give them a price in {home().prices}, then: tollkeeper ledger reprice", err=True)
    elif not rows:
        click.echo("everything recorded has a price", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@_json_option
def check(file: Path, as_json: bool) -> None:
    """Check a price overlay: every key, date, number and clause. Errors name file, line and the nearest known key.

    A provider that is like a known one, but is none, may be your own: it is told on stderr and is no error.
    """
    from tollkeeper.pricing.overlay import load_overlay

    overlay = load_overlay(file)
    doubts = list(_doubts(file))
    for doubt in doubts:
        click.echo(f"tollkeeper: {doubt}", err=True)
    counts = {
        "price": sum(not rule.fills for rule in overlay.prices),
        "gap": sum(rule.fills for rule in overlay.prices),
        "discount": len(overlay.discounts),
        "multiplier": len(overlay.multipliers),
        "alias": len(overlay.aliases),
        "free": len(overlay.free),
    }
    if as_json:
        said: dict[str, Any] = {"file": str(file), "ok": True, "source": overlay.source, "entries": counts, "warnings": doubts}
        click.echo(json.dumps(said, indent=2))
        return
    entries = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    click.echo(f"{file}: fine ({entries or 'no entries'})")


def _doubts(file: Path) -> Iterator[str]:
    """Providers of an overlay (one that holds) that no call will have, each with the known name that was probably meant."""
    from tollkeeper.gate.extra_hosts import host_table
    from tollkeeper.pricing.names import CATALOGUES, VENDORS

    known = {*host_table(home().hosts).providers(), *CATALOGUES, *VENDORS.values()}
    document, lines = load_toml(file)
    for table, entries in document.items():
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            stated = entry.get("provider")
            for name in stated if isinstance(stated, list) else [stated]:
                if isinstance(name, str) and name not in known and (near := nearest(name, known)) is not None:
                    line = lines.line_of((table, index, "provider"))
                    yield f'{file}:{line}: no known provider is called "{name[:100]}"; did you mean "{near}"?'


def _book() -> "PriceBook":
    from tollkeeper.pricing.book import PriceBook

    overlay = home().prices
    return PriceBook.load(overlay if overlay.exists() else None)


def _find(book: "PriceBook", model: str, provider: str | None, at: int) -> tuple[str, "Price"]:
    from tollkeeper.pricing.names import VENDORS

    vendor, slash, rest = model.partition("/")
    tried = [(provider, model)] if provider else [(name, model) for name in GUESSED_PROVIDERS]
    if slash and provider is None:
        tried.insert(0, (VENDORS.get(vendor.lower(), vendor.lower()), rest))
    for name, wanted in tried:
        if (price := book.price_of(name, wanted, at)) is not None:
            return name, price
    names = {one.model for one in book.models(at)}
    close = nearest(model, names)
    where = f" at {provider}" if provider else ""
    hint = f'; the nearest name is "{close}"' if close else ""
    raise PriceError(
        f'no price is known for "{model[:100]}"{where}{hint}. Its calls count at a ceiling until {home().prices} has one'
    )


def _moment(at: datetime | None) -> int:
    return system_clock() if at is None else from_datetime(at.replace(tzinfo=UTC))


def _fits(name: str, wanted: str) -> bool:
    return fnmatchcase(name, wanted) if "*" in wanted else wanted in name


def _per(per: int) -> str:
    return {1_000_000: "1M", 1_000: "1,000", 1: "1", 3_600: "hour"}.get(per, f"{per:,}")


def _emit(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool) -> None:
    """A table for people on a terminal, tab-separated lines for pipes, or JSON."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(str(row[key]) for key in columns))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in columns.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    Console().print(table)
