"""Windows tile time, whatever the clocks of a zone do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import HOUR, at
from tollkeeper.core.clock import from_datetime, to_datetime
from tollkeeper.policy.windows import WEEKDAYS, Window, WindowClock, WindowKind, WindowSpec, length_in_words, window_at, zone_of

CALENDAR = [kind for kind in WindowKind if kind.is_calendar]
ODD_ZONES = [
    "UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "Africa/Cairo",
    "America/St_Johns", "America/Havana", "Pacific/Apia", "Pacific/Kwajalein", "Asia/Kathmandu", "Africa/Casablanca",
    "America/Asuncion", "Asia/Gaza", "Europe/Dublin", "Pacific/Chatham", "America/Nuuk", "Antarctica/Troll",
]  # fmt: skip
INSTANTS = st.integers(from_datetime(datetime(1980, 1, 1, tzinfo=UTC)), from_datetime(datetime(2090, 1, 1, tzinfo=UTC)))
SPECS = st.builds(WindowSpec, kind=st.sampled_from(CALENDAR), zone=st.sampled_from(ODD_ZONES), week_starts=st.integers(0, 6))

LENGTHS = [
    ("Europe/Rome", "2026-03-29", 23, "spring forward at 02:00"),
    ("Europe/Rome", "2026-10-25", 25, "fall back at 03:00"),
    ("Europe/Rome", "2026-11-22", 24, "an ordinary day"),
    ("Australia/Lord_Howe", "2026-10-04", 23.5, "half an hour forward"),
    ("Australia/Lord_Howe", "2026-04-05", 24.5, "half an hour back"),
    ("America/Santiago", "2026-09-06", 23, "begins at 01:00"),
    ("America/Santiago", "2026-04-04", 25, "ends an hour late: 23:00 twice"),
    ("Asia/Beirut", "2026-03-29", 23, "begins at 01:00"),
    ("Africa/Cairo", "2026-04-24", 23, "begins at 01:00"),
    ("Africa/Cairo", "2026-10-29", 25, "23:00 comes twice"),
    ("America/Havana", "2026-11-01", 25, "midnight comes twice: the first one counts"),
    ("America/St_Johns", "2010-11-07", 25, "went back at 00:01, over midnight"),
    ("America/Toronto", "1919-03-31", 23.5, "23:30 jumped to 00:30: begins at 00:30"),
    ("America/Toronto", "1919-03-30", 23.5, "and the day before lost its last half hour"),
]


@pytest.mark.parametrize(("zone", "day", "hours", "why"), LENGTHS, ids=[f"{row[0]} {row[1]}" for row in LENGTHS])
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, hours: float, why: str) -> None:
    window = window_at(WindowSpec(kind=WindowKind.DAY, zone=zone), at(f"{day}T12:00", zone))
    assert window.end_at is not None
    assert (window.end_at - window.start_at) / HOUR == hours, why


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/Santiago", "2026-09-06"), ("Asia/Beirut", "2026-03-29"), ("Africa/Cairo", "2026-04-24")],
)
def test_a_day_without_midnight_begins_at_one(zone: str, day: str) -> None:
    window = window_at(WindowSpec(kind=WindowKind.DAY, zone=zone), at(f"{day}T12:00", zone))
    assert f"{to_datetime(window.start_at).astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}" == f"{day}T01:00"


def test_a_day_that_does_not_exist_leaves_no_gap() -> None:
    spec = WindowSpec(kind=WindowKind.DAY, zone="Pacific/Apia")
    before = window_at(spec, at("2011-12-29T12:00", "Pacific/Apia"))
    after = window_at(spec, at("2011-12-31T12:00", "Pacific/Apia"))
    assert before.end_at == after.start_at
    assert after.end_at is not None
    assert (after.end_at - after.start_at) / HOUR == 24


def test_lord_howe_has_hours_of_thirty_minutes() -> None:
    zone = "Australia/Lord_Howe"
    spec = WindowSpec(kind=WindowKind.HOUR, zone=zone)
    repeated = window_at(spec, at("2026-04-05T01:45", zone, fold=1))
    shortened = window_at(spec, at("2026-10-04T02:45", zone))
    for window in (repeated, shortened):
        assert window.end_at is not None
        assert (window.end_at - window.start_at) / HOUR == 0.5


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    spec = WindowSpec(kind=WindowKind.HOUR, zone="Europe/Rome")
    first = window_at(spec, at("2026-10-25T02:30", "Europe/Rome"))
    second = window_at(spec, at("2026-10-25T02:30", "Europe/Rome", fold=1))
    assert first.end_at == second.start_at


@pytest.mark.parametrize("start", range(7))
def test_a_week_begins_on_its_weekday_at_local_midnight(start: int) -> None:
    spec = WindowSpec(kind=WindowKind.WEEK, zone="Europe/Rome", week_starts=start)
    window = window_at(spec, at("2026-11-22T10:00", "Europe/Rome"))
    local = to_datetime(window.start_at).astimezone(ZoneInfo("Europe/Rome"))
    assert WEEKDAYS[local.weekday()] == WEEKDAYS[start]
    assert (local.hour, local.minute) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        (WindowKind.MONTH, "2028-02-01", "2028-03-01"),
        (WindowKind.QUARTER, "2028-01-01", "2028-04-01"),
    ],
)
def test_months_and_quarters_are_the_calendar_s(kind: WindowKind, start: str, end: str) -> None:
    window = window_at(WindowSpec(kind=kind, zone="America/New_York"), at("2028-02-29T23:59", "America/New_York"))
    assert window == Window(at(start, "America/New_York"), at(end, "America/New_York"), kind.value)


def test_december_ends_in_the_next_year() -> None:
    window = window_at(WindowSpec(kind=WindowKind.QUARTER), at("2026-12-31T23:59:59.999999"))
    assert window.end_at == at("2027-01-01")


def test_a_rolling_window_ends_now_and_knows_no_reset() -> None:
    spec = WindowSpec(kind=WindowKind.ROLLING, length_us=24 * HOUR)
    assert window_at(spec, 100 * HOUR) == Window(76 * HOUR, None, "rolling 24 h")


@given(SPECS, INSTANTS)
def test_every_instant_is_inside_its_window(spec: WindowSpec, instant: int) -> None:
    window = window_at(spec, instant)
    assert window.end_at is not None
    assert window.start_at <= instant < window.end_at


@given(SPECS, INSTANTS)
def test_windows_tile_time_without_gap_or_overlap(spec: WindowSpec, instant: int) -> None:
    window = window_at(spec, instant)
    assert window.end_at is not None
    following = window_at(spec, window.end_at)
    before = window_at(spec, window.start_at - 1)
    assert following.start_at == window.end_at
    assert before.end_at == window.start_at
    assert window_at(spec, window.start_at) == window == window_at(spec, window.end_at - 1)


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_windows_tile_around_every_shift_of_the_clock(zone: str) -> None:
    """Every change of the offset in forty years: the instants before, at and after it, and half hours around it."""
    tz = ZoneInfo(zone)
    for shift in _shifts(tz):
        for kind in CALENDAR:
            spec = WindowSpec(kind=kind, zone=zone)
            window = window_at(spec, shift - 3 * HOUR)
            for instant in [*range(shift - 2 * HOUR, shift, HOUR // 2), shift - 1, shift, shift + 1, *_after(shift)]:
                found = window_at(spec, instant)
                assert found.end_at is not None
                assert found.start_at <= instant < found.end_at
                while found != window:
                    assert window.end_at is not None
                    assert window.end_at <= found.start_at
                    window = window_at(spec, window.end_at)


def _after(shift: int) -> range:
    return range(shift + HOUR // 2, shift + 2 * HOUR, HOUR // 2)


def _shifts(zone: ZoneInfo) -> list[int]:
    """The instants from 1990 to 2030 at which the zone's offset changes, to the minute."""
    day, found = datetime(1990, 1, 1, tzinfo=UTC), []
    while day.year < 2030:
        following = day + timedelta(days=4)
        if day.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
            low, high = day, following
            while high - low > timedelta(minutes=1):
                middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
                if middle.astimezone(zone).utcoffset() == day.astimezone(zone).utcoffset():
                    low = middle
                else:
                    high = middle
            found.append(from_datetime(high))
        day = following
    return found


