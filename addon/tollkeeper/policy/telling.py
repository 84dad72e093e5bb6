"""How much of a decision a client is told: what only observes speaks in the ledger alone."""

from dataclasses import replace

from tollkeeper.core.decision import ALLOWED, Decision, Verdict

from .model import Mode, Policy


def as_told(policy: Policy, decision: Decision) -> Decision:
    """A decision as far as a client is told of it.

    What only observes, the whole document or one rule, says so in the ledger and to nobody who calls; what warns is told.
    """
    if decision.verdict is not Verdict.ALLOW:
        return decision
    if policy.mode is Mode.OBSERVE:
        return ALLOWED
    if decision.would is Verdict.ALLOW:
        return decision
    kind, _, name = decision.rule.partition(".")
    rules = policy.models if kind == "model" else (policy.by_name[name],) if kind == "budget" and name in policy.by_name else ()
    observes = any(rule.name == name and rule.mode is Mode.OBSERVE for rule in rules)
    return replace(ALLOWED, warnings=decision.warnings) if observes else decision
