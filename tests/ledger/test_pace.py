"""When the writing thread waits for company."""

from tollkeeper.ledger.pace import LINGER_S, WINDOW_S, Pace


def paced(jobs_per_s: float, seconds: float) -> Pace:
    pace = Pace()
    for number in range(int(jobs_per_s * seconds)):
        pace.note(1, 100 + number / jobs_per_s)
    return pace


def test_a_quiet_ledger_never_waits() -> None:
    assert Pace().linger_s(100.0) == 0.0
    assert paced(80, 2).linger_s(102.0) == 0.0


def test_a_busy_ledger_waits_a_moment() -> None:
    assert paced(1200, 2).linger_s(102.0) == LINGER_S


def test_a_burst_is_forgotten_after_a_lull() -> None:
    assert paced(1200, 2).linger_s(102.0 + 3 * WINDOW_S) == 0.0


def test_one_large_batch_counts_as_its_jobs() -> None:
    pace = Pace()
    pace.note(256, 100.0)
    assert pace.linger_s(100.01) == LINGER_S
