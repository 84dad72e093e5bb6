"""How much of each unit an entry holds or posts. A bucket counts one unit, told by its key."""

from typing import NamedTuple

from tollkeeper.core.amounts import Unit, unit_of
from tollkeeper.core.call import Call
from tollkeeper.core.entry import Settlement


class Amounts(NamedTuple):
    """The same thing counted in every unit. ``calls`` is 1 for a hold (a call under way) and 0 for what is posted."""

    nanousd: int = 0
    tokens: int = 0
    requests: int = 0
    calls: int = 0

    def within(self, bucket_key: str) -> int:
        """What counts in a bucket."""
        unit = unit_of(bucket_key)
        if unit is Unit.USD:
            return self.nanousd
        if unit is Unit.TOKENS:
            return self.tokens
        return self.requests if unit is Unit.REQUESTS else self.calls


NOTHING = Amounts()

POSTED_SQL = {
    Unit.USD: "exposure_nanousd",
    Unit.TOKENS: (
        "CASE WHEN format >= 3 THEN used_tokens ELSE (SELECT coalesce(sum(input_tokens + cache_read_tokens + cache_write_5m_tokens"
        " + cache_write_1h_tokens + output_tokens), 0) FROM line WHERE entry_seq = seq AND kind = 'settle') END"
    ),
    Unit.REQUESTS: "CASE WHEN format >= 3 THEN used_requests ELSE kind = 'settle' END",
    Unit.PARALLEL: "0",
}
"""What an entry posts, by unit; entries of older formats have no counts of their own."""

HELD_SQL = {
    Unit.USD: "hold.amount",
    Unit.TOKENS: "entry.hold_tokens",
    Unit.REQUESTS: "max(1, entry.hold_requests)",
    Unit.PARALLEL: "1",
}
"""What an open hold holds, by unit."""


def tokens_of(settlement: Settlement) -> int:
    """All tokens that a settlement knows of, in and out."""
    usages = [line.usage for line in settlement.bill.lines] or settlement.reading.calls
    return sum(usage.total_input_tokens + usage.output_tokens for usage in usages)


def requests_of(call: Call) -> int:
    """The requests that a call stands for."""
    return sum(max(1, part.requests) for part in call.ask.parts) or 1
