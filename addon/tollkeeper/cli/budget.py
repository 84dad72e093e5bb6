"""``tollkeeper budget``: how budgets stand, whether any is used up, and where they are heading."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.amounts import format_amount
from tollkeeper.core.clock import system_clock, to_datetime
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.paths import home
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.forecast import Forecast, forecast
from tollkeeper.policy.message import moment_in_words, spent_in_words
from tollkeeper.policy.mine import standing_as_json

from .standings import shares_of

if TYPE_CHECKING:
    from tollkeeper.core.admission import Limit
    from tollkeeper.core.decision import Standing
    from tollkeeper.policy.model import Policy

EXIT_USED_UP = 1
EXIT_WARNED = 4

_FILE = click.option("--policy", "file", type=click.Path(path_type=Path, dir_okay=False), help="The document.  [this user's]")
_LEDGER = click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
_ONLY = click.option("--budget", "only", metavar="NAME", help="One budget.  [all]")
_WHO = click.option("--as", "who", metavar="WHO", help="The shares of one principal.  [everybody's]")


@click.group(name="budget")
def command() -> None:
    """How budgets stand, whether any is used up, and where they are heading."""


@command.command("list")
@_ONLY
@_WHO
@_FILE
@_LEDGER
@_JSON
def show(only: str | None, who: str | None, file: Path | None, ledger_path: Path | None, as_json: bool) -> None:
    """Every budget with what is spent, held and left, each share by itself, and the grants that hold.

    Example: `tollkeeper budget list --budget person --json`
    """
    policy, path, at = _open(file, ledger_path)
    found = shares_of(policy, path, at, only, who)
    grants = _grants(path, at)
    if as_json:
        click.echo(
            json.dumps(
                {"budgets": [balance_as_json(one.standing, at) for one in found], "grants": grants}, indent=2, ensure_ascii=False
            )
        )
        return
    for one in found:
        click.echo(_line(one.limit, one.standing, at))
    for grant in grants:
        until = f"{to_datetime(grant['until_at']):%Y-%m-%d %H:%M} UTC"
        click.echo(
            f"grant {grant['id'][-8:]}: {grant['amount_text']} of {grant['budget']} to {grant['to']} until {until}: {grant['why']}"
        )
    if not found:
        click.echo(f"{policy.name} has no budget that {'anything' if who is None else who} counts in", err=True)


@command.command()
@_ONLY
@_WHO
@click.option("--warn", is_flag=True, help="Exit code 4 when a budget is past its first warning threshold.")
@_FILE
@_LEDGER
@_JSON
def check(only: str | None, who: str | None, warn: bool, file: Path | None, ledger_path: Path | None, as_json: bool) -> None:
    """Tell by the exit code whether there is room: 0 in every budget, 1 when one is used up, 4 when one is past a threshold (--warn).

    Example: `tollkeeper budget check --budget job && make generate`
    """
    policy, path, at = _open(file, ledger_path)
    # A budget of nothing that nobody has asked for forbids something; it is no reason to stop what does not need it.
    found = [one for one in shares_of(policy, path, at, only, who) if one.is_used or one.standing.amount_nanousd or only]
    over = [one.standing for one in found if not one.standing.room_nanousd]
    near = [one.standing for one in found if one.limit.warn_at and one.standing.used_percent >= one.limit.warn_at[0]]
    code = EXIT_USED_UP if over else EXIT_WARNED if warn and near else 0
    if as_json:
        names = {"used_up": over, "near": near}
        said = {name: [balance_as_json(one, at) for one in some] for name, some in names.items()}
        click.echo(json.dumps({"ok": code == 0, **said}, indent=2, ensure_ascii=False))
    else:
        for standing in over:
            click.echo(f"{standing.named_rule} ({standing.bucket}) is used up: {spent_in_words(standing)}")
        for standing in near if warn else []:
            if standing not in over:
                click.echo(
                    f"{standing.named_rule} ({standing.bucket}) is at {standing.used_percent}%: {spent_in_words(standing)}"
                )
    sys.exit(code)


@command.command("forecast")
@_ONLY
@_WHO
@_FILE
@_LEDGER
@_JSON
def ahead(only: str | None, who: str | None, file: Path | None, ledger_path: Path | None, as_json: bool) -> None:
    """Where each calendar budget is heading at its present pace. Exit code 1 when one is or will be used up before it resets.

    Example: `tollkeeper budget forecast --budget month`
    """
    policy, path, at = _open(file, ledger_path)
    shares = [one for one in shares_of(policy, path, at, only, who) if one.is_used]
    found = [(one.limit, one.standing, forecast(one.standing, one.limit.bucket.start_at, at)) for one in shares]
    crossing = [one for _, standing, one in found if one.is_over(standing)]
    if as_json:
        rows = [balance_as_json(standing, at) | _forecast_as_json(one) for _, standing, one in found]
        click.echo(json.dumps({"ok": not crossing, "budgets": rows}, indent=2, ensure_ascii=False))
    else:
        for limit, standing, one in found:
            click.echo(f"{_line(limit, standing, at)}; {_heading(standing, one, at)}")
    if crossing:
        sys.exit(EXIT_USED_UP)


def balance_as_json(standing: "Standing", at: int) -> dict[str, Any]:
    """A budget as the proxy tells it to its callers (``policy.mine``), with where it is kept."""
    return standing_as_json(standing, at) | {"bucket": standing.bucket, "zone": standing.zone}


def _open(file: Path | None, ledger_path: Path | None) -> "tuple[Policy, Path, int]":
    chosen = file or home().policy
    policy = load_policy(chosen) if file is not None or chosen.exists() else OBSERVE_ALL
    if ledger_path is not None and not ledger_path.exists():
        raise LedgerError(f"there is no ledger at {ledger_path}")
    return policy, ledger_path or home().ledger, system_clock()


def _grants(path: Path, at: int) -> list[dict[str, Any]]:
    from tollkeeper.ledger.grants import read_grants

    if not path.exists():
        return []
    return [
        {
            "id": grant.id,
            "budget": grant.budget,
            "to": grant.whose,
            "unit": grant.unit.value,
            "amount": grant.amount,
            "amount_text": format_amount(grant.unit, grant.amount),
            "until_at": grant.until_at,
            "why": grant.why,
            "by": grant.granted_by,
        }
        for grant in read_grants(path, at)
    ]


def _line(limit: "Limit", standing: "Standing", at: int) -> str:
    room = format_amount(standing.unit, standing.room_nanousd)
    resets = "" if standing.resets_at is None else f", resets {moment_in_words(standing.resets_at, standing.zone, at)}"
    return f"{standing.named_rule} ({limit.bucket.key}): {spent_in_words(standing)}, {room} left{resets}"


def _heading(standing: "Standing", ahead: Forecast, at: int) -> str:
    if standing.spent_nanousd >= standing.amount_nanousd:
        return "used up"
    if ahead.projected is None:
        return "no forecast" if standing.resets_at is None else "too early for a forecast"
    if ahead.crosses_at is not None:
        return f"crosses on {moment_in_words(ahead.crosses_at, standing.zone, at)}"
    return f"comes to about {format_amount(standing.unit, ahead.projected)}"


def _forecast_as_json(ahead: Forecast) -> dict[str, Any]:
    crosses = ahead.crosses_at
    return {"projected": ahead.projected, "crosses_at": None if crosses is None else f"{to_datetime(crosses):%Y-%m-%dT%H:%M:%SZ}"}
