"""What a client is told while a policy does not act: nothing by what observes, everything by what warns."""

from pathlib import Path

import pytest

from proxy.roads import MakeRoad, entries, run
from proxy.test_on_disk import answering

SMALL = '[budget.small]\namount = "0.000001 USD"\nwindow = "day"\nwarn_at = [1]\n'
DENY = '[model.no]\ndeny = "*"\n'


@pytest.mark.parametrize("rule", [SMALL, DENY], ids=["a budget", "a model rule"])
@pytest.mark.parametrize(
    ("document", "its_own", "is_told"),
    [
        ("observe", "enforce", False),
        ("observe", "warn", False),
        ("warn", "enforce", True),
        ("warn", "warn", True),
        ("warn", "observe", False),
        ("enforce", "warn", True),
        ("enforce", "observe", False),
    ],
)
def test_only_what_warns_is_told_to_clients_and_the_ledger_keeps_both(
    make_road: MakeRoad, tmp_path: Path, document: str, its_own: str, is_told: bool, rule: str
) -> None:
    async def check() -> dict[str, str]:
        hooks, flow = await answering(make_road, f'schema = 1\nmode = "{document}"\n{rule}mode = "{its_own}"\n')
        assert hooks.responseheaders(flow) is None
        return {name: value for name, value in flow.response.headers.items() if "tollkeeper" in name or "ratelimit" in name}

    told = run(check())
    assert bool(told) is is_told
    assert ("x-tollkeeper-rule" in told, "x-tollkeeper-warning" in told) in {(False, False), (True, rule == SMALL)}
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["would"], entry["rule"]) == ("hold", "refuse", "budget.small" if rule == SMALL else "model.no")
