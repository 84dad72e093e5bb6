"""Bars and curves say by their glyphs what they say by their colours."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.samples import day_limit
from tollkeeper.core.decision import Standing
from tollkeeper.policy.document import parse_policy
from tollkeeper.report.outlook import BudgetLine, Health, with_standing
from tollkeeper.report.period import zone_of
from tollkeeper.tui.figures import lasting, short_count, until
from tollkeeper.tui.look import Look, budget_bar, curve
from tui.samples import NOW, ZONE, moment

HOUR = 3_600_000_000
POLICY = parse_policy('mode = "enforce"\n[budget.day]\namount = "10 USD"\nwindow = "day"\nshare = "pool"\n', "policy.toml")


def budget(spent: int, held: int, amount: int = 10 * 10**9, at: int | None = None) -> BudgetLine:
    limit = day_limit(amount, NOW)
    line = BudgetLine(budget=POLICY.budgets[0], who="", limit=limit, acts=True)
    standing = Standing(
        budget="day", bucket="day", amount_nanousd=amount, spent_nanousd=spent, held_nanousd=held, window="day",
        resets_at=limit.resets_at, zone="UTC",
    )  # fmt: skip
    return with_standing(line, standing, limit.bucket.start_at + 12 * HOUR if at is None else at)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(4, 80))
def test_a_bar_is_as_wide_as_asked_and_shows_whatever_is_there(spent: int, held: int, amount: int, width: int) -> None:
    bar = budget_bar(budget(spent, held, amount), width, Look()).plain
    assert len(bar) == width
    assert ("█" in bar) == (spent > 0)
    assert set(bar) <= set("█▒░│")


def test_a_bar_tells_spent_from_held_from_free_and_marks_where_it_is_heading() -> None:
    assert budget_bar(budget(2 * 10**9, 10**9), 10, Look()).plain == "██▒░│░░░░░"
    assert budget_bar(budget(2 * 10**9, 10**9), 10, Look(ascii_only=True)).plain == "##+-|-----"


def test_a_budget_is_fine_heading_over_near_or_used_up() -> None:
    assert budget(10**9, 0).health is Health.OK
    assert budget(6 * 10**9, 0).health is Health.HEADING_OVER
    assert budget(6 * 10**9, 3 * 10**9).health is Health.NEAR
    assert budget(9 * 10**9, 10**9).health is Health.USED_UP


def test_the_projection_is_the_pace_so_far_and_says_nothing_too_early() -> None:
    line = budget(6 * 10**9, 0)
    assert line.projected_nanousd == 12 * 10**9
    assert line.crosses_at == line.limit.bucket.start_at + 20 * HOUR
    assert budget(10**9, 0, at=day_limit(1, NOW).bucket.start_at + 60_000_000).projected_nanousd is None


@given(st.lists(st.integers(0, 10**15), max_size=50))
def test_a_curve_has_a_point_for_each_value_and_its_highest_at_the_top(values: list[int]) -> None:
    drawn = curve(values, Look()).plain
    assert len(drawn) == len(values)
    assert not any(values) or "█" in drawn
    assert all((glyph == "▁") == (value == 0) for glyph, value in zip(drawn, values, strict=True))


def test_times_are_as_short_as_they_can_be() -> None:
    zone = zone_of(ZONE)
    assert until(moment("2026-11-20T23:00+01:00"), zone, NOW) == "23:00"
    assert until(moment("2026-11-22T00:00+01:00"), zone, NOW) == "Sun 00:00"
    assert until(moment("2026-12-01T00:00+01:00"), zone, NOW) == "1 Dec"
    assert until(None, zone, NOW) == "–"
    assert [lasting(us * 1_000_000) for us in (0, 45, 300, 7_300, 400_000)] == ["0.0 s", "45 s", "5 min", "2 h", "4 d"]


def test_counts_keep_three_figures() -> None:
    assert [short_count(number) for number in (0, 999, 1_000, 48_210, 999_999, 1_900_000)] == [
        "0", "999", "1.0k", "48.2k", "999k", "1.9M",
    ]  # fmt: skip
