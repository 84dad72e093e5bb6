"""The screen, driven by keys and the mouse."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from ledger.samples import FakeClock, ask_for, make_call, settled
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.tui.app import TopApp
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.layout import NAMES, THEMES
from tollkeeper.tui.rows import Rows
from tollkeeper.tui.snapshot import DIMENSIONS
from tui.driving import drive, press, settle, text_of, type_in
from tui.samples import NOW, ZONE, refuse, spend

USD = 10**9


@pytest.fixture
def app(feed: Feed) -> TopApp:
    return TopApp(feed)


def test_the_first_frame_has_figures_and_the_warnings_stand_above_everything(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        lines = text_of(app).splitlines()
        assert lines[0].startswith(" tollkeeper enforce · policy.toml")
        assert lines[2].startswith(" ! ")
        assert "without a known price" in "\n".join(lines[2:5])
        assert any(line.startswith("today ~$") for line in lines)

    drive(app, script)


def test_digits_and_arrows_and_letters_go_through_the_screens(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        for number, name in enumerate(NAMES, 1):
            await press(app, pilot, str(number))
            assert app.view == name
        await press(app, pilot, "right")
        assert app.view == NAMES[0]
        await press(app, pilot, "h")
        assert app.view == NAMES[-1]
        await press(app, pilot, "l", "l")
        assert app.view == NAMES[1]

    drive(app, script)


def test_the_cursor_moves_by_keys_and_stays_on_its_call_while_new_ones_come(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        feed = app.query_one("#feed", Rows)
        assert app.focused is feed
        await press(app, pilot, "j", "down", "k", "j")
        assert feed.cursor == 2
        call = feed.item
        spend(app.feed.path, USD, 2 * USD)
        app._tick()
        await settle(app, pilot)
        assert feed.item == call
        assert feed.cursor == 4
        await press(app, pilot, "g")
        assert feed.cursor == 0
        await press(app, pilot, "G")
        assert feed.cursor == len(feed.items) - 1
        await press(app, pilot, "ctrl+u", "pageup")
        assert feed.cursor < len(feed.items) - feed.size.height

    drive(app, script)


def test_on_the_first_row_the_cursor_follows_what_is_newest(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        (call,) = spend(app.feed.path, USD)
        app._tick()
        await settle(app, pilot)
        item = app.query_one("#feed", Rows).item
        assert item is not None
        assert item.call_id == call.id
        assert call.id[-8:] in text_of(app)

    drive(app, script, (160, 40))


def test_enter_shows_every_charge_line_with_its_price_and_rule(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        index, call = next((index, row) for index, row in enumerate(app.shown.calls) if row.cost_nanousd and not row.rule)
        await press(app, pilot, "2")
        await type_in(app, pilot, "j" * index)
        await press(app, pilot, "enter")
        shown = text_of(app)
        assert f"call {call.call_id}" in shown
        assert "seeded prices" in shown
        assert "output_tokens" in shown
        assert "decision" in shown
        await press(app, pilot, "escape")
        assert len(app.screen_stack) == 1

    drive(app, script)


def test_tab_goes_through_the_dimensions_and_brackets_through_the_periods(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "3")
        seen = [app.shown.dimension]
        for _ in range(len(DIMENSIONS) - 1):
            await press(app, pilot, "tab")
            seen.append(app.shown.dimension)
            assert app.shown.groups
        assert seen == list(DIMENSIONS)
        await press(app, pilot, "shift+tab")
        assert app.shown.dimension == seen[-2]
        calls = [app.shown.total.calls if app.shown.total else 0]
        for _ in range(3):
            await press(app, pilot, "right_square_bracket")
            calls.append(app.shown.total.calls if app.shown.total else 0)
        assert calls == sorted(calls)
        assert app.shown.period == "all"
        await press(app, pilot, "right_square_bracket", "left_square_bracket")
        assert app.shown.period == "month"

    drive(app, script)


def test_enter_on_a_row_of_the_breakdown_leads_to_its_calls(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "3", "enter")
        assert app.view == "calls"
        person = app.only.text.removeprefix("who=")
        assert {row.principal for row in app.query_one("#all-calls", Rows).items} == {person}
        await press(app, pilot, "escape")
        assert len({row.principal for row in app.query_one("#all-calls", Rows).items}) > 1

    drive(app, script)


def test_enter_on_a_row_shows_its_own_calls_and_not_those_of_names_like_it(tmp_path: Path) -> None:
    """Names that are a part of another, that share a word, that are in capitals, blank, quoted, or none at all."""
    projects = ("b c", "b d", "b", "B", " ", "", 'say "b"', "back\\slash", "x" * 512)
    models = ("gpt-5", "gpt-5-mini")
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, FakeClock(NOW))
    for project in projects:
        for model in models:
            call = make_call(NOW, project=project, model=model)
            ledger.admit_now(ask_for(call, USD))
            ledger.settle_now(settled(call, USD))
    ledger.close_now()

    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        for dimension, names in (("project", projects), ("model", models)):
            await app.break_down(dimension)
            await settle(app, pilot)
            groups = app.query_one("#groups", Rows)
            assert {item.keys[0] for item in groups.items} == set(names)
            for index, item in enumerate(tuple(groups.items)):
                groups.cursor = index
                await press(app, pilot, "enter")
                kept = app.query_one("#all-calls", Rows).items
                assert {getattr(row, dimension) for row in kept} == {item.keys[0]}
                assert len(kept) == item.calls
                await press(app, pilot, "slash", "end", "space")  # the line that it stands for says the same
                assert {getattr(row, dimension) for row in app.query_one("#all-calls", Rows).items} == {item.keys[0]}
                await press(app, pilot, "escape", "3")

    drive(TopApp(Feed(path, zone=ZONE, clock=lambda: NOW)), script)


@pytest.mark.parametrize(
    "keys",
    [
        ("enter", "enter", "enter"),
        ("escape", "escape", "enter"),
        ("enter", "escape", "escape"),
        ("escape", "question_mark", "escape", "escape", "escape"),
    ],
)
def test_keys_that_come_faster_than_a_box_closes_close_it_once(app: TopApp, keys: tuple[str, ...]) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        for opening in (("ctrl+p", "down"), ("question_mark",), ("4", "enter")):
            await press(app, pilot, *opening)
            assert len(app.screen_stack) > 1
            for key in keys:
                app.post_message(Key(key, None))
            await settle(app, pilot)
            await pilot.pause()
            assert app.is_running
            while len(app.screen_stack) > 1:
                await press(app, pilot, "escape")
            await press(app, pilot, "1")

    drive(app, script)


@pytest.mark.parametrize("view", ["1", "3", "6"])
@pytest.mark.parametrize(
    "keys", [("slash", "slash", "x"), ("enter", "enter"), ("ctrl+p", "enter"), ("question_mark", "5", "tab", "q")]
)
def test_keys_after_the_one_that_quits_do_no_harm(app: TopApp, view: str, keys: tuple[str, ...]) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, view)
        for key in ("q", *keys):
            app.post_message(Key(key, None))
        await pilot.pause()

    drive(app, script)  # raises what the app died of


@pytest.mark.parametrize("view", range(len(NAMES)))
def test_figures_that_come_while_the_screen_is_taken_down_do_no_harm(app: TopApp, view: int) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, str(view + 1))
        leaving = asyncio.create_task(app._shutdown())
        while not leaving.done():
            app.draw()
            app._take(app.shown)
            await asyncio.sleep(0)
        await leaving

    drive(app, script)  # raises what the app died of


def test_the_filter_is_typed_kept_and_cleared(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "2", "slash")
        await type_in(app, pilot, "model:opus")
        rows = app.query_one("#all-calls", Rows)
        assert rows.items
        assert all("claude-opus-5" in {row.model, row.model_requested} for row in rows.items)
        assert app.query(Input)
        await press(app, pilot, "enter")
        assert not app.query(Input)
        assert app.focused is rows
        assert "filter model:opus" in text_of(app)
        await press(app, pilot, "escape")
        assert len(rows.items) == len(app.shown.calls)

    drive(app, script)


def test_a_filter_that_means_nothing_says_so(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "2", "slash")
        await type_in(app, pilot, "colour:red")
        assert 'nothing is called "colour"' in text_of(app)

    drive(app, script)


def test_sorting_by_key_and_by_a_click_on_the_title(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "3")
        rows = app.query_one("#groups", Rows)
        await press(app, pilot, "s", "s")
        assert rows.sort is not None
        assert rows.sort[0].title == "calls"
        counts = [item.calls for item in rows.items]
        assert counts == sorted(counts, reverse=True)
        await press(app, pilot, "S")
        assert [item.calls for item in rows.items] == counts[::-1]
        assert "▲" in text_of(app)
        await pilot.click(rows, offset=(2, 0))
        assert rows.sort[0].title == "name"
        names = [item.keys for item in rows.items]
        assert names == sorted(names)

    drive(app, script)


def test_a_click_goes_to_a_row_and_a_second_one_opens_it(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "2")
        rows = app.query_one("#all-calls", Rows)
        await pilot.click(rows, offset=(5, 4))
        assert rows.cursor == 3
        await pilot.click(rows, offset=(5, 4))
        await settle(app, pilot)
        assert app.shown.calls[3].call_id in text_of(app)

    drive(app, script)


def test_a_click_on_a_name_at_the_top_goes_to_that_screen(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        place = text_of(app).splitlines()[1].index("4 budgets")
        await pilot.click("#tabs", offset=(place + 3, 0))
        await settle(app, pilot)
        assert app.view == "budgets"

    drive(app, script)


def test_pause_holds_the_screen_still_and_space_goes_on(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "space")
        before = app.shown.calls[0]
        spend(app.feed.path, USD)
        app._tick()
        await settle(app, pilot)
        assert app.shown.calls[0] == before
        assert "PAUSED" in text_of(app)
        await press(app, pilot, "space")
        assert app.shown.calls[0] != before

    drive(app, script)


def test_a_refusal_is_among_the_decisions_with_what_it_did_not_spend(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "5")
        refuse(app.feed.path)
        app._tick()
        await settle(app, pilot)
        shown = text_of(app)
        refused = [row for row in app.shown.decided or () if row.kind == "refuse"]
        assert refused[0].rule == "budget.daily"
        assert f"{len(refused)} refused, ≤ ${(len(refused) - 1) * 0.2 + 1:.2f} not spent" in shown
        assert "✗ refused" in shown

    drive(app, script)


def test_the_gaps_screen_names_every_gap_and_every_plan(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "right_square_bracket", "right_square_bracket", "right_square_bracket", "6")
        shown = text_of(app)
        assert "openai/gpt-6-preview" in shown
        assert "unknown path" in shown
        assert "barbara@example.com" in shown
        assert "none runs in the background" in shown

    drive(app, script, (140, 60))


def test_enter_on_a_budget_says_what_it_means(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "4", "enter")
        shown = text_of(app)
        assert "counts under" in shown
        assert "heading for" in shown

    drive(app, script)


def test_copying_gives_the_whole_id_of_the_call(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "j", "y")
        assert app.clipboard == app.shown.calls[1].call_id

    drive(app, script)


def test_themes_change_and_the_text_does_not(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        seen = {app.theme: (text_of(app), app.look)}
        for _ in THEMES[1:]:
            await press(app, pilot, "t")
            seen[app.theme] = (text_of(app), app.look)
        assert list(seen) == list(THEMES)
        assert len({text for text, _ in seen.values()}) == 1
        assert len({look for _, look in seen.values()}) == len(THEMES)

    drive(app, script)


def test_help_and_the_palette_open_over_the_screen(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        await press(app, pilot, "question_mark")
        assert "command palette" in text_of(app)
        await press(app, pilot, "escape", "ctrl+p")
        await type_in(app, pilot, "By mod")
        assert "By model" in text_of(app)
        await press(app, pilot, "enter")
        assert (app.view, app.shown.dimension) == ("breakdown", "model")

    drive(app, script)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (300, 100)])
def test_every_screen_draws_at_every_size_and_after_a_resize(app: TopApp, size: tuple[int, int]) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        for number in range(1, len(NAMES) + 1):
            await press(app, pilot, str(number))
            assert text_of(app).startswith(" tollkeeper")
        await pilot.resize_terminal(97, 31)
        await settle(app, pilot)
        assert all(len(line) <= 97 for line in text_of(app).splitlines())

    drive(app, script, size)


@pytest.mark.parametrize("sizes", [((20, 5), (120, 40)), ((200, 60), (80, 24)), ((1, 1), (100, 30))])
@pytest.mark.parametrize("view", ["1", "2", "4", "6"])
def test_after_a_resize_the_screen_is_the_one_of_that_size(
    home: Path, view: str, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    shown = []
    for begin, size in ((sizes[0], sizes[1]), (sizes[1], sizes[1])):

        async def script(app: TopApp, pilot: Pilot[Any], size: tuple[int, int] = size) -> None:
            await press(app, pilot, view)
            await pilot.resize_terminal(*size)
            await settle(app, pilot)
            await pilot.pause()
            shown.append(text_of(app))

        drive(TopApp(Feed(home / "ledger.db", zone=ZONE, clock=lambda: NOW)), script, begin)
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", NAMES[1:])
def test_figures_that_come_while_a_screen_is_made_are_drawn_into_the_one_before(app: TopApp, name: str) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        going = asyncio.create_task(app.action_view(name))
        again = asyncio.create_task(app.action_view(name))  # a click, while the key is still at work
        while not (going.done() and again.done()):
            app.draw()
            await asyncio.sleep(0)
        await asyncio.gather(going, again)
        assert app.view == name
        assert [view.id for view in app.query_one("#views").children if view.display] == [name]

    drive(app, script)


def test_before_the_first_call_it_says_how_to_begin(tmp_path: Path) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        assert "tollkeeper run -- CMD" in text_of(app)
        for number in range(1, len(NAMES) + 1):
            await press(app, pilot, str(number))
        spend(app.feed.path, USD)
        app._tick()
        await settle(app, pilot)
        app._tick()
        await press(app, pilot, "1")
        assert "$1.00" in text_of(app)

    drive(TopApp(Feed(tmp_path / "ledger.db", zone=ZONE, clock=lambda: NOW)), script)


def test_what_a_client_calls_itself_is_shown_as_it_is(app: TopApp) -> None:
    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        spend(app.feed.path, USD, model="[red]evil[/red]")
        app._tick()
        await settle(app, pilot)
        assert "[red]evil[/red]" in text_of(app)
        await press(app, pilot, "2", "enter")
        assert "[red]evil[/red]" in text_of(app)

    drive(app, script, (160, 40))


def test_a_proxy_in_trouble_is_above_everything_else(home: Path) -> None:
    proxy = {"host": "127.0.0.1", "port": 8877, "answers": True, "faults": 2, "ledger_errors": 0, "last_fault": "hook broke",
             "untrusting_hosts": {"api.openai.com": 3}}  # fmt: skip

    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        lines = text_of(app).splitlines()
        assert "127.0.0.1:8877" in lines[0]
        assert "2 faults" in lines[2]
        assert "3 TLS handshakes broke off (api.openai.com)" in lines[3]

    drive(TopApp(Feed(home / "ledger.db", zone=ZONE, clock=lambda: NOW, ask_proxies=lambda: (proxy,))), script)
