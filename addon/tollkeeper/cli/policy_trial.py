"""The parts of ``tollkeeper policy`` that look at the past: ``test`` and ``suggest``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.clock import system_clock, to_datetime
from tollkeeper.core.errors import SetupError
from tollkeeper.core.money import format_usd, format_usd_exact
from tollkeeper.core.paths import home
from tollkeeper.policy.document import load_policy
from tollkeeper.policy.suggest import Spent, suggest
from tollkeeper.report.period import format_moment, parse_moment, zone_of

from .progress import progress
from .report import NOTHING_YET
from .zones import local_zone_name

if TYPE_CHECKING:
    from tollkeeper.ledger.history import Past
    from tollkeeper.ledger.trial import Pricer, Tally, Trial

MAX_PEOPLE = 30


@click.command("test")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--since", default="7d", metavar="TIME", help='How far back: "7d", "month", "2026-11-01".  [7d]')
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def trial(file: Path, since: str, as_json: bool, ledger_path: Path | None) -> None:
    """Try the draft FILE on the calls of the past: who would have been warned, cut, moved, refused, and what that saves.

    The draft is taken as enforcing, whatever its mode. Nothing is written.

    Example: `tollkeeper policy test draft.toml --since 7d`
    """
    from tollkeeper.ledger.trial import rehearse

    policy = load_policy(file)
    path, now = _ledger(ledger_path), system_clock()
    zone = local_zone_name()
    with _history(path, parse_moment(since, now, zone_of(zone)), now, "trying calls") as past:
        found = rehearse(policy, past, _pricer())
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
        return
    for line in _in_words(found, zone):
        click.echo(line)


@click.command("suggest")
@click.option("--since", default="30d", metavar="TIME", help="How far back to look.  [30d]")
@click.option("--zone", default=None, metavar="ZONE", help="Time zone of days and months.  [this machine's]")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def suggestion(since: str, zone: str | None, ledger_path: Path | None) -> None:
    """Write a commented policy from what really happened, to standard output.

    Example: `tollkeeper policy suggest --since 30d > policy.toml`
    """
    path, now = _ledger(ledger_path), system_clock()
    named = zone or local_zone_name()
    with _history(path, parse_moment(since, now, zone_of(named)), now, "reading calls") as past:
        suggested = suggest((_spent(one) for one in past if one.kind != "refuse"), named, f"since {since}")
    click.echo(suggested, nl=False)


@contextmanager
def _history(path: Path, since: int, until: int, what: str) -> Iterator[Iterator["Past"]]:
    """The calls of a time, with a bar on stderr while they are read. Raises ``LedgerError``."""
    from tollkeeper.ledger.history import count_history, read_history

    total = count_history(path, since, until)
    with progress(what) as tell:

        def told() -> Iterator["Past"]:
            for number, one in enumerate(read_history(path, since, until), 1):
                if not number % 64:
                    tell(number, max(total, number))
                yield one

        yield told()


def _spent(one: "Past") -> Spent:
    call = one.call
    session = call.attribution.session or call.attribution.client_session
    return Spent(
        call.started_at,
        call.principal.subject,
        call.attribution.project,
        session,
        one.model or call.model or "",
        one.exposure_nanousd,
    )


def _ledger(chosen: Path | None) -> Path:
    path = chosen or home().ledger
    if chosen is None and not path.exists():
        raise SetupError(NOTHING_YET)
    return path


def _pricer() -> "Pricer":
    """What a past call would have cost with another model: its tokens, at that model's price at the time."""
    from tollkeeper.core.usage import Reading, UsageSource
    from tollkeeper.pricing.book import PriceBook

    book = PriceBook.load(home().prices if home().prices.exists() else None)

    def price(one: "Past", model: str | None, output_tokens: int | None) -> int | None:
        if not one.usages:
            return None
        usages = [replace(usage, model=model if model != one.call.model else usage.model) for usage in one.usages]
        if output_tokens is not None:
            usages = [replace(usages[0], output_tokens=output_tokens, reasoning_tokens=0)]
            usages += [replace(usage, output_tokens=0, reasoning_tokens=0) for usage in one.usages[1:]]
        call = replace(one.call, ask=replace(one.call.ask, model=model))
        return book.bill(call, Reading(source=UsageSource.REPORTED, calls=tuple(usages), model=model)).list_cost_nanousd

    return price


def _in_words(found: "Trial", zone: str) -> Iterator[str]:
    total, here = found.total, zone_of(zone)
    if found.first_at is None or found.last_at is None:
        yield "No call was made in that time: there is nothing to try the policy on."
        return
    yield f"{total.calls:,} calls from {format_moment(found.first_at, here)} to {format_moment(found.last_at, here)} {zone}"
    yield f"  {_figures(total)}"
    saved = format_usd(total.saved_nanousd)
    yield f"  {format_usd(total.spent_nanousd)} was spent; {format_usd(total.would_spend_nanousd)} would have been: {saved} saved"
    if found.refused_then:
        yield f"  {found.refused_then:,} calls were refused then and are not tried again"
    for title, tallies in (("by rule", found.by_rule), ("by principal", found.by_principal)):
        touched = {
            name: tally for name, tally in tallies.items() if tally.refused or tally.moved or tally.clamped or tally.warned
        }
        if touched:
            yield title
        for name, tally in sorted(touched.items(), key=lambda pair: -pair[1].saved_nanousd)[:MAX_PEOPLE]:
            first = f", first {format_moment(tally.first_at, here)}" if tally.first_at is not None else ""
            yield f"  {name}: {_figures(tally)}, {format_usd(tally.saved_nanousd)} saved{first}"
    if found.examples:
        yield "first calls that would not have left as they did"
    for at, who, model, decision in found.examples[:5]:
        yield f"  {format_moment(at, here)} {who} {model}: {decision.verdict} by {decision.rule}: {decision.reason}"


def _figures(tally: "Tally") -> str:
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (tally.refused, "refused"),
            (tally.moved, "moved"),
            (tally.clamped, "cut short"),
            (tally.warned, "warned"),
        )
        if count
    ]
    return ", ".join(parts) or "all of them would have left as they did"


def _as_json(found: "Trial") -> dict[str, Any]:
    def one(tally: "Tally") -> dict[str, Any]:
        figures = asdict(tally)
        figures["first_at"] = None if tally.first_at is None else f"{to_datetime(tally.first_at):%Y-%m-%dT%H:%M:%SZ}"
        figures["saved_usd"] = format_usd_exact(tally.saved_nanousd)
        return figures

    return {
        "total": one(found.total),
        "by_rule": {name: one(tally) for name, tally in sorted(found.by_rule.items())},
        "by_principal": {name: one(tally) for name, tally in sorted(found.by_principal.items())},
        "refused_then": found.refused_then,
    }
