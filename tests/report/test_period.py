"""Spans of time as people write them."""

import os
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tollkeeper.core.clock import from_datetime, to_datetime
from tollkeeper.core.errors import ConfigError
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.windows import WindowKind, WindowSpec, window_at
from tollkeeper.report.local_zone import local_zone
from tollkeeper.report.period import days_before, format_moment, parse_moment, zone_of

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


@pytest.mark.parametrize(
    ("said", "days"),
    [
        ("today", 1), ("yesterday", 1), ("week", 7), ("2026-11-22", 1), ("20261122", 1), ("2026-W47-7", 1), ("2026-W47", 7),
    ],
)  # fmt: skip
def test_from_a_day_up_to_the_same_day_is_all_of_it(said: str, days: int) -> None:
    start, end = (parse_moment(said, NOW, ROME, is_end=is_end) for is_end in (False, True))
    assert end - start == days * 86_400_000_000


def test_from_the_month_up_to_the_month_is_all_of_it() -> None:
    end = parse_moment("month", NOW, ROME, is_end=True)
    assert to_datetime(end).isoformat() == "2026-11-30T23:00:00+00:00"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "UTC"])
@pytest.mark.parametrize("said", ["0001-01-01", "9999-12-31", "0001-01-01T00:00", "9999-12-31T23:59", "99999w"])
def test_dates_at_the_ends_of_the_calendar_can_be_said_and_told(said: str, zone: str) -> None:
    where = zone_of(zone)
    for is_end in (False, True):
        at = parse_moment(said, NOW, where, is_end=is_end)
        assert (at < NOW) is (not said.startswith("9999-"))
        assert format_moment(at, where)


@pytest.mark.parametrize(("zone", "day"), [("America/Havana", "2026-11-01"), ("Atlantic/Azores", "2026-10-25")])
def test_a_day_whose_midnight_comes_twice_begins_at_the_first(zone: str, day: str) -> None:
    """Where clocks go back from 01:00 to 00:00, the hour after midnight is there twice."""
    where = zone_of(zone)
    start = parse_moment(day, NOW, where)
    for minutes in (1, 59, 61, 119, 121, 24 * 60 + 59):
        at = start + minutes * 60_000_000
        assert parse_moment("today", at, where) == start == parse_moment(day, at, where)
    assert parse_moment("today", start, where, is_end=True) - start == 25 * 3_600_000_000


@pytest.mark.parametrize("zone", ["America/Havana", "Africa/Cairo", "Asia/Beirut", "Europe/Rome", "Australia/Lord_Howe"])
def test_days_weeks_and_months_begin_where_those_of_budgets_do(zone: str) -> None:
    where, kinds = zone_of(zone), {"today": WindowKind.DAY, "week": WindowKind.WEEK, "month": WindowKind.MONTH}
    for quarter in range(0, 366 * 96, 37):
        at = NOW + quarter * 900_000_000
        for name, kind in kinds.items():
            window = window_at(WindowSpec(kind=kind, zone=zone), at)
            assert (parse_moment(name, at, where), parse_moment(name, at, where, is_end=True)) == (window.start_at, window.end_at)


def test_days_before_are_days_and_not_hours() -> None:
    """In the first hour of a Monday, six times 24 hours ago may be seven days ago."""
    monday = from_datetime(datetime(2026, 3, 30, 0, 30, tzinfo=ROME))
    assert format_moment(days_before(6, monday, ROME), ROME) == "2026-03-24 00:00"


def machine(root: Path, *, link: str = "", copy: str = "", name: str = "") -> Path:
    """A machine's files: ``/etc/localtime`` as a link or as a copy, ``/etc/timezone``."""
    (root / "etc").mkdir()
    if link:
        (root / "etc/localtime").symlink_to(f"/usr/share/zoneinfo/{link}")
    if copy:
        (root / "etc/localtime").write_bytes(rules_of(copy))
    if name:
        (root / "etc/timezone").write_text(f"{name}\n")
    return root


def rules_of(name: str) -> bytes:
    found = [path for folder in zoneinfo.TZPATH if (path := Path(folder) / name).exists()]
    if not found:
        pytest.skip("no zone files on this machine")
    return found[0].read_bytes()


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("Pacific/Auckland", "Pacific/Auckland"),
        (":Pacific/Auckland", "Pacific/Auckland"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        (":/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("", "UTC"),
        (":", "UTC"),
        ("UTC", "UTC"),
        ("UTC0", "UTC"),
        ("<+03>-3", "Etc/GMT-3"),
        ("EST5", "Etc/GMT+5"),
    ],
)
def test_the_variable_tz_comes_before_what_the_machine_says(tmp_path: Path, told: str, name: str) -> None:
    """As tzset(3) has it."""
    found = local_zone({"TZ": told}, machine(tmp_path, link="Europe/Rome", name="Europe/Rome"))
    assert (found.name, found.said) == (name, "")
    assert zone_of(found.name)


def test_a_rule_of_one_s_own_counts_as_utc_and_is_said(tmp_path: Path) -> None:
    for told in ("CET-1CEST,M3.5.0,M10.5.0/3", "<+0530>-5:30", "Mars/Base", "/nowhere/at/all"):
        found = local_zone({"TZ": told}, tmp_path)
        assert found.name == "UTC"
        assert told in found.said


def test_a_machine_says_its_zone_by_a_link_or_by_name(tmp_path: Path) -> None:
    assert local_zone({}, tmp_path).name == "UTC"
    for number, (files, name) in enumerate(
        (
            ({"link": "Europe/Rome", "name": "Asia/Tokyo"}, "Europe/Rome"),
            ({"name": "Asia/Tokyo"}, "Asia/Tokyo"),
            ({"name": "no zone"}, "UTC"),
        )
    ):
        (root := tmp_path / str(number)).mkdir()
        assert local_zone({}, machine(root, **files)).name == name


def test_the_zone_of_this_machine_has_a_name() -> None:
    assert format_moment(NOW, zone_of(local_zone(os.environ).name))[:4] == "2026"


def test_a_copied_file_is_known_by_what_is_in_it_whatever_the_name_beside_it_says(tmp_path: Path) -> None:
    """Containers are given the host's /etc/localtime and keep their own /etc/timezone."""
    rules_of("Asia/Kathmandu")
    found = local_zone({}, machine(tmp_path, copy="Asia/Kathmandu", name="Etc/UTC")).name
    assert rules_of(found) == rules_of("Asia/Kathmandu")


def test_budgets_without_a_zone_count_the_days_of_utc_wherever_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'mode = "enforce"\n[budget.day]\namount = "1 USD"\nwindow = "day"\n'
    windows = set()
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        windows.add(window_at(parse_policy(text, "policy.toml").budgets[0].window, NOW))
    assert {format_moment(window.start_at, ZoneInfo("UTC")) for window in windows} == {"2026-11-22 00:00"}


def test_a_moment_is_told_in_its_zone() -> None:
    assert format_moment(NOW, ROME) == "2026-11-22 23:30"
