"""`make soak`, shortened: mixed traffic, faults and reloads leave nothing behind and lose nothing."""

import subprocess
import sys

import pytest

from e2e.harness import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from soaking.samples import ENOUGH_MINUTES, Sample, grown, quarters


def test_a_short_run_of_mixed_traffic_loses_no_answer_and_passes_no_bound() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "soak"), "--minutes", "0.08", "--rate", "15", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", sound; " in done.stdout


def run(rss_mb: list[float], wal_mb: float = 5.0) -> list[Sample]:
    return [Sample(at=at, rss_mb=size, fds=14, threads=4, wal_mb=wal_mb, calls=at) for at, size in enumerate(rss_mb)]


@pytest.mark.parametrize(
    ("samples", "minutes", "found"),
    [
        (run([80, 100, 120, 121, 120, 122, 121, 120]), 30.0, ()),
        (run([80, 100, 105, 110, 115, 120, 125, 130]), 30.0, ("rss_mb grew from 107.5 to 127.5",)),
        (run([80, 100, 105, 110, 115, 120, 125, 130]), ENOUGH_MINUTES - 1, ()),
        (run([80] * 8, wal_mb=40.0), 1.0, ("wal_mb was 40.0",)),
    ],
    ids=["flat after caches filled", "growing", "too short to tell", "past its bound"],
)
def test_growth_is_told_from_the_filling_of_caches(samples: list[Sample], minutes: float, found: tuple[str, ...]) -> None:
    assert grown(samples, minutes) == found
    assert quarters(samples, "fds") == (14, 14, 14, 14)
