"""``tollkeeper grant``: let somebody use more of a budget for a while, on the record."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.amounts import format_amount, parse_amount
from tollkeeper.core.clock import US_PER_SECOND, system_clock, to_datetime
from tollkeeper.core.errors import ConfigError, LedgerError, SetupError
from tollkeeper.core.ids import new_id
from tollkeeper.core.money import MAX_NANOUSD
from tollkeeper.core.paths import home
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.core.toml_lines import nearest

from .callers import authority_of, call_of_nobody
from .report import NOTHING_YET
from .standings import calls_in

if TYPE_CHECKING:
    from tollkeeper.ledger.grants import Grant
    from tollkeeper.policy.model import Policy

MAX_DAYS = 366
MOST = MAX_NANOUSD // 4
"""As for amounts in tokens and requests: several together still fit a column of the ledger."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
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
    from tollkeeper.ledger.row import text

    try:
        unit, size = parse_amount(amount)
    except ValueError as error:
        raise ConfigError(f"{error}, or a number of tokens or requests") from None
    if size > MOST:
        raise ConfigError(f'"{amount[:60]}" is more than can be granted; {format_amount(unit, MOST)} is the most')
    policy = _check_budget(budget, unit.value, file)
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
        why=text(why.strip()),
        granted_by=_me(),
    )
    entered: Grant = _do(ledger_path, partial(enter, grant))
    deciding = _deciding(policy, entered, ledger_path or home().ledger, at) if policy is not None else ()
    _tell(entered, as_json, "granted", {"decided_by": list(deciding)} if deciding else {})
    if deciding:
        others = " and ".join(f'"{name}"' for name in deciding)
        click.echo(
            f'note: budget "{budget}" decides nothing here: {others} gives the same share more, or lifts it; grant it there',
            err=True,
        )


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
    from tollkeeper.core.principal import account
    from tollkeeper.ledger.grants import EVERYBODY

    if whose == EVERYBODY:
        if issuer is not None:
            raise ConfigError("--issuer says whose --to it is; name one with --to, or leave both out for everybody")
        return whose
    return account(whose, authority_of(whose, issuer))


def _deciding(policy: "Policy", grant: "Grant", path: Path, at: int) -> tuple[str, ...]:
    """The budgets that decide over the share of whom the grant is for, where the one that was named decides over none of it.

    Looked for among the calls that were made and one that is not known but for its caller.
    """
    from tollkeeper.core.principal import account
    from tollkeeper.ledger.grants import EVERYBODY
    from tollkeeper.policy.buckets import bucket_key, shares
    from tollkeeper.policy.facts import values_of
    from tollkeeper.policy.group_table import in_groups
    from tollkeeper.policy.matching import covers, matcher_of

    budget = policy.by_rule.get(grant.budget)
    if budget is None or budget.rule:
        return ()
    calls = [*calls_in(policy, path, at), call_of_nobody(at)]
    if grant.whose != EVERYBODY:
        subject, _, issuer = grant.whose.partition(" at ")
        theirs = [one for one in calls if account(one.principal.subject, one.principal.issuer) == grant.whose]
        who = Principal(subject=subject, issuer=issuer or "local", assurance=Assurance.VERIFIED)
        calls = [replace(one, principal=replace(who, groups=one.principal.groups)) for one in theirs]
        calls.append(replace(call_of_nobody(at), principal=who))
    found: dict[str, None] = {}
    for call in calls:
        facts = values_of(replace(call, principal=in_groups(policy, call.principal)), call.model)
        if not covers(budget, facts):
            continue
        slots = matcher_of(policy).match(facts).slots
        if any(slot.budget is budget for slot in slots):
            return ()
        keys = {bucket_key(budget, share) for share in shares(budget, facts)}
        found |= dict.fromkeys(slot.budget.name for slot in slots if slot.key in keys and slot.budget.mode is budget.mode)
        lifts = (one for one in policy.budgets if one.amount_nanousd is None and covers(one, facts))
        found |= dict.fromkeys(one.name for one in lifts if keys & {bucket_key(one, share) for share in shares(one, facts)})
    return tuple(found)


def _check_budget(name: str, unit: str, file: Path | None) -> "Policy | None":
    """The policy that names the budget, None where there is no document: a grant to a misspelt budget would never be noticed."""
    from tollkeeper.policy.document import load_policy

    chosen = file or home().policy
    if file is None and not chosen.exists():
        return None
    policy = load_policy(chosen)
    budget = policy.by_rule.get(name)
    if budget is None:
        found = nearest(name, policy.by_rule)
        hint = f'did you mean "{found}"?' if found else f"known: {', '.join(policy.by_rule) or 'none'}"
        raise ConfigError(f'{chosen} has no budget "{name[:100]}"; {hint}')
    if budget.unit.value != unit:
        raise ConfigError(f'budget "{name}" is counted in {budget.unit.value}; grant it in {budget.unit.value}, not {unit}')
    return policy


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


def _tell(grant: "Grant", as_json: bool, done: str, more: Mapping[str, Any] = NOTHING) -> None:
    if as_json:
        click.echo(json.dumps({**_as_json(grant), **more}, indent=2, ensure_ascii=False))
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
