"""Spans of time as people write them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tollkeeper.core.clock import from_datetime, to_datetime
from tollkeeper.core.errors import ConfigError
from tollkeeper.report.period import format_moment, local_zone_name, parse_moment, zone_of

ROME = ZoneInfo("Europe/Rome")
NOW = from_datetime(datetime(2026, 11, 22, 22, 30, tzinfo=UTC))
"""23:30 in Rome."""


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("7d", "2026-11-15T22:30:00+00:00"),
        ("36h", "2026-11-21T10:30:00+00:00"),
        ("90 min", "2026-11-22T21:00:00+00:00"),
        ("2w", "2026-11-08T22:30:00+00:00"),
        ("today", "2026-11-21T23:00:00+00:00"),
        ("Yesterday", "2026-11-20T23:00:00+00:00"),
        ("week", "2026-11-15T23:00:00+00:00"),
        ("month", "2026-10-31T23:00:00+00:00"),
        ("2026-10-25", "2026-10-24T22:00:00+00:00"),
        ("2026-10-26", "2026-10-25T23:00:00+00:00"),
        ("2026-11-01T09:30", "2026-11-01T08:30:00+00:00"),
        ("2026-11-01T09:30+00:00", "2026-11-01T09:30:00+00:00"),
    ],
)
def test_a_time_is_understood_in_its_zone(said: str, moment: str) -> None:
    assert to_datetime(parse_moment(said, NOW, ROME)).isoformat() == moment


def test_a_date_as_an_end_is_the_whole_day_even_of_25_hours() -> None:
    start = parse_moment("2026-10-25", NOW, ROME)
    end = parse_moment("2026-10-25", NOW, ROME, is_end=True)

    assert (end - start) == 25 * 3600 * 1_000_000


@pytest.mark.parametrize("said", ["", "soon", "7", "-1d", "2026-13-01", "9999999d", "1y"])
def test_what_is_not_a_time_is_refused_with_examples(said: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        parse_moment(said, NOW, ROME)


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "", "/etc/localtime"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a time zone"):
        zone_of(name)


def test_the_zone_of_this_machine_has_a_name() -> None:
    assert format_moment(NOW, zone_of(local_zone_name()))[:4] == "2026"
    assert format_moment(NOW, ROME) == "2026-11-22 23:30"
