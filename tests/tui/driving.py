"""Driving the screen without a terminal, and reading what stands on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from tollkeeper.tui.app import TopApp

type Script = Callable[[TopApp, Pilot[Any]], Awaitable[None]]


def drive(app: TopApp, script: Script, size: tuple[int, int] = (120, 40)) -> None:
    """Run the app at that size and the script on it, once everything is read."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            await script(app, pilot)

    asyncio.run(run())


async def settle(app: TopApp, pilot: Pilot[Any]) -> None:
    """Wait until no thread reads any more and everything is drawn."""
    if not any(not worker.is_finished for worker in app.workers):
        await pilot.pause()
    if any(not worker.is_finished for worker in app.workers):
        await app.workers.wait_for_complete()
        await pilot.pause()


async def type_in(app: TopApp, pilot: Pilot[Any], text: str) -> None:
    """Type a text in one go."""
    await pilot.press(*text)
    await settle(app, pilot)


async def press(app: TopApp, pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one by one; each has its effect before the next."""
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)


def text_of(app: TopApp) -> str:
    """What stands on the screen, line by line, blanks at the ends left out."""
    lines = []
    for strip in app.screen._compositor.render_strips(app.screen.size):
        lines.append("".join(segment.text for segment in strip).rstrip())
    return "\n".join(lines) + "\n"
