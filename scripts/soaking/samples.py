"""What a process holds at a moment, and whether it grows: memory, descriptors, threads, the ledger's WAL."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEASURES = ("rss_mb", "fds", "threads", "wal_mb")
GROWTH = {"rss_mb": 6.0, "fds": 10.0, "threads": 2.0, "wal_mb": 4.0}
"""What a run's last quarter may be above its second (the first fills caches), by their medians."""
BOUND = {"rss_mb": 200.0, "fds": 200.0, "threads": 40.0, "wal_mb": 32.0}
"""What must never be passed, also in a run too short to tell growth."""
ENOUGH_MINUTES = 10.0
"""A shorter run cannot tell growth from the filling of caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One moment. ``at`` is seconds since the start."""

    at: float
    rss_mb: float
    fds: float
    threads: float
    wal_mb: float
    calls: int


def sample(pid: int, home: Path, at: float, calls: int) -> Sample:
    """Look at a process. Raises ``OSError`` when it is gone."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    wal = home / "ledger.db-wal"
    return Sample(
        at=at,
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        fds=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=int(status["Threads"]),
        wal_mb=wal.stat().st_size / 1e6 if wal.exists() else 0.0,
        calls=calls,
    )


def quarters(samples: Sequence[Sample], measure: str) -> tuple[float, float, float, float]:
    """The median of each quarter of a run."""
    values = [getattr(one, measure) for one in samples]
    size = max(1, len(values) // 4)
    parts = [values[index * size : (index + 1) * size] or values[-1:] for index in range(3)]
    first, second, third = map(statistics.median, parts)
    return first, second, third, statistics.median(values[-size:])


def grown(samples: Sequence[Sample], minutes: float) -> tuple[str, ...]:
    """What grew, or passed its bound, in words."""
    found = []
    for measure, allowed in GROWTH.items():
        _, second, _, last = quarters(samples, measure)
        most = max(getattr(one, measure) for one in samples)
        if minutes >= ENOUGH_MINUTES and last - second > allowed:
            found.append(f"{measure} grew from {second:.1f} to {last:.1f}")
        if most > BOUND[measure]:
            found.append(f"{measure} was {most:.1f}")
    return tuple(found)