def test_the_old_date_that_comes_again_after_midnight_belongs_to_the_new_day() -> None:
    """St. John's went from 00:01 back to 23:01: the day had begun a minute before."""
    zone = "America/St_Johns"
    spec = WindowSpec(kind=WindowKind.DAY, zone=zone)
    assert window_at(spec, at("2010-11-06T23:30", zone, fold=1)) == window_at(spec, at("2010-11-07T12:00", zone))
    assert window_at(spec, at("2010-11-06T23:30", zone)).end_at == at("2010-11-07T00:00", zone)


def test_an_hour_ends_where_the_clock_is_set_inside_it() -> None:
    zone = "America/St_Johns"
    window = window_at(WindowSpec(kind=WindowKind.HOUR, zone=zone), at("2010-11-07T00:00:30", zone))
    assert window.end_at == window.start_at + HOUR // 60


@given(SPECS, st.lists(INSTANTS, min_size=1, max_size=6))
def test_the_remembered_window_is_the_true_one_also_when_the_clock_jumps(spec: WindowSpec, instants: list[int]) -> None:
    clock = WindowClock(spec)
    for instant in instants:
        assert clock.at(instant) == window_at(spec, instant)


def test_the_key_of_a_window_names_what_tells_it_apart() -> None:
    assert WindowSpec(kind=WindowKind.DAY, zone="Europe/Rome").key == "day@Europe/Rome"
    assert WindowSpec(kind=WindowKind.WEEK, week_starts=6).key == "week-sunday@UTC"
    assert WindowSpec(kind=WindowKind.ROLLING, zone="Europe/Rome", length_us=24 * HOUR).key == "rolling-86400s"


def test_utc_needs_no_time_zone_data() -> None:
    assert zone_of("UTC") is UTC


@pytest.mark.parametrize(("minutes", "words"), [(1, "1 min"), (90, "90 min"), (1440, "24 h"), (10080, "7 d"), (2160, "36 h")])
def test_lengths_are_told_in_the_unit_people_use(minutes: int, words: str) -> None:
    assert length_in_words(minutes * 60_000_000) == words
