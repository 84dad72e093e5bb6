"""Cached hook dispatch behaves as mitmproxy's own."""

import asyncio
from collections.abc import Callable

import pytest
from mitmproxy import hooks
from mitmproxy.options import Options

from tollkeeper.proxy.dispatch import SidecarMaster


class Recorder:
    """Answers ``running`` synchronously."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def running(self) -> None:
        self.seen.append(self.name)


class AsyncRecorder(Recorder):
    """Answers ``running`` asynchronously."""

    async def running(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.seen.append(self.name)


class Raiser(Recorder):
    """Fails."""

    def running(self) -> None:
        raise RuntimeError(self.name)


def trigger(build: Callable[[list[str]], list[Recorder]]) -> list[str]:
    seen: list[str] = []

    async def scenario() -> None:
        master = SidecarMaster(Options())
        master.addons.add(*build(seen))
        await master.addons.trigger_event(hooks.RunningHook())

    asyncio.run(scenario())
    return seen


def test_handlers_run_in_chain_order_and_coroutines_are_awaited() -> None:
    assert trigger(lambda seen: [Recorder("a", seen), AsyncRecorder("b", seen), Recorder("c", seen)]) == ["a", "b", "c"]


def test_a_handler_that_raises_does_not_stop_the_next(caplog: pytest.LogCaptureFixture) -> None:
    assert trigger(lambda seen: [Raiser("a", seen), Recorder("b", seen)]) == ["b"]
    assert "Addon error" in caplog.text


def test_an_addon_added_later_is_heard() -> None:
    seen: list[str] = []

    async def scenario() -> None:
        master = SidecarMaster(Options())
        master.addons.add(Recorder("a", seen))
        await master.addons.trigger_event(hooks.RunningHook())
        master.addons.add(Recorder("b", seen))
        await master.addons.trigger_event(hooks.RunningHook())

    asyncio.run(scenario())
    assert seen == ["a", "a", "b"]
