"""How far the calls in flight have come: what the status page says of them, worked out only when it is asked for."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.pricing.book import PriceBook
from tollkeeper.wire.stop import BYTES_PER_TOKEN

from .passage import Passage

MAX_TOLD = 200
"""Calls told of, the newest: each costs some 0.3 ms of the event loop."""

type Progress = dict[str, str | int | None]


def open_calls(passages: Iterable[Passage], book: PriceBook) -> list[Progress]:
    """Of every streamed answer under way its call's id, output tokens and cost so far, newest first; both are estimates.

    ``cost_nanousd`` is None where the price is not known. Answers that do not stream, or have not begun, are left out.
    """
    streaming = (passage for passage in passages if not passage.settled and (passage.meter or passage.turn_so_far))
    newest = sorted(streaming, key=lambda passage: passage.call.started_at, reverse=True)
    return list(islice(filter(None, (_progress(passage, book) for passage in newest)), MAX_TOLD))


def _progress(passage: Passage, book: PriceBook) -> Progress | None:
    look = passage.meter.so_far if passage.meter is not None else passage.turn_so_far
    found = look() if look is not None else None
    if found is None:
        return None
    stated, said_bytes = found
    call = passage.served or passage.call
    *before, last = stated or (Usage(model=call.model),)
    last = replace(last, model=last.model or call.model, output_tokens=max(last.output_tokens, said_bytes // BYTES_PER_TOKEN))
    if not any(one.total_input_tokens for one in (*before, last)):
        last = replace(last, input_tokens=call.ask.input_bytes // BYTES_PER_TOKEN)
    usages = (*before, last)
    bill = book.bill(call, Reading(source=UsageSource.PARTIAL, calls=usages, model=last.model, complete=False))
    tokens = sum(one.output_tokens for one in usages)
    return {"call_id": passage.call.id, "output_tokens": tokens, "cost_nanousd": bill.cost_nanousd}
