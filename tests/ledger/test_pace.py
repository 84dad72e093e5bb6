"""When the writing thread waits for company."""

from tollkeeper.ledger.pace import CROWD, LINGER_S, LINGER_S_PER_CALL, WINDOW_S, Pace

MANY = 64


def paced(jobs_per_s: float, seconds: float) -> Pace:
    pace = Pace()
    for number in range(int(jobs_per_s * seconds)):
        pace.note(1, 100 + number / jobs_per_s)
    return pace


def test_a_quiet_ledger_never_waits() -> None:
    assert Pace().linger_s(100.0, CROWD) == 0.0
    assert paced(80, 2).linger_s(102.0, CROWD) == 0.0


def test_a_busy_ledger_waits_a_moment() -> None:
    assert paced(1200, 2).linger_s(102.0, MANY) == LINGER_S


def test_a_burst_is_forgotten_after_a_lull() -> None:
    assert paced(1200, 2).linger_s(102.0 + 3 * WINDOW_S, CROWD) == 0.0


def test_one_large_batch_counts_as_its_jobs() -> None:
    pace = Pace()
    pace.note(256, 100.0)
    assert pace.linger_s(100.01, MANY) == LINGER_S


def test_one_caller_in_a_hurry_never_waits_for_company() -> None:
    assert paced(1200, 2).linger_s(102.0, 1) == 0.0


def test_a_few_callers_wait_for_as_long_as_they_keep_the_loop_busy() -> None:
    assert paced(1200, 2).linger_s(102.0, CROWD) == CROWD * LINGER_S_PER_CALL < LINGER_S


def test_little_going_on_is_told_from_a_burst() -> None:
    assert paced(40, 2).is_alone(102.0)
    assert not paced(1200, 2).is_alone(102.0)
