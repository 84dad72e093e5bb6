"""``tollkeeper policy``: say what a policy document means before it decides about money."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from tollkeeper.core.amounts import Unit
from tollkeeper.core.clock import system_clock, to_datetime
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.money import format_usd_exact
from tollkeeper.core.paths import home
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.model import SCHEMA, Policy
from tollkeeper.policy.problems import PolicyError
from tollkeeper.policy.words import (
    FAULT_WORDS,
    LEDGER_WORDS,
    MODE_WORDS,
    UNKNOWN_WORDS,
    Explained,
    explain,
    notes,
    rule_sentences,
)

from .policy_explain import diff
from .policy_explain import explain as explain_call
from .policy_notes import names_of_nothing
from .policy_trial import suggestion, trial

_LINE = re.compile(r"(\d+): (.*)", re.DOTALL)


@click.group(name="policy")
def command() -> None:
    """Check the policy document, explain it, try it on the past, write one, compare two."""


command.add_command(explain_call, "explain")
command.add_command(trial, "test")
command.add_command(suggestion, "suggest")
command.add_command(diff, "diff")


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def check(file: Path | None, as_json: bool) -> None:
    """Say in plain words what FILE means: every budget, when it resets next, what happens then.

    Without FILE, the policy that `tollkeeper run` and `start` use. Exit code 2 when it is wrong, with every problem
    as `file:line: what is wrong`.

    Example: `tollkeeper policy check policies/team.toml`
    """
    chosen = file if file is not None else home().policy
    at = system_clock()
    try:
        policy = load_policy(chosen) if file is not None or chosen.exists() else OBSERVE_ALL
    except ConfigError as error:
        _fail(error, chosen, as_json)
    remarks = (*notes(policy), *names_of_nothing(policy, at))
    where = str(chosen) if policy is not OBSERVE_ALL else "built-in"
    if as_json:
        click.echo(json.dumps(_as_json(policy, where, at, remarks), indent=2))
        return
    if policy is OBSERVE_ALL:
        click.echo(f"There is no policy at {chosen}, so the built-in one holds.", err=True)
    for line in _in_words(policy, where, at, remarks):
        click.echo(line)


def _fail(error: ConfigError, file: Path, as_json: bool) -> NoReturn:
    """Print every problem and leave; one line each, without a prefix, so that editors find file and line."""
    if as_json:
        if isinstance(error, PolicyError):
            problems: list[dict[str, Any]] = [{"line": problem.line, "message": problem.message} for problem in error.problems]
        else:
            found = _LINE.match(str(error).removeprefix(f"{file}:"))
            problems = [{"line": int(found[1]) if found else None, "message": found[2] if found else str(error)}]
        click.echo(json.dumps({"ok": False, "file": str(file), "problems": problems}, indent=2))
    else:
        click.echo(str(error), err=True)
    sys.exit(error.exit_code)


def _in_words(policy: Policy, where: str, at: int, remarks: Iterable[str]) -> list[str]:
    explained = explain(policy, at)
    width = max((len(item.budget.name) for item in explained), default=0)
    lines = [f"{where}: OK", f"mode {MODE_WORDS[policy.mode]}"]
    lines += [f"  {item.budget.name:<{width}}  {item.sentence}" for item in explained]
    lines += [f"  {sentence}" for sentence in rule_sentences(policy)]
    lines += [
        f"a model has no known price (unknown_model = {policy.unknown_model.value}): {UNKNOWN_WORDS[policy.unknown_model]}",
        f"a fault in tollkeeper (on_fault = {policy.on_fault.value}): {FAULT_WORDS[policy.on_fault]}",
        f"the ledger cannot be written (on_ledger_error = {policy.on_ledger_error.value}): {LEDGER_WORDS[policy.on_ledger_error]}",
    ]
    return lines + [f"note: {note}" for note in remarks]


def _as_json(policy: Policy, where: str, at: int, remarks: Iterable[str]) -> dict[str, Any]:
    return {
        "ok": True,
        "file": where,
        "schema": SCHEMA,
        "digest": policy.digest,
        "mode": policy.mode.value,
        "unknown_model": policy.unknown_model.value,
        "on_fault": policy.on_fault.value,
        "on_ledger_error": policy.on_ledger_error.value,
        "budgets": [_budget_as_json(item) for item in explain(policy, at)],
        "rules": list(rule_sentences(policy)),
        "notes": list(remarks),
    }


def _amount_as_json(unit: Unit, amount: int | None) -> dict[str, Any]:
    if amount is None:
        return {"amount": "unlimited"}
    if unit is Unit.USD:
        return {"amount_usd": format_usd_exact(amount), "amount_nanousd": amount}
    return {"amount": amount}


def _budget_as_json(item: Explained) -> dict[str, Any]:
    budget = item.budget
    return {
        "name": budget.name,
        "unit": budget.unit.value,
        **_amount_as_json(budget.unit, budget.amount_nanousd),
        "window": budget.window.label,
        "zone": budget.window.zone,
        "resets_at": None if item.resets_at is None else f"{to_datetime(item.resets_at):%Y-%m-%dT%H:%M:%SZ}",
        "share": budget.share.value,
        "per": [*(field.value for field in budget.per), *(f"label.{name}" for name in budget.per_labels)],
        "scope": {field.value: [glob.pattern for glob in globs] for field, globs in budget.scope},
        "mode": budget.mode.value,
        "acts": item.acts,
        "rewrite": list(budget.rewrite),
        "message": budget.message,
        "meaning": item.sentence,
    }
