"""No byte of an answer is seen before its call's hold is on disk."""

import asyncio
from typing import Any

import pytest
from mitmproxy.test import tflow, tutils

from proxy.roads import ADA, PROJECT, MakeRoad, run
from tollkeeper.core.errors import LedgerError
from tollkeeper.proxy.door import Door
from tollkeeper.proxy.hooks import PASSAGE, Hooks
from tollkeeper.wire.routes import endpoint_for

BODY = b'{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}'


async def answering(make_road: MakeRoad, policy: str) -> tuple[Hooks, Any]:
    """The hooks, and a flow whose call is held and whose answer has just begun."""
    road = make_road(policy)
    endpoint = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
    passage = await road.admit(endpoint, "/v1/chat/completions", BODY, ADA, PROJECT)
    assert passage.on_disk is not None
    assert await passage.on_disk is None
    flow = tflow.tflow(resp=tutils.tresp(status_code=200))
    flow.metadata[PASSAGE] = passage
    flow.live = True
    return Hooks(road.stages, Door(road.stages, credentials={}), drain_seconds=0, status=dict), flow


def test_an_answer_whose_hold_is_on_disk_begins_at_once(make_road: MakeRoad) -> None:
    async def check() -> None:
        hooks, flow = await answering(make_road, 'schema = 1\nmode = "enforce"\n')
        assert hooks.responseheaders(flow) is None
        assert callable(flow.response.stream)

    run(check())


def test_an_answer_that_is_quicker_than_the_disk_waits_for_it(make_road: MakeRoad) -> None:
    async def check() -> None:
        hooks, flow = await answering(make_road, 'schema = 1\nmode = "enforce"\n')
        flow.metadata[PASSAGE].on_disk = on_disk = asyncio.get_running_loop().create_future()
        waiting = hooks.responseheaders(flow)
        assert waiting is not None
        begun = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        assert (begun.done(), flow.response.stream) == (False, False)
        on_disk.set_result(None)
        await begun
        assert callable(flow.response.stream)

    run(check())


@pytest.mark.parametrize(("on_ledger_error", "is_seen"), [("open", True), ("closed", False)])
def test_a_disk_that_failed_becomes_what_the_policy_says(make_road: MakeRoad, on_ledger_error: str, is_seen: bool) -> None:
    async def check() -> None:
        hooks, flow = await answering(make_road, f'schema = 1\nmode = "enforce"\non_ledger_error = "{on_ledger_error}"\n')
        flow.metadata[PASSAGE].on_disk = on_disk = asyncio.get_running_loop().create_future()
        on_disk.set_result(LedgerError("ledger: input/output error"))
        waiting = hooks.responseheaders(flow)
        assert waiting is not None
        await waiting
        assert callable(flow.response.stream) is is_seen
        assert (flow.error is None) is is_seen, "the client's connection is cut"
        assert hooks.stages.counters.ledger_errors == 1

    run(check())
