"""What comes back of a call from the ledger: everything that budgets and rules go by."""

from dataclasses import replace
from pathlib import Path

from ledger.samples import NOW, USD, FakeClock, ask_for, make_call, settled
from tollkeeper.core.call import Attribution
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.ledger.history import read_history
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.policy.facts import FIELDS, INDEX, values_of


def test_a_call_of_the_past_falls_under_the_rules_that_it_fell_under(tmp_path: Path) -> None:
    """No field may be lost on the way: a budget by it would be enforced, and missing wherever the past is looked at."""
    who = Principal(
        subject="ada", issuer="https://login.example", assurance=Assurance.VERIFIED, groups=frozenset({"ml", "staff"})
    )
    where = Attribution(
        project="web", client="claude-cli/2", branch="main", run="77", agent_class="subagent", client_session="c1",
        os_user="ada", process="claude", container="0f0f", tags=(("header:x-team", "ml"), ("team", "web")),
    )  # fmt: skip
    calls = [
        replace(make_call(), principal=who, attribution=where),
        replace(make_call(), principal=who, attribution=replace(where, session="s1")),
    ]
    ledger = Ledger.open(tmp_path / "ledger.db", FakeClock())
    for call in calls:
        ledger.admit_now(ask_for(call, USD))
        ledger.settle_now(settled(call, USD))
    ledger.close_now()
    past = {one.call.id: one.call for one in read_history(tmp_path / "ledger.db", 0, NOW * 2)}
    for call in calls:
        facts = values_of(call, call.model)
        assert values_of(past[call.id], past[call.id].model) == facts
        assert [name for name in FIELDS if not facts[INDEX[name]]] == [], "a field that is not set is not tried"
