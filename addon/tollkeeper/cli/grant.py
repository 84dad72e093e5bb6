"""``tollkeeper grant``: let somebody use more of a budget for a while, on the record."""

import json
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.amounts import format_amount, parse_amount
from tollkeeper.core.clock import US_PER_SECOND, system_clock, to_datetime
from tollkeeper.core.errors import ConfigError, LedgerError, SetupError
from tollkeeper.core.ids import new_id
from tollkeeper.core.paths import home
from tollkeeper.core.toml_lines import nearest

from .report import NOTHING_YET

if TYPE_CHECKING:
    from tollkeeper.ledger.grants import Grant

MAX_DAYS = 366
_SPAN = re.compile(r"([1-9][0-9]{0,5}) *(min|m|h|d|w)")
_SECONDS = {"min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_LEDGER = click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger.  [this user's]")


class GrantGroup(click.Group):
    """``grant 5usd …`` gives; ``grant list`` and ``grant revoke`` look and take back."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command; for an amount, the one that gives."""
        found = super().get_command(ctx, cmd_name)
        return self.commands["give"] if found is None and cmd_name[:1] in "$0123456789" else found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Anything that is no sub-command is an amount to give."""
        if args and args[0] not in self.commands:
            return "give", self.commands["give"], args
        return super().resolve_command(ctx, args)


@click.group(cls=GrantGroup, name="grant")
def command() -> None:
    """Let somebody use more of a budget for a while.

    It is entered in the ledger with who gave it and why, holds from the next call on in a running proxy too, and ends by itself.

    Example: `tollkeeper grant 5usd --to ada@example.com --budget person --for 2h --why "release night"`
    """


@command.command()
@click.argument("amount")
@click.option("--to", "whose", default="*", metavar="WHO", help="The principal's subject.  [everybody the budget covers]")
@click.option(
    "--issuer",
    metavar="NAME",
    help="Who vouches for the principal: a name in identity.toml, an issuer's address, or local.  [the only issuer there; else local]",
)
@click.option("--budget", required=True, metavar="NAME", help="The budget, by its name in the policy.")
@click.option("--for", "length", default="24h", metavar="LENGTH", help='How long: "30min", "2h", "1d".  [24h]')
@click.option("--why", required=True, metavar="TEXT", help="The reason, for the record.")
@click.option("--policy", "file", type=click.Path(path_type=Path, dir_okay=False), help="The document that names the budget.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@_LEDGER
def give(
    amount: str,
    whose: str,
    issuer: str | None,
    budget: str,
    length: str,
    why: str,
    file: Path | None,
    as_json: bool,
    ledger_path: Path | None,
) -> None:
    """Give AMOUNT more of a budget. A name is only unique at its issuer, so a grant is made out to both."""
    from tollkeeper.ledger.grants import Grant
    from tollkeeper.ledger.grants import give as enter

    try:
        unit, size = parse_amount(amount)
    except ValueError as error:
        raise ConfigError(f"{error}, or a number of tokens or requests") from None
    _check_budget(budget, unit.value, file)
    if not why.strip():
        raise ConfigError('--why is empty; say what the grant is for, as in --why "release night"')
    at = system_clock()
    grant = Grant(
        id=new_id(at),
        budget=budget,
        whose=_account(whose, issuer),
        unit=unit,
        amount=size,
        from_at=at,
        until_at=at + _length_us(length),
        why=why.strip(),
        granted_by=_me(),
    )
    entered: Grant = _do(ledger_path, partial(enter, grant))
    _tell(entered, as_json, "granted")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@_LEDGER
def show(as_json: bool, ledger_path: Path | None) -> None:
    """The grants that hold now, the next to end first."""
    from tollkeeper.ledger.grants import read_grants

    path = ledger_path or home().ledger
    if ledger_path is None and not path.exists():
        raise SetupError(NOTHING_YET)
    found = read_grants(path, system_clock())
    if as_json:
        click.echo(json.dumps([_as_json(grant) for grant in found], indent=2, ensure_ascii=False))
        return
    for grant in found:
        click.echo(_in_words(grant))
    if not found:
        click.echo("no grant holds now", err=True)


@command.command()
@click.argument("grant_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@_LEDGER
def revoke(grant_id: str, as_json: bool, ledger_path: Path | None) -> None:
    """Take a grant back, by its id or the end of it. What was spent stays spent."""
    from tollkeeper.ledger.grants import take_back

    ended: Grant = _do(ledger_path, partial(take_back, grant_id, _me()))
    _tell(ended, as_json, "taken back")


def _account(whose: str, issuer: str | None) -> str:
    """Whom the grant is made out to: the same name at another issuer is somebody else."""
    from tollkeeper.core.principal import HERE, account
    from tollkeeper.identity.config import load_identity
    from tollkeeper.identity.desk import Folder
    from tollkeeper.ledger.grants import EVERYBODY

    if whose == EVERYBODY:
        if issuer is not None:
            raise ConfigError("--issuer says whose --to it is; name one with --to, or leave both out for everybody")
        return whose
    rows = {row.name: row.authority for row in load_identity(Folder(home().root).document).issuers}
    choices = ", ".join([*rows, "local"])
    if issuer is not None:
        if issuer not in rows and issuer not in HERE and "://" not in issuer:
            raise ConfigError(f'--issuer "{issuer[:100]}" is no issuer of identity.toml; it is one of {choices}, or an address')
        return account(whose, rows.get(issuer, issuer))
    if len(set(rows.values())) > 1:
        raise ConfigError(f'which "{whose[:100]}"? A name is only unique at its issuer: add --issuer, one of {choices}')
    return account(whose, next(iter(rows.values()), ""))


def _check_budget(name: str, unit: str, file: Path | None) -> None:
    """A grant to a misspelt budget would never be noticed."""
    from tollkeeper.policy.document import load_policy

    chosen = file or home().policy
    if file is None and not chosen.exists():
        return
    policy = load_policy(chosen)
    budget = policy.by_rule.get(name)
    if budget is None:
        found = nearest(name, policy.by_rule)
        hint = f'did you mean "{found}"?' if found else f"known: {', '.join(policy.by_rule) or 'none'}"
        raise ConfigError(f'{chosen} has no budget "{name[:100]}"; {hint}')
    if budget.unit.value != unit:
        raise ConfigError(f'budget "{name}" is counted in {budget.unit.value}; grant it in {budget.unit.value}, not {unit}')


def _length_us(text: str) -> int:
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f'--for "{text[:60]}" is not a length of time; write it like "30min", "2h" or "1d"')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > timedelta(days=MAX_DAYS).total_seconds():
        raise ConfigError(f"--for {text} is too long: {MAX_DAYS}d is the most; raise the budget in the policy instead")
    return seconds * US_PER_SECOND


def _do(ledger_path: Path | None, operation: Any) -> Any:
    from tollkeeper.ledger.ledger import Ledger

    path = ledger_path or home().ledger
    if ledger_path is not None and not path.exists():
        raise LedgerError(f"there is no ledger at {path}")
    ledger = Ledger.open(path, system_clock)
    try:
        return ledger.do(operation)
    finally:
        ledger.close_now()


def _me() -> str:
    from tollkeeper.identity.local import local_principal

    return local_principal().subject


def _tell(grant: "Grant", as_json: bool, done: str) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(grant), indent=2, ensure_ascii=False))
    else:
        click.echo(f"{done}: {_in_words(grant)}")


def _in_words(grant: "Grant") -> str:
    whose = "everybody" if grant.whose == "*" else grant.whose
    until = f"{to_datetime(grant.until_at):%Y-%m-%d %H:%M} UTC"
    amount = format_amount(grant.unit, grant.amount)
    return f"{grant.id[-8:]}  {amount} of {grant.budget} to {whose} until {until}, by {grant.granted_by}: {grant.why}"


def _as_json(grant: "Grant") -> dict[str, Any]:
    return {
        "id": grant.id,
        "budget": grant.budget,
        "to": grant.whose,
        "unit": grant.unit.value,
        "amount": grant.amount,
        "from_at": f"{to_datetime(grant.from_at):%Y-%m-%dT%H:%M:%SZ}",
        "until_at": f"{to_datetime(grant.until_at):%Y-%m-%dT%H:%M:%SZ}",
        "why": grant.why,
        "by": grant.granted_by,
    }
