"""``tollkeeper policy explain``: every rule and one call, and what would be decided now; ``policy diff``: what an edit changes."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.amounts import format_amount
from tollkeeper.core.clock import system_clock
from tollkeeper.core.money import format_usd
from tollkeeper.core.paths import home
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.message import rewrite_in_words, spent_in_words

from .callers import asking, call_from
from .process import read_state
from .standings import standings_at

if TYPE_CHECKING:
    from tollkeeper.core.admission import Admission, Admitted
    from tollkeeper.core.call import Call
    from tollkeeper.core.decision import Decision, Standing
    from tollkeeper.policy.estimate import Estimates
    from tollkeeper.policy.explain import Told
    from tollkeeper.policy.model import Policy


@click.command()
@asking
@click.option("--policy", "file", type=click.Path(path_type=Path, dir_okay=False), help="The document.  [this user's]")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger with the balances.  [this user's]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def explain(file: Path | None, ledger_path: Path | None, as_json: bool, **asked: Any) -> None:
    """Say of one call which rules speak of it and why the others do not, how each budget stands, and what is decided.

    Nothing is held and nothing is sent. Exit code 0 whatever the decision; read it from --json.

    Example: `tollkeeper policy explain --as ada@example.com --model claude-opus-5 --group ml`
    """
    from tollkeeper.policy.explain import explain_call
    from tollkeeper.policy.facts import values_of
    from tollkeeper.policy.group_table import in_groups

    chosen = file or home().policy
    policy = load_policy(chosen) if file is not None or chosen.exists() else OBSERVE_ALL
    at = system_clock()
    call = call_from(asked, at)
    call = replace(call, principal=in_groups(policy, call.principal))
    told = explain_call(policy, values_of(call, call.model))
    path = ledger_path or home().ledger
    limits = [slot.limit(at) for one in told for slot in one.slots]
    standings = {one.bucket + one.budget: one for one in standings_at(path, limits, at)}
    decision = _decide(policy, call, path, _learned(path, follows=ledger_path is None), at)
    if as_json:
        click.echo(json.dumps(_as_json(policy, told, standings, decision, at), indent=2, ensure_ascii=False))
        return
    for line in _in_words(policy, told, standings, decision, at):
        click.echo(line)


@click.command()
@click.argument("old", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False))
def diff(old: Path, new: Path) -> None:
    """Say what changes in meaning from the document OLD to the document NEW; nothing where only words differ.

    Exit code 0 when they mean the same, 1 when they do not, 2 when one of them is wrong.

    Example: `tollkeeper policy diff policy.toml draft.toml`
    """
    from tollkeeper.policy.diff import differences

    found = differences(load_policy(old), load_policy(new))
    for line in found:
        click.echo(line)
    if found:
        sys.exit(1)
    click.echo("no difference in meaning", err=True)


def _learned(path: Path, *, follows: bool) -> "Estimates":
    """What the proxy that writes this ledger has learned of answers since it started; nothing where none runs: one that starts has not."""
    from tollkeeper.policy.estimate import Estimates

    learned = Estimates()
    state = read_state() if follows and path.exists() else None
    if state is not None:
        from tollkeeper.ledger.history import read_answers

        for model, principal, client, output_tokens in read_answers(path, int(state.get("started_at", 0))):
            learned.note(model, principal, client, output_tokens)
    return learned


def _decide(policy: "Policy", call: "Call", path: Path, learned: "Estimates", at: int) -> "Decision":
    """What would be decided now, by the same functions as on the road."""
    from tollkeeper.core.decision import Decision
    from tollkeeper.policy.candidates import Pen
    from tollkeeper.policy.decide import decide
    from tollkeeper.policy.plan import plan_with
    from tollkeeper.pricing.book import PriceBook

    book = PriceBook.load(home().prices if home().prices.exists() else None)
    pen = Pen(
        quote=lambda model: book.hold(call, model),
        capped=lambda model, cap: book.hold(replace(call, ask=replace(call.ask, max_output_tokens=cap)), model),
        expected=lambda model: learned.output_tokens(model, call.principal.subject, call.attribution.client),
        hold=policy.hold,
    )
    planned = plan_with(policy, call, pen, at)
    if isinstance(planned, Decision):
        return planned
    return decide(planned, _admit(path, planned), policy)


def _admit(path: Path, admission: "Admission") -> "Admitted":
    from tollkeeper.ledger.balances import would_admit
    from tollkeeper.ledger.rehearsal import Rehearsal

    if path.exists():
        return would_admit(path, admission)
    with Rehearsal() as empty:
        return empty.admit(admission)


def _in_words(
    policy: "Policy", told: "tuple[Told, ...]", standings: "dict[str, Standing]", decision: "Decision", at: int
) -> Iterator[str]:
    if not told:
        yield f"{policy.name} has no rules: everything is metered and nothing is blocked"
    for one in told:
        sign, said = ("+", "covers it") if one.covers else ("-", "does not cover it")
        yield f"{sign} {one.rule}: {said}{f': {one.why}' if one.why else ''}"
        for slot in one.slots:
            limit = slot.limit(at)
            standing = standings[limit.bucket.key + limit.budget]
            room = format_amount(standing.unit, standing.room_nanousd)
            yield f"    {limit.bucket.key}: {spent_in_words(standing)}, {room} left"
    yield f"decision: {_decided(decision)}"


def _decided(decision: "Decision") -> str:
    text = decision.verdict.value
    if decision.would is not decision.verdict:
        text += f" (enforcing would {decision.would.value})"
    if decision.verdict == "rewrite":
        text += f" ({rewrite_in_words(decision)})"
    if decision.rule:
        text += f" by {decision.rule}: {decision.reason}"
    if decision.hold_nanousd:
        text += f"; {format_usd(decision.hold_nanousd)} would be held"
    return text


def _as_json(
    policy: "Policy", told: "tuple[Told, ...]", standings: "dict[str, Standing]", decision: "Decision", at: int
) -> dict[str, Any]:
    from .budget import balance_as_json

    rules = []
    for one in told:
        limits = [slot.limit(at) for slot in one.slots]
        balances = [balance_as_json(standings[limit.bucket.key + limit.budget], at) for limit in limits]
        rules.append({"rule": one.rule, "covers": one.covers, "why": one.why, "balances": balances})
    return {
        "policy": policy.name,
        "digest": policy.digest,
        "rules": rules,
        "decision": {
            "verdict": decision.verdict.value,
            "would": decision.would.value,
            "rule": decision.rule,
            "reason": decision.reason,
            "model": decision.model,
            "max_output_tokens": decision.clamp_output_tokens,
            "effort": decision.effort,
            "hold_nanousd": decision.hold_nanousd,
            "remedy": decision.remedy,
        },
    }
