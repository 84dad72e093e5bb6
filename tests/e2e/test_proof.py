"""A dollar is a dollar: never passed, used to at least 95 %, and nobody refused while a typical call has room, whatever happens at once.

The long run: scripts/prove_budget.
"""

from pathlib import Path

import pytest

from e2e.proof import AMOUNT_NANOUSD, TYPICAL_NANOUSD, run
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("processes", "kill_after"), [(1, None), (3, None), (3, 40)], ids=["one", "three", "one of three is killed"]
)
def test_callers_at_once_never_pass_a_budget_and_can_use_it(
    processes: int, kill_after: int | None, provider: FakeProvider, tmp_path: Path
) -> None:
    result = run(tmp_path, provider, callers=60, processes=processes, kill_after=kill_after)
    assert result.billed_nanousd <= result.counted_nanousd <= AMOUNT_NANOUSD, result
    assert result.usable_percent >= 95, result
    assert result.served > 100, result
    assert result.most_room_nanousd < TYPICAL_NANOUSD, result
    assert (result.broken > 0) is (kill_after is not None), result
    if kill_after is None:
        assert (result.billed_nanousd, result.left_held) == (result.counted_nanousd, 0), result
