"""``tollkeeper ledger``: is it whole, price again what had no price, where is it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import LedgerDamaged, SetupError
from tollkeeper.core.money import format_usd, format_usd_exact
from tollkeeper.core.paths import home

from .progress import progress
from .report import NOTHING_YET

_ledger = click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger.  [this user's]")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def command() -> None:
    """Check, correct or find the ledger: the append-only record of every call."""


@command.command()
@_ledger
def path(ledger_path: Path | None) -> None:
    """Print where the ledger is."""
    click.echo(ledger_path or home().ledger)


@command.command()
@_ledger
@_json
def verify(ledger_path: Path | None, as_json: bool) -> None:
    """Recompute the chain and every balance. Names the first bad entry; exit 5 when there is one.

    Keep the head hash elsewhere: with it, a ledger that was cut short later is found out too.
    """
    from tollkeeper.ledger.verify import verify as check

    file = _existing(ledger_path)
    with progress("checking entries") as tell:
        found = check(file, tell)
    if as_json:
        click.echo(json.dumps({"schema": "tollkeeper.verify/1", "ledger": str(file), "sound": found.is_sound, **asdict(found)}))
    elif found.is_sound:
        click.echo(
            f"{file}: sound. {found.entries:,} entries, {found.lines:,} lines, {found.prices:,} prices,"
            f" {found.balances:,} balances, {found.open_holds:,} open holds"
        )
        click.echo(f"head {found.head}")
    if not found.is_sound:
        raise LedgerDamaged(f"{file}: {found.problem}. Keep this file, and compare it with a backup")


@command.command()
@_ledger
@_json
def reprice(ledger_path: Path | None, as_json: bool) -> None:
    """Price again what had no known price, with today's price book. Corrections are appended; nothing is written over."""
    from tollkeeper.ledger.reprice import reprice as run
    from tollkeeper.pricing.book import PriceBook

    file = _existing(ledger_path)
    overlay = home().prices
    book = PriceBook.load(overlay if overlay.exists() else None)
    with progress("pricing again") as tell:
        done = run(file, book, system_clock, lambda looked_at: tell(looked_at, 0))
    if as_json:
        amounts = {
            "cost_usd": format_usd_exact(done.cost_nanousd),
            "exposure_before_usd": format_usd_exact(done.exposure_before_nanousd),
            "exposure_after_usd": format_usd_exact(done.exposure_after_nanousd),
        }
        click.echo(json.dumps({"schema": "tollkeeper.reprice/1", **asdict(done), **amounts, "still_unknown": done.still_unknown}))
        return
    if not done.looked_at:
        click.echo("every recorded call has a price")
        return
    click.echo(
        f"{done.priced:,} of {done.looked_at:,} calls priced: {format_usd(done.cost_nanousd)}"
        f" (they counted as {format_usd(done.exposure_before_nanousd)} until now)"
    )
    if done.still_unknown:
        click.echo(f"{done.still_unknown:,} still have none: see `tollkeeper prices unpriced`", err=True)


@command.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_json
def merge(target: Path, sources: tuple[Path, ...], as_json: bool) -> None:
    """Add the calls of other ledgers to TARGET: the shards of a CI run. Doing it again changes nothing.

    Every source is verified first. Their budgets stay behind: the target's own count from its own calls.
    """
    from tollkeeper.ledger.merge import merge_all

    with progress("adding calls") as tell:
        done = merge_all(target, sources, system_clock, lambda calls: tell(calls, 0))
    if as_json:
        click.echo(json.dumps({"schema": "tollkeeper.merge/1", "target": str(target), "sources": [asdict(one) for one in done]}))
        return
    for one in done:
        still = f", {one.open_calls:,} still open" if one.open_calls else ""
        click.echo(f"{one.source}: {one.calls:,} calls added ({one.entries:,} entries), {one.known:,} entries were there{still}")
        if one.guessed:
            click.echo(
                f"tollkeeper: {one.source} knows how calls ended that {target} has as crashed and counts at all that was held"
                f" ({one.guessed:,}); merge all sources into a new ledger for their true cost",
                err=True,
            )


def _existing(ledger_path: Path | None) -> Path:
    file = ledger_path or home().ledger
    if not file.exists():
        raise SetupError(f"{file}: {NOTHING_YET}")
    return file
