"""Every screen at three sizes, letter for letter. ``TOLLKEEPER_GOLDEN=write`` writes the files anew: look at what changed."""

import os
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style
from textual.pilot import Pilot

from tollkeeper.tui.app import TopApp
from tollkeeper.tui.curtain import LOOKS, first_frame
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.layout import NAMES
from tui.driving import drive, press, text_of
from tui.samples import NOW, ZONE

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (120, 40), (200, 60))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_screens_look_as_they_did(seeded: Path, size: tuple[int, int], theme: str) -> None:
    feed = Feed(seeded / "ledger.db", zone=ZONE, clock=lambda: NOW)
    found = {}

    async def script(app: TopApp, pilot: Pilot[Any]) -> None:
        for number, name in enumerate(NAMES, 1):
            await press(app, pilot, str(number))
            found[name] = text_of(app)
            if name == "overview":
                held_to_the_first_frame(app, found[name], theme)
        svg = app.export_screenshot()
        assert svg.startswith("<svg")
        assert "tollkeeper" in svg

    drive(TopApp(feed, theme=theme), script, size)
    for name, text in found.items():
        path = GOLDEN / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("TOLLKEEPER_GOLDEN") == "write":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), (
            f"{path.name} differs: TOLLKEEPER_GOLDEN=write pytest tests/tui shows how"
        )


def held_to_the_first_frame(app: TopApp, drawn: str, theme: str) -> None:
    """What is drawn before Textual is there is what Textual draws: text and colours."""
    assert LOOKS[theme][0] == app.look
    width, height = app.size
    lines = [line.plain.rstrip() for line in first_frame(app.shown, app.look, width, height)]
    assert "\n".join(lines) + "\n" == drawn
    strips = app.screen._compositor.render_strips(app.screen.size)
    for line, style in ((0, LOOKS[theme][2]), (height - 1, LOOKS[theme][2]), (height - 8, LOOKS[theme][1])):
        plain = [segment.style for segment in strips[line] if segment.text.strip() and segment.style is not None]
        assert any(found.bgcolor == Style.parse(style).bgcolor and found.color == Style.parse(style).color for found in plain)
