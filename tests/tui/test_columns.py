"""Lists fit every width, keep what matters, and never show what a client wrote as anything but text."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.report.period import zone_of
from tollkeeper.tui.columns import BUDGETS, CALLS, DECIDED, GROUPS, OPEN, Context, fitting, row_of
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.look import Look
from tollkeeper.tui.snapshot import Snapshot
from tui.samples import NOW, ZONE, closed

SHOWN = Snapshot(at=NOW, zone=ZONE)
CONTEXT = Context(SHOWN, Look(), zone_of(ZONE))
LISTS = {"calls": CALLS, "decided": DECIDED, "open": OPEN, "groups": GROUPS, "budgets": BUDGETS}


@pytest.mark.parametrize("name", LISTS)
@given(width=st.integers(20, 400))
def test_the_columns_of_a_list_fit_its_width(name: str, width: int) -> None:
    fitted = fitting(LISTS[name], width)
    assert sum(cells + 1 for _, cells in fitted) - 1 <= max(width, fitted[0][1])


def test_the_cost_stays_when_room_is_short() -> None:
    titles = [column.title for column, _ in fitting(CALLS, 80)]
    assert {"time", "who", "model", "in", "out", "cost"} <= set(titles)
    assert "call" in [column.title for column, _ in fitting(CALLS, 160)]


def line(row: object, width: int = 160) -> str:
    return row_of(row, fitting(CALLS, width), CONTEXT).plain


def test_a_name_of_a_client_is_text_and_not_markup() -> None:
    assert "[bold]x[/]" in line(closed(principal="[bold]x[/]"))


def test_an_unknown_cost_is_a_dash_and_an_estimated_one_has_a_sign() -> None:
    assert " – " in line(closed(cost_nanousd=None))
    assert "~$0.5000" in line(closed(cost_nanousd=5 * 10**8, usage_source="counted"))
    assert "blocked" in line(closed(kind="refuse", verdict="refuse"))


@pytest.mark.parametrize(
    ("fields", "sign", "word"),
    [
        ({}, "✓", ""),
        ({"kind": "refuse", "verdict": "refuse", "budget": "day"}, "✗", "day"),
        ({"verdict": "rewrite"}, "»", "rewritten"),
        ({"usage_source": "unmetered"}, "!", "unmetered"),
        ({"cost_nanousd": None}, "!", "no price"),
        ({"would": "refuse"}, "!", "would refu"),
        ({"outcome": "error", "error": "overloaded"}, "!", "overloaded"),
        ({"usage_source": "partial"}, "~", "partial"),
        ({"plan": "claude"}, "✓", "plan"),
    ],
)
def test_every_state_has_a_sign_and_a_word_not_only_a_colour(fields: dict[str, str], sign: str, word: str) -> None:
    shown = line(closed(**fields))
    assert shown.startswith(sign)
    assert word in shown


def test_in_ascii_there_is_nothing_else(seeded: Path) -> None:
    feed = Feed(seeded / "ledger.db", zone=ZONE, clock=lambda: NOW)
    shown = feed.load()
    feed.close()
    context = replace(CONTEXT, shown=shown, look=Look(ascii_only=True))
    for columns, items in ((CALLS, shown.calls[:200]), (BUDGETS, shown.budgets), (OPEN, shown.open_calls)):
        for item in items:
            text = row_of(item, fitting(columns, 200, items, context), context).plain
            assert not set(text) & set("✓✗»▸█▒░│→"), text


def test_what_is_not_known_of_a_running_call_is_a_dash_and_what_a_proxy_says_is_shown(seeded: Path) -> None:
    feed = Feed(seeded / "ledger.db", zone=ZONE, clock=lambda: NOW)
    shown = feed.load()
    feed.close()
    call = shown.open_calls[0]
    fitted = fitting(OPEN, 120)
    silent = row_of(call, fitted, replace(CONTEXT, shown=shown)).plain
    assert silent.count("–") == 2
    progress = {"call_id": call.call_id, "output_tokens": 300, "cost_nanousd": 12_000_000}
    told = replace(shown, at=call.started_at + 10_000_000, proxies=({"open_calls": [progress]},))
    assert "~30/s  ~$0.0120  ≤$" in row_of(call, fitted, replace(CONTEXT, shown=told)).plain
    late = replace(shown, at=call.expires_at)
    assert row_of(call, fitted, replace(CONTEXT, shown=late)).plain.startswith("!")
