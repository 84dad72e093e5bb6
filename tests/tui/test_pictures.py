"""Every screen at three sizes, letter for letter. ``TOLLKEEPER_GOLDEN=write`` writes the files anew: look at what changed."""

import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tollkeeper.tui.app import TopApp
from tollkeeper.tui.feed import Feed
from tollkeeper.tui.views import NAMES
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
