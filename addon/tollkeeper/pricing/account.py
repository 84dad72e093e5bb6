"""Past traffic, completed and billed: an exchange as the one call it was, a session turn by turn."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tollkeeper.core.call import Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.usage import Reading
from tollkeeper.wire.recorded_session import as_one
from tollkeeper.wire.sessions import Turn

from .book import PriceBook
from .complete import complete


def account(
    book: PriceBook, call: Call, reading: Reading, turns: Sequence[Turn], prompt_text: Callable[[], str]
) -> tuple[Reading, Bill]:
    """The reading with what nobody reported filled in, and its bill.

    ``turns`` are those of a session (none for anything else): each is completed and billed as live, by its own ask, at its own
    terms and by its own stated cost, and the lines are put together.
    """
    if not turns:
        completed = complete(reading, call, prompt_text)
        return completed, book.bill(call, completed)
    readings, bills = [], []
    for turn in turns:
        own = replace(call, ask=turn.ask)
        readings.append(complete(turn.reading, own, turn.prompt))
        bills.append(book.bill(own, readings[-1]))
    # A stated cost has been shared out over the lines of its turn: nothing of it is lost by adding up lines.
    lines = tuple(line for bill in bills for line in bill.lines)
    flags = tuple(dict.fromkeys(flag for bill in bills for flag in bill.flags))
    return as_one(readings, reading.model), Bill(lines=lines, flags=flags)
