"""The ladder on mitmproxy's side: second tries, streams that are ended in the middle, warnings beside an answer."""

from collections.abc import Mapping

from mitmproxy import http

from tollkeeper.core.errors import LedgerError
from tollkeeper.wire.dialects import BINARY
from tollkeeper.wire.warn import client_warning

from .addressing import address, as_it_came
from .passage import Passage, Tap
from .retry import may_be_tried_again, try_again
from .road import Road
from .safety import note_fault
from .second_try import AGAIN, STOP, STOPPABLE, TIMEOUT_SECONDS, TRIES

STOPPED = "stopped-mid-stream"
"""Flag of a call whose stream was ended when its running estimate passed what was held."""


def prepare(road: Road, flow: http.HTTPFlow, passage: Passage) -> None:
    """Say to the stream whether this call may be tried again, and how long this try waits for its first byte."""
    flow.metadata.pop(TIMEOUT_SECONDS, None)
    if not may_be_tried_again(road, passage) or passage.call.endpoint.dialect in BINARY:
        flow.metadata.pop(TRIES, None)
        return
    flow.metadata[TRIES] = True
    target = passage.decision.target
    if target is not None and target.timeout_ms is not None:
        flow.metadata[TIMEOUT_SECONDS] = target.timeout_ms / 1000


def warning(passage: Passage, headers: Mapping[str, str]) -> dict[str, str]:
    """The fullest budget that this call was warned of, in its client's own words; ``headers`` are the provider's."""
    call = passage.call
    if call.plan:
        return {}
    standing = max((warned.standing for warned in passage.decision.warnings), key=lambda one: one.used_percent)
    return client_warning(call.endpoint, call.attribution.client, headers, standing.used_percent, standing.resets_at)


def watch(flow: http.HTTPFlow, passage: Passage, tap: Tap) -> None:
    """Let the stream be ended in the middle."""
    assert flow.response is not None  # noqa: S101 — called when its head has come

    def on_stop() -> None:
        if STOP not in flow.metadata:
            passage.notes = (*passage.notes, STOPPED)
            flow.metadata[STOP] = True

    flow.metadata[STOPPABLE] = True
    flow.response.stream = passage.stoppable(tap, on_stop)


async def second_try(road: Road, flow: http.HTTPFlow, passage: Passage) -> Passage:
    """The passage that goes on: the same one, or that of another try, whose request stands in the flow then."""
    status = None if flow.response is None else flow.response.status_code
    try:
        again = await try_again(road, passage, status)
    except LedgerError as error:
        note_fault(road.stages.counters, "second_try", error)
        again = None
    if again is None:
        return passage
    encoding = flow.request.headers.get("content-encoding", "")
    as_it_came(flow, again)
    address(flow, again, encoding, b"")
    flow.metadata[AGAIN] = True
    prepare(road, flow, again)
    return again
