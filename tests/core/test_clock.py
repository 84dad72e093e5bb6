"""The clock that budgets go by."""

from tollkeeper.core.clock import MOST_BACK_US, steady

NOON = 1_795_348_800_000_000


def test_a_clock_that_is_set_back_stands_still_until_it_has_caught_up() -> None:
    times = iter([NOON, NOON - 10, NOON - MOST_BACK_US - 1, NOON + 5, NOON + 4])
    clock = steady(lambda: next(times))
    assert [clock() for _ in range(5)] == [NOON, NOON - 10, NOON, NOON + 5, NOON + 4]


def test_it_begins_at_the_latest_moment_that_the_ledger_knows() -> None:
    clock = steady(lambda: NOON - 3 * MOST_BACK_US, latest=NOON)
    assert clock() == NOON
